"""Small SIF files and keys for the tests of signatures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.sif import PARTITION_ALIGNMENT, DataType, FsType, NewObject, PartType, partition_extra, plan
from sifmake.signing import Passphrase, TrustStore, load_signer, sign_file

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_PASSPHRASE = Passphrase(Path("/dev/null"))


def write_sif(path: Path, *, groups: Mapping[int, int] | None = None, **options) -> Path:
    """Write an unsigned SIF: in each group a definition and that many more objects; group 1 ends with a partition."""
    items, data = [], []
    for group, more in (groups or {1: 1}).items():
        items.append(NewObject(DataType.DEFINITION, 17, group=group))
        data.append(b"bootstrap: docker")
        for number in range(more):
            text = b'{"number":%d}' % number
            items.append(NewObject(DataType.GENERIC_JSON, len(text), name="data.json", group=group))
            data.append(text)
    extra = partition_extra(FsType.SQUASHFS, PartType.PRIMARY_SYSTEM, "amd64")
    items.append(NewObject(DataType.PARTITION, 8192, alignment=PARTITION_ALIGNMENT, extra=extra))
    data.append(b"hsqs" * 2048)
    layout = plan(items, arch="amd64", **options)
    content = bytearray(layout.size)
    content[: len(layout.head)] = layout.head
    for offset, piece in zip(layout.offsets, data, strict=True):
        content[offset : offset + len(piece)] = piece
    path.write_bytes(content)
    return path


@dataclass(frozen=True)
class KeyPair:
    """A private key and its public half, as files."""

    secret: Path
    public: Path

    @property
    def signer(self):
        return load_signer(str(self.secret), NO_PASSPHRASE)

    @property
    def trust(self) -> TrustStore:
        return TrustStore.load([self.public])


def pem_pair(folder: Path, kind: str = "ed25519") -> KeyPair:
    """Make a PEM key pair: "ed25519", "rsa" or the name of a curve."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    from sifmake.signing.pem import private_bytes, public_bytes

    makers = {
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "secp256r1": lambda: ec.generate_private_key(ec.SECP256R1()),
        "secp384r1": lambda: ec.generate_private_key(ec.SECP384R1()),
        "secp521r1": lambda: ec.generate_private_key(ec.SECP521R1()),
    }
    key = makers[kind]()
    pair = KeyPair(folder / f"{kind}.pem", folder / f"{kind}.pub.pem")
    pair.secret.write_bytes(private_bytes(key))
    pair.public.write_bytes(public_bytes(key.public_key()))
    return pair


def pgp_pair(folder: Path, name: str = "Ann <ann@example.org>", **options) -> KeyPair:
    """Make an OpenPGP key with a certify-only primary and a signing subkey."""
    import pysequoia

    key = pysequoia.Tsk.generate(name, **options)
    pair = KeyPair(folder / "pgp.sec.asc", folder / "pgp.asc")
    pair.secret.write_text(str(key))
    pair.public.write_text(str(key.extract_certificate()))
    return pair


def signed(path: Path, pair: KeyPair, **options) -> Path:
    """Sign a file in place and return it."""
    sign_file(path, path, pair.signer, **options)
    return path
