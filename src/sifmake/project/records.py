"""Records: small files with stable bytes that say what a stage made, and from what."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from sifmake.files import read_regular, write_atomic
from sifmake.json_text import parse_json

if TYPE_CHECKING:
    from pathlib import Path


_LARGEST_RECORD = 4 << 20
"""Most bytes of a record; a larger file is not a record."""
_CHECKSUM_LINE = re.compile(rb'\{\n  "checksum": "sha256:[0-9a-f]{64}",\n')


def _canonical(value: Any) -> str:
    """Return JSON that is always the same for the same value."""
    return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=True) + "\n"


def digest_of(value: Any) -> str:
    """Return a digest of a value, for example of all inputs of a stage."""
    return "sha256:" + hashlib.sha256(_canonical(value).encode()).hexdigest()


def write_record(path: Path, stage: str, key: dict[str, Any], result: dict[str, Any]) -> None:
    """Write the record of a stage.

    Args:
        path: The record.
        stage: Its stage.
        key: Everything that the result depends on.
        result: What was made.
    """
    content = {"stage": stage, "key": key, "result": result}
    write_atomic(path, _canonical({**content, "checksum": digest_of(content)}).encode())


def read_record(path: Path) -> dict[str, Any] | None:
    """Return a record, or None if it is missing or damaged; in both cases the stage runs again.

    A record without a checksum comes from an earlier version.
    """
    try:
        data = read_regular(path, _LARGEST_RECORD)
        record = parse_json(data)
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    checksum = record.pop("checksum", None)
    if checksum is not None and checksum != _digest_as_written(data) and checksum != digest_of(record):
        return None
    if isinstance(record.get("key"), dict) and isinstance(record.get("result"), dict):
        return record
    return None


def _digest_as_written(data: bytes) -> str:
    """Return the digest of a record without its checksum, if it has the form that :func:`write_record` gives it.

    Writing a record again to find this out takes longer than all else that an image costs that is up to date.
    """
    line = _CHECKSUM_LINE.match(data)
    return "sha256:" + hashlib.sha256(b"{\n" + data[line.end() :]).hexdigest() if line else ""


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Return in words how two keys differ, to explain why a stage runs."""
    found: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{name}.")
        elif isinstance(before, list) and isinstance(after, list):
            found.append(f"{prefix}{name}: {_count_changes(before, after)}")
        else:
            found.append(f"{prefix}{name}: {_short(before)} -> {_short(after)}")
    return found


def _count_changes(before: list[Any], after: list[Any]) -> str:
    return f"{sum(x not in before for x in after)} new, {sum(x not in after for x in before)} gone"


def _short(value: Any) -> str:
    text = "none" if value in (None, "") else str(value)
    return text[:19] + ".." if text.startswith("sha256:") else text[:60]
