"""Check whether a signed SIF file is the one that a lock describes.

A signature says who made a file, not which file it is: an older or another file by the same signer verifies as well.
Only signed parts are compared. A record beside the file proves nothing, because anyone who can swap one can swap both.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.block_compression import block_format
from sifmake.builder.prebuilt_match import is_as_it_came, is_finished_file
from sifmake.builder.provenance import BUILD_INPUTS, source_origin
from sifmake.errors import SifError, SigningError
from sifmake.json_text import parse_json
from sifmake.project.configuration import DEVELOPMENT
from sifmake.project.locks import BuildLock, PrebuiltLock
from sifmake.rootfs.report import parse_inspection
from sifmake.sif import DataType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.project.locks import AnyLock, Lock
    from sifmake.sif import Descriptor, Sif
    from sifmake.signing import Verification

_TIMES = frozenset({"org.opencontainers.image.created", "org.label-schema.build-date"})
"""Labels that come from ``created`` in the image config, which the SIF file does not store elsewhere."""
_COMPRESSIONS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_COMPRESSION_PLACE = 20
"""Offset and format of the compression number in a squashfs superblock."""


def check_match(sif: Sif, found: Verification, lock: AnyLock, header: bytes = b"") -> None:
    """Check that a verified SIF file is the image that a lock describes.

    Args:
        sif: The file, open.
        found: The result of verifying it, which must be a success.
        lock: The lock that it must match.
        header: For a prebuilt file, its header before it was signed, from a record.

    Raises:
        SigningError: It is another image, an older one, built with other settings, or signed by another key.
        SifError: Its metadata cannot be read.
    """
    if isinstance(lock, PrebuiltLock):
        different = list(_other_file(sif, found, lock, header))
    elif isinstance(lock, BuildLock):
        different = list(_other_built(sif, found, lock))
    else:
        different = list(_differences(sif, found, lock))
    if different:
        what = f"the file is signed but is not the image of its lock: {'; '.join(different[:5])}"
        raise SigningError(what, where=str(sif.path), hint="the file or its lock was replaced; build it again")


def _differences(sif: Sif, found: Verification, lock: Lock) -> Iterator[str]:
    if groups := _other_groups(sif):
        yield groups
        return
    yield from _other_image(sif, lock)
    yield from _other_labels(sif, lock)
    yield from _other_build(sif, found, lock)


def _other_groups(sif: Sif) -> str:
    groups = sorted({item.linked_group or item.group_id for item in sif.objects})
    # The signed header has no UUID, so someone could combine signed groups of several files.
    return "" if groups == [1] else f"it has the object groups {', '.join(map(str, groups))}, only group 1 was expected"


def _other_built(sif: Sif, found: Verification, lock: BuildLock) -> Iterator[str]:
    """Yield what differs from a file that was built from a definition: the file contains what it was built from."""
    if groups := _other_groups(sif):
        yield groups
        return
    if _data(sif, BUILD_INPUTS) != lock.inputs.text:
        yield f"it was built from other inputs than {lock.digest}"
    definition = sif.read(_only(sif, sif.find(DataType.DEFINITION), "definition"))
    if f"sha256:{hashlib.sha256(definition).hexdigest()}" != lock.inputs.definition:
        yield "its definition is another one"
    labels = parse_inspection(_data(sif, "inspect-metadata.json")).get("labels", {})
    for name, value in sorted(lock.build.labels.items()):
        if labels.get(name) != value:
            yield f"label {name} is {_shown(labels, name)} instead of {value[:60]!r}"
    yield from _other_build(sif, found, lock)


def _other_file(sif: Sif, found: Verification, lock: PrebuiltLock, header: bytes) -> Iterator[str]:
    """Yield what differs from a prebuilt file; its signatures, if any, were made by others."""
    if not is_finished_file(sif, lock, header):
        yield f"apart from the project's signature, it does not have the digest {lock.file} of the lock"
    if not is_as_it_came(sif, lock):
        yield from _other_signer(found, lock)


def _other_image(sif: Sif, lock: Lock) -> Iterator[str]:
    from sifmake.rootfs import definition_text

    manifest = f"sha256:{hashlib.sha256(_data(sif, 'oci-manifest.json')).hexdigest()}"
    if manifest != lock.manifest:
        yield f"its manifest is {manifest}, the lock has {lock.manifest}"
    definition = sif.read(_only(sif, sif.find(DataType.DEFINITION), "definition"))
    if definition != definition_text(source_origin(lock)).encode():
        yield f"its definition names {_named(definition)}, the lock has {lock.name}"


def _named(definition: bytes) -> str:
    """Return the image that a definition names."""
    lines = definition[:4096].decode(errors="backslashreplace").splitlines()
    return next((line.removeprefix("from: ") for line in lines if line.startswith("from: ")), "no image")


def _other_labels(sif: Sif, lock: Lock) -> Iterator[str]:
    from sifmake.rootfs.labels import make_labels

    labels = parse_inspection(_data(sif, "inspect-metadata.json")).get("labels", {})
    wanted = make_labels(_own_labels(sif), lock.build.labels, source_origin(lock), "", _found_architecture(sif))
    names = {name for name in labels | wanted if labels.get(name) != wanted.get(name)} - (
        _TIMES - lock.build.labels.keys()
    )
    if names and not _is_this_format(lock):
        names &= lock.build.labels.keys()
    yield from (f"label {name} is {_shown(labels, name)} instead of {_shown(wanted, name)}" for name in sorted(names))


def _own_labels(sif: Sif) -> dict[str, str]:
    try:
        labels: dict[str, str] = parse_json(_data(sif, "oci-config.json")).get("Labels") or {}
        return dict(labels)
    except (ValueError, AttributeError, TypeError):
        raise SifError(
            "oci-config.json in the file is damaged", where=str(sif.path), hint="build the file again"
        ) from None


def _found_architecture(sif: Sif) -> str:
    """Return the architecture of the primary partition; the signature covers its descriptor."""
    from sifmake.sif import read_partition

    main = sif.primary()
    part = read_partition(main) if main is not None else None
    return part.arch_name if part is not None else ""


def _is_this_format(lock: Lock) -> bool:
    """Whether this version makes the same labels as the version that wrote the lock."""
    from sifmake.formats import SIF_VERSION

    return lock.build.formats.get("sif") == SIF_VERSION


def _shown(labels: dict[str, str], name: str) -> str:
    return repr(labels[name][:60]) if name in labels else "missing"


def _other_build(sif: Sif, found: Verification, lock: Lock | BuildLock) -> Iterator[str]:
    main = sif.primary()
    head = sif.pread(main, _COMPRESSION_PLACE + 2) if main is not None else b""
    number = int.from_bytes(head[_COMPRESSION_PLACE:], "little")
    compression = _COMPRESSIONS.get(number, f"number {number}")
    if compression != block_format(lock.build.compression):
        yield f"it is compressed with {compression}, the lock says {lock.build.compression}"
    yield from _other_signer(found, lock)


def _other_signer(found: Verification, lock: AnyLock) -> Iterator[str]:
    if not _signed_by(found, lock.build.key):
        names = ", ".join(signer.fingerprint for signer in found.signers)
        yield f"it is signed by {names}, the lock says {lock.build.key}"


def _signed_by(found: Verification, key: str) -> bool:
    """Whether the key of a lock signed; for a gpg key the lock may have any name of it, which cannot be compared."""
    if key == DEVELOPMENT:
        return any(signer.development for signer in found.signers)
    names = set(key.removeprefix("gpg:").removeprefix("0X").split(","))
    wanted = {name for name in names if name.startswith("SHA256:") or len(name) == 40}
    return not wanted or any(signer.fingerprint in wanted for signer in found.signers)


def _data(sif: Sif, name: str) -> bytes:
    return sif.read(_only(sif, sif.find(DataType.GENERIC_JSON, name=name), name))


def _only(sif: Sif, items: list[Descriptor], name: str) -> Descriptor:
    if len(items) != 1:
        what = f"the file has {len(items)} objects {name}, one was expected"
        raise SigningError(what, where=str(sif.path), hint="the file was replaced; build it again")
    return items[0]
