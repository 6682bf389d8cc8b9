"""Stages, targets, locks and records: what doit, Snakemake and the command line share."""
