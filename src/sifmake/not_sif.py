"""Describe files and folders that are not what a command expects, and what to do; imported only to report an error."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote

HEAD = 2048
"""Bytes at the beginning of a file that are enough to recognize its type."""
_ARCHIVE = "if it is an image archive, write docker-archive:FILE or oci-archive:FILE"
_BUILD = "build it: sifmake build OUT.sif FILE"
DOCKERFILE_HINT = "build it first (podman build -t NAME .), then pull docker-daemon:NAME or a saved docker-archive:FILE"
_OLD = "convert it with Apptainer: apptainer build NEW.sif OLD"
_SIF = re.compile(rb".{32}SIF_MAGIC", re.DOTALL)
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
    what, hint = _recognize(head)
    if what:
        return f"{what}, not a SIF file", hint
    return "this is not a SIF file", f"the magic SIF_MAGIC is missing; {_ARCHIVE}"


def _recognize(head: bytes) -> tuple[str, str]:
    """Return what a file that begins so is, other than a SIF file, and what to do with it; empty if unknown."""
    return next(((what, hint) for form, what, hint in _KINDS if form.match(head)), ("", ""))


def describe_other(path: str, head: bytes, wanted: str) -> tuple[str, str]:
    """Return what a file is in place of an image archive or a layout, and what to do with it; empty if unknown.

    Args:
        path: The file as the user named it.
        head: Its first :data:`HEAD` bytes.
        wanted: What was expected, with its article.
    """
    if _SIF.match(head):
        return f"this is a SIF file, not {wanted}", f"write {_as_file(path)}"
    what, hint = _recognize(head)
    return (f"{what}, not {wanted}", hint) if what and hint != _ARCHIVE else ("", "")


def _as_file(path: str) -> str:
    """Return the word that names a SIF file as an image."""
    return quote(path if path.startswith(("/", "./", "../")) else f"./{path}")


def describe_path(word: str) -> str:
    """Return what to write for a file or folder that a word without a transport names; empty if there is none."""
    try:
        if Path(word).is_dir():
            return _advise_layout(word) or f"build the folder: sifmake build OUT.sif {quote(word)}"
        if not Path(word).is_file():  # opening a pipe would wait for its writer
            return ""
        with Path(word).open("rb") as file:
            return _advise_file(word, file.read(HEAD))
    except OSError:
        return ""


def _advise_file(word: str, head: bytes) -> str:
    if _SIF.match(head):
        return f"write {_as_file(word)} for the SIF file"
    hint = _recognize(head)[1]
    if hint == _ARCHIVE:
        return f"write docker-archive:{quote(word)} or oci-archive:{quote(word)} for the archive"
    return _BUILD.replace("FILE", quote(word)) if hint == _BUILD else hint


def advise_folder(path: str) -> str:
    """Return what to write in place of a folder that is not a sandbox."""
    return _advise_layout(path) or "name a SIF file, or a folder that `sifmake build --sandbox` made"


def _advise_layout(path: str) -> str:
    """Return what to write for an OCI layout; empty for other folders."""
    is_layout = any(Path(path, name).is_file() for name in ("oci-layout", "index.json"))
    return f"write oci:{quote(path)} for the OCI layout" if is_layout else ""


def describe_name(word: str) -> str:
    """Return what to do if a word names a definition file or a Dockerfile; empty for other words."""
    name = word.rpartition("/")[2].lower()
    if name.endswith((".def", ".recipe")) or name == "singularity" or name.startswith("singularity."):
        return _BUILD
    if "dockerfile" in name or name == "containerfile":
        return DOCKERFILE_HINT
    return ""
