"""Random trees come back from the kernel and from unsquashfs as they went in."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sifmake.layers.entry import BLOCK, CHAR, DIR, FIFO, FILE, SOCKET, SYMLINK, Inode
from support.squashfs_tools import Builder, extract, kernel_mount, needs_kernel, needs_tools, read_rows

BYTES = st.integers(1, 255).filter(lambda byte: byte != ord("/"))
NAMES = st.lists(BYTES, min_size=1, max_size=12).map(bytes).filter(lambda name: name not in (b".", b".."))
IDS = st.sampled_from([0, 1, 1000, 65535, 65536, 2**31, 2**32 - 2])
TIMES = st.integers(-(2**33), 2**34)
KEYS = st.sampled_from([b"trusted.", b"security."]).flatmap(lambda p: NAMES.map(lambda n: p + b"x" + n))
XATTRS = st.dictionaries(KEYS, st.binary(max_size=40), max_size=3).map(lambda d: tuple(sorted(d.items())))
DATA = st.one_of(
    st.binary(max_size=50),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 3000)).map(lambda t: t[0] * t[1]),
    st.integers(0, 5).map(lambda n: bytes(4096 * n)),
)
COMMON = {"mode": st.integers(0, 0o7777), "uid": IDS, "gid": IDS, "mtime": TIMES, "xattrs": XATTRS}


@st.composite
def builders(draw):
    """A builder with blocks of 4 KiB, so that small files have several."""
    builder = Builder(block_size=4096)
    below = st.deferred(lambda: children)
    leaf = st.one_of(
        st.fixed_dictionaries({"kind": st.just(FILE), "data": DATA, **COMMON}),
        st.fixed_dictionaries({"kind": st.just(SYMLINK), "target": NAMES, **COMMON}),
        st.fixed_dictionaries(
            {
                "kind": st.sampled_from([BLOCK, CHAR]),
                "major": st.integers(1, 4095),
                "minor": st.integers(0, 2**20 - 1),
                **COMMON,
            }
        ),
        st.fixed_dictionaries({"kind": st.sampled_from([FIFO, SOCKET]), **COMMON}),
    )
    folder = st.fixed_dictionaries({"kind": st.just(DIR), "below": below, **COMMON})
    children = st.dictionaries(NAMES, st.one_of(leaf, leaf, folder), max_size=6)
    linkable: list[Inode] = []
    fill(builder, b"", draw(children), linkable)
    for number in draw(st.lists(st.integers(0, 30), max_size=4)):
        if linkable:
            builder.link(b"link-%d" % number, linkable[number % len(linkable)])
    return builder


def fill(builder, path, children, linkable):
    for name, fields in children.items():
        below = fields.get("below", {})
        inode = builder.add(path + name, **{key: value for key, value in fields.items() if key != "below"})
        if inode.kind != DIR:
            linkable.append(inode)
        fill(builder, path + name + b"/", below, linkable)


@needs_kernel
@settings(max_examples=40, deadline=None)
@given(builders())
def test_the_kernel_finds_any_tree(builder):
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image")
        builder.write(image)
        with kernel_mount(image, Path(folder, "at")) as top:
            assert read_rows(top) == builder.rows()


@needs_kernel
@needs_tools("unsquashfs")
@settings(max_examples=12, deadline=None)
@given(builders().filter(lambda builder: not has_security(builder)))
def test_unsquashfs_extracts_any_tree(builder):
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image")
        builder.write(image)
        assert read_rows(extract(image, Path(folder, "at"))) == builder.rows()


def has_security(builder):
    """ext4 takes attributes of symlinks and devices, but not those of unknown security modules everywhere."""
    return any(name.startswith(b"security.") for _, inode in builder.tree.walk() for name, _ in inode.xattrs)
