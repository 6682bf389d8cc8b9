"""Whether a signed SIF file is the one that a lock describes.

A signature says who made a file, not what it is for: an older or another file by the same signer verifies as well. Only
what is under the signature is compared; a record beside the file tells nothing, for who can swap one can swap both.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sifmake.builder.prebuilt_match import is_as_it_came, is_finished_file
from sifmake.builder.provenance import source_origin
from sifmake.errors import SifError, SigningError
from sifmake.json_text import parse_json
from sifmake.project.configuration import DEVELOPMENT
from sifmake.project.locks import PrebuiltLock
from sifmake.sif import DataType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.project.locks import AnyLock, Lock
    from sifmake.sif import Descriptor, Sif
    from sifmake.signing import Verification

_TIMES = frozenset({"org.opencontainers.image.created", "org.label-schema.build-date"})
"""Labels that come from the image config's ``created``, of which a SIF file keeps no copy."""
_COMPRESSIONS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
_COMPRESSION_PLACE = 20
"""Of the number of the compression in a squashfs superblock."""


def check_match(sif: Sif, found: Verification, lock: AnyLock, header: bytes = b"") -> None:
    """Check that a verified SIF file is the image that a lock describes.

    Args:
        sif: The file, open.
        found: How it verified; it must have done so.
        lock: What it should be.
        header: For a file that was finished when it came, its header before it was signed, as a record tells it.

    Raises:
        SigningError: It is another image, an older one, built with other settings, or signed by another key.
        SifError: What it says of itself cannot be read.
    """
    if isinstance(lock, PrebuiltLock):
        different = list(_other_file(sif, found, lock, header))
    else:
        different = list(_differences(sif, found, lock))
    if different:
        what = f"is signed and is not the image of its lock: {'; '.join(different[:5])}"
        raise SigningError(what, where=str(sif.path), hint="build it again; it was replaced, or its lock was")


def _differences(sif: Sif, found: Verification, lock: Lock) -> Iterator[str]:
    groups = sorted({item.linked_group or item.group_id for item in sif.objects})
    if groups != [1]:
        # Without a UUID in the header, groups of several files could be put together, each with its signature.
        yield f"it has the object groups {', '.join(map(str, groups))}, group 1 alone was expected"
        return
    yield from _other_image(sif, lock)
    yield from _other_labels(sif, lock)
    yield from _other_build(sif, found, lock)


def _other_file(sif: Sif, found: Verification, lock: PrebuiltLock, header: bytes) -> Iterator[str]:
    """Give what differs from a finished file: its own signatures, if it came with some, are those of others."""
    if not is_finished_file(sif, lock, header):
        yield f"without the project's signature it does not have the digest {lock.file} of the lock"
    if not is_as_it_came(sif, lock):
        yield from _other_signer(found, lock)


def _other_image(sif: Sif, lock: Lock) -> Iterator[str]:
    from sifmake.rootfs import definition_text

    manifest = f"sha256:{hashlib.sha256(_data(sif, 'oci-manifest.json')).hexdigest()}"
    if manifest != lock.manifest:
        yield f"it has the manifest {manifest}, the lock {lock.manifest}"
    definition = sif.read(_only(sif, sif.find(DataType.DEFINITION), "definition"))
    if definition != definition_text(source_origin(lock)).encode():
        yield f"its definition names {_named(definition)}, the lock {lock.name}"


def _named(definition: bytes) -> str:
    """Return the image that a definition names."""
    lines = definition[:4096].decode(errors="backslashreplace").splitlines()
    return next((line.removeprefix("from: ") for line in lines if line.startswith("from: ")), "no image")


def _other_labels(sif: Sif, lock: Lock) -> Iterator[str]:
    from sifmake.rootfs.labels import make_labels
    from sifmake.rootfs.report import parse_inspection

    labels = parse_inspection(_data(sif, "inspect-metadata.json")).get("labels", {})
    wanted = make_labels(_own_labels(sif), lock.build.labels, source_origin(lock), "", _found_architecture(sif))
    names = {name for name in labels | wanted if labels.get(name) != wanted.get(name)} - (
        _TIMES - lock.build.labels.keys()
    )
    if names and not _is_this_format(lock):
        names &= lock.build.labels.keys()
    yield from (f"label {name} is {_shown(labels, name)} and not {_shown(wanted, name)}" for name in sorted(names))


def _own_labels(sif: Sif) -> dict[str, str]:
    try:
        labels: dict[str, str] = parse_json(_data(sif, "oci-config.json")).get("Labels") or {}
        return dict(labels)
    except (ValueError, AttributeError, TypeError):
        raise SifError("oci-config.json is damaged", where=str(sif.path), hint="build the file again") from None


def _found_architecture(sif: Sif) -> str:
    """Return the architecture of the primary partition; its descriptor is under the signature."""
    from sifmake.sif import read_partition

    main = sif.primary()
    part = read_partition(main) if main is not None else None
    return part.arch_name if part is not None else ""


def _is_this_format(lock: Lock) -> bool:
    """Whether this version makes the labels that the lock's did."""
    from sifmake.formats import SIF_VERSION

    return lock.build.formats.get("sif") == SIF_VERSION


def _shown(labels: dict[str, str], name: str) -> str:
    return repr(labels[name][:60]) if name in labels else "missing"


def _other_build(sif: Sif, found: Verification, lock: Lock) -> Iterator[str]:
    main = sif.primary()
    head = sif.pread(main, _COMPRESSION_PLACE + 2) if main is not None else b""
    number = int.from_bytes(head[_COMPRESSION_PLACE:], "little")
    compression = _COMPRESSIONS.get(number, f"number {number}")
    if compression != lock.build.compression:
        yield f"it is compressed by {compression}, the lock says {lock.build.compression}"
    yield from _other_signer(found, lock)


def _other_signer(found: Verification, lock: AnyLock) -> Iterator[str]:
    if not _signed_by(found, lock.build.key):
        names = ", ".join(signer.fingerprint for signer in found.signers)
        yield f"it is signed by {names}, the lock says {lock.build.key}"


def _signed_by(found: Verification, key: str) -> bool:
    """Whether a key of a lock signed; a key of gpg's may stand there by any name, which says nothing here."""
    if key == DEVELOPMENT:
        return any(signer.development for signer in found.signers)
    names = set(key.removeprefix("gpg:").removeprefix("0X").split(","))
    wanted = {name for name in names if name.startswith("SHA256:") or len(name) == 40}
    return not wanted or any(signer.fingerprint in wanted for signer in found.signers)


def _data(sif: Sif, name: str) -> bytes:
    return sif.read(_only(sif, sif.find(DataType.GENERIC_JSON, name=name), name))


def _only(sif: Sif, items: list[Descriptor], name: str) -> Descriptor:
    if len(items) != 1:
        what = f"has {len(items)} objects {name}, one was expected"
        raise SigningError(what, where=str(sif.path), hint="build it again; it was replaced by a file of other making")
    return items[0]
