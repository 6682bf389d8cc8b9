"""Image archives that list much, nest much or repeat much in few bytes: one line, little memory and time."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pytest

from support.measured import measured

MIB = 1 << 20
TOP = "a" * 64


def saved(*members):
    """Return an archive of (name, data) or (name, link target as text)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                out.addfile(info)
            else:
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def config(size):
    return json.dumps({"rootfs": {"type": "layers", "diff_ids": []}, "pad": "x" * size}).encode()


def listing(items):
    return b"[" + b",".join(items) + b"]"


def layer_document(parent, size=0):
    return json.dumps({"parent": parent, "pad": "x" * size}).encode()


def header(kind, body):
    info = tarfile.TarInfo("h")
    info.size, info.type = len(body), kind
    return info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512)


def many_images():
    """200,000 images that all have one config of 5 MiB."""
    return saved(("c", config(5 * MIB)), ("manifest.json", listing([b'{"Config":"c"}'] * 200_000)))


def many_configs():
    """4,000 images, each with a link to one config of 5 MiB."""
    links = [(f"c{n}", "c") for n in range(4000)]
    items = listing([b'{"Config":"c%d"}' % n for n in range(4000)])
    return saved(("c", config(5 * MIB)), *links, ("manifest.json", items))


def own_parent():
    repositories = json.dumps({"x": {"1": TOP}}).encode()
    return saved(
        (f"{TOP}/json", layer_document(TOP, 7 * MIB)), (f"{TOP}/layer.tar", b""), ("repositories", repositories)
    )


def large_chain():
    """A chain of 400 layers whose documents are links to one of 7 MiB."""
    identities = [f"{n:064x}" for n in range(400)]
    links = [(f"{one}/json", "../big") for one in identities[1:]]
    first = (f"{identities[0]}/json", layer_document(identities[1]))
    repositories = json.dumps({"x": {"1": identities[0]}}).encode()
    return saved(("big", layer_document(identities[2], 7 * MIB)), first, *links, ("repositories", repositories))


def compressed(block, count):
    """Return a gzip stream of a block that repeats, without having all of it in memory."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1) as out:
        for _ in range(count):
            out.write(block)
    return buffer.getvalue()


HOSTILE = {
    "many configs": (many_configs, "documents have more than 67108864 bytes"),
    "own parent": (own_parent, "chain of layers in the archive is damaged"),
    "large chain": (large_chain, "chain of layers in the archive is damaged"),
    "tiny PAX records": (lambda: header(b"x", b"6 a=b\n" * 170_000) * 9, "truncated|no member|neither manifest.json"),
    "more headers than memory": (
        lambda: compressed(header(b"L", b"n" * MIB), 900),
        "16777216 are allowed; raise pax-bytes or archive-headers-bytes",
    ),
    "more members than time": (
        lambda: compressed(header(b"0", b"") * 1000, 101),
        "more than 100000 members and extended headers; raise archive-members",
    ),
}


@pytest.mark.parametrize("which", HOSTILE)
@pytest.mark.parametrize("tag", ["", ":x:1"])
def test_an_archive_that_asks_for_much(tmp_path, which, tag):
    make, said = HOSTILE[which]
    data = make()
    assert len(data) < 10 * MIB
    (tmp_path / "x.tar").write_bytes(data)
    ran = measured("pull", "x.sif", f"docker-archive:x.tar{tag}", cwd=tmp_path)
    assert ran.status == 1, ran.err
    assert len(ran.err.splitlines()) == 1, ran.err
    assert any(words in ran.err for words in said.split("|")), ran.err
    assert "allowed; it is damaged" not in ran.err
    assert ran.memory < 256 * MIB
    assert ran.seconds < 5
    assert not (tmp_path / "x.sif").exists()


def test_one_config_for_200000_images_is_read_once(tmp_path):
    (tmp_path / "x.tar").write_bytes(many_images())
    ran = measured("pull", "x.sif", "docker-archive:x.tar", cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert ran.memory < 256 * MIB
    assert ran.seconds < 5
