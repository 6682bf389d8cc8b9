"""A project with many images that are locked and look built, without building or asking anyone.

many(project, registry, 500)      # config/images.yaml, tags in the registry, locks
pretend_built(project)            # records and finished files
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sifmake.project.lock_file import write_lock
from sifmake.project.locks import Lock, LockedLayer
from sifmake.project.project import Project
from sifmake.project.records import write_record
from sifmake.stages.freshness import stage_key
from sifmake.stages.stage import all_stages
from support.layers import file, tar

if TYPE_CHECKING:
    from support.images import Blobs, Descriptor
    from support.project import Folder


class Registry(Protocol):
    """What both registries of the tests have."""

    blobs: Blobs

    @property
    def host(self) -> str:
        """Where it listens."""
        ...

    def tag(self, repository: str, tag: str, descriptor: Descriptor) -> None:
        """Let a tag stand for a manifest."""
        ...


def many(project: Folder, registry: Registry, count: int, host: str = "") -> None:
    """Lock images without asking anyone; all tags mean one image."""
    host = host or registry.host
    image = registry.blobs.image([tar(file("etc/motd", b"hello"))])
    manifest = registry.blobs.document(image)
    for number in range(count):
        registry.tag(f"app{number}", "1", image)
        project.images[f"app{number}"] = {"from": f"docker://{host}/app{number}:1"}
    project.write()
    opened = Project(project.root)
    for name, settings in opened.images.items():
        layers = tuple(LockedLayer(layer["digest"], layer["size"]) for layer in manifest["layers"])
        lock = Lock(
            source=settings.source,
            name=settings.source.rest,
            digest=image["digest"],
            platform=settings.platform,
            manifest=image["digest"],
            config=manifest["config"]["digest"],
            layers=layers,
            build=opened.wanted_build(settings),
        )
        write_lock(opened.lock_path(name), lock)


def pretend_built(project: Folder) -> None:
    """Write the records and targets that a build would have left."""
    opened = Project(project.root)
    (project.root / "images").mkdir()
    for name in opened.images:
        for stage in all_stages():
            record = opened.record(stage.name, name)
            write_record(record, stage.name, stage_key(opened, stage.name, opened.lock(name)), {"size": 4})
        project.target(name).write_bytes(b"done")
