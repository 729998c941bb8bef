"""Pictures for people: curves, retrieved examples, heatmaps, matches."""
