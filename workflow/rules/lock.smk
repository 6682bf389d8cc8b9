# Only images that have no lock when the workflow is read get one here: `-F` and `--delete-all-output` must not
# reach locks that are committed. `sifmake lock` refreshes those.


rule lock:
    input:
        lambda wildcards: project.missing_locks(wildcards.image),
    output:
        "config/locks/{image}.yaml",
    log:
        "logs/{image}/lock.log",
    wildcard_constraints:
        image="|".join(name.replace(".", r"\.") for name in project.missing),
    params:
        root=lambda wildcards, output: project_root(output[0]),
    localrule: True
    conda:
        "../../envs/sifmake.yaml"
    shell:
        "sifmake lock --root {params.root:q} {wildcards.image:q} > {log:q} 2>&1"
