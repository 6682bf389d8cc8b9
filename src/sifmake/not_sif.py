"""What a file is that is not a SIF file, and what its owner can do with it; read only where an error is told."""

from __future__ import annotations

import re

HEAD = 2048
"""Bytes of a file's beginning that tell what it is."""
_ARCHIVE = "name an image archive by docker-archive: or oci-archive:"
_BUILD = "build it with Apptainer (apptainer build OUT.sif FILE); sifmake builds from images"
_DOCKERFILE = "build it first (podman build -t NAME .), then pull docker-daemon:NAME or a saved docker-archive:FILE"
_OLD = "convert it with Apptainer: apptainer build NEW.sif OLD"
_COMMENTS = rb"(?:\s|#[^\n]*\n)*"
_KINDS = [
    (re.compile(form, re.IGNORECASE | re.DOTALL), what, hint)
    for form, what, hint in (
        (rb"\Z", "the file is empty", "get it again"),
        (rb"version https://git-lfs", "this is a pointer of Git LFS", "run git lfs pull where it comes from"),
        (rb"\s*<", "a web page came instead", "is the address right, and does it ask for a login?"),
        (_COMMENTS + rb"bootstrap\s*:", "this is a definition file", _BUILD),
        (_COMMENTS + rb"(from|arg)[ \t]+\S", "this is a Dockerfile", _DOCKERFILE),
        (rb"(#![^\n]*\n\0*)?hsqs", "this is a squashfs image, as Singularity 2 made them", _OLD),
        (rb"#!/usr/bin/env run-singularity|.{1080}\x53\xef", "this is an image of Singularity 2", _OLD),
        (rb"\x1f\x8b|\x28\xb5\x2f\xfd|\xfd7zXZ\0|BZh|.{257}ustar", "this is an archive", _ARCHIVE),
    )
]


def describe(head: bytes) -> tuple[str, str]:
    """Return what a file is and what to do with it, from its first :data:`HEAD` bytes.

    Args:
        head: Not the beginning of a SIF file.
    """
    for form, what, hint in _KINDS:
        if form.match(head):
            return f"{what}, not a SIF file", hint
    return "this is not a SIF file", f"the magic SIF_MAGIC is missing; {_ARCHIVE}"


def describe_name(word: str) -> str:
    """Return what to do with a word that names what images are made of; empty for another word."""
    name = word.rpartition("/")[2].lower()
    if name.endswith((".def", ".recipe")) or name == "singularity" or name.startswith("singularity."):
        return _BUILD
    if "dockerfile" in name or name == "containerfile":
        return _DOCKERFILE
    return ""
