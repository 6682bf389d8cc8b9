"""A project: a folder with ``config/``, and the data that its stages share within a process."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sifmake.errors import LockError
from sifmake.progress import Progress, Silent
from sifmake.project.configuration import Configuration, find_settings, ignored_settings, load_configuration
from sifmake.project.stage_table import LOCK, path_of, record_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.project.images import ImageSettings
    from sifmake.project.locks import AnyLock, Build
    from sifmake.project.stage_table import StageName
    from sifmake.project.steps_lock import StepsLockUse
    from sifmake.registry.shared import Connections
    from sifmake.store import Store

ALLOW_FILES = "SIFMAKE_ALLOW_FILES"
_NO = frozenset({"", "0", "no", "false", "off"})


class Modes(NamedTuple):
    """What a run may do.

    Attributes:
        locked: Build from the locks; ask no registry for tags and write no lock.
        offline: Ask no registry at all; locks may still be rewritten for changed settings.
        check: A finished file is up to date only if it has the published bytes; otherwise only its size is compared.
        trust_lock: Build from a lock that cannot be proven; a lock that is disproved is still refused.
        update_steps: Write the locks of what steps gave again.
        accept_steps: Do the same in a locked run, in which a difference ends the build otherwise.
        scheduled: The run is unattended, so the development key must not sign anything.
        allow_host_sections: Definitions may run ``%pre`` and ``%setup`` on this machine.
        allow_files: Folders outside the project that definitions may read, with links resolved.
    """

    locked: bool = False
    offline: bool = False
    check: bool = False
    trust_lock: bool = False
    update_steps: bool = False
    accept_steps: bool = False
    scheduled: bool = False
    allow_host_sections: bool = False
    allow_files: tuple[Path, ...] = ()

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ, /, **given: str | None) -> Modes:
        """Return the modes from the arguments, else from variables.

        These are ``SIFMAKE_LOCKED``, ``SIFMAKE_OFFLINE``, ``SIFMAKE_TRUST_LOCK`` and so on, and ``CI``.

        Args:
            environ: The variables.
            given: Values of modes; None counts as not given.
        """
        names = [name for name in cls._fields if name != "scheduled"]
        if unknown := given.keys() - set(names):
            raise TypeError(unknown)
        otherwise = {"locked": environ.get("CI", "")}
        texts = {name: environ.get(f"SIFMAKE_{name.upper()}", otherwise.get(name, "")) for name in names}
        texts |= {name: text for name, text in given.items() if text is not None}
        folders = _folders(texts.pop("allow_files"))
        return cls(**{name: _is_yes(text) for name, text in texts.items()}, allow_files=folders)


def _folders(text: str) -> tuple[Path, ...]:
    """Return the folders of a list like PATH, with links resolved."""
    return tuple(Path(part).resolve() for part in text.split(os.pathsep) if part)


def _stamp(path: Path) -> object:
    """Return a value that changes if a file is replaced; None if the file does not exist."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return str(path), facts.st_ino, facts.st_mtime_ns, facts.st_size


def _is_yes(text: str) -> bool:
    return text.strip().lower() not in _NO


class Project:
    """One folder with its configuration.

    Attributes:
        root: Folder to which all paths are relative.
        modes: What the run may do.
        progress: Receives messages.
    """

    def __init__(
        self, root: Path, modes: Modes | None = None, progress: Progress | None = None, *, thorough: bool = True
    ) -> None:
        self.root = root
        self.modes = modes or Modes()
        self.progress = progress or Silent()
        self._thorough = thorough
        self._locks: dict[str, tuple[object, AnyLock]] = {}

    @cached_property
    def configuration(self) -> Configuration:
        """Content of ``sifmake.yaml``."""
        settings = find_settings(self.root)
        if self._thorough and not settings.exists() and (warning := ignored_settings(self.root)):
            self.progress.warning(warning)
        configuration = load_configuration(settings, self.root, thorough=self._thorough)
        return replace(configuration, ask=getattr(self.progress, "ask", None))

    @cached_property
    def images(self) -> dict[str, ImageSettings]:
        """Images of ``config/images.yaml`` by name."""
        from sifmake.project.images import load_images

        return load_images(self.root / "config" / "images.yaml", self.configuration.limits)

    @cached_property
    def connections(self) -> Connections:
        """Connections that all sources of the project share; closed when the process ends."""
        from sifmake.registry.shared import Connections

        return Connections()

    @cached_property
    def store(self) -> Store:
        """The store of packs and blobs."""
        return self.configuration.open_store(self.progress)

    @cached_property
    def key_identity(self) -> str:
        """Name of the signing key in locks."""
        from sifmake.project.keys import key_identity

        return key_identity(self.configuration)

    @cached_property
    def trust_digest(self) -> str:
        """A digest that changes if the set of trusted keys changes."""
        from sifmake.project.keys import trust_digest

        return trust_digest(self.configuration)

    def image(self, name: str) -> ImageSettings:
        """Return the settings of an image; see :func:`find_image`."""
        from sifmake.project.images import find_image

        return find_image(self.images, name)

    def path(self, pattern: str, image: str) -> Path:
        """Return the path of a pattern of the stage table for an image."""
        return path_of(self.root, pattern, image)

    def record(self, stage: StageName, image: str) -> Path:
        """Return the path of a stage's record."""
        return self.path(record_pattern(stage), image)

    def lock_path(self, image: str) -> Path:
        """Return the path of an image's lock."""
        return self.path(LOCK, image)

    def steps_lock(self, image: str) -> StepsLockUse:
        """Return where the lock of what the steps of an image gave is, and how this run uses it."""
        from sifmake.project.steps_lock import StepsLockUse, steps_lock_path

        modes = self.modes
        return StepsLockUse(
            steps_lock_path(self.lock_path(image)),
            locked=modes.locked,
            refuse=self.configuration.refuse_steps,
            update=modes.update_steps,
            accept=modes.accept_steps,
        )

    def lock(self, image: str) -> AnyLock:
        """Return the lock of an image; see :func:`read_lock`. It is kept because a refresh and all stages need it."""
        from sifmake.project.lock_file import read_lock

        path = self.lock_path(image)
        stamp, known = _stamp(path), self._locks.get(image)
        if stamp is not None and known is not None and known[0] == stamp:
            return known[1]
        lock = read_lock(path, self.configuration.limits)
        self._locks[image] = (stamp, lock)
        return lock

    def wanted_build(self, image: ImageSettings) -> Build:
        """Return the build settings that follow from the configuration and this version of sifmake."""
        from sifmake.block_compression import full_compression
        from sifmake.formats import build_format_versions, format_versions
        from sifmake.project.locks import Build

        key = self.key_identity if image.sign else ""
        formats = format_versions() if image.definition is None else build_format_versions()
        return Build(
            full_compression(image.compression), image.labels, key, dict(formats), image.test, image.test_network
        )

    def check_lock(self, image: ImageSettings) -> AnyLock:
        """Return the image's lock if it matches the configuration.

        Raises:
            LockError: It does not match, or there is none.
        """
        from sifmake.project.lock_source import check_source, is_for
        from sifmake.project.records import differences

        lock = self.lock(image.name)
        where = str(self.lock_path(image.name))
        if not is_for(lock, image):
            wanted = f"{image.source.given} ({image.platform})"
            what = f"is for {lock.source.given} ({lock.platform}), the configuration wants {wanted}"
            raise LockError(what, where=where, hint=f"run sifmake lock {image.name}")
        check_source(lock, image.name, where)
        changed = differences(lock.build._asdict(), self.wanted_build(image)._asdict())
        if changed:
            what = f"does not have the changed settings yet ({'; '.join(changed)})"
            raise LockError(what, where=where, hint="run `sifmake lock --offline`")
        return lock
