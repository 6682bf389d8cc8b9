"""Write the example image as an OCI layout: ``python examples/hello/make.py [FOLDER]``.

The same bytes come out everywhere: the program is assembled here, tar headers are written out in full, and gzip only
stores, because what a compressor gives depends on the version of its library.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Any

import program

TIME = 1_767_225_600
CREATED = "2026-01-01T00:00:00Z"
TYPE = "application/vnd.oci.image."
TITLE = "hello"

BASE: list[tuple[str, bytes | str | None]] = [
    ("bin", "usr/bin"),
    ("etc/", None),
    ("etc/greeting", b"Goodbye,"),
    ("usr/", None),
    ("usr/bin/", None),
    ("usr/share/", None),
    ("usr/share/hello/", None),
    ("usr/share/hello/draft", b"This file is deleted by the topmost layer.\n"),
]
TOP: list[tuple[str, bytes | str | None]] = [
    ("etc/", None),
    ("etc/greeting", b"Hello,"),
    ("usr/share/hello/", None),
    ("usr/share/hello/.wh.draft", b""),
]
"""Names and what they are: bytes of a file, target of a symlink, or None for a directory."""


def main(folder: Path) -> None:
    """Replace the layout in a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    manifests = [put_image(blobs, architecture) for architecture in program.LISTINGS]
    index = {"schemaVersion": 2, "mediaType": f"{TYPE}index.v1+json", "manifests": manifests}
    entry = put_json(blobs, f"{TYPE}index.v1+json", index)
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (folder / "oci-layout").write_bytes(to_json({"imageLayoutVersion": "1.0.0"}))
    (folder / "index.json").write_bytes(to_json({**index, "manifests": [entry]}))


def put_image(blobs: Path, architecture: str) -> dict[str, Any]:
    """Write one platform's layers, config and manifest; return the manifest's descriptor."""
    own = [("usr/bin/", None), ("usr/bin/hello", program.build(architecture))]
    tars = [make_tar(entries) for entries in (BASE, own, TOP)]
    config = {
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": ["/usr/bin/hello"],
            "Cmd": ["world"],
            "Labels": {"org.opencontainers.image.title": TITLE, "org.opencontainers.image.licenses": "BSD-3-Clause"},
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
        "history": [{"created": CREATED, "created_by": "examples/hello/make.py"} for _ in tars],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{TYPE}manifest.v1+json",
        "config": put_json(blobs, f"{TYPE}config.v1+json", config),
        "layers": [put(blobs, f"{TYPE}layer.v1.tar+gzip", gzip_stored(tar)) for tar in tars],
    }
    descriptor = put_json(blobs, f"{TYPE}manifest.v1+json", manifest)
    descriptor["platform"] = {"architecture": architecture, "os": "linux"}
    return descriptor


def make_tar(entries: list[tuple[str, bytes | str | None]]) -> bytes:
    """Return a ustar archive of root's files, all of one time."""
    archive = io.BytesIO()
    for name, content in entries:
        info = tarfile.TarInfo(name)
        info.mtime, info.mode = TIME, 0o755
        data = b""
        if content is None:
            info.type = tarfile.DIRTYPE
        elif isinstance(content, str):
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, content, 0o777
        else:
            data, info.size = content, len(content)
            info.mode = 0o755 if content.startswith(b"\x7fELF") else 0o644
        archive.write(info.tobuf(tarfile.USTAR_FORMAT))
        archive.write(data + bytes(-len(data) % 512))
    return archive.getvalue() + bytes(1024)


def gzip_stored(data: bytes) -> bytes:
    """Return a gzip member of stored blocks (RFC 1952; RFC 1951 section 3.2.4)."""
    pieces = [data[start : start + 0xFFFF] for start in range(0, len(data), 0xFFFF)]
    blocks = [struct.pack("<BHH", piece is pieces[-1], len(piece), len(piece) ^ 0xFFFF) + piece for piece in pieces]
    head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    return head + b"".join(blocks) + struct.pack("<II", zlib.crc32(data), len(data))


def put_json(blobs: Path, media_type: str, document: dict[str, Any]) -> dict[str, Any]:
    """Write a JSON blob and return its descriptor."""
    return put(blobs, media_type, to_json(document))


def put(blobs: Path, media_type: str, data: bytes) -> dict[str, Any]:
    """Write a blob and return its descriptor."""
    name = digest(data)
    (blobs / name.partition(":")[2]).write_bytes(data)
    return {"mediaType": media_type, "digest": name, "size": len(data)}


def digest(data: bytes) -> str:
    """Return the OCI digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def to_json(document: dict[str, Any]) -> bytes:
    """Return a document as compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "layout")
