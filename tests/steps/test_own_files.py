"""The layer of sifmake's own files makes of the other layers exactly the tree that a stage has."""

from __future__ import annotations

import pytest

from sifmake.flatten.flattened import merge
from sifmake.layers.entry import FILE
from sifmake.layers.tar_writer import tar_stream
from sifmake.limits import DEFAULT_LIMITS
from sifmake.progress import Silent
from sifmake.steps.own_files import own_files
from sifmake.steps.stage_tree import StageTree
from support.layers import file, folder, hardlink, make_pack, symlink, tar

BASE = tar(
    folder("a"), file("a/b", b"1"), hardlink("a/c", "a/b"), folder("a/d"), file("a/d/e", b"2"), symlink("l", "a"),
    file("a-b", b"3"), folder("z"), file("z/x", b"4"),
)  # fmt: skip


def added(editor, root):
    editor.write(b"a/new", b"new", 0o644)
    editor.link(b"link", b"a/new")
    assert root


def written_over(editor, root):
    editor.write(b"a/b", b"other", 0o755)
    editor.write(b"a-b", b"", 0o644)
    assert root


def moved(editor, root):
    editor.move(b"z", b"x", b"a/d", b"y")
    assert root


def gone(editor, root):
    for name in (b"a", b"l"):
        del root.children[name]
    assert editor


def of_another_kind(editor, root):
    root.children[b"a"] = root.children.pop(b"a-b")
    root.children[b"l"] = root.children.pop(b"z")
    assert editor


def linked(editor, root):
    editor.write(b"a/d/e", b"twice", 0o644)
    root.children[b"second"] = root.children[b"a"].children[b"d"].children[b"e"]


def content_of(tree, packs, inode):
    if inode.kind != FILE or not inode.size:
        return b""
    if inode.content < 0:
        return b"".join(map(bytes, tree.pieces(inode)))
    return packs[inode.layer].read_content(packs[inode.layer].contents[inode.content], inode.size)


def shown(tree, packs, root):
    """Return everything about a tree, with the first name of files that have several."""
    found, names = {}, {}
    for path, inode in root.walk():
        own = (inode.kind, inode.mode, inode.uid, inode.gid, inode.mtime, inode.target, inode.xattrs)
        found[path] = (*own, content_of(tree, packs, inode), names.setdefault(id(inode), path))
    return found


@pytest.mark.parametrize("change", [added, written_over, moved, gone, of_another_kind, linked, lambda *_: None])
def test_the_layer_makes_the_tree(tmp_path, change):
    tree = StageTree(7, DEFAULT_LIMITS, Silent())
    tree.apply(make_pack(tmp_path / "base", BASE))
    editor = tree.edit()
    change(editor, tree.tree.root)
    tree.keep(editor)
    entries = list(own_files(tree, DEFAULT_LIMITS))
    with make_pack(tmp_path / "own", b"".join(tar_stream(entries))) as own:
        packs = [*tree.packs, own]
        assert shown(tree, packs, merge(packs, 7).tree) == shown(tree, tree.packs, tree.tree)
    paths = [entry.path for entry, _ in entries]
    assert len(paths) == len(set(paths))
    assert (paths == []) == (change.__name__ == "<lambda>")
    tree.close()
