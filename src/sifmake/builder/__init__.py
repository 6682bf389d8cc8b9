"""From a reference to a SIF file: sources, store, transfers and image assembly for one image."""
