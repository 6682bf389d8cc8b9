"""Locks as values: what a tag meant when it was last asked, and which settings decide the bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class LockedLayer:
    """A layer blob as the manifest names it."""

    digest: str
    size: int


@dataclass(frozen=True)
class Build:
    """The settings that decide the bytes of the SIF.

    Attributes:
        compression: ``gzip`` or ``zstd``.
        labels: Labels that are added.
        key: Fingerprint of the signing key, ``development``, or empty when nothing signs.
        formats: Format version of each stage.
    """

    compression: str
    labels: dict[str, str]
    key: str
    formats: dict[str, int | str]


@dataclass(frozen=True)
class Lock:
    """The lock of an image with layers: everything that a build needs to know; no registry has to be asked.

    Attributes:
        source: The ``from`` that was asked.
        name: Normalised reference, or the file's name of local sources.
        digest: What the reference named: an index or a manifest.
        platform: Which platform was chosen.
        manifest: Digest of that platform's manifest.
        config: Digest of the image config.
        layers: Lowest first.
        build: Settings.
    """

    source: str
    name: str
    digest: str
    platform: str
    manifest: str
    config: str
    layers: tuple[LockedLayer, ...]
    build: Build = field(compare=True)

    @property
    def image(self) -> str:
        """``name:tag@digest``, the form that update bots edit."""
        return f"{self.name}@{self.digest}"

    @property
    def built_from(self) -> str:
        """Digest of what the SIF file is made of."""
        return self.manifest

    def with_build(self, build: Build) -> Lock:
        """Return the lock with other settings."""
        return replace(self, build=build)

    def document(self) -> dict[str, Any]:
        """Return the content of the file in its order, without the checksum."""
        return {
            "image": self.image,
            "from": self.source,
            "platform": self.platform,
            "manifest": self.manifest,
            "config": self.config,
            "layers": [asdict(layer) for layer in self.layers],
            "build": asdict(self.build),
        }


@dataclass(frozen=True)
class PrebuiltLock:
    """The lock of a SIF file that others built, which is taken as it is.

    In its file ``manifest`` and the one layer are the SIF file, and ``config`` is the mark.

    Attributes:
        source: The ``from`` that was asked.
        name: Normalised reference, or the file's name at its source.
        digest: What the source calls it by: that of a registry's manifest, else the file's.
        platform: Which platform it has to be for.
        file: Its SHA-256, as ``sha256:...``.
        size: Its bytes.
        mark: What its source says of it without sending it (a manifest's digest, a server's marks); empty for nothing.
        build: Settings.
    """

    source: str
    name: str
    digest: str
    platform: str
    file: str
    size: int
    mark: str
    build: Build

    @property
    def image(self) -> str:
        """``name:tag@digest``, the form that update bots edit."""
        return f"{self.name}@{self.digest}"

    @property
    def built_from(self) -> str:
        """Digest of what the SIF file is made of: its own, before it is signed."""
        return self.file

    def with_build(self, build: Build) -> PrebuiltLock:
        """Return the lock with other settings."""
        return replace(self, build=build)

    def document(self) -> dict[str, Any]:
        """Return the content of the file in its order, without the checksum."""
        return {
            "image": self.image,
            "from": self.source,
            "platform": self.platform,
            "manifest": self.file,
            "config": self.mark,
            "layers": [{"digest": self.file, "size": self.size}],
            "build": asdict(self.build),
        }


AnyLock = Lock | PrebuiltLock
