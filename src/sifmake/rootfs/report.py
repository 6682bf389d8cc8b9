"""Read ``inspect-metadata.json``, select attributes, and show them in Apptainer's formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sifmake.errors import SifError
from sifmake.json_text import BeyondLimitError, NestingError, parse_json
from sifmake.rootfs.gojson import clean, indented
from sifmake.rootfs.inspection import APP_ATTRIBUTES, ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Collection

    Attributes = dict[str, Any]

_TEXT_ORDER = ("deffile", "runscript", "startscript", "test", "helpfile")
_MAPS = ("environment", "labels")


def parse_inspection(data: bytes) -> Attributes:
    """Return the attributes of an untrusted document; unknown ones are dropped.

    Raises:
        SifError: It is not such a document, or exceeds a limit.
    """
    try:
        document = parse_json(data)
        attributes = document["data"]["attributes"]
    except (ValueError, LookupError, TypeError) as error:
        if isinstance(error, BeyondLimitError) and not isinstance(error, NestingError):
            raise SifError(f"inspect-metadata.json is not read: it has {error} (a limit)") from None
        raise _malformed("not such a JSON document") from None
    found = _attributes(attributes, ATTRIBUTES)
    apps = attributes.get("apps") or {}
    if not isinstance(apps, dict):
        raise _malformed("apps is not an object")
    if apps:
        known = {clean(name): _attributes(app or {}, APP_ATTRIBUTES) for name, app in sorted(apps.items())}
        return {"apps": known, **found}
    return found


def _malformed(why: str) -> SifError:
    return SifError(f"inspect-metadata.json is damaged: {why}", hint="build or download the SIF file again")


def _attributes(value: Any, order: tuple[str, ...]) -> Attributes:
    if not isinstance(value, dict):
        raise _malformed("the attributes are not an object")
    return {name: _checked(value[name], name) for name in order if name != "apps" and value.get(name)}


def _checked(value: Any, name: str) -> Any:
    if name not in _MAPS:
        if not isinstance(value, str):
            raise _malformed(f"{name} is not text")
        return clean(value)
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise _malformed(f"{name} is not an object of texts")
    return {clean(key): clean(item) for key, item in sorted(value.items())}


def choose_attributes(attributes: Attributes, wanted: Collection[str], app: str = "") -> Attributes:
    """Return the wanted attributes of the container or of one of its apps, in the order of the document.

    Args:
        attributes: All attributes.
        wanted: Names from ``ATTRIBUTES``.
        app: Name of an app; ``deffile``, if wanted, is still the container's.

    Raises:
        SifError: There is no such app.
    """
    if not app:
        return {name: attributes[name] for name in ATTRIBUTES if name in wanted and name in attributes}
    apps = attributes.get("apps", {})
    if app not in apps:
        have = ", ".join(apps) or "none"
        raise SifError(f"there is no app {app!r}", hint=f"it has {have}")
    chosen = {name: value for name, value in apps[app].items() if name in wanted}
    shown = {"apps": apps if "apps" in wanted else {app: chosen}}
    return shown | {name: attributes[name] for name in ("deffile",) if name in wanted and name in attributes}


def as_json(chosen: Attributes) -> str:
    """Return the selected attributes as a JSON document."""
    return indented({"data": {"attributes": chosen}, "type": "container"}).decode() + "\n"


def as_text(chosen: Attributes, app: str = "", *, list_apps: bool = False) -> str:
    """Return the selected attributes as text: app names, scripts, environment files, labels."""
    apps = chosen.get("apps", {})
    parts = [f"{name}\n" for name in apps] if list_apps else []
    shown = {**apps.get(app, {}), **chosen}
    parts += [f"{shown[name]}\n" for name in _TEXT_ORDER if name in shown]
    parts += [f"=== {path} ===\n{text}\n\n" for path, text in shown.get("environment", {}).items()]
    parts += [f"{name}: {value}\n" for name, value in shown.get("labels", {}).items()]
    return "".join(parts)
