"""A digest of the content of a SIF file, and the differences between two files."""
