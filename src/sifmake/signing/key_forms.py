"""Recognize files with a key in an unsupported format, or without a key, and say how to convert them.

The hints use commands of openssl, ssh-keygen, puttygen and gpg, and say what these cannot convert.
"""

from __future__ import annotations

import base64
import re
import shlex
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError
from sifmake.limits import KIB

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = "use RSA with 2048 bits or more, ECDSA P-256, P-384, P-521 or Ed25519"
_NEW_KEY = "run `sifmake key newpair` to make a new key"
_LARGEST_PEM = 64 * KIB
"""Bytes; an RSA key of 16,384 bits takes 13,000. The PEM reader of the library takes 90 bytes of memory for each."""
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)(PRIVATE|PUBLIC) KEY-----([^-]*)")
_RSA_PSS = bytes.fromhex("06092a864886f70d01010a")
_WRITTEN_OUT_CURVE = bytes.fromhex("06072a8648ce3d0101")
_BASE64_LINES = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]*)")
_PKCS12_VERSION = b"\x02\x01\x03"


def foreign_form(data: bytes, where: str) -> KeyFileError | None:
    """Return the error that says what a file is and how to convert it; None if it has none of the known formats.

    Args:
        data: The file.
        where: Its path, for the message and the command in it.
    """
    file = shlex.quote(where)
    for pattern, what, hint in _FORMS:
        if re.search(pattern, data):
            text = hint if isinstance(hint, str) else hint(data)
            return KeyFileError(what, where=where, hint=text.format(file=file))
    return None


def check_blocks(data: bytes, half: str, where: str) -> None:
    """Check that a PEM file has one key of a usual size, in a form that all programs read.

    Args:
        data: The file.
        half: ``PRIVATE`` or ``PUBLIC``: the blocks to count.
        where: Its path, for messages.

    Raises:
        KeyFileError: It is too large, there are several keys, of which only the first would be used, or Apptainer and
            SingularityCE cannot use the key.
    """
    if len(data) > _LARGEST_PEM:
        what = f"the file has {len(data)} bytes, and a key in PEM form has at most {_LARGEST_PEM} (a limit)"
        raise KeyFileError(what, where=where, hint="put the key alone into a file")
    blocks = [found for found in _BLOCK.finditer(data) if found[2] == half.encode()]
    if len(blocks) > 1:
        what = f"the file has {len(blocks)} {half.lower()} keys"
        raise KeyFileError(what, where=where, hint="put each key into a separate file")
    for found in blocks:
        raw = _decoded(found[3])
        if _RSA_PSS in raw:
            what = "the RSA key is for PSS only, which Apptainer and SingularityCE cannot use"
            raise KeyFileError(what, where=where, hint=f"make a key without RSA-PSS, or {_NEW_KEY}")
        if _WRITTEN_OUT_CURVE in raw:
            what = "the curve is written out instead of named, which Apptainer and SingularityCE cannot read"
            hint = f"run `openssl ec -param_enc named_curve -in {shlex.quote(where)}` (-pubin for a public key)"
            raise KeyFileError(what, where=where, hint=hint)


def _decoded(text: bytes) -> bytes:
    """Return the decoded part of a base64 text, up to the first damage."""
    letters = re.sub(rb"[^A-Za-z0-9+/]", b"", text)
    return base64.b64decode(letters[: len(letters) // 4 * 4])


def _openssh_public(data: bytes) -> str:
    if data.lstrip().startswith((b"ssh-rsa ", b"ecdsa-sha2-")):
        return "convert it to PEM: ssh-keygen -e -m PKCS8 -f {file} > key.pub.pem"
    return f"ssh-keygen cannot convert such a key to PEM; {_NEW_KEY}"


def _openssh_private(data: bytes) -> str:
    found = _BASE64_LINES.search(data)
    raw = _decoded(found[1]) if found else b""
    if any(kind in raw for kind in (b"ssh-rsa", b"ecdsa-sha2-")):
        return "convert a copy to PEM: cp -p {file} key.pem && ssh-keygen -p -m PKCS8 -f key.pem"
    return f"ssh-keygen cannot convert such a key to PEM; {_NEW_KEY}"


def _der(data: bytes) -> str:
    if _PKCS12_VERSION in data[2:8]:
        return "extract the private key: openssl pkcs12 -nocerts -in {file} | openssl pkcs8 -topk8 -out key.pem"
    return "convert it to PEM: openssl pkey -inform DER -in {file} (-pubin for a public key)"


_FORMS: tuple[tuple[bytes, str, str | Callable[[bytes], str]], ...] = (
    (rb"-----BEGIN OPENSSH PRIVATE KEY-----", "this is an OpenSSH private key", _openssh_private),
    (rb"\A\s*(ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ +AAAA", "this is an OpenSSH public key", _openssh_public),
    (
        rb"---- BEGIN SSH2 PUBLIC KEY ----",
        "this is an SSH2 public key",
        "convert it to PEM: ssh-keygen -i -f {file} > key.pub && ssh-keygen -e -m PKCS8 -f key.pub > key.pub.pem",
    ),
    (
        rb"\APuTTY-User-Key-File-",
        "this is a PuTTY private key",
        "convert an RSA or ECDSA key to PEM: puttygen {file} -O private-openssh -o key.pem",
    ),
    (
        rb"-----BEGIN (NEW )?CERTIFICATE REQUEST-----",
        "this is a certificate request",
        "extract the public key: openssl req -noout -pubkey -in {file} > key.pub.pem",
    ),
    (
        rb"-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----",
        "this is a certificate",
        "extract the public key: openssl x509 -noout -pubkey -in {file} > key.pub.pem",
    ),
    (
        rb"-----BEGIN PKCS7-----",
        "this is a bundle of certificates",
        "extract the first key: openssl pkcs7 -print_certs -in {file} | openssl x509 -noout -pubkey > key.pub.pem",
    ),
    (
        rb"-----BEGIN (ENCRYPTED )?(COSIGN|SIGSTORE) PRIVATE KEY-----",
        "cosign's key encryption is not supported",
        f"use a PKCS#8 key; {_NEW_KEY}",
    ),
    (
        rb"(?s)\A.{8}KBXf",
        "this is gpg's keyring",
        "export a public key: gpg --armor --export FINGERPRINT > key.asc; use a secret one with `sifmake sign --gpg`",
    ),
    (rb"\A\x30(?:[\x81-\x84]|[\x20-\x7f](?:\x02\x01|\x30))", "this is a key in binary form (DER)", _der),
)
