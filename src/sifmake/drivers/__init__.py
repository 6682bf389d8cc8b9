"""The drivers of stages: doit, Snakemake and the stage helper."""
