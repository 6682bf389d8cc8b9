# From a lock to an unsigned SIF. The packs of the layers are in sifmake's store, where all images share them.


rule pull:
    input:
        lock="config/locks/{image}.yaml",
    output:
        record="results/{image}/pull.json",
    log:
        "logs/{image}/pull.log",
    params:
        root=lambda wildcards, input: project_root(input.lock),
    localrule: True
    retries: 1
    conda:
        "../../envs/sifmake.yaml"
    shell:
        "sifmake stage --root {params.root:q} pull {wildcards.image:q} > {log:q} 2>&1"


# What a definition file does to its base. For a pulled image it only writes a record, in the job of the next two rules.
rule steps:
    input:
        lock="config/locks/{image}.yaml",
        record="results/{image}/pull.json",
        bases=lambda wildcards: project.bases_of(wildcards.image),
    output:
        record="results/{image}/steps.json",
    log:
        "logs/{image}/steps.log",
    params:
        root=lambda wildcards, input: project_root(input.lock),
        run=lambda wildcards: project.run_of(wildcards.image),
    group:
        "image"
    resources:
        mem_mb=lambda wildcards: project.memory_of_steps(wildcards.image),
    conda:
        "../../envs/sifmake.yaml"
    shell:
        "sifmake stage --root {params.root:q} steps {wildcards.image:q} > {log:q} 2>&1"


rule flatten:
    input:
        lock="config/locks/{image}.yaml",
        record="results/{image}/steps.json",
    output:
        tree=temp("results/{image}/tree"),
        record="results/{image}/flatten.json",
    log:
        "logs/{image}/flatten.log",
    params:
        root=lambda wildcards, input: project_root(input.lock),
    group:
        "image"
    resources:
        mem_mb=500,
    conda:
        "../../envs/sifmake.yaml"
    shell:
        "sifmake stage --root {params.root:q} flatten {wildcards.image:q} > {log:q} 2>&1"


rule sif:
    input:
        lock="config/locks/{image}.yaml",
        tree="results/{image}/tree",
        record="results/{image}/flatten.json",
    output:
        unsigned=temp("results/{image}/unsigned.sif"),
        record="results/{image}/sif.json",
    log:
        "logs/{image}/sif.log",
    params:
        root=lambda wildcards, input: project_root(input.lock),
    group:
        "image"
    resources:
        mem_mb=500,
    conda:
        "../../envs/sifmake.yaml"
    shell:
        "sifmake stage --root {params.root:q} sif {wildcards.image:q} > {log:q} 2>&1"
