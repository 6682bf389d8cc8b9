"""Locks as values: the digest that a tag pointed to at the last check, and the settings that decide the bytes."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from typing import Self

    from sifmake.reference.uri import Uri


class LockedLayer(NamedTuple):
    """A layer.

    Attributes:
        digest: Digest of the blob, as the manifest gives it.
        size: Bytes of the blob.
        diff_id: Digest of the uncompressed layer, as the config gives it; empty in locks of before 0.3.
    """

    digest: str
    size: int
    diff_id: str = ""

    def document(self) -> dict[str, Any]:
        """Return the layer for the lock file, which leaves out an unknown DiffID."""
        known = {"diff-id": self.diff_id} if self.diff_id else {}
        return {"digest": self.digest, "size": self.size, **known}


class Build(NamedTuple):
    """The settings that decide the bytes of the SIF.

    Attributes:
        compression: How blocks are compressed, with the level: ``gzip:6``; locks of before 0.3 have ``gzip``.
        labels: Labels to add.
        key: Fingerprint of the signing key, ``development``, or empty if the file is not signed.
        formats: Format version of each stage.
        test: Command that has to succeed in the image before it is published; empty for none.
        test_network: Network of tests: ``host``, or empty for none.
    """

    compression: str
    labels: dict[str, str]
    key: str
    formats: dict[str, int | str]
    test: str = ""
    test_network: str = ""

    def document(self) -> dict[str, Any]:
        """Return the settings for the lock file, which leaves out what says nothing of a test."""
        document = {key.replace("_", "-"): value for key, value in self._asdict().items()}
        return {key: value for key, value in document.items() if value or not key.startswith("test")}


@dataclass(frozen=True)
class CommonLock(ABC):
    """The common part of all locks.

    Attributes:
        source: The ``from`` that was resolved.
        name: Normalised reference, or the file's name at its source.
        digest: The digest at the source: that of a registry's index or manifest, else of the file or image.
        platform: The chosen platform, or the required platform of a SIF file.
        build: Settings.
    """

    source: Uri
    name: str
    digest: str
    platform: str
    build: Build = field(kw_only=True)

    @property
    def image(self) -> str:
        """``name:tag@digest``, the form that update bots edit."""
        return f"{self.name}@{self.digest}"

    @property
    @abstractmethod
    def built_from(self) -> str:
        """Digest of the manifest from which the SIF file is made."""

    def with_build(self, build: Build) -> Self:
        """Return the lock with other settings."""
        return self if build == self.build else replace(self, build=build)

    def document(self) -> dict[str, Any]:
        """Return the content of the file in its order, without the checksum."""
        head = {"image": self.image, "from": self.source.given, "platform": self.platform}
        return {**head, **self._content(), "build": self.build.document()}

    @abstractmethod
    def _content(self) -> dict[str, Any]:
        """Return the part of the file that describes the image."""


@dataclass(frozen=True)
class Lock(CommonLock):
    """The lock of an image with layers: everything that a build needs to know without asking a registry.

    Attributes:
        manifest: Digest of that platform's manifest.
        config: Digest of the image config.
        layers: Lowest first.
    """

    manifest: str
    config: str
    layers: tuple[LockedLayer, ...]

    @property
    def built_from(self) -> str:
        """Digest of the manifest."""
        return self.manifest

    def _content(self) -> dict[str, Any]:
        layers = [layer.document() for layer in self.layers]
        return {"manifest": self.manifest, "config": self.config, "layers": layers}


@dataclass(frozen=True)
class BaseLock(Lock):
    """The lock of a base of a definition; config and layers are left out because they follow from the manifest."""


@dataclass(frozen=True)
class PrebuiltLock(CommonLock):
    """The lock of a prebuilt SIF file, which is used unchanged.

    In the lock file, ``manifest`` and the only layer are the SIF file, and ``config`` is the mark.

    Attributes:
        file: Its SHA-256, as ``sha256:...``.
        size: Its bytes.
        mark: What its source says about it without sending it (a manifest's digest, a server's marks); may be empty.
    """

    file: str
    size: int
    mark: str

    @property
    def built_from(self) -> str:
        """Digest of the file, before it is signed."""
        return self.file

    def _content(self) -> dict[str, Any]:
        layers = [{"digest": self.file, "size": self.size}]
        return {"manifest": self.file, "config": self.mark, "layers": layers}


class LockedBase(NamedTuple):
    """A base from which a definition file builds.

    Attributes:
        image: ``NAME@DIGEST``, as in the lock of an image.
        source: URI or path in the definition.
        manifest: Digest of what is used: the platform's manifest, a file, or a tree.
        size: Bytes of a file from a server; else 0.
        mark: What a server says about a file without sending it; may be empty.
    """

    image: str
    source: str
    manifest: str
    size: int = 0
    mark: str = ""

    def document(self) -> dict[str, Any]:
        """Return the entry of the lock file, which leaves out what is empty."""
        return {key: value for key, value in {**self.inputs(), "size": self.size, "mark": self.mark}.items() if value}

    def inputs(self) -> dict[str, str]:
        """Return the part that decides what is built."""
        return {"image": self.image, "from": self.source, "manifest": self.manifest}


class LockedFiles(NamedTuple):
    """What one line of ``%files`` copies.

    Attributes:
        source: The source as written.
        digest: Digest of paths, types, modes and contents.
    """

    source: str
    digest: str


class BuildInputs(NamedTuple):
    """Everything that a build depends on, besides the settings in ``build:``.

    Attributes:
        definition: Digest of the definition after substitution.
        platform: The platform.
        arguments: Values of build arguments.
        network: ``host`` or ``none``.
        clean: Profiles of files that are left out.
        bases: In the order of the stages.
        files: In the order of the definition.
        host: The sections that run on the host, ``pre`` and ``setup``, whose results are not locked.
        renewed: Since when each expiring step is valid, by the digest of its text.
    """

    definition: str
    platform: str
    arguments: dict[str, str]
    network: str
    clean: tuple[str, ...]
    bases: tuple[LockedBase, ...]
    files: tuple[LockedFiles, ...]
    renewed: dict[str, str]
    host: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the part of the lock file that describes the inputs."""
        bases = [base.document() for base in self.bases]
        return self._members(bases)

    def _members(self, bases: list[dict[str, Any]]) -> dict[str, Any]:
        found = {
            "definition": self.definition,
            "arguments": self.arguments,
            "network": self.network,
            "clean": ",".join(self.clean),
            "host": ",".join(self.host),
            "renewed": self.renewed,
            "bases": bases,
            "files": [one._asdict() for one in self.files],
        }
        return {key: value for key, value in found.items() if value}

    @property
    def text(self) -> bytes:
        """The inputs as canonical JSON, which the SIF file contains; a line."""
        content = {"format": 1, "platform": self.platform, **self._members([base.inputs() for base in self.bases])}
        return (json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n").encode()

    @property
    def digest(self) -> str:
        """The digest of :attr:`text`."""
        return f"sha256:{hashlib.sha256(self.text).hexdigest()}"


@dataclass(frozen=True)
class BuildLock(CommonLock):
    """The lock of an image that is built from a definition file or a root file system; its digest is the inputs'.

    Attributes:
        inputs: What it is built from.
    """

    inputs: BuildInputs

    @property
    def built_from(self) -> str:
        """Digest of the inputs."""
        return self.digest

    def _content(self) -> dict[str, Any]:
        return self.inputs.document()


AnyLock = Lock | PrebuiltLock | BuildLock
