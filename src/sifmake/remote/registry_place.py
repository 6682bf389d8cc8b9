"""Packs in one repository of a registry: each is an artifact whose tag is the pack's key."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from sifmake.errors import IntegrityError, LimitError
from sifmake.registry.client import RegistryClient
from sifmake.registry.error_responses import NotFoundError
from sifmake.remote.pack_manifest import is_tag, name_of, read_manifest
from sifmake.remote.place import Body, Offer, check_size, place_settings
from sifmake.sources.registry_image import client_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sifmake.oci.model import Descriptor
    from sifmake.remote.settings import RemoteSettings
    from sifmake.sources.settings import SourceSettings


class RegistryPlace:
    """A repository with packs."""

    def __init__(self, remote: RemoteSettings, settings: SourceSettings) -> None:
        """Set up; no request is made yet."""
        self._settings = place_settings(settings)
        self._client = RegistryClient(remote.repository, client_settings(self._settings))
        self._listing = threading.Lock()
        self._listed: list[str] | None = None

    def find(self, kind: str, key: str) -> Offer | None:
        """Return a file by its tag."""
        artifact_type, tag = name_of(kind, key)
        if not is_tag(tag):
            return None
        try:
            data, _ = self._client.manifest(tag)
        except NotFoundError:
            return None
        except LimitError as error:
            error.hint = "raise remote-document-bytes (limits: in sifmake.yaml) if it is yours"
            raise
        found = read_manifest(data, artifact_type)
        return Offer(partial(self._open, found.pack), partial(self._statement, found.statement))

    def list_keys(self) -> list[str]:
        """Return the tags of everything that is there; the registry is asked once."""
        with self._listing:
            if self._listed is None:
                limit = self._settings.limits.remote_listing_bytes
                self._listed = self._client.upkeep(limit).tags()
            return self._listed

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    @contextmanager
    def _open(self, blob: Descriptor, most: int) -> Iterator[Body]:
        check_size(blob.size, most)
        try:
            with self._client.open_blob(blob) as reader:
                yield Body(blob.size, reader.read)
        except NotFoundError as error:
            raise IntegrityError("a manifest names a blob that is not there", where=error.where) from None

    def _statement(self, blob: Descriptor | None) -> bytes:
        if blob is None:
            raise NotFoundError("there is no signed statement about it")
        return self._client.blob(blob, self._settings.limits.remote_document_bytes)
