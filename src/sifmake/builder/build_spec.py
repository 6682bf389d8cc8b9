"""The last argument of ``sifmake build``: what to build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.builder.build_bases import BUNDLE, LOCAL
from sifmake.definition.model import Base, BuildStage, Definition, as_bytes
from sifmake.errors import UsageError, one_line
from sifmake.reference import Uri, parse_uri
from sifmake.reference.uri import FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.limits import Limits

_BUNDLE_PREFIX = f"{BUNDLE}:"
_HEAD = 512
_SIF_MAGIC, _SIF_AT = b"SIF_MAGIC", 32
_TAR_MAGIC, _TAR_AT = b"ustar", 257
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh", b"\x04\x22\x4d\x18")


@dataclass(frozen=True)
class BuildSpec:
    """What to build.

    Attributes:
        definition: The definition; for an image, one that only names it.
        image: The image, if a pull gives the same file; else None.
    """

    definition: Definition
    image: Uri | None = None


def read_spec(word: str, arguments: Mapping[str, str], limits: Limits) -> BuildSpec:
    """Return what a word stands for: a definition file, URI, SIF file, folder, tar archive or bundle.

    Args:
        word: The word as typed.
        arguments: Values of build arguments.
        limits: Bounds on a definition file.

    Raises:
        UsageError: The file does not exist, or the word is empty: that is not the current folder.
        BadReferenceError: It is neither a path nor an image URI.
        DefinitionError: The definition file cannot be understood.
    """
    if not word:
        raise UsageError(
            "the source to build from is empty", hint="set the variable in your script that should name it"
        )
    if word.startswith(_BUNDLE_PREFIX):
        return BuildSpec(_bare(word, BUNDLE, word.removeprefix(_BUNDLE_PREFIX)))
    path = Path(word)
    if path.is_dir():
        return BuildSpec(_bare(word, LOCAL, word))
    if not path.exists():
        return _of_uri(word)
    head = _head(path)
    if head[_SIF_AT:].startswith(_SIF_MAGIC):
        return BuildSpec(_bare(word, LOCAL, word), Uri(FILE, str(path.absolute()), word))
    if head.startswith((b"hsqs", *_COMPRESSED)) or head[_TAR_AT:].startswith(_TAR_MAGIC):
        return BuildSpec(_bare(word, LOCAL, word))
    from sifmake.definition import load_definition

    return BuildSpec(load_definition(path, arguments, limits))


def _of_uri(word: str) -> BuildSpec:
    if ":" not in word:
        hint = "name a definition file, a folder, an archive or an image such as docker://alpine:3.20"
        raise UsageError("the file or folder does not exist", where=word, hint=hint)
    uri = parse_uri(word)
    agent = LOCAL if uri.transport == FILE else uri.transport
    return BuildSpec(_bare(word, agent, uri.rest), uri)


def _head(path: Path) -> bytes:
    from sifmake.files import read_regular

    return read_regular(path, _HEAD)


def _bare(word: str, agent: str, reference: str) -> Definition:
    """Return a definition that only names a base; for a local file, without its folder."""
    shown = reference if agent not in (LOCAL, BUNDLE) else Path(reference).absolute().name
    header = {"bootstrap": agent, "from": one_line(shown)}
    stage = BuildStage("", Base(agent, reference), header, {}, (), (), 1)
    text = "".join(f"{key}: {value}\n" for key, value in header.items()) + "\n"
    return Definition(word, (stage,), as_bytes(text))
