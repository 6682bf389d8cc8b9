"""Flattening: rows b1 to b28 of what users met, as the OCI image spec's layer.md wants them."""

from contextlib import ExitStack

import pytest

from sifmake.errors import FlattenError
from support.layers import file, flatten_layers, folder, hardlink, listing, symlink, tar

ROOT = {"": "d 755"}

CASES = {
    "b1 hard link survives its first name": (
        [[folder("opt"), file("opt/a", b"payload"), hardlink("opt/b", "opt/a")], [file("opt/.wh.a")]],
        {"opt": "d 755", "opt/b": "f 644 payload"},
    ),
    "b2 three names of one file, two removed": (
        [[file("a", b"x"), hardlink("b", "a"), hardlink("c", "b")], [file(".wh.a"), file(".wh.b")]],
        {"c": "f 644 x"},
    ),
    "b6 hard link to a lower layer": (
        [[file("p", b"src")], [hardlink("q", "p")]],
        {"p": "f 644 src", "q": "f 644 src"},
    ),
    "b7 hard link over an existing path": (
        [[file("p", b"src"), file("q", b"dst")], [hardlink("q", "p")]],
        {"p": "f 644 src", "q": "f 644 src"},
    ),
    "b8 hard link below folders without entries": (
        [[file("bin/app", b"A"), hardlink("bin/app.runfiles/main/app", "bin/app")]],
        {
            "bin": "d 755",
            "bin/app": "f 644 A",
            "bin/app.runfiles": "d 755",
            "bin/app.runfiles/main": "d 755",
            "bin/app.runfiles/main/app": "f 644 A",
        },
    ),
    "b9 hard link before its target": (
        [[hardlink("q", "p"), file("p", b"src")]],
        {"p": "f 644 src", "q": "f 644 src"},
    ),
    "b9 hard links before their targets, which are such links": (
        [[hardlink("r", "q"), hardlink("q", "p"), hardlink("s", "r"), file("p", b"src")]],
        dict.fromkeys("pqrs", "f 644 src"),
    ),
    "b9 two links of one name before their targets": (
        [[hardlink("q", "a"), hardlink("q", "b"), file("a", b"1"), file("b", b"2")]],
        {"a": "f 644 1", "b": "f 644 2", "q": "f 644 2"},
    ),
    "b10 whiteout of an absolute symlink": (
        [[folder("abs"), file("abs/k"), symlink("x", "/abs")], [file(".wh.x")]],
        {"abs": "d 755", "abs/k": "f 644 "},
    ),
    "b11 whiteout of a file": ([[file("a"), file("b")], [file(".wh.a")]], {"b": "f 644 "}),
    "b13 a bare marker keeps its folder": (
        [[folder("etc"), file("etc/keep", b"k")], [file("etc/.wh.")]],
        {"etc": "d 755", "etc/keep": "f 644 k"},
    ),
    "b14 opaque marker where a folder replaces a link": (
        [
            [folder("target"), file("target/keep.txt", b"k"), symlink("link", "/target")],
            [folder("link"), file("link/.wh..wh..opq"), file("link/new.txt", b"n")],
        ],
        {
            "link": "d 755",
            "link/new.txt": "f 644 n",
            "target": "d 755",
            "target/keep.txt": "f 644 k",
        },
    ),
    "b15 files of AUFS": (
        [[file(".wh..wh.aufs"), folder(".wh..wh.plnk"), folder(".wh..wh.orph"), file("a")]],
        {"a": "f 644 "},
    ),
    "AUFS keeps first names of hard links": (
        [[folder(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", b"x"), hardlink("a", ".wh..wh.plnk/1.2")]],
        {"a": "f 644 x"},
    ),
    "files of AUFS below the root": (
        [
            [folder("a"), file("a/.wh..wh.x", b"x"), folder("a/.wh..wh.plnk"), file("a/.wh..wh.plnk/1.2", b"y")],
            [file("a/.wh..wh.plnk/1.4", b"w"), hardlink("a/d", "a/.wh..wh.plnk/1.4"), file("a/b", b"b")],
        ],
        {"a": "d 755", "a/d": "f 644 w", "a/b": "f 644 b"},
    ),
    "b16 opaque marker behind its siblings": (
        [
            [folder("a"), folder("a/b"), file("a/b/old"), file("a/gone")],
            [folder("a"), folder("a/b"), file("a/b/new"), file("a/.wh..wh..opq")],
        ],
        {"a": "d 755", "a/b": "d 755", "a/b/new": "f 644 "},
    ),
    "b17 markers for what is not there": (
        [[folder("a"), file("a/x")], [file("a/.wh.nosuch"), file("b/.wh.nosuch"), file("c/.wh..wh..opq")]],
        {"a": "d 755", "a/x": "f 644 "},
    ),
    "b18 b19 folder replaced by a symlink": (
        [
            [folder("srv"), folder("srv/log"), file("srv/log/.gitkeep"), folder("var"), folder("var/log")],
            [symlink("srv/log", "/var/log")],
        ],
        {"srv": "d 755", "srv/log": "l 777 /var/log", "var": "d 755", "var/log": "d 755"},
    ),
    "b20 folder replaced by a file": (
        [[folder("x"), file("x/y")], [file("x", b"now a file")]],
        {"x": "f 644 now a file"},
    ),
    "b21 link by link": ([[symlink("x", "a")], [symlink("x", "b")]], {"x": "l 777 b"}),
    "b22 link replaced by a file": (
        [[folder("bin"), file("bin/busybox", b"B"), symlink("bin/env", "/bin/busybox")], [file("bin/env", b"REAL")]],
        {"bin": "d 755", "bin/busybox": "f 644 B", "bin/env": "f 644 REAL"},
    ),
    "b23 overwrite": ([[file("p", b"1")], [file("p", b"2", mode=0o600)]], {"p": "f 600 2"}),
    "b24 a folder entry merges": (
        [[folder("usr"), file("usr/a")], [folder("usr", mode=0o700), file("usr/b")]],
        {"usr": "d 700", "usr/a": "f 644 ", "usr/b": "f 644 "},
    ),
    "b25 writing below a symlinked folder": (
        [
            [folder("usr"), folder("usr/lib"), file("usr/lib/libc", b"c"), symlink("lib", "usr/lib")],
            [file("lib/libnew", b"n")],
        ],
        {
            "lib": "l 777 usr/lib",
            "usr": "d 755",
            "usr/lib": "d 755",
            "usr/lib/libc": "f 644 c",
            "usr/lib/libnew": "f 644 n",
        },
    ),
    "b25 a folder entry replaces the link": (
        [
            [folder("usr"), folder("usr/lib"), file("usr/lib/libc", b"c"), symlink("lib", "usr/lib")],
            [folder("lib"), file("lib/libnew", b"n")],
        ],
        {
            "lib": "d 755",
            "lib/libnew": "f 644 n",
            "usr": "d 755",
            "usr/lib": "d 755",
            "usr/lib/libc": "f 644 c",
        },
    ),
    "b26 entry below a file": (
        [[file("x", b"file")], [file("x/y", b"1")]],
        {"x": "d 755", "x/y": "f 644 1"},
    ),
    "b26 entry below a link to a file": (
        [[file("x", b"file"), symlink("l", "x")], [file("l/y", b"1")]],
        {"l": "l 777 x", "x": "d 755", "x/y": "f 644 1"},
    ),
    "b26 entry below one name of a file with two": (
        [[file("a", b"1"), hardlink("b", "a")], [file("b/x", b"2")]],
        {"a": "f 644 1", "b": "d 755", "b/x": "f 644 2"},
    ),
    "b37 one name twice": ([[file("x", b"one"), file("x", b"two")]], {"x": "f 644 two"}),
    "b37 the same hard link in two layers": (
        [[file("a", b"1"), hardlink("b", "a")], [file("a", b"1"), hardlink("b", "a")]],
        {"a": "f 644 1", "b": "f 644 1"},
    ),
    "b37 a link to itself changes nothing": ([[file("q", b"1")], [hardlink("q", "q")]], {"q": "f 644 1"}),
    "whiteout of a folder that the layer makes again": (
        [[folder("d", mode=0o700), file("d/old")], [folder("d"), file("d/new"), file(".wh.d")]],
        {"d": "d 755", "d/new": "f 644 "},
    ),
    "whiteout spares what its own layer wrote": (
        [[file("a", b"old")], [file("a", b"new"), file(".wh.a")]],
        {"a": "f 644 new"},
    ),
    "whiteout below a symlinked folder": (
        [[folder("usr"), file("usr/x"), symlink("link", "usr")], [file("link/.wh.x")]],
        {"link": "l 777 usr", "usr": "d 755"},
    ),
    "links out of the root stay inside": (
        [[symlink("out", "../../../tmp/E")], [file("out/pwn", b"p")]],
        {"out": "l 777 ../../../tmp/E", "tmp": "d 755", "tmp/E": "d 755", "tmp/E/pwn": "f 644 p"},
    ),
    "names out of the root stay inside": ([[file("../../E", b"p")]], {"E": "f 644 p"}),
    "no layer at all": ([], {}),
    "empty layers": ([[file("x")], [], [file("y")]], {"x": "f 644 ", "y": "f 644 "}),
}


@pytest.mark.parametrize("case", CASES)
def test_layers_flatten_to(case, tmp_path):
    layers, want = CASES[case]
    with ExitStack() as stack:
        flattened, packs = flatten_layers(tmp_path, [tar(*layer) for layer in layers], stack)
        assert listing(flattened, packs) == {**ROOT, **want}


def test_b28_the_root_takes_mode_and_owner_of_its_entry(tmp_path):
    with ExitStack() as stack:
        flattened, _ = flatten_layers(tmp_path, [tar(folder("./", mode=0o555, uid=7, gid=8))], stack)
        root = flattened.tree.root
        assert (root.mode, root.uid, root.gid, root.mtime) == (0o555, 7, 8, 1_600_000_000)


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (
            [[file("f", b"x"), symlink("l", "f")], [file("l/new")]],
            "f, which is not a folder, is replaced by the folder l",
        ),
        ([[file("f", b"x")], [file("f/new")]], "f, which is not a folder, is replaced by the folder f"),
        ([[file("d/.wh..wh.x", b"x")]], "left out d/.wh..wh.x: AUFS reserved such names"),
    ],
)
def test_what_is_lost_is_said(layers, says, tmp_path):
    with ExitStack() as stack:
        flattened, _ = flatten_layers(tmp_path, [tar(*layer) for layer in layers], stack)
    assert [text.partition(": ")[2] for text in flattened.warnings] == [says]
    assert flattened.warnings[0].startswith("layer sha256:")


def test_warnings_of_a_layer_are_bounded(tmp_path):
    with ExitStack() as stack:
        flattened, _ = flatten_layers(tmp_path, [tar(*(file(f"d/.wh..wh.{n}") for n in range(100)))], stack)
    assert len(flattened.warnings) == 21
    assert flattened.warnings[-1].endswith("and more like these")


@pytest.mark.parametrize("marker", [".wh.p", ".wh.d", "d/.wh..wh..opq"])
def test_a_link_holds_on_to_what_its_own_layer_hides(marker, tmp_path):
    lower = tar(file("p", b"x"), folder("d"), file("d/p", b"x"))
    upper = tar(file(marker), hardlink("q", "p" if marker == ".wh.p" else "d/p"))
    with ExitStack() as stack:
        flattened, packs = flatten_layers(tmp_path, [lower, upper], stack)
        assert listing(flattened, packs)["q"] == "f 644 x"


def test_hard_links_share_one_inode_across_layers(tmp_path):
    with ExitStack() as stack:
        flattened, _ = flatten_layers(tmp_path, [tar(file("p", b"x")), tar(hardlink("q", "p"))], stack)
        tree = flattened.tree
        assert tree.resolve(b"q") is tree.resolve(b"p") is not None


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        ([hardlink("q", "nosuch")], "nosuch"),
        ([hardlink("q", "q")], "'q', which does not exist"),
        ([hardlink("q", "p"), hardlink("p", "q")], "which does not exist"),
        ([folder("d"), hardlink("q", "d")], "directory"),
        ([symlink("a", "b"), symlink("b", "a"), file("a/x")], "too many symbolic links"),
        ([file("./", b"x")], "root"),
    ],
)
def test_what_cannot_be_placed_is_refused_with_its_path(layer, says, tmp_path):
    with ExitStack() as stack, pytest.raises(FlattenError, match=says) as caught:
        flatten_layers(tmp_path, [tar(*layer)], stack)
    assert str(caught.value).startswith("layer sha256:")


def test_the_digest_depends_on_the_tree_and_not_on_how_layers_cut_it(tmp_path):
    entries = [folder("d"), file("d/a", b"1" * 200_000), hardlink("d/b", "d/a"), symlink("l", "d")]
    for name in "xyz":
        (tmp_path / name).mkdir()
    with ExitStack() as stack:
        one, _ = flatten_layers(tmp_path / "x", [tar(*entries)], stack)
        two, packs = flatten_layers(
            tmp_path / "y", [tar(*entries[:2], file("gone")), tar(*entries[2:], file(".wh.gone"))], stack
        )
        other, _ = flatten_layers(tmp_path / "z", [tar(*entries, file("more"))], stack)
        assert one.digest == two.digest != other.digest
        assert len(packs) == 2
