"""The listing of what ``docker export`` made of an image, as rows to compare a mounted SIF with."""

from __future__ import annotations

import ast
import gzip
import os
from typing import TYPE_CHECKING

from support.corpus import CORPUS
from support.squashfs_tools import Row, Rows

if TYPE_CHECKING:
    from pathlib import Path

ALPINE_ODD = CORPUS / "generated" / "docker-20.10" / "alpine-odd.flat-listing.tsv.gz"

DOCKERS_OWN = {".dockerenv", "dev/console", "dev/pts", "dev/shm"}
"""Entries that Docker adds to an exported tree (../shared/corpus/README.md)."""

DOCKERS_CONTENT = {"etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab"}
"""Files that Docker binds its own over."""

RUNTIMES_OWN = (b".singularity.d", b".exec", b".run", b".shell", b".test", b"environment", b"singularity")
"""Entries that every SIF gets (reference, section 4)."""


def read_listing(path: Path = ALPINE_ODD) -> Rows:
    """Return the rows of a listing.

    ``links`` and the times that Docker changed are left open (-1); a link's size is its text's.
    """
    with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape") as listing:
        lines = [line.rstrip("\n").split("\t") for line in listing]
    rows = {}
    for quoted, kind, mode, uid, gid, size, mtime, target, device, xattrs, sha256, group in lines:
        name = ast.literal_eval(quoted)
        path_bytes = os.fsencode(name)
        assert xattrs == "", xattrs
        rows[path_bytes] = Row(
            kind,
            int(mode, 8),
            int(uid),
            int(gid),
            int(mtime),
            int(size) if kind == "f" else len(os.fsencode(target)),
            -1,
            os.fsencode(target),
            os.makedev(*map(int, device.split(","))) if device else 0,
            (),
            sha256,
            os.fsencode(ast.literal_eval(group)) or path_bytes,
        )
    return rows
