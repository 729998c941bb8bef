"""Comparisons of methods and switches: a grid of training runs, each evaluated alike, in one table."""
