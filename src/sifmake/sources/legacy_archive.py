"""Docker archives of before 2016: ``repositories``, and a folder with ``json`` and ``layer.tar`` for each layer."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sifmake.errors import IntegrityError, SourceError
from sifmake.oci.documents import load_json
from sifmake.sources.content import read_small
from sifmake.sources.measuring import measure

if TYPE_CHECKING:
    from sifmake.limits import Limits
    from sifmake.sources.content import Content

MOST_LAYERS = 500
NOT_WHOLE = "it was not written whole"
KEPT = ("architecture", "os", "variant", "created", "author", "config")
_ID = re.compile(r"[0-9a-f]{64}\Z")

Saved = tuple[tuple[str, ...], bytes, tuple[str, ...]]


def read_repositories(content: Content, limits: Limits) -> list[Saved]:
    """Return names, a config and layer members of each image; configs are made, for the format has none.

    Raises:
        SourceError: There is no such file.
        IntegrityError: It is damaged.
    """
    try:
        document = load_json(read_small(content, "repositories", limits.manifest_bytes))
    except FileNotFoundError:
        raise SourceError(
            "this is no docker archive: it has neither manifest.json nor repositories", hint=_hint(content)
        ) from None
    names: dict[str, list[str]] = {}
    for repository, tags in document.items():
        for tag, top in (tags if isinstance(tags, dict) else {}).items():
            names.setdefault(str(top), []).append(f"{repository}:{tag}")
    return [(tuple(tags), *_image(content, top, limits)) for top, tags in names.items()]


def _image(content: Content, top: str, limits: Limits) -> tuple[bytes, tuple[str, ...]]:
    chain = _chain(content, top, limits)
    layers = tuple(f"{identity}/layer.tar" for identity, _ in chain)
    top_document = chain[-1][1]
    config = {key: top_document[key] for key in KEPT if key in top_document}
    config["rootfs"] = {"type": "layers", "diff_ids": [_diff_id(content, name, limits) for name in layers]}
    return json.dumps(config, separators=(",", ":"), sort_keys=True).encode(), layers


def _chain(content: Content, top: str, limits: Limits) -> list[tuple[str, dict[str, Any]]]:
    """Return ids and documents, lowest layer first."""
    chain: list[tuple[str, dict[str, Any]]] = []
    identity: Any = top
    while identity:
        if not isinstance(identity, str) or not _ID.match(identity) or len(chain) >= MOST_LAYERS:
            raise IntegrityError("the chain of layers in the archive is damaged")
        try:
            document = load_json(read_small(content, f"{identity}/json", limits.config_bytes))
        except FileNotFoundError:
            raise SourceError(f"the archive has no member '{identity}/json'", hint=NOT_WHOLE) from None
        chain.insert(0, (identity, document))
        identity = document.get("parent")
    if not chain:
        raise IntegrityError("the archive lists an image without layers")
    return chain


def _diff_id(content: Content, name: str, limits: Limits) -> str:
    try:
        passed = content.passed(name)
        if passed is None:
            with content.open(name) as member:
                passed = measure(member, member.peek(8), "sha256", limits, lambda _: None)
    except FileNotFoundError:
        raise SourceError(f"the archive has no member {name!r}", hint=NOT_WHOLE) from None
    return passed.diff_id


def _hint(content: Content) -> str:
    try:
        content.open("index.json").close()
    except FileNotFoundError:
        return ""
    return "use oci-archive: for an OCI layout"
