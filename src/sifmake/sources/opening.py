"""Open the source of a URI by its transport; the module of a transport is imported on use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from sifmake.errors import BadReferenceError
from sifmake.reference import split_local
from sifmake.reference.uri import as_uri

if TYPE_CHECKING:
    from sifmake.reference import Uri
    from sifmake.sources.base import SifSource, Source
    from sifmake.sources.settings import SourceSettings


def open_source(uri: Uri | str, settings: SourceSettings) -> Source:
    """Open a source of layers: ``docker://``, ``oci:``, ``oci-archive:``, ``docker-archive:``, ``docker-daemon:``.

    Raises:
        BadReferenceError: The URI is malformed, or names a prebuilt SIF file.
        SourceError: There is nothing at a local path.
    """
    parsed = as_uri(uri)
    if parsed.transport == "docker":
        module = import_module("sifmake.sources.registry_image")
        return cast("Source", module.open_registry_image(parsed.reference, settings))
    if parsed.transport == "docker-daemon":
        module = import_module("sifmake.sources.docker_daemon")
        return cast("Source", module.open_docker_daemon(parsed.rest, settings))
    if parsed.is_sif:
        raise BadReferenceError("this names a prebuilt SIF file, not an image with layers", where=parsed.given)
    module_name, function = _LOCAL[parsed.transport]
    module = import_module(f"sifmake.sources.{module_name}")
    return cast("Source", getattr(module, function)(split_local(parsed.rest), settings))


def open_sif_source(uri: Uri | str, settings: SourceSettings) -> SifSource:
    """Open a source of a prebuilt SIF file: ``oras://``, ``http(s)://`` or a local file.

    Raises:
        BadReferenceError: The URI is malformed, or names an image with layers.
    """
    parsed = as_uri(uri)
    if not parsed.is_sif:
        raise BadReferenceError("this names an image with layers, not a SIF file", where=parsed.given)
    module = import_module(f"sifmake.sources.{_SIF[parsed.transport]}")
    return cast("SifSource", module.open_sif(parsed, settings))


_LOCAL = {
    "oci": ("layout", "open_layout"),
    "oci-archive": ("layout", "open_layout_archive"),
    "docker-archive": ("docker_archive", "open_docker_archive"),
}
_SIF = {"oras": "oras", "http": "http_sif", "https": "http_sif", "file": "local_sif"}
