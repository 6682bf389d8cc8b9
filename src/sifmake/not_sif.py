"""Describe a file that is not a SIF file, and what to do with it; imported only to report an error."""

from __future__ import annotations

import re

HEAD = 2048
"""Bytes at the beginning of a file that are enough to recognize its type."""
_ARCHIVE = "if it is an image archive, write docker-archive:FILE or oci-archive:FILE"
_BUILD = "build it: sifmake build OUT.sif FILE"
DOCKERFILE_HINT = "build it first (podman build -t NAME .), then pull docker-daemon:NAME or a saved docker-archive:FILE"
_OLD = "convert it with Apptainer: apptainer build NEW.sif OLD"
_COMMENTS = rb"(?:\s|#[^\n]*\n)*"
_KINDS = [
    (re.compile(form, re.IGNORECASE | re.DOTALL), what, hint)
    for form, what, hint in (
        (rb"\Z", "the file is empty", "download it again"),
        (rb"version https://git-lfs", "this is a Git LFS pointer", "run `git lfs pull` in its repository"),
        (rb"\s*<", "this is a web page", "check the address, and whether it needs a login"),
        (_COMMENTS + rb"bootstrap\s*:", "this is a definition file", _BUILD),
        (_COMMENTS + rb"(from|arg)[ \t]+\S", "this is a Dockerfile", DOCKERFILE_HINT),
        (rb"(#![^\n]*\n\0*)?hsqs", "this is a squashfs image made by Singularity 2", _OLD),
        (rb"#!/usr/bin/env run-singularity|.{1080}\x53\xef", "this is a Singularity 2 image", _OLD),
        (rb"\x1f\x8b|\x28\xb5\x2f\xfd|\xfd7zXZ\0|BZh|.{257}ustar", "this is an archive", _ARCHIVE),
    )
]


def describe(head: bytes) -> tuple[str, str]:
    """Return what a file is and what to do with it.

    Args:
        head: The first :data:`HEAD` bytes of a file that is not a SIF file.
    """
    for form, what, hint in _KINDS:
        if form.match(head):
            return f"{what}, not a SIF file", hint
    return "this is not a SIF file", f"the magic SIF_MAGIC is missing; {_ARCHIVE}"


def describe_name(word: str) -> str:
    """Return what to do if a word names a definition file or a Dockerfile; empty for other words."""
    name = word.rpartition("/")[2].lower()
    if name.endswith((".def", ".recipe")) or name == "singularity" or name.startswith("singularity."):
        return _BUILD
    if "dockerfile" in name or name == "containerfile":
        return DOCKERFILE_HINT
    return ""
