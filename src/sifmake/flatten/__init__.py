"""Merging the indexes of packs into one tree."""
