"""Keep the secrets of a step out of its output and out of its layer."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from sifmake.errors import StepError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sifmake.layers.entry import Entry

_MASK = b"***"
_SHORTEST_MASKED = 4
_SHORTEST_SEARCHED = 8
_QUOTED = (b"'\\''", b"'\"'\"'")
"""A quote in a quoted word of a trace, as bash and dash print it."""
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")


class SecretMask:
    """Replaces secrets in the output of a script, because ``sh -x`` prints expanded values.

    Args:
        values: The secrets; each is searched for literally, line by line, in base64 and URL-encoded.

    Attributes:
        longest: Bytes of the longest text that is replaced; 1 if there is none.
    """

    def __init__(self, values: Iterable[bytes]) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= _SHORTEST_MASKED}
        self._forms = sorted(forms, key=len, reverse=True)
        self.longest = len(self._forms[0]) if self._forms else 1

    def __call__(self, text: bytes) -> bytes:
        """Return a text without secrets."""
        for form in self._forms:
            text = text.replace(form, _MASK)
        return text


class MaskedOutput:
    """Passes output on without secrets, although they may come in two pieces.

    The end of an unfinished line is held back, because a secret may begin there, until the line goes on, or
    :meth:`end` is called.

    Args:
        mask: Replaces the secrets.
        output: Gets the output.
    """

    def __init__(self, mask: SecretMask, output: Callable[[bytes], None]) -> None:
        self._mask = mask
        self._output = output
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Take a piece of output."""
        text = self._mask(self._rest + data)
        held = 0 if text.endswith(b"\n") else min(self._mask.longest - 1, len(text))
        self._rest = text[len(text) - held :]
        if shown := text[: len(text) - held]:
            self._output(shown)

    def end(self) -> None:
        """Pass on what was held back."""
        if self._rest:
            self._output(self._rest)
        self._rest = b""


def _forms(value: bytes) -> Iterable[bytes]:
    for part in {value, value.strip(), *(line.strip() for line in value.splitlines())}:
        yield part
        yield quote(part, safe="").encode()
        yield from (part.replace(b"'", quoted) for quoted in _QUOTED)
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(part).rstrip(b"=")
            yield from _encoded_within(part, encode)


def _encoded_within(part: bytes, encode: Callable[[bytes], bytes]) -> Iterable[bytes]:
    """Yield what base64 makes of a secret in a longer text, such as ``user:secret``, for each place modulo three."""
    if len(part) >= _SHORTEST_SEARCHED:
        for before in range(3):
            yield encode(bytes(before) + part)[-(-before * 4 // 3) : (before + len(part)) * 4 // 3]


def proxy_passwords(environ: Mapping[str, str]) -> list[bytes]:
    """Return the passwords in the URLs of proxies, as written and URL-decoded."""
    found = []
    for name, value in environ.items():
        if name.lower() in _PROXIES and "@" in value:
            try:
                password = urlsplit(value if "://" in value else f"http://{value}").password
            except ValueError:
                continue
            if password:
                found += [password.encode("utf-8", "surrogateescape"), unquote(password).encode()]
    return found


def refuse_secrets(labels: bytes, snapshot: bytes, secrets: Mapping[str, bytes]) -> None:
    """Fail if the labels or the state of a shell, as a script left them, have a secret.

    Args:
        labels: What the script wrote to ``$APPTAINER_LABELS``.
        snapshot: Shell text that assigns the variables.
        secrets: Values by id; values shorter than eight bytes are ignored.

    Raises:
        StepError: A secret was found.
    """
    unquoted = snapshot.replace(_QUOTED[0], b"'")
    for data, where in ((labels, "$APPTAINER_LABELS"), (unquoted, "a variable of the shell")):
        for name, value in _searched(secrets):
            if value in data:
                raise _left(name, where)


def refusing_secrets(
    changes: Iterable[tuple[Entry, Iterable[bytes]]], secrets: Mapping[str, bytes]
) -> Iterator[tuple[Entry, Iterable[bytes]]]:
    """Pass on the entries of a layer with their contents, and fail at the first secret: nothing is kept that has one.

    Args:
        changes: The entries; names, targets of links, attributes and contents are searched.
        secrets: Values by id; values shorter than eight bytes are ignored.

    Raises:
        StepError: A secret was found, in an entry or while a content is read.
    """
    wanted = _searched(secrets)
    for entry, content in changes:
        texts = (entry.path, entry.target, *(value for pair in entry.xattrs for value in pair))
        for name, value in wanted:
            if any(value in text for text in texts):
                raise _left(name, _shown(entry.path, value))
        yield entry, _refusing(entry.path, content, wanted) if wanted else content


def _searched(secrets: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    stripped = ((name, value.strip()) for name, value in secrets.items())
    return [(name, value) for name, value in stripped if len(value) >= _SHORTEST_SEARCHED]


def _refusing(path: bytes, content: Iterable[bytes], wanted: list[tuple[str, bytes]]) -> Iterator[bytes]:
    overlap = max(len(value) for _, value in wanted) - 1
    rest = b""
    for piece in content:
        data = rest + piece
        for name, value in wanted:
            if value in data:
                raise _left(name, _shown(path, value))
        rest = data[-overlap:]
        yield piece


def _shown(path: bytes, secret: bytes) -> str:
    return f"/{path.replace(secret, _MASK).decode(errors='replace')}"


def _left(name: str, where: str) -> StepError:
    hint = f"remove it in the same step, or read it from /run/secrets/{name}, which exists only while %post runs"
    return StepError(f"the script left the secret {name!r} in {where}; nothing was kept", hint=hint)
