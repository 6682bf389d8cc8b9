"""OCI runtime bundles: a root file system and the process to run in it (OCI runtime spec, bundle.md, config.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sifmake.errors import LimitError, SourceError
from sifmake.files import read_regular
from sifmake.json_text import parse_json
from sifmake.rootfs.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.limits import Limits

_CONFIG = "config.json"


@dataclass(frozen=True)
class Bundle:
    """The content of a bundle.

    Attributes:
        root: Folder of the root file system.
        settings: Its process, as settings of an image.
    """

    root: Path
    settings: Settings


def read_bundle(folder: Path, limits: Limits) -> Bundle:
    """Read ``config.json`` of a bundle.

    Raises:
        SourceError: The file is missing or damaged, or the root file system is missing.
        LimitError: The file is too large.
    """
    where = str(folder / _CONFIG)
    try:
        data = read_regular(folder / _CONFIG, limits.config_bytes + 1)
    except OSError:
        hint = "name the folder that contains config.json after bundle:"
        raise SourceError("this is not an OCI bundle: there is no config.json", where=str(folder), hint=hint) from None
    if len(data) > limits.config_bytes:
        raise LimitError(f"it has more than {limits.config_bytes} bytes (a limit)", where=where)
    try:
        document = parse_json(data)
        root = folder / document["root"]["path"]
        process = document.get("process") or {}
        settings = Settings(_settings(process))
    except (ValueError, LookupError, TypeError, AttributeError):
        hint = "see the OCI runtime specification, config.md"
        raise SourceError("root or process is missing or malformed", where=where, hint=hint) from None
    if not root.is_dir():
        raise SourceError("the root file system of the bundle is missing", where=str(root))
    return Bundle(root, settings)


def _settings(process: dict[str, Any]) -> dict[str, Any]:
    """Return the image settings for a process; TypeError if a member has another type."""
    env, args, folder = process.get("env") or [], process.get("args") or [], process.get("cwd") or ""
    if not all(isinstance(item, str) for item in (*env, *args, folder)):
        raise TypeError
    user = process.get("user") or {}
    uid, gid = int(user.get("uid") or 0), int(user.get("gid") or 0)
    found = {
        "Cmd": list(args),
        "Env": list(env),
        "User": f"{uid}:{gid}" if uid or gid else "",
        "WorkingDir": folder if folder != "/" else "",
    }
    return {name: value for name, value in found.items() if value}
