"""Weights of other projects for the towers of this one: a file per source, and what becomes of every tensor.

The maps need numpy alone; `docs/weights.md` lists the sources.
"""
