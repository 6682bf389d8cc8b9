"""The ``config`` member of an image config: read and written as Apptainer does (``oci-config.json``).

Names, order and types of the members are those of go-containerregistry's ``v1.Config``; unknown members are dropped,
empty ones left out, members of another type refused, and null counts as missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sifmake.errors import SourceError
from sifmake.rootfs.gojson import clean

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.oci.model import ImageConfig


class Settings(msgspec.Struct, frozen=True):
    """An image's settings for running it.

    Attributes:
        document: All known members that are not empty, in the order of ``oci-config.json``.
    """

    document: dict[str, Any]

    @property
    def env(self) -> list[str]:
        """``NAME=value`` items."""
        return self.document.get("Env") or []

    @property
    def entrypoint(self) -> list[str]:
        """The program that always runs, and its first arguments."""
        return self.document.get("Entrypoint") or []

    @property
    def cmd(self) -> list[str]:
        """Arguments used if the user gives none."""
        return self.document.get("Cmd") or []

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the image."""
        return self.document.get("Labels") or {}


def read_settings(config: ImageConfig) -> Settings:
    """Return the settings of an image config.

    Raises:
        SourceError: A member has a wrong type, or a word cannot be passed to a program.
    """
    return check_settings(config.document.get("config"))


def check_settings(value: Any) -> Settings:
    """Return the settings in the ``config`` member of an image config; raises like :func:`read_settings`."""
    settings = Settings(_struct(_FIELDS, {} if value is None else value, "config"))
    for name, words in (("Entrypoint", settings.entrypoint), ("Cmd", settings.cmd)):
        if any("\0" in word for word in words):
            raise _refused(f"config.{name}", "a word without NUL characters")
    return settings


def _refused(where: str, wanted: str) -> SourceError:
    return SourceError(
        f"{where} of the image config is not {wanted}", hint="rebuild the image with a valid OCI image config"
    )


def _struct(fields: dict[str, Callable[[Any, str], Any]], value: Any, where: str) -> dict[str, Any]:
    """Read the known members of an object; Go compares their names ignoring case, and later ones win."""
    if not isinstance(value, dict):
        raise _refused(where, "an object")
    names = {name.lower(): name for name in fields}
    found: dict[str, Any] = {}
    for key, member in value.items():
        name = names.get(key.lower())
        if name is not None and member is not None:
            found[name] = fields[name](member, f"{where}.{name}")
    return {name: found[name] for name in fields if found.get(name)}


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise _refused(where, "a string")
    return clean(value)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _refused(where, "true or false")
    return value


def _number(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refused(where, "a whole number")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise _refused(where, "a list of strings")
    return ["" if item is None else _text(item, where) for item in value]


def _map(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _refused(where, "an object of strings")
    items = {clean(key): "" if item is None else _text(item, f"{where}.{key}") for key, item in value.items()}
    return dict(sorted(items.items()))


def _set(value: Any, where: str) -> dict[str, dict[str, str]]:
    if not isinstance(value, dict) or not all(item is None or isinstance(item, dict) for item in value.values()):
        raise _refused(where, "an object of empty objects")
    return {key: {} for key in sorted(map(clean, value))}


class _Present(dict[str, Any]):
    """An object that is written even if it is empty: a pointer in Go."""

    def __bool__(self) -> bool:
        return True


def _health(value: Any, where: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("Interval", "Timeout", "StartPeriod", "Retries"), _number)
    return _Present(_struct({"Test": _texts, **numbers}, value, where))


_FIELDS: dict[str, Callable[[Any, str], Any]] = {
    "AttachStderr": _flag,
    "AttachStdin": _flag,
    "AttachStdout": _flag,
    "Cmd": _texts,
    "Healthcheck": _health,
    "Domainname": _text,
    "Entrypoint": _texts,
    "Env": _texts,
    "Hostname": _text,
    "Image": _text,
    "Labels": _map,
    "OnBuild": _texts,
    "OpenStdin": _flag,
    "StdinOnce": _flag,
    "Tty": _flag,
    "User": _text,
    "Volumes": _set,
    "WorkingDir": _text,
    "ExposedPorts": _set,
    "ArgsEscaped": _flag,
    "NetworkDisabled": _flag,
    "MacAddress": _text,
    "StopSignal": _text,
    "Shell": _texts,
}
