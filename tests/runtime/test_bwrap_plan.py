"""Files that the image lacks or has as links: which become layers, which are mounted, which are left alone."""

from __future__ import annotations

import pytest

from sifmake.runtime.bwrap_plan import BwrapPlan
from sifmake.runtime.container_paths import ContainerPaths
from sifmake.runtime.overlay import OverlayScratch


@pytest.fixture
def layout(tmp_path):
    """A layout over a small image."""
    etc = tmp_path / "image" / "etc"
    (etc / "folder").mkdir(parents=True)
    (etc / "file").write_text("image\n")
    (etc / "link").symlink_to("../outside")
    (etc / "other").write_text("other\n")
    (tmp_path / "image" / "conf").symlink_to("/etc")
    return BwrapPlan(ContainerPaths(str(tmp_path / "image")))


def words(layout, option):
    """Return the pairs behind an option."""
    found = layout.arguments([])
    return [tuple(found[at + 1 : at + 3]) for at, word in enumerate(found) if word == option]


@pytest.mark.parametrize(
    ("path", "contents", "layers"),
    [
        ("/etc/file", {"/etc/file": b"x"}, {}),
        ("/conf/file", {"/etc/file": b"x"}, {}),
        ("/etc/new", {}, {"/etc": {"new": b"x"}}),
        ("/etc/link", {}, {"/etc": {"link": b"x"}}),
        ("/conf/new", {}, {"/etc": {"new": b"x"}}),
        ("/new", {}, {"/": {"new": b"x"}}),
        ("/etc/folder", {}, {}),
        ("/none/new", {}, {}),
        ("/mounted/new", {}, {}),
    ],
)
def test_put(layout, path, contents, layers):
    layout.view.add("/mounted", "/tmp")
    layout.put(path, b"x")
    assert (layout.contents, layout.layers()) == (contents, layers)


def test_a_file_of_the_users_stays(layout):
    layout.step("--bind", "/etc/file", "/dev/null")
    layout.put("/etc/file", b"x")
    assert (layout.contents, layout.added) == ({}, {})


def test_a_layer_takes_the_place_of_its_folder(layout):
    layout.put("/etc/link", b"x")
    layout.layered["/etc"] = "/over"
    assert words(layout, "--ro-bind")[1:] == [("/over", "/etc")]
    assert list(layout.files()) == []


def test_without_layers_the_entries_are_mounted_one_by_one(layout):
    layout.put("/etc/link", b"x")
    layout.opened.add("/etc")
    image = layout.view.image
    assert words(layout, "--ro-bind")[1:] == [
        (f"{image}/etc/{name}", f"/etc/{name}") for name in ("file", "folder", "other")
    ]
    assert words(layout, "--symlink") == []
    assert list(layout.files()) == [("/etc/link", b"x")]
    assert layout.layers() == {}


def test_a_new_folder_can_have_mount_points(layout):
    layout.step("--tmpfs", "/scratch")
    layout.step("--bind", "/scratch/deep/er", "/dev/null")
    assert layout.opened == {"/"}
    assert layout.steps[-1] == ["--bind", "/dev/null", "/scratch/deep/er"]


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\\b"])
def test_names_that_the_kernel_would_take_apart(tmp_path, name):
    """A link in the image must not make a layer of a folder of the host."""
    (tmp_path / name).mkdir()
    (tmp_path / "cover").mkdir()
    with pytest.raises(OSError, match="treats as separators"):
        OverlayScratch(str(tmp_path / "cover")).adding(str(tmp_path / name), {"x": b""})
