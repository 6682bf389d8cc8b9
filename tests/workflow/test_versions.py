"""What a newer sifmake, another encoder, force and two runs at once do to builds that are up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.layers import file, folder, tar

if TYPE_CHECKING:
    from pathlib import Path

    from support.counting_registry import CountingRegistry
    from support.project import Folder

LAYERS = [tar(folder("etc/"), file("etc/base", b"base" * 10_000)), tar(file("etc/top", b"top" * 10_000))]
STAGES = ["pull", "flatten", "sif", "sign", "verify", "publish"]
"""Those that have work for an image that is pulled; ``steps`` runs only where it is forced."""

PATCH_FORMATS = """
from sifmake import formats
versions = formats.format_versions()
formats.format_versions = lambda: {**versions, %r: 99}
"""
PATCH_VERSION = """
import sifmake
sifmake.__version__ = "99"
"""
PATCH_ENCODER = """
from sifmake.layers import codec
real = codec.make_codec
def other(*args, **options):
    made = real(*args, **options)
    vars(made)["fingerprint"] = "f" * len(made.fingerprint)
    return made
codec.make_codec = other
from sifmake.builder import image_build
image_build.make_codec = other
"""


@pytest.fixture
def app(project: Folder, registry: CountingRegistry) -> Folder:
    project.images["app"] = {"from": f"docker://{registry.host}/app:1"}
    project.write()
    registry.tags["app:1"] = registry.blobs.image(LAYERS)
    project.doit("pull_image")
    registry.forget()
    return project


def patch(project: Folder, tmp_path: Path, text: str) -> None:
    """Let every Python that the project starts see another sifmake."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(text)
    project.environ["PYTHONPATH"] = str(hook)


def ran(text: str) -> list[str]:
    return [line.removeprefix(".  ").partition(":")[0] for line in text.splitlines() if line.startswith(".  ")]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [("pull", STAGES), ("flatten", STAGES[1:]), ("sif", STAGES[2:])],
)
def test_a_newer_format_runs_from_that_stage_on(
    app: Folder, registry: CountingRegistry, tmp_path: Path, stage: str, expected: list[str]
) -> None:
    patch(app, tmp_path, PATCH_FORMATS % stage)
    assert "run `sifmake lock --offline`" in app.doit("pull_image", "locked=1", status=1)
    assert ran(app.doit("pull_image")) == expected
    assert registry.blob_gets() == {}
    assert ran(app.doit("pull_image")) == []


def test_a_newer_sifmake_alone_changes_nothing(app: Folder, tmp_path: Path) -> None:
    before = app.files()
    patch(app, tmp_path, PATCH_VERSION)
    assert ran(app.doit("pull_image")) == []
    assert app.files() == before


def test_another_encoder_makes_packs_from_packs(app: Folder, registry: CountingRegistry, tmp_path: Path) -> None:
    packs = app.packs()
    patch(app, tmp_path, PATCH_ENCODER)
    assert ran(app.doit("pull_image")) == []
    app.doit("run", "-a", "pull_image")
    assert registry.blob_gets() == {}
    assert len(app.packs() - packs) == 2


def test_force_builds_the_same_bytes(app: Folder, registry: CountingRegistry) -> None:
    before = app.target("app").read_bytes()
    assert ran(app.doit("run", "-a", "pull_image")) == [STAGES[0], "steps", *STAGES[1:]]
    assert app.target("app").read_bytes() == before
    assert registry.blob_gets() == {}


def test_two_runs_at_once_do_each_piece_of_work_once(app: Folder, registry: CountingRegistry) -> None:
    registry.tags["app:1"] = registry.blobs.image([*LAYERS, tar(file("new", b"n" * 100_000))])
    new = registry.blobs.document(registry.tags["app:1"])["layers"][-1]["digest"]
    registry.slow = 0.05
    both = [app.start_engine("doit") for _ in range(2)]
    texts = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert registry.blob_gets()[new] == 1
    assert sum("writing unsigned.sif" in text for text in texts) == 1
    assert len(app.packs()) == 3
    assert app.run("sifmake", "verify", str(app.target("app")))
