# The workflow stands in workflow/. This file lets `snakemake` find it from the top of the repository.

rule all:
    default_target: True
    input:
        lambda wildcards: TARGETS,


include: "workflow/Snakefile"
