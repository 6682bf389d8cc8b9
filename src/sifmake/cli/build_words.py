"""The words of ``apptainer build`` and ``singularity build`` that have nothing to do here, or are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.errors import UsageError
from sifmake.files import read_regular

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

_IDLE = {
    "-f --fakeroot": "anyone can build",
    "--fix-perms": "files keep their modes",
    "--userns": "sifmake chooses how %post becomes root",
    "--ignore-subuid": "sifmake chooses how %post becomes root",
    "--ignore-fakeroot-command": "sifmake chooses how %post becomes root",
    "--ignore-proot": "sifmake chooses how %post becomes root",
    "--ignore-userns": "sifmake chooses how %post becomes root",
    "--no-setgroups": "groups come from the image",
    "--reproducible": "every SIF file is reproducible, to the byte",
}
_REFUSED = {
    "-u --update": "name a new target, or use --sandbox --force",
    "-e --encrypt": "sifmake does not build encrypted images",
    "--passphrase": "sifmake does not build encrypted images",
    "--remote": "sifmake builds on this machine",
    "-d --detached": "sifmake builds on this machine",
    "--nv": "%post has no GPU; use `sifmake exec --nv` with the finished image",
    "--nvccli": "%post has no GPU; use `sifmake exec --nv` with the finished image",
    "--rocm": "%post has no GPU; use `sifmake exec --rocm` with the finished image",
    "--writable-tmpfs": "%test runs in the read-only image",
    "--oci": "sifmake writes SIF files with one root file system",
    "--keep-layers": "sifmake writes SIF files with one root file system",
    "--data": "sifmake does not build data containers",
    "--compat32": "sifmake builds for 64-bit machines only",
}
_REFUSED_WITH_VALUE = {
    "--pem-path": "sifmake does not build encrypted images",
    "--builder": "sifmake builds on this machine",
    "--library": "sifmake does not support library:// images",
    "--mount": "use --bind SRC:DEST",
    "--mksquashfs-args": "sifmake writes squashfs itself; see --compression",
    "--buildkit-host": "build Dockerfiles with podman or docker, then use docker-daemon:NAME",
}

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_LARGEST_SECRET = 500 << 10
"""Largest secret in bytes, as in BuildKit."""


def add_build_words(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("options that apptainer and singularity have too")
    group.add_argument(
        "--disable-cache", action="store_true", help="no effect; set SIFMAKE_CACHE=DIR to use another store"
    )
    for words, why in _IDLE.items():
        group.add_argument(*words.split(), action="store_true", help=f"no effect: {_safe(why)}")
    for words, why in _REFUSED.items():
        group.add_argument(*words.split(), action="store_true", help=f"refused: {_safe(why)}")
    for words, why in _REFUSED_WITH_VALUE.items():
        group.add_argument(*words.split(), metavar="TEXT", help=f"refused: {_safe(why)}")


def refuse_foreign(args: argparse.Namespace) -> None:
    """Raise UsageError for an option that is refused."""
    for words, why in (_REFUSED | _REFUSED_WITH_VALUE).items():
        option = words.split()[-1]
        if getattr(args, option.lstrip("-").replace("-", "_")):
            raise UsageError(f"{option} is not supported", hint=why)


def as_secrets(texts: list[str], environ: Mapping[str, str]) -> dict[str, bytes]:
    """Return the values of secrets by id.

    Args:
        texts: ``id=NAME,src=FILE`` or ``id=NAME,env=VAR``.
        environ: The environment variables.

    Raises:
        UsageError: One is not of that form, or its variable or file does not exist.
    """
    return dict(_secret(text, environ) for text in texts)


def _secret(text: str, environ: Mapping[str, str]) -> tuple[str, bytes]:
    parts = dict(part.partition("=")[::2] for part in text.split(","))
    name, source, variable = parts.pop("id", ""), parts.pop("src", ""), parts.pop("env", "")
    if parts or not name or bool(source) == bool(variable) or not _NAME.fullmatch(name):
        raise UsageError(f"{text!r} is not a valid secret", hint="write --secret id=NAME,src=FILE or id=NAME,env=VAR")
    if variable:
        if variable not in environ:
            raise UsageError("this variable is not set", where=variable, hint=f"set it to the secret {name}")
        return name, environ[variable].encode("utf-8", "surrogateescape")
    try:
        data = read_regular(Path(source), _LARGEST_SECRET + 1)
    except FileNotFoundError:
        raise UsageError("there is no such file", where=source, hint=f"name the file of the secret {name}") from None
    if len(data) > _LARGEST_SECRET:
        raise UsageError(f"a secret has more than {_LARGEST_SECRET} bytes (a limit)", where=source)
    return name, data


def _safe(text: str) -> str:
    return text.replace("%", "%%")
