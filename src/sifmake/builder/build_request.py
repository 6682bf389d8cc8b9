"""The request of ``sifmake build``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.builder.builder import RegistryAccess
from sifmake.oci.model import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.definition.model import Definition
    from sifmake.project.steps_lock import StepsLockUse


@dataclass(frozen=True)
class HostBind:
    """A file or folder of the host that ``%post`` sees.

    Attributes:
        source: On the host.
        target: Absolute path in the image.
        read_only: Whether ``%post`` cannot write to it.
    """

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class StepSettings:
    """How steps run, and what they may see.

    Attributes:
        network: ``host`` or ``none``.
        binds: Files and folders of the host that ``%post`` sees.
        secrets: Values by id, available in /run/secrets while ``%post`` runs.
        use_cache: Whether the layers of earlier runs are reused from the store.
        allow_host: Whether ``%pre`` and ``%setup`` may run.
        privileged: Whether ``%post`` keeps all capabilities.
        keep_failed: Whether the tree of a failed step is kept.
        clean: Patterns of paths that are left out of layers of ``%post``, sorted.
        tmpdir: Folder in which trees are unpacked; None for the folder from the environment.
    """

    network: str = "host"
    binds: tuple[HostBind, ...] = ()
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    use_cache: bool = True
    allow_host: bool = False
    privileged: bool = False
    keep_failed: bool = False
    clean: tuple[str, ...] = ()
    tmpdir: Path | None = None


@dataclass(frozen=True)
class BuildRequest:
    """What to build, and where.

    Attributes:
        definition: What to build.
        target: The SIF file or, for a sandbox, the folder; replaced when the new one is finished.
        folder: The folder for relative paths on the host.
        platform: The platform of the image.
        compression: How blocks are compressed, as for :func:`~sifmake.layers.codec.make_codec`.
        sandbox: Whether to build a folder.
        force: Whether help and labels of the definition replace those of the base.
        only: Sections to use; None for all.
        test: Whether ``%test`` runs.
        test_network: Whether ``%test`` has the host's network.
        steps: How steps run.
        access: How registries are reached.
        renewed: Dates on which a lock had steps run again, by the digest of their text.
        steps_lock: The lock of what its steps gave; None for none.
        allowed: Folders from which ``%files`` may copy, with links resolved; none for everywhere.
        labels: Labels to add to those of the definition.
    """

    definition: Definition
    target: Path
    folder: Path = Path()
    platform: Platform = field(default_factory=Platform)
    compression: str = "gzip"
    sandbox: bool = False
    force: bool = False
    only: frozenset[str] | None = None
    test: bool = True
    test_network: bool = False
    steps: StepSettings = field(default_factory=StepSettings)
    access: RegistryAccess = field(default_factory=RegistryAccess)
    renewed: Mapping[str, str] = field(default_factory=dict)
    steps_lock: StepsLockUse | None = None
    allowed: tuple[Path, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
