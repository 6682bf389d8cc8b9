"""Upload packs of the store to a repository, each with a signed statement if a key is set."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sifmake.layers.pack_proof import prove_pack
from sifmake.layers.pack_reader import load_pack
from sifmake.oci.digest import digest_bytes
from sifmake.oci.model import Descriptor
from sifmake.remote.pack_manifest import is_tag
from sifmake.remote.pack_uploads import PackUploads
from sifmake.store.naming import PACKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sifmake.layers.pack_reader import Pack
    from sifmake.remote.settings import RemoteSettings
    from sifmake.sources.settings import SourceSettings
    from sifmake.store import Store

_SHOWN = 12


@dataclass(frozen=True)
class Pushed:
    """What was pushed.

    Attributes:
        uploaded: Keys of packs that the registry lacked.
        known: How many it had.
        left_out: Keys of packs that nobody could check, because they neither contain a residue nor are signed.
    """

    uploaded: tuple[str, ...]
    known: int
    left_out: tuple[str, ...]


def push_packs(
    keys: Iterable[str],
    store: Store,
    remote: RemoteSettings,
    settings: SourceSettings,
    ask: Callable[[str], str] | None = None,
) -> Pushed:
    """Upload packs.

    Args:
        keys: Their keys.
        store: The store that has them.
        remote: The registry, and the key that signs.
        settings: Registries, credentials, limits; gets progress.
        ask: Asks for a passphrase; None if there is nobody to ask.

    Raises:
        RegistryError: The registry refuses one; those before it are there.
        PackDamagedError: A pack is damaged.
        KeyFileError: The key that signs cannot be used.
    """
    uploads = PackUploads(remote, settings)
    results: dict[str, list[str]] = {"uploaded": [], "known": [], "left out": []}
    try:
        for key in keys:
            found = store.packs.open(key)
            if found is not None:
                with load_pack(found.path, found.fd, key) as pack:
                    results[_push(pack, uploads, remote, settings, ask)].append(key)
    finally:
        uploads.close()
    return Pushed(tuple(results["uploaded"]), len(results["known"]), tuple(results["left out"]))


def push_documents(
    kind: str, documents: Mapping[str, bytes], remote: RemoteSettings, settings: SourceSettings
) -> list[str]:
    """Upload small files of a store; return the keys of those that the registry lacked.

    Args:
        kind: Their folder in a store: of notes on steps, or of blobs for lists of files.
        documents: The files by their keys, of blobs by their digests.
        remote: The registry.
        settings: Registries, credentials, limits.

    Raises:
        RegistryError: The registry refuses one; those before it are there.
    """
    uploads = PackUploads(remote, settings)
    try:
        return [
            key
            for key, data in documents.items()
            if uploads.put(kind, key, io.BytesIO(data), Descriptor("", digest_bytes(data), len(data)))
        ]
    finally:
        uploads.close()


def _push(
    pack: Pack,
    uploads: PackUploads,
    remote: RemoteSettings,
    settings: SourceSettings,
    ask: Callable[[str], str] | None,
) -> str:
    """Upload one pack; return ``uploaded``, ``known`` or ``left out``."""
    key = pack.key
    if not is_tag(key) or not (pack.has_residue or remote.sign_key):
        return "left out"
    with os.fdopen(os.dup(pack.fd), "rb") as file:
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        blob = Descriptor("", f"sha256:{sha256}", file.tell())
        statement = b""
        if remote.sign_key:
            from sifmake.remote.pack_statement import sign_pack
            from sifmake.signing import Passphrase

            if pack.has_residue:
                prove_pack(pack, settings.limits)  # a signature is for what is right, not for what lies in the store
            statement = sign_pack(key, sha256, remote.sign_key, Passphrase(ask=ask))
        task = settings.progress.task(key[:_SHOWN], blob.size)
        new = uploads.put(PACKS, key, file, blob, statement)
    task.finish("pushed" if new else "known")
    return "uploaded" if new else "known"
