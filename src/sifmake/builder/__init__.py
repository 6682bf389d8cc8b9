"""Builds the SIF file of one image from its reference: sources, store, transfers and assembly."""
