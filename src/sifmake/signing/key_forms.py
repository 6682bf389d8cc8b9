"""Files that hold a key in a form that is not read, or no key at all: what each is, and what turns it into one.

The commands are those of openssl, ssh-keygen, puttygen and gpg themselves; what they cannot convert is said, too.
"""

from __future__ import annotations

import base64
import re
import shlex
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = "RSA of 2048 bits or more, ECDSA P-256, P-384, P-521 and Ed25519 work"
_NEW_KEY = "sifmake key newpair makes one that works"
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)(PRIVATE|PUBLIC) KEY-----([^-]*)")
_RSA_PSS = bytes.fromhex("06092a864886f70d01010a")
_WRITTEN_OUT_CURVE = bytes.fromhex("06072a8648ce3d0101")
_BASE64_LINES = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----([A-Za-z0-9+/=\s]*)")
_PKCS12_VERSION = b"\x02\x01\x03"


def foreign_form(data: bytes, where: str) -> KeyFileError | None:
    """Return the error that says what a file is and how to convert it; None where it is none of the known forms.

    Args:
        data: The file.
        where: Its path, for the message and for the command that it names.
    """
    file = shlex.quote(where)
    for pattern, what, hint in _FORMS:
        if re.search(pattern, data):
            text = hint if isinstance(hint, str) else hint(data)
            return KeyFileError(what, where=where, hint=text.format(file=file))
    return None


def check_blocks(data: bytes, half: str, where: str) -> None:
    """Check that a PEM file holds one key, and none of the forms that only some programs read.

    Args:
        data: The file.
        half: ``PRIVATE`` or ``PUBLIC``: which blocks count.
        where: Its path, for messages.

    Raises:
        KeyFileError: There are several, of which all but the first would be passed over, or Apptainer and
            SingularityCE could not use the key.
    """
    blocks = [found for found in _BLOCK.finditer(data) if found[2] == half.encode()]
    if len(blocks) > 1:
        what = f"holds {len(blocks)} {half.lower()} keys"
        raise KeyFileError(what, where=where, hint="keep each in a file of its own")
    for found in blocks:
        raw = _decoded(found[3])
        if _RSA_PSS in raw:
            what = "an RSA key for PSS alone, which Apptainer and SingularityCE cannot use"
            raise KeyFileError(what, where=where, hint=f"make it without RSA-PSS, or {_NEW_KEY}")
        if _WRITTEN_OUT_CURVE in raw:
            what = "the curve is written out instead of named, which Apptainer and SingularityCE cannot read"
            hint = f"openssl ec -param_enc named_curve -in {shlex.quote(where)} names it (-pubin for a public key)"
            raise KeyFileError(what, where=where, hint=hint)


def _decoded(text: bytes) -> bytes:
    """Return what base64 text holds, as far as it is whole."""
    letters = re.sub(rb"[^A-Za-z0-9+/]", b"", text)
    return base64.b64decode(letters[: len(letters) // 4 * 4])


def _openssh_public(data: bytes) -> str:
    if data.lstrip().startswith((b"ssh-rsa ", b"ecdsa-sha2-")):
        return "ssh-keygen -e -m PKCS8 -f {file} > key.pub.pem makes it PEM"
    return f"ssh-keygen cannot make such a key PEM; {_NEW_KEY}"


def _openssh_private(data: bytes) -> str:
    found = _BASE64_LINES.search(data)
    raw = _decoded(found[1]) if found else b""
    if any(kind in raw for kind in (b"ssh-rsa", b"ecdsa-sha2-")):
        return "cp -p {file} key.pem, then ssh-keygen -p -m PKCS8 -f key.pem makes it PEM"
    return f"ssh-keygen cannot make such a key PEM; {_NEW_KEY}"


def _der(data: bytes) -> str:
    if _PKCS12_VERSION in data[2:8]:
        return "openssl pkcs12 -nocerts -in {file} | openssl pkcs8 -topk8 -out key.pem takes the private key out"
    return "openssl pkey -inform DER -in {file} makes a private key PEM; with -pubin a public one"


_FORMS: tuple[tuple[bytes, str, str | Callable[[bytes], str]], ...] = (
    (rb"-----BEGIN OPENSSH PRIVATE KEY-----", "this is an OpenSSH private key", _openssh_private),
    (rb"\A\s*(ssh|ecdsa|sk-ssh|sk-ecdsa)-\S+ +AAAA", "this is an OpenSSH public key", _openssh_public),
    (
        rb"---- BEGIN SSH2 PUBLIC KEY ----",
        "this is an SSH2 public key",
        "ssh-keygen -i -f {file} > key.pub, then ssh-keygen -e -m PKCS8 -f key.pub > key.pub.pem makes it PEM",
    ),
    (
        rb"\APuTTY-User-Key-File-",
        "this is a PuTTY private key",
        "puttygen {file} -O private-openssh -o key.pem makes an RSA or ECDSA key PEM",
    ),
    (
        rb"-----BEGIN (NEW )?CERTIFICATE REQUEST-----",
        "this is a certificate request",
        "openssl req -noout -pubkey -in {file} > key.pub.pem takes the public key out",
    ),
    (
        rb"-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----",
        "this is a certificate",
        "openssl x509 -noout -pubkey -in {file} > key.pub.pem takes the public key out",
    ),
    (
        rb"-----BEGIN PKCS7-----",
        "this is a bundle of certificates",
        "openssl pkcs7 -print_certs -in {file} | openssl x509 -noout -pubkey > key.pub.pem takes the first key out",
    ),
    (
        rb"-----BEGIN (ENCRYPTED )?(COSIGN|SIGSTORE) PRIVATE KEY-----",
        "cosign's own key encryption is not read",
        f"use a PKCS#8 key; {_NEW_KEY}",
    ),
    (
        rb"(?s)\A.{8}KBXf",
        "this is gpg's keyring",
        "gpg --armor --export FINGERPRINT > key.asc writes a public key, sifmake sign --gpg uses a secret one",
    ),
    (rb"\A\x30(?:[\x81-\x84]|[\x20-\x7f](?:\x02\x01|\x30))", "this is a key in binary form (DER)", _der),
)
