"""A small base and definition files to build on it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import sifmake
from sifmake.builder.build_request import BuildRequest, StepSettings
from sifmake.builder.definition_build import build_definition
from sifmake.definition import load_definition
from sifmake.errors import SifmakeError
from sifmake.progress import Silent
from sifmake.steps.renewals import text_digest
from support.corpus import CORPUS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.api.building import BuiltImage
    from sifmake.project.configuration import Configuration
    from sifmake.project.steps_lock import StepsLockUse
    from support.images import Blobs, Descriptor

_BASE = CORPUS / "definition/base"


class Warnings(Silent):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, message: str) -> None:
        self.said.append(message)


class Works:
    """A folder with an OCI layout of busybox, in which definitions are built.

    Attributes:
        folder: Its path.
        output: What the scripts of the last build printed.
        told: Warnings of the last build with a lock of its steps.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = b""
        self.told = Warnings()
        if not _BASE.is_dir():
            pytest.skip("../shared/corpus is not on this machine")
        shutil.copytree(_BASE, folder / "base", copy_function=shutil.copyfile)

    def build(
        self, sections: str, target: str = "out.sif", *, base: str = "oci", name: str = "base", **options: Any
    ) -> BuiltImage:
        """Build a definition with these sections over an existing target."""
        definition = self.folder / "tool.def"
        definition.write_text(f"Bootstrap: {base}\nFrom: {self.folder / name}\n\n{sections}")
        printed: list[bytes] = []
        try:
            return sifmake.build(definition, self.folder / target, force=True, output=printed.append, **options)
        finally:
            self.output = b"".join(printed)

    def build_with_lock(
        self,
        sections: str,
        use: StepsLockUse | None,
        renewed: Mapping[str, str] | None = None,
        configuration: Configuration | None = None,
        **settings: Any,
    ) -> tuple[int, int]:
        """Build a definition whose steps have a lock, and dates by text; return how many ran and were found."""
        definition = self.folder / "locked.def"
        definition.write_text(f"Bootstrap: oci\nFrom: {self.folder / 'base'}\n\n{sections}")
        loaded = load_definition(definition)
        dates = {text_digest(text): date for text, date in (renewed or {}).items()}
        steps = StepSettings(**settings)
        request = BuildRequest(loaded, self.folder / "out.sif", steps=steps, renewed=dates, steps_lock=use)
        self.told = Warnings()
        return build_definition(request, self.told, configuration)


def root_tar(*names: str) -> bytes:
    """Return a tar archive with empty folders, files (``NAME=TEXT``), and links (``NAME->TARGET``)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            path, equals, text = name.partition("=")
            path, arrow, link = path.partition("->")
            info = tarfile.TarInfo(path)
            info.type = tarfile.REGTYPE if equals else tarfile.SYMTYPE if arrow else tarfile.DIRTYPE
            info.linkname = link
            info.mode, info.size = 0o644 if equals else 0o755, len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def needs_scripts(test: Any) -> Any:
    """Mark a test that runs ``%post``; it is skipped where nothing can be run as root, or the corpus is absent."""
    missing = pytest.mark.skipif(not CORPUS.is_dir(), reason="../shared/corpus is not on this machine")
    cannot = pytest.mark.skipif(not _can_run(), reason="no script can be run as root here")
    return pytest.mark.corpus(cannot(missing(test)))


def _can_run() -> bool:
    import tempfile

    from sifmake.rootless.modes import choose_mode

    with tempfile.TemporaryDirectory() as folder:
        try:
            choose_mode(Path(folder))
        except SifmakeError:
            return False
    return True


def base_blobs() -> tuple[Blobs, Descriptor]:
    """Return the base as blobs of a registry, and the descriptor of its manifest."""
    from support.images import Blobs

    blobs = Blobs()
    for path in (_BASE / "blobs/sha256").iterdir():
        blobs.data[f"sha256:{path.name}"] = path.read_bytes()
    return blobs, json.loads((_BASE / "index.json").read_bytes())["manifests"][0]
