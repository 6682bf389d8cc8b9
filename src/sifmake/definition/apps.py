"""SCIF apps (https://sci-f.github.io): their folders, scripts and labels in an image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sifmake.definition.label_lines import parse_labels
from sifmake.definition.model import as_bytes
from sifmake.rootfs.gojson import indented
from sifmake.rootfs.shell import single_quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.definition.model import App, BuildStage

_SCRIPTS = {"apprun": "runscript", "appstart": "startscript", "apptest": "test"}
_PLAIN = re.compile(r"[A-Za-z0-9_./+:@%,-]+", re.ASCII)
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_]", re.ASCII)
_APPS_BASE = b".singularity.d/env/94-appsbase.sh"
READ_APPS = "{ . /.singularity.d/env/94-appsbase.sh; } 2>/dev/null; "
"""First words of the script of a stage with apps, on the line of its first command: variables with each app's paths."""


@dataclass(frozen=True)
class Edit:
    """A folder or file to put into an image.

    Attributes:
        path: Without leading slash; parents come before their content.
        data: Bytes of the file; None for a folder.
        mode: Permission bits.
    """

    path: bytes
    data: bytes | None
    mode: int


def app_edits(stage: BuildStage, exists: Callable[[bytes], bool]) -> list[Edit]:
    """Return the files that the apps of a stage put into its image before anything is copied.

    The list of apps (``94-appsbase.sh``) is always written: it lists the apps of this stage, not those of its base.

    Args:
        stage: The stage, with its apps.
        exists: Tells whether the base has a file at a path.
    """
    edits: list[Edit] = []
    exports: list[str] = []
    for app in stage.apps:
        own = list(_edits(app))
        edits += own
        paths = {edit.path for edit in own}
        exports += _exports(app, partial(_is_there, paths, exists))
    return [*edits, Edit(_APPS_BASE, as_bytes("".join(f"{line}\n" for line in exports)), 0o755)]


def _is_there(paths: set[bytes], exists: Callable[[bytes], bool], path: bytes) -> bool:
    return path in paths or exists(path)


def app_post(app: App) -> tuple[str, str]:
    """Return the lines that run ``%appinstall`` in the shell of ``%post``, also if an app has no such section."""
    folder = _word(f"/scif/apps/{app.name}")
    return f"\ncd /\n. {_word(f'/scif/apps/{app.name}/scif/env/01-base.sh')}\ncd {folder}\n", "\ncd /\n"


def _edits(app: App) -> Iterator[Edit]:
    root, data = f"scif/apps/{app.name}", f"scif/data/{app.name}"
    folders = ("scif", "scif/apps", root, f"{root}/bin", f"{root}/lib", f"{root}/scif", f"{root}/scif/env")
    for folder in (*folders, "scif/data", data, f"{data}/input", f"{data}/output"):
        yield Edit(as_bytes(folder), None, 0o755)
    meta = f"{root}/scif"
    yield Edit(as_bytes(f"{meta}/env/01-base.sh"), as_bytes(_base_script(app)), 0o755)
    if text := app.text("appenv"):
        yield Edit(as_bytes(f"{meta}/env/90-environment.sh"), as_bytes(text), 0o755)
    for section, name in _SCRIPTS.items():
        if text := app.text(section):
            yield Edit(as_bytes(f"{meta}/{name}"), as_bytes(f"#!/bin/sh\n\n{text}\n"), 0o755)
    if text := app.text("apphelp"):
        yield Edit(as_bytes(f"{meta}/runscript.help"), as_bytes(text), 0o644)
    labels = {"SCIF_APP_NAME": app.name, **parse_labels(app.text("applabels"))}
    yield Edit(as_bytes(f"{meta}/labels.json"), indented(dict(sorted(labels.items()))), 0o644)


def _base_script(app: App) -> str:
    root, data = f"/scif/apps/{app.name}", f"/scif/data/{app.name}"
    values = {
        "SCIF_APPNAME": app.name,
        "SCIF_APPROOT": root,
        "SCIF_APPMETA": f"{root}/scif",
        "SCIF_DATA": "/scif/data",
        "SCIF_APPDATA": data,
        "SCIF_APPINPUT": f"{data}/input",
        "SCIF_APPOUTPUT": f"{data}/output",
    }
    lines = [f"export {name}={_word(value)}" for name, value in values.items()]
    return "\n".join(["#!/bin/sh", "# Where this app has its files.", *lines, ""])


def _exports(app: App, exists: Callable[[bytes], bool]) -> Iterator[str]:
    """Yield lines that set variables with an app's paths for the other apps and for ``%post``.

    As in Apptainer, the paths use the name in the form for variables, which differs for a name such as ``foo-bar``.
    """
    name = _NOT_A_NAME.sub("_", app.name)
    root, meta = f"/scif/apps/{name}", f"/scif/apps/{name}/scif"
    yield f"export SCIF_APPDATA_{name}=/scif/data/{name}"
    yield f"export SCIF_APPMETA_{name}={meta}"
    yield f"export SCIF_APPROOT_{name}={root}"
    yield f"export SCIF_APPBIN_{name}={root}/bin"
    yield f"export SCIF_APPLIB_{name}={root}/lib"
    files = {
        "ENV": "env/90-environment.sh",
        "LABELS": "labels.json",
        "RUN": "runscript",
        "START": "startscript",
    }
    for kind, file in files.items():
        if exists(as_bytes(f"scif/apps/{app.name}/scif/{file}")):
            yield f"export SCIF_APP{kind}_{name}={meta}/{file}"


def _word(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else single_quoted(text)
