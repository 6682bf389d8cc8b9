"""Assembling a SIF file from packs and a tree, by copying."""
