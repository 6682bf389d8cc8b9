"""Signing through the gpg program, for keys in an agent or on a smart card."""

from __future__ import annotations

import itertools
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sifmake.errors import KeyFileError, SigningError, one_line
from sifmake.withheld import without_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class GpgSigner:
    """Clear-signs with ``gpg --clearsign``.

    Attributes:
        fingerprint: Primary fingerprint, upper-case hexadecimal.
        key: Name of the key for gpg.
        passphrase: Passed to gpg through a pipe; None lets the agent ask.
    """

    fingerprint: str
    key: str
    passphrase: str | None = field(default=None, repr=False)

    kind = "pgp"

    @property
    def entity(self) -> bytes:
        """The bytes of the fingerprint for the signature's descriptor."""
        return bytes.fromhex(self.fingerprint)

    def sign(self, message: bytes) -> bytes:
        """Return the clear-signed message.

        Raises:
            SigningError: gpg failed.
        """
        arguments = ["--local-user", self.key, "--digest-algo", "SHA256", "--clearsign"]
        status, out, errors = _run_gpg(arguments, message, self.passphrase)
        if status or not out:
            raise SigningError(f"gpg cannot sign: {_last_line(errors)}", where=self.key)
        return out.rstrip(b"\n")


def find_signer(key: str, passphrase: str | None) -> GpgSigner:
    """Look up a secret key in gpg's keyring.

    Args:
        key: Fingerprint, key ID or user ID.
        passphrase: None lets the agent ask.

    Raises:
        KeyFileError: There is no such key, several match, or gpg is not installed.
    """
    if key.startswith("-"):
        raise KeyFileError("not a fingerprint", where=key)
    status, out, errors = _run_gpg(["--with-colons", "--list-secret-keys", "--", key], b"", None)
    fields = [line.split(":") for line in out.decode(errors="replace").splitlines()]
    primaries = [after[9] for before, after in itertools.pairwise(fields) if before[0] == "sec"]
    if status or not primaries:
        hint = f"gpg says: {_last_line(errors)}" if errors else "run `gpg --list-secret-keys` to see its keys"
        raise KeyFileError("gpg has no such secret key", where=key, hint=hint)
    if len(primaries) > 1:
        raise KeyFileError(f"{len(primaries)} secret keys match", where=key, hint="use a fingerprint")
    if len(primaries[0]) != 40:
        raise KeyFileError("SIF signatures support OpenPGP keys of version 4 only", where=key)
    return GpgSigner(primaries[0], key, passphrase)


def _run_gpg(arguments: Sequence[str], message: bytes, passphrase: str | None) -> tuple[int, bytes, bytes]:
    """Run gpg without letting it ask on this terminal; return exit status, output and messages."""
    command = ["gpg", "--batch", "--no-tty", "--yes"]
    if passphrase is None:
        return run_to_end([*command, *arguments], message, ())
    reader, writer = os.pipe()
    try:
        os.write(writer, os.fsencode(passphrase) + b"\n")
        os.close(writer)
        extra = ["--pinentry-mode", "loopback", "--passphrase-fd", str(reader)]
        return run_to_end([*command, *extra, *arguments], message, (reader,))
    finally:
        os.close(reader)


def run_to_end(command: Sequence[str], message: bytes, inherited: Sequence[int]) -> tuple[int, bytes, bytes]:
    """Run a command in the C locale and wait until it ends."""
    environment = without_secrets(os.environ) | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, input=message, capture_output=True, check=False, pass_fds=inherited, env=environment
        )
    except FileNotFoundError:
        raise KeyFileError("the program gpg is not installed", hint="install gnupg, or sign with a key file") from None
    return done.returncode, done.stdout, done.stderr


def _last_line(errors: bytes) -> str:
    """Return the most useful line of gpg's messages."""
    lines = [line for line in errors.decode(errors="replace").splitlines() if line.strip()]
    return one_line(lines[-1].removeprefix("gpg: ")) if lines else "no message"
