"""Docker archives of before 2016: ``repositories``, and a folder with ``json`` and ``layer.tar`` for each layer."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sifmake.errors import IntegrityError, LimitError, SourceError
from sifmake.oci.documents import load_json
from sifmake.sources.content import SmallMembers, read_small
from sifmake.sources.measuring import measure

if TYPE_CHECKING:
    from sifmake.limits import Limits
    from sifmake.sources.content import ArchiveContent

_MOST_LAYERS = 500
_NOT_WHOLE = "it is incomplete; save the image again"
_KEPT = ("architecture", "os", "variant", "created", "author", "config")
_ID = re.compile(r"[0-9a-f]{64}\Z")

Saved = tuple[tuple[str, ...], bytes, tuple[str, ...]]


def read_repositories(content: ArchiveContent, limits: Limits) -> list[Saved]:
    """Return names, a config and layer members of each image; configs are made, because the format has none.

    Raises:
        SourceError: There is no such file.
        IntegrityError: It is damaged.
    """
    try:
        document = load_json(read_small(content, "repositories", limits.manifest_bytes))
    except FileNotFoundError:
        raise SourceError(
            "not a docker archive: it has neither manifest.json nor repositories", hint=_hint(content)
        ) from None
    names: dict[str, list[str]] = {}
    for repository, tags in document.items():
        for tag, top in (tags if isinstance(tags, dict) else {}).items():
            names.setdefault(str(top), []).append(f"{repository}:{tag}")
    archive = _Archive(content, limits)
    return [(tuple(tags), *archive.image(top)) for top, tags in names.items()]


class _Archive:
    """Reads documents and layers that several images share only once."""

    def __init__(self, content: ArchiveContent, limits: Limits) -> None:
        self._content = content
        self._limits = limits
        self._documents = SmallMembers(content, limits)
        self._parents: dict[str, Any] = {}
        self._diff_ids: dict[str, str] = {}

    def image(self, top: str) -> tuple[bytes, tuple[str, ...]]:
        """Return the config and the members of the layers, lowest first."""
        layers = tuple(f"{identity}/layer.tar" for identity in self._chain(top))
        document = self._document(top)
        config = {key: document[key] for key in _KEPT if key in document}
        config["rootfs"] = {"type": "layers", "diff_ids": [self._diff_id(name) for name in layers]}
        return json.dumps(config, separators=(",", ":"), sort_keys=True).encode(), layers

    def _chain(self, top: str) -> list[str]:
        """Return the layers' names, lowest first."""
        chain: list[str] = []
        identity: Any = top
        while identity:
            if not isinstance(identity, str) or not _ID.match(identity) or identity in chain:
                raise IntegrityError("the chain of layers in the archive is damaged")
            if len(chain) >= _MOST_LAYERS:
                raise LimitError(f"the chain of layers has more than {_MOST_LAYERS} links", hint="save the image again")
            chain.insert(0, identity)
            if identity not in self._parents:
                self._parents[identity] = self._document(identity).get("parent")
            identity = self._parents[identity]
        if not chain:
            raise IntegrityError("the archive lists an image without layers")
        return chain

    def _document(self, identity: str) -> dict[str, Any]:
        try:
            return load_json(self._documents.read(f"{identity}/json"))
        except FileNotFoundError:
            raise SourceError(f"the archive has no member '{identity}/json'", hint=_NOT_WHOLE) from None

    def _diff_id(self, name: str) -> str:
        if name not in self._diff_ids:
            try:
                passed = self._content.passed(name)
                if passed is None:
                    with self._content.open(name) as member:
                        passed = measure(member, member.peek(8), "sha256", self._limits, lambda _: None)
            except FileNotFoundError:
                raise SourceError(f"the archive has no member {name!r}", hint=_NOT_WHOLE) from None
            self._diff_ids[name] = passed.diff_id
        return self._diff_ids[name]


def _hint(content: ArchiveContent) -> str:
    try:
        content.open("index.json").close()
    except FileNotFoundError:
        return ""
    return "use oci-archive: for an OCI layout"
