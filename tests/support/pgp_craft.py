"""OpenPGP keys, certificates and signatures made byte by byte (RFC 9580), as no program makes them.

Keys are Ed25519 of version 4; the signatures are real ones, so that only what is said about them is forged.
"""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sifmake.sif import DataType, NewObject, group_link, open_sif, signature_extra
from sifmake.sif.append import Addition, append_objects, open_for_append
from sifmake.signing import metadata
from sifmake.signing.hashing import ObjectHashes
from support.signing import write_sif

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LONG_AGO = 1_600_000_000
OLD = 1_650_000_000
"""When signatures are made that a retired or expired key could still make."""
HASHES = {2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512"}
_CURVE = bytes.fromhex("092b06010401da470f01")


def packet(tag: int, body: bytes) -> bytes:
    """Return a packet with a five-byte length."""
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4) + body


def subpacket(kind: int, data: bytes) -> bytes:
    """Return a subpacket with a one-byte length."""
    assert len(data) < 191
    return bytes([len(data) + 1, kind]) + data


def created(seconds: float) -> bytes:
    """Return the subpacket that says when a signature was made."""
    return subpacket(2, int(seconds).to_bytes(4))


def _integer(data: bytes) -> bytes:
    value = int.from_bytes(data)
    return value.bit_length().to_bytes(2) + value.to_bytes((value.bit_length() + 7) // 8)


@dataclass(frozen=True)
class CraftedKey:
    """A primary key or subkey."""

    secret: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def body(self) -> bytes:
        raw = self.secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return bytes([4]) + LONG_AGO.to_bytes(4) + bytes([22]) + _CURVE + _integer(b"\x40" + raw)

    @property
    def hashed(self) -> bytes:
        return b"\x99" + len(self.body).to_bytes(2) + self.body

    @property
    def fingerprint(self) -> bytes:
        return hashlib.sha1(self.hashed, usedforsecurity=False).digest()

    @property
    def name(self) -> str:
        return self.fingerprint.hex().upper()

    @property
    def whole(self) -> bytes:
        """The subpacket with the fingerprint."""
        return subpacket(33, b"\4" + self.fingerprint)

    @property
    def short(self) -> bytes:
        """The subpacket with the key ID."""
        return subpacket(16, self.fingerprint[-8:])

    def sign(
        self,
        data: bytes,
        hashed: bytes,
        unhashed: bytes = b"",
        *,
        kind: int = 1,
        hash_number: int = 8,
        version: int = 4,
    ) -> bytes:
        """Return the body of a signature packet over data that is ready to be hashed."""
        head = bytes([version, kind, 22, hash_number]) + len(hashed).to_bytes(2) + hashed
        trailer = bytes([4, 255]) + len(head).to_bytes(4)
        digest = hashlib.new(HASHES.get(hash_number, "sha256"), data + head + trailer).digest()
        value = self.secret.sign(digest)
        rest = len(unhashed).to_bytes(2) + unhashed + digest[:2]
        return head + rest + _integer(value[:32]) + _integer(value[32:])

    def sign_text(self, text: bytes, hashed: bytes | None = None, unhashed: bytes | None = None, **how: int) -> bytes:
        """Return the signature of a text; without more it names this key as gpg does."""
        hashed = created(time.time() - 5) + self.whole if hashed is None else hashed
        return self.sign(text, hashed, self.short if unhashed is None else unhashed, **how)


@dataclass(frozen=True)
class Subkey:
    """A signing subkey, and what its certificate says about it.

    Attributes:
        key: The key.
        valid_for: Seconds; 0 for ever.
        retired: When it was revoked because it is no longer used; 0 for never.
    """

    key: CraftedKey
    valid_for: int = 0
    retired: int = 0


def certificate(
    primary: CraftedKey, user: str, subkeys: Sequence[Subkey] = (), *, valid_for: int = 0, revoked: bool = False
) -> bytes:
    """Return a certificate in binary form."""
    limits = subpacket(9, valid_for.to_bytes(4)) if valid_for else b""
    uid = user.encode()
    claims = created(LONG_AGO) + subpacket(27, b"\3") + primary.whole + limits
    bound = primary.hashed + b"\xb4" + len(uid).to_bytes(4) + uid
    out = packet(6, primary.body)
    if revoked:
        reason = created(time.time() - 60) + subpacket(29, b"\2stolen") + primary.whole
        out += packet(2, primary.sign(primary.hashed, reason, primary.short, kind=0x20))
    out += packet(13, uid) + packet(2, primary.sign(bound, claims, primary.short, kind=0x13))
    return out + b"".join(_bound(primary, subkey) for subkey in subkeys)


def _bound(primary: CraftedKey, subkey: Subkey) -> bytes:
    key, data = subkey.key, primary.hashed + subkey.key.hashed
    back = key.sign(data, created(LONG_AGO), key.short, kind=0x19)
    limits = subpacket(9, subkey.valid_for.to_bytes(4)) if subkey.valid_for else b""
    claims = created(LONG_AGO) + subpacket(27, b"\2") + primary.whole + limits
    out = packet(14, key.body) + packet(2, primary.sign(data, claims, primary.short + subpacket(32, back), kind=0x18))
    if subkey.retired:
        claims = created(subkey.retired) + subpacket(29, b"\3retired") + primary.whole
        out += packet(2, primary.sign(data, claims, primary.short, kind=0x28))
    return out


def clear_signed(text: bytes, *packets: bytes, hash_name: bytes = b"SHA256") -> bytes:
    """Return a clear-signed text with some packets in its armor."""
    encoded = base64.b64encode(b"".join(packets))
    lines = b"\n".join(encoded[at : at + 64] for at in range(0, len(encoded), 64))
    head = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: " + hash_name + b"\n\n" + text
    return head + b"\n-----BEGIN PGP SIGNATURE-----\n\n" + lines + b"\n-----END PGP SIGNATURE-----"


def crafted_sif(path: Path, named: CraftedKey, make: Callable[[bytes], bytes]) -> Path:
    """Write a small SIF file with a signature object.

    Args:
        path: The file.
        named: The key that the descriptor names.
        make: Returns the data of the signature object for the text to sign.
    """
    write_sif(path)
    with open_sif(path) as sif:
        hashes, objects = ObjectHashes(sif), sif.find(group=1)
        digests = {item.id: hashes.digest(item, "sha256") for item in objects}
        data = make(metadata.build(sif.header, objects, 1, digests).encode())
    extra = signature_extra(1, named.fingerprint)
    item = NewObject(DataType.SIGNATURE, len(data), group=0, link=group_link(1), extra=extra)
    with open_for_append(path, path) as sif:
        append_objects(sif, [Addition(item, data)])
    return path
