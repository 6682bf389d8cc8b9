# From an unsigned SIF to the finished file. Only `publish`, which cannot fail half-way, has the finished file as
# output, because Snakemake deletes outputs before a job starts.


rule sign:
    input:
        lock="config/locks/{image}.yaml",
        unsigned="results/{image}/unsigned.sif",
        record="results/{image}/sif.json",
    output:
        signed=temp("results/{image}/signed.sif"),
        record="results/{image}/sign.json",
    log:
        "logs/{image}/sign.log",
    params:
        root=lambda wildcards, input: project_root(input.lock),
    localrule: True
    conda:
        "../../envs/sifmake.yaml"
    shell:
        "sifmake stage --root {params.root:q} sign {wildcards.image:q} > {log:q} 2>&1"


rule verify:
    input:
        lock="config/locks/{image}.yaml",
        signed="results/{image}/signed.sif",
        record="results/{image}/sign.json",
        trusted=project.trusted,
    output:
        record=report(
            "results/{image}/verify.json",
            caption="../report/verify.rst",
            category="Images",
            labels={"image": "{image}", "record": "signature"},
        ),
    log:
        "logs/{image}/verify.log",
    params:
        root=lambda wildcards, input: project_root(input.lock),
    # Where it was signed: as a job it would be a second one for each image, which waits in the queue again.
    localrule: True
    conda:
        "../../envs/sifmake.yaml"
    shell:
        "sifmake stage --root {params.root:q} verify {wildcards.image:q} > {log:q} 2>&1"


rule publish:
    input:
        lock="config/locks/{image}.yaml",
        signed="results/{image}/signed.sif",
        record="results/{image}/verify.json",
    output:
        sif="images/{image}.sif",
        record=report(
            "results/{image}/publish.json",
            caption="../report/publish.rst",
            category="Images",
            labels={"image": "{image}", "record": "finished file"},
        ),
    log:
        "logs/{image}/publish.log",
    params:
        root=lambda wildcards, input: project_root(input.lock),
    localrule: True
    conda:
        "../../envs/sifmake.yaml"
    shell:
        "sifmake stage --root {params.root:q} publish {wildcards.image:q} > {log:q} 2>&1"
