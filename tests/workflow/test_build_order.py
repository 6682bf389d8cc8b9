"""doit finishes one image before it begins the next, so that what was built is there when a later one fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sifmake.project.stage_table import STAGE_NAMES
from support.layers import file, tar

if TYPE_CHECKING:
    from support.counting_registry import CountingRegistry
    from support.project import Folder


@pytest.mark.parametrize("arguments", [(), ("pull_image:*",), ("pull_image",), ("run", "lock", "pull_image")])
def test_doit_builds_depth_first(project: Folder, registry: CountingRegistry, arguments: tuple[str, ...]) -> None:
    for name in "abc":
        project.images[name] = {"from": f"docker://{registry.host}/{name}:1"}
        registry.tags[f"{name}:1"] = registry.blobs.image([tar(file(name, name.encode()))])
    project.write()
    lines = [line.split() for line in project.doit(*arguments).splitlines()]
    ran = [words[1] for words in lines if len(words) == 2 and words[0] == "."]
    assert [task for task in ran if task.partition(":")[0] in STAGE_NAMES] == [
        f"{stage}:{name}" for name in "abc" for stage in STAGE_NAMES
    ]


def test_a_project_without_images_has_nothing_to_do(project: Folder) -> None:
    project.write()
    assert "Traceback" not in project.doit(status=0)
