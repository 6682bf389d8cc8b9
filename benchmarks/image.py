"""Images for the measurements: a layered one from this machine's packages, and one of a few large files."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import zlib
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.hostfiles import choose, of_packages
from benchmarks.layerfile import EXTENTS, LayerFile
from benchmarks.scale import MIB, Scale

VERSION = 4
TYPE = "application/vnd.oci.image."
FIRST, CHANGED = "first", "changed"
BIG_FILE = 512 * MIB
PROGRAMS = (
    "busybox-static",
    "dash",
    "libc6",
    "libexpat1",
    "libpython3.11-minimal",
    "python3-minimal",
    "python3.11-minimal",
    "zlib1g",
)
"""Debian packages with a static program, a shell and an interpreter."""
MERGED = ("/bin", "/lib", "/lib64", "/sbin")
"""Symlinks of a merged-usr system: the loader's path leads through one of them."""


@dataclass(frozen=True)
class Image:
    """One OCI layout, and facts about its images.

    Attributes:
        layout: Its folder.
        layers: Blob names (hex) of the layers of the image :data:`FIRST`.
        entries: Tar entries in all these layers.
        tree: Entries in the flattened tree.
        packed: Compressed bytes of the layers.
        plain: Bytes of files in the layers.
    """

    layout: str
    layers: list[str]
    entries: int
    tree: int
    packed: int
    plain: int

    def blob(self, name: str) -> Path:
        """Return the path of a blob."""
        return Path(self.layout) / "blobs" / "sha256" / name

    def extents(self, name: str) -> Path:
        """Return the path of the list of a layer's files: pairs of offset and size, 64 bits each."""
        return Path(self.layout) / (name + EXTENTS)


def layered(work: Path, scale: Scale) -> Image:
    """Return the layered image; tag :data:`CHANGED` differs in its small topmost layer. Kept from run to run."""
    return _kept(work / "layered", lambda layout: _build_layered(layout, scale))


def few_large_files(work: Path, scale: Scale) -> Image:
    """Return the image of a few large files; kept from run to run."""
    return _kept(work / "big", lambda layout: _build_big(layout, scale))


def programs(work: Path) -> Image:
    """Return an image of one layer with the programs of :data:`PROGRAMS`; kept from run to run."""
    return _kept(work / "programs", _build_programs)


def _build_programs(layout: Path) -> Image:
    layer = LayerFile(layout / "blobs" / "sha256")
    tree = _with_folders(of_packages(PROGRAMS)) | {path for path in MERGED if Path(path).is_symlink()}
    for path in sorted(tree):
        layer.add_host(path)
    descriptor = layer.finish()
    _write_index(layout, {FIRST: [descriptor]})
    return _facts(layout, [descriptor], [layer], len(tree))


def _kept(layout: Path, build: Any) -> Image:
    facts = layout / "facts.json"
    try:
        found = json.loads(facts.read_text())
        if found.pop("version") == VERSION:
            return Image(**{**found, "layout": str(layout)})
    except (OSError, ValueError, KeyError):
        pass
    shutil.rmtree(layout, ignore_errors=True)
    (layout / "blobs" / "sha256").mkdir(parents=True)
    image: Image = build(layout)
    facts.write_text(json.dumps({**asdict(image), "version": VERSION}))
    return image


def _build_layered(layout: Path, scale: Scale) -> Image:
    groups = choose(scale)
    cut = len(groups) * 6 // 10
    base, middle = _flat(groups[:cut]), _flat(groups[cut:])
    blobs = layout / "blobs" / "sha256"
    tree = _with_folders(base)
    layers = [LayerFile(blobs)]
    for path in sorted(tree):
        layers[0].add_host(path)
    descriptors = [layers[0].finish()]

    layers.append(LayerFile(blobs))
    gone = _removals(base, middle)
    descriptors.append(_write_middle(layers[1], base[::25], middle, gone))
    tree = {path for path in tree if not _is_below(path, gone)} | _with_folders(middle) | _with_folders(base[::25])

    gone = [path for path in base[10::500] if path in tree and path not in base[::25]][:5]
    tags = {}
    for seed, tag in enumerate((FIRST, CHANGED)):
        layers.append(LayerFile(blobs))
        tags[tag] = [*descriptors, _write_top(layers[-1], gone, seed)]
    _write_index(layout, tags)
    tree -= set(gone)
    tree |= {"/", "/opt", "/opt/app", *(f"/opt/app/{n}" for n in range(40))}
    return _facts(layout, tags[FIRST], layers[:3], len(tree))


def _write_middle(layer: LayerFile, upgraded: list[str], new: list[str], gone: list[str]) -> dict[str, Any]:
    """Write a layer that adds packages, replaces files of the base and removes folders of the base."""
    changed = set(upgraded)
    markers = {f"{os.path.dirname(path)}/.wh.{os.path.basename(path)}" for path in gone}  # noqa: PTH120, PTH119
    for path in sorted(_with_folders(new) | _with_folders(upgraded) | markers):
        if path in markers:
            layer.add(path[1:], b"")
        else:
            regular = path in changed and not Path(path).is_symlink()
            layer.add_host(path, b"\nupgraded\n" if regular else b"")
    return layer.finish()


def _write_top(layer: LayerFile, gone: list[str], seed: int) -> dict[str, Any]:
    """Write a small layer that adds an application of 40 files and one megabyte, and removes five files."""
    chance = random.Random(seed)
    words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 11))) for _ in range(5000)]
    layer.add("opt", None)
    layer.add("opt/app", None)
    for number in range(40):
        layer.add(f"opt/app/{number}", b" ".join(chance.choices(words, k=4000)))
    for path in gone:
        folder, _, name = path.rpartition("/")
        layer.add(f"{folder[1:]}/.wh.{name}", b"")
    return layer.finish()


def _build_big(layout: Path, scale: Scale) -> Image:
    """Build one layer of large files of equal size from a set of megabytes, each compressed once, in varying order.

    A gzip stream may have many members (RFC 1952), so making twelve gigabytes takes only seconds.
    """
    stock = [_text(number) for number in range(61)]
    packed = [_gzip(piece) for piece in stock]
    chance = random.Random(0)
    blobs = layout / "blobs" / "sha256"
    plain_hash, packed_hash, extents, place = hashlib.sha256(), hashlib.sha256(), array("Q"), 0
    size = min(BIG_FILE, scale.big // 2)
    with (blobs / "layer.tmp").open("wb") as file:

        def put(plain: bytes, gzipped: bytes) -> None:
            nonlocal place
            plain_hash.update(plain)
            packed_hash.update(gzipped)
            place += len(plain)
            file.write(gzipped)

        for number in range(scale.big // size):
            header = _header(f"data/{number}", size)
            put(header, _gzip(header))
            extents.extend((place, size))
            for _ in range(size // MIB):
                pick = chance.randrange(len(stock))
                put(stock[pick], packed[pick])
        put(bytes(1024), _gzip(bytes(1024)))
        length = file.tell()
    name = packed_hash.hexdigest()
    (blobs / "layer.tmp").rename(blobs / name)
    (layout / (name + EXTENTS)).write_bytes(extents.tobytes())
    layer = {
        "mediaType": f"{TYPE}layer.v1.tar+gzip",
        "digest": f"sha256:{name}",
        "size": length,
        "diff_id": f"sha256:{plain_hash.hexdigest()}",
    }
    _write_index(layout, {FIRST: [layer]})
    files = scale.big // size
    return Image(str(layout), [name], files, files + 2, length, files * size)


def _text(seed: int) -> bytes:
    """Return a megabyte that compresses quickly to a fifth of its size; its content does not matter."""
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randint(100, 200)) for _ in range(100)]
    return b"".join(chance.choices(words, k=MIB // 100))[:MIB]


def _gzip(data: bytes) -> bytes:
    deflate = zlib.compressobj(6, wbits=31)
    return deflate.compress(data) + deflate.flush()


def _header(name: str, size: int) -> bytes:
    import tarfile

    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def _flat(groups: list[list[str]]) -> list[str]:
    return sorted({path for group in groups for path in group})


def _with_folders(paths: list[str]) -> set[str]:
    """Return the paths and all their parents, except the root."""
    found = set(paths)
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found


def _removals(base: list[str], middle: list[str]) -> list[str]:
    """Return some documentation folders of the base that the middle layer will remove."""
    kept = _with_folders(middle) | _with_folders(base[::25])
    folders = {path.rpartition("/")[0] for path in base if path.startswith("/usr/share/doc/")}
    return [path for path in sorted(folders - kept)[::10] if path.count("/") == 4]


def _is_below(path: str, folders: list[str]) -> bool:
    parts = path.split("/")
    return len(parts) > 4 and "/".join(parts[:5]) in set(folders)


def _facts(layout: Path, descriptors: list[dict[str, Any]], layers: list[LayerFile], tree: int) -> Image:
    return Image(
        str(layout),
        [descriptor["digest"].partition(":")[2] for descriptor in descriptors],
        sum(layer.entries for layer in layers),
        tree,
        sum(descriptor["size"] for descriptor in descriptors),
        sum(sum(layer.extents[1::2]) for layer in layers),
    )


def _write_index(layout: Path, tags: dict[str, list[dict[str, Any]]]) -> None:
    manifests = []
    for tag, layers in tags.items():
        config = {
            "created": "2026-01-01T00:00:00Z",
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{TYPE}manifest.v1+json",
            "config": _put_json(layout, f"{TYPE}config.v1+json", config),
            "layers": [{key: layer[key] for key in ("mediaType", "digest", "size")} for layer in layers],
        }
        descriptor = _put_json(layout, f"{TYPE}manifest.v1+json", manifest)
        descriptor["annotations"] = {"org.opencontainers.image.ref.name": tag}
        manifests.append(descriptor)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _put_json(layout: Path, media_type: str, document: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(document).encode()
    name = hashlib.sha256(data).hexdigest()
    (layout / "blobs" / "sha256" / name).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{name}", "size": len(data)}
