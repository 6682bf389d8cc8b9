"""The parts of an image that the sections of a definition decide, made without running anything."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sifmake.definition import load_definition
from sifmake.definition.apps import app_edits
from sifmake.definition.build_labels import About
from sifmake.definition.section_choice import SectionChoice
from sifmake.definition.section_files import Below, apply_sections
from sifmake.flatten.tree import Tree
from sifmake.layers.entry import FILE
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci.documents import parse_config
from sifmake.rootfs.editing import Editor
from sifmake.rootfs.fixed import text_of
from sifmake.rootfs.gojson import clean
from sifmake.rootfs.inspection import inspection
from sifmake.rootfs.labels import parse_created
from sifmake.rootfs.places import add_image_scripts, add_places
from sifmake.rootfs.settings import Settings, read_settings
from support.definitions import DEFINITIONS, good

if TYPE_CHECKING:
    from sifmake.layers.entry import Inode

VERSION = "org.label-schema.usage.apptainer.version"
_OURS = "/.singularity.d/", "/scif/"


class Made:
    """A tree with what a definition's sections leave, on its base without the base's own files."""

    def __init__(self, name: str, record: dict[str, Any], *, force: bool, arguments: dict[str, str] | None = None):
        self.definition = load_definition(good(name), arguments)
        stage = self.definition.last
        self.tree = Tree()
        self.bytes: dict[int, bytes] = {}
        self.labels: dict[str, str] = {}
        if stage.base.agent == "localimage":
            base = "14-all"
            self.__dict__ |= Made(base, recorded_of(base), force=True).__dict__ | {"definition": self.definition}
        else:
            self._begin(stage.base.reference)
        self.before = self.facts()
        self.edit(self._apps)
        self.edit(lambda editor: self._post(editor, record))
        labels = record["inspect --all"]["data"]["attributes"]["labels"]
        created = parse_created(labels["org.opencontainers.image.created"])
        post = b"Both post\nOnly from post\n# c\n" if name.startswith("13") else b""
        below = Below(self.read, self.labels, post)
        about = About("amd64", created=created)
        choice = SectionChoice(force=force)
        self.warnings: list[str] = []

        def sections(editor: Editor) -> None:
            self.labels, self.warnings = apply_sections(
                editor, stage, self.definition.text, below, about, choice, DEFAULT_LIMITS
            )

        self.edit(sections)

    def edit(self, change) -> None:
        editor = Editor(self.tree, 0)
        change(editor)
        self.bytes |= {id(inode): data for inode, data in editor.files}
        self.kept = [*getattr(self, "kept", []), editor]  # an id may not be used again

    def read(self, path: bytes) -> bytes | None:
        inode = self.tree.resolve(path)
        return None if inode is None or inode.kind != FILE else self.bytes.get(id(inode), b"")

    def text(self, path: str) -> str:
        return (self.read(path.encode().lstrip(b"/")) or b"").decode()

    def facts(self) -> dict[str, tuple[int, int, int, bytes]]:
        """Return kind, mode, owner and content of everything under a path of ours."""
        return {
            "/" + path.decode(): (inode.kind, inode.mode, inode.uid, self._content(inode))
            for path, inode in self.tree.walk()
            if f"/{path.decode()}".startswith(_OURS)
        }

    def inspect(self) -> dict[str, Any]:
        text = clean(self.definition.text.decode("utf-8", "surrogateescape"))
        document, _ = inspection(self.tree, lambda inode, _: self._content(inode), self.labels, text)
        return json.loads(document)["data"]["attributes"]

    def _content(self, inode: Inode) -> bytes:
        return self.bytes.get(id(inode), b"")

    def _begin(self, reference: str) -> None:
        settings = _settings(reference.partition(".")[0]) if reference else Settings({})
        self.edit(add_places)
        self.edit(lambda editor: add_image_scripts(editor, settings))
        if not reference:
            del self.tree.resolve(b".singularity.d/env").children[b"10-docker2singularity.sh"]
            self.edit(lambda editor: editor.write(b".singularity.d/runscript", b"#!/bin/sh\n", 0o755))
        self.labels = dict(settings.labels)

    def _apps(self, editor: Editor) -> None:
        for edit in app_edits(self.definition.last, lambda path: self.read(path) is not None):
            if edit.data is None:
                editor.directory(edit.path)
            else:
                editor.write(edit.path, edit.data, edit.mode)

    def _post(self, editor: Editor, record: dict[str, Any]) -> None:
        """Put in what ``%post`` made in our folders, as it was recorded."""
        path = "/.singularity.d/env/91-environment.sh"
        if path in record["texts"]:
            editor.write(path.encode()[1:], record["texts"][path].encode(), int(record["tree"][path]["mode"], 8))


def recorded_of(name: str, folder: str = "apptainer") -> dict[str, Any]:
    return json.loads((DEFINITIONS / f"{folder}/{name}.json").read_bytes())


def _settings(name: str) -> Settings:
    def blob(digest: str) -> bytes:
        return (DEFINITIONS / f"{name}/blobs" / digest.replace(":", "/")).read_bytes()

    index = json.loads((DEFINITIONS / f"{name}/index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]))
    return read_settings(parse_config(blob(manifest["config"]["digest"])))


_WITHHELD = re.compile(r"<\d+ bytes(?: of apptainer's ([\w.-]+))?[^>]*>")


def ours_for(text: str, path: str) -> str:
    """Return a recorded text with our script in the place of the peers' one, which was left out."""
    match = _WITHHELD.search(text)
    if match is None:
        return text
    script = text_of("env/90-environment.sh") if path.endswith("90-environment.sh") else ""
    return text[: match.start()] + script + text[match.end() :]


def is_withheld(text: str) -> bool:
    return bool(_WITHHELD.search(text))


def without_version(text: str) -> str:
    """Return a recorded labels.json without the label that names Apptainer's version."""
    return re.sub(rf'\t"{re.escape(VERSION)}": "[^"]*",\n', "", text)
