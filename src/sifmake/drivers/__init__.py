"""Who drives stages: doit, Snakemake and the stage helper."""
