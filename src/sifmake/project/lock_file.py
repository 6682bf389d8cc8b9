"""Reading and writing lock files; a checksum reveals edits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sifmake.errors import BadReferenceError, ConfigError, LockError
from sifmake.files import read_regular, write_atomic
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.project.lock_source import refused
from sifmake.project.lock_text import checksum, nested, yaml_lines
from sifmake.project.locks import AnyLock, Build, Lock, LockedLayer, PrebuiltLock
from sifmake.reference.uri import parse_uri

if TYPE_CHECKING:
    from pathlib import Path


_LARGEST_SIZE = 1 << 62
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")

_HEAD = '# Written by "sifmake lock". Commit it. After editing the digest in "image", run "sifmake lock".\n'


class DisprovedLockError(LockError):
    """The checksum of a lock is valid, but its parts contradict each other."""


def format_lock(lock: AnyLock) -> bytes:
    """Return the bytes of the lock file, which are always the same for the same lock."""
    document = lock.document()
    return (_HEAD + "\n".join(yaml_lines({**document, "checksum": checksum(document)})) + "\n").encode()


def write_lock(path: Path, lock: AnyLock) -> bool:
    """Write the lock file unless it has these bytes already; return whether it was written."""
    data = format_lock(lock)
    if path.is_file() and path.read_bytes() == data:
        return False
    write_atomic(path, data)
    return True


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


def _read_edited(path: Path, limits: Limits, hint: str) -> Lock:
    """Return the lock of a file that people or other tools have written."""
    from sifmake.project.yaml_file import YamlFile

    try:
        document = YamlFile.read(path, limits).value
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


def _read_written(data: bytes) -> Lock | None:
    """Return the lock of a file that is byte for byte what :func:`format_lock` writes, without a YAML parser.

    Importing the parser would take half of the time of a process that runs one stage.
    """
    try:
        document = nested(data.decode().splitlines()[1:])
        lock = _parse(document)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return None
    return lock if format_lock(lock) == data else None


def _parse(document: dict[str, Any]) -> Lock:
    name, _, digest = _text(document, "image").rpartition("@")
    source, build = parse_uri(_text(document, "from")), document["build"]
    return Lock(
        source=source,
        name=name,
        digest=_digest(digest),
        platform=_text(document, "platform"),
        manifest=_digest(document["manifest"]),
        config=_text(document, "config"),
        layers=tuple(_layer(layer) for layer in document["layers"]),
        build=Build(
            _compression(build),
            _texts(build, "labels"),
            _text(build, "key"),
            _formats(build),
            _text(build, "test") if "test" in build else "",
        ),
    )


def _layer(value: dict[str, Any]) -> LockedLayer:
    diff_id = _digest(value["diff-id"]) if "diff-id" in value else ""
    return LockedLayer(_digest(value["digest"]), _size(value["size"]), diff_id)


def _of_its_kind(lock: Lock, path: Path) -> AnyLock:
    """Return the lock as one of a prebuilt SIF file if its source is one.

    Raises:
        DisprovedLockError: It lists layers that are not that file.
    """
    if not lock.source.is_sif:
        return lock
    if [layer.digest for layer in lock.layers] != [lock.manifest]:
        raise _disproved("lists layers that are not the file that it names", path)
    head = (lock.source, lock.name, lock.digest, lock.platform)
    return PrebuiltLock(*head, file=lock.manifest, size=lock.layers[0].size, mark=lock.config, build=lock.build)


def _text(document: dict[str, Any], key: str) -> str:
    if isinstance(document[key], str):
        return str(document[key])
    raise ValueError(f"{key!r} is not text")


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"{str(value)[:80]!r} is not a digest")
    return value


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_SIZE:
        raise ValueError(f"{str(value)[:40]!r} is not a valid size")
    return value


def _compression(build: dict[str, Any]) -> str:
    value = _text(build, "compression")
    if value not in {"gzip", "zstd"}:
        raise ValueError(f"{value[:40]!r} is not a compression")
    return value


def _texts(build: dict[str, Any], key: str) -> dict[str, str]:
    values: dict[Any, Any] = build[key]
    if not all(isinstance(value, str) for value in [*values.keys(), *values.values()]):
        raise ValueError(f"{key!r} has something that is not text")
    return values


def _formats(build: dict[str, Any]) -> dict[str, int | str]:
    values: dict[Any, Any] = build["formats"]
    if not all(isinstance(name, str) and isinstance(value, int | str) for name, value in values.items()):
        raise ValueError("'formats' has something that is neither a number nor text")
    return values
