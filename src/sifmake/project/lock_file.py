"""Reading and writing lock files; a checksum reveals edits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.errors import BadReferenceError, ConfigError, LockError
from sifmake.files import read_regular, write_changed
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.project.definition_settings import BUILT
from sifmake.project.lock_parts import compression_of, digest_of, formats_of, size_of, text_of, texts_of
from sifmake.project.lock_source import refused
from sifmake.project.lock_text import checksum, join_pairs, nested, yaml_lines
from sifmake.project.locks import (
    AnyLock,
    Build,
    BuildInputs,
    BuildLock,
    Lock,
    LockedBase,
    LockedFiles,
    LockedLayer,
    PrebuiltLock,
)
from sifmake.reference.uri import Uri, parse_uri

if TYPE_CHECKING:
    from pathlib import Path

_HEAD = '# Written by "sifmake lock". Commit it. After editing the digest in "image", run "sifmake lock".\n'


class DisprovedLockError(LockError):
    """The checksum of a lock is valid, but its parts contradict each other."""


def format_lock(lock: AnyLock) -> bytes:
    """Return the bytes of the lock file, which are always the same for the same lock."""
    document = lock.document()
    return (_HEAD + "\n".join(yaml_lines({**document, "checksum": checksum(document)})) + "\n").encode()


def write_lock(path: Path, lock: AnyLock) -> bool:
    """Write the lock file unless it has these bytes already; return whether it was written."""
    return write_changed(path, format_lock(lock))


def read_lock(path: Path, limits: Limits = DEFAULT_LIMITS) -> AnyLock:
    """Read a lock file.

    Raises:
        LockError: It is missing, damaged, or was edited so that its parts no longer match.
        DisprovedLockError: Its checksum is valid, but its parts contradict each other.
    """
    hint = f"run `sifmake lock {path.stem}`"
    try:
        data = read_regular(path, limits.yaml_bytes + 1, pipes=True)
    except FileNotFoundError:
        raise LockError("there is no lock", where=str(path), hint=hint) from None
    except OSError as error:
        raise LockError(f"the lock cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    try:
        return _of_its_kind(_read_written(data) or _read_edited(path, limits, hint), path)
    except BadReferenceError as error:
        raise _disproved(f"has a 'from' that names no image: {error}", path) from error


def _disproved(what: str, path: Path) -> DisprovedLockError:
    refusal = refused(what, path.stem, str(path))
    return DisprovedLockError(refusal.what, where=refusal.where, hint=refusal.hint)


def _read_edited(path: Path, limits: Limits, hint: str) -> Lock | BuildLock:
    """Return the lock of a file that people or other tools have written."""
    from sifmake.project.yaml_file import YamlFile

    try:
        document = YamlFile.read(path, limits, join_pairs).value
        if document is None:
            raise LockError("the lock is empty", where=str(path), hint=hint)
        given = document.pop("checksum")
        lock = _parse(document)
    except ConfigError as error:
        if "limit" in error.what:
            hint = error.hint
        elif "markers" in error.what:
            hint = f"{error.hint}, then {hint}"
        raise LockError(error.what, where=error.where, hint=hint) from error
    except KeyError as error:
        raise LockError(f"not a lock file: {error.args[0]!r} is missing", where=str(path), hint=hint) from error
    except (AttributeError, TypeError) as error:
        raise LockError("not a lock file", where=str(path), hint=hint) from error
    except ValueError as error:
        raise LockError(f"not a lock file: {error}", where=str(path), hint=hint) from error
    if given != checksum(document):
        what = f"was edited ({lock.image}), and its parts no longer match"
        raise LockError(what, where=str(path), hint=hint)
    return lock


def _read_written(data: bytes) -> Lock | BuildLock | None:
    """Return the lock of a file that is byte for byte what :func:`format_lock` writes, without a YAML parser.

    Importing the parser would take half of the time of a process that runs one stage.
    """
    try:
        document = nested(data.decode().splitlines()[1:])
        lock = _parse(document)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return None
    return lock if format_lock(lock) == data else None


def _parse(document: dict[str, Any]) -> Lock | BuildLock:
    return _parse_build(document) if "definition" in document else _parse_layers(document)


def _parse_layers(document: dict[str, Any]) -> Lock:
    name, _, digest = text_of(document, "image").rpartition("@")
    return Lock(
        source=parse_uri(text_of(document, "from")),
        name=name,
        digest=digest_of(digest),
        platform=text_of(document, "platform"),
        manifest=digest_of(document["manifest"]),
        config=text_of(document, "config"),
        layers=tuple(_layer(layer) for layer in document["layers"]),
        build=_parse_settings(document["build"]),
    )


def _parse_build(document: dict[str, Any]) -> BuildLock:
    name, _, digest = text_of(document, "image").rpartition("@")
    source, platform = text_of(document, "from"), text_of(document, "platform")
    inputs = BuildInputs(
        definition=digest_of(document["definition"]),
        platform=platform,
        arguments=texts_of(document, "arguments") if "arguments" in document else {},
        network=text_of(document, "network"),
        clean=tuple(text_of(document, "clean").split(",")) if "clean" in document else (),
        bases=tuple(map(_parse_base, document.get("bases", ()))),
        files=tuple(LockedFiles(text_of(one, "source"), digest_of(one["digest"])) for one in document.get("files", ())),
        host=tuple(text_of(document, "host").split(",")) if "host" in document else (),
        renewed=texts_of(document, "renewed") if "renewed" in document else {},
    )
    build = _parse_settings(document["build"])
    return BuildLock(Uri(BUILT, source, source), name, digest_of(digest), platform, inputs, build=build)


def _parse_base(entry: dict[str, Any]) -> LockedBase:
    name, _, digest = text_of(entry, "image").rpartition("@")
    return LockedBase(
        image=f"{name}@{digest_of(digest)}",
        source=text_of(entry, "from"),
        manifest=digest_of(entry["manifest"]),
        size=size_of(entry.get("size", 0)),
        mark=text_of(entry, "mark") if "mark" in entry else "",
    )


def _parse_settings(build: dict[str, Any]) -> Build:
    return Build(
        compression_of(build),
        texts_of(build, "labels"),
        text_of(build, "key"),
        formats_of(build),
        text_of(build, "test") if "test" in build else "",
        text_of(build, "test-network") if "test-network" in build else "",
    )


def _layer(value: dict[str, Any]) -> LockedLayer:
    diff_id = digest_of(value["diff-id"]) if "diff-id" in value else ""
    return LockedLayer(digest_of(value["digest"]), size_of(value["size"]), diff_id)


def _of_its_kind(lock: Lock | BuildLock, path: Path) -> AnyLock:
    """Return the lock as one of a prebuilt SIF file if its source is one.

    Raises:
        DisprovedLockError: It lists layers that are not that file, or its digest is not that of its inputs.
    """
    if isinstance(lock, BuildLock):
        if lock.digest != lock.inputs.digest:
            raise _disproved(f"has the digest {lock.digest}, but that of its inputs is {lock.inputs.digest}", path)
        return lock
    if not lock.source.is_sif:
        return lock
    if [layer.digest for layer in lock.layers] != [lock.manifest]:
        raise _disproved("lists layers that are not the file that it names", path)
    head = (lock.source, lock.name, lock.digest, lock.platform)
    return PrebuiltLock(*head, file=lock.manifest, size=lock.layers[0].size, mark=lock.config, build=lock.build)
