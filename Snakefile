# The workflow stands in workflow/. This file lets `snakemake` find it from the top of the repository.

from sifmake.pipeline.snakemake_support import checked


configfile: checked("config/config.yaml", workflow)


rule all:
    default_target: True
    input:
        lambda wildcards: TARGETS,


include: "workflow/Snakefile"
