"""Writing one layer: tar, gzip as Docker does it, both digests, and the positions of the files' bytes."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from array import array
from pathlib import Path
from typing import Any

TIME = 1_700_000_000
EXTENTS = ".extents"


class LayerFile:
    """A layer that is written entry by entry.

    Attributes:
        entries: Tar entries so far.
        extents: Offset and size of each file's bytes in the tar stream, in turn.
    """

    def __init__(self, blobs: Path) -> None:
        self.entries = 0
        self.extents = array("Q")
        self._blobs = blobs
        self._path = blobs / "layer.tmp"
        self._file = self._path.open("wb")
        self._deflate = zlib.compressobj(6, wbits=31)
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._tar = tarfile.open(fileobj=self, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20)  # noqa: SIM115

    def write(self, data: bytes) -> int:
        """Compress and hash bytes from the tar writer."""
        self._plain.update(data)
        self._put(self._deflate.compress(data))
        return len(data)

    def add_host(self, path: str, suffix: bytes = b"") -> None:
        """Add a file, symlink or folder of this machine; append ``suffix`` to a file's bytes."""
        info = self._tar.gettarinfo(path, path.lstrip("/"))
        info.uname = info.gname = ""
        info.mtime = int(info.mtime)
        data = Path(path).read_bytes() + suffix if info.isreg() else b""
        info.size = len(data)
        self._add(info, data)

    def add(self, name: str, data: bytes | None) -> None:
        """Add a file with these bytes, or a folder."""
        info = tarfile.TarInfo(name)
        info.mtime = TIME
        if data is None:
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        info.size = len(data or b"")
        self._add(info, data or b"")

    def finish(self) -> dict[str, Any]:
        """Finish the layer; return its descriptor, with the DiffID added as ``diff_id``."""
        self._tar.close()
        self._put(self._deflate.flush())
        size = self._file.tell()
        self._file.close()
        name = self._packed.hexdigest()
        self._path.rename(self._blobs / name)
        (self._blobs.parent.parent / (name + EXTENTS)).write_bytes(self.extents.tobytes())
        return {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": f"sha256:{name}",
            "size": size,
            "diff_id": f"sha256:{self._plain.hexdigest()}",
        }

    def _add(self, info: tarfile.TarInfo, data: bytes) -> None:
        self._tar.addfile(info, io.BytesIO(data))
        self.entries += 1
        if data:
            padded = -(-len(data) // 512) * 512
            self.extents.extend((self._tar.offset - padded, len(data)))

    def _put(self, data: bytes) -> None:
        self._packed.update(data)
        self._file.write(data)
