"""From packs and a tree to the bytes of a SIF file, by copying."""
