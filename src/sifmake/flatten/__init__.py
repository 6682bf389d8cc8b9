"""From the indexes of packs to one tree."""
