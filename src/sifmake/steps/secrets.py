"""Keep the secrets of a step out of its output and out of its layer."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from sifmake.layers.content_reader import ContentReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sifmake.layers.pack_reader import Pack

_MASK = b"***"
_SHORTEST_MASKED = 4
_SHORTEST_SEARCHED = 8
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")


class SecretMask:
    """Replaces secrets in the output of a script, because ``sh -x`` prints expanded values.

    Args:
        values: The secrets; each is searched for literally, line by line, in base64 and URL-encoded.
    """

    def __init__(self, values: Iterable[bytes]) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= _SHORTEST_MASKED}
        self._forms = sorted(forms, key=len, reverse=True)

    def __call__(self, text: bytes) -> bytes:
        """Return a text without secrets."""
        for form in self._forms:
            text = text.replace(form, _MASK)
        return text


def _forms(value: bytes) -> Iterable[bytes]:
    for part in {value, value.strip(), *(line.strip() for line in value.splitlines())}:
        yield part
        yield base64.b64encode(part).rstrip(b"=")
        yield base64.urlsafe_b64encode(part).rstrip(b"=")
        yield quote(part, safe="").encode()


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


def find_in_bytes(data: bytes, secrets: Mapping[str, bytes]) -> str:
    """Return the id of a secret that some bytes contain; empty if there is none."""
    return next((name for name, value in _searched(secrets) if value in data), "")


def find_in_layer(pack: Pack, secrets: Mapping[str, bytes]) -> tuple[str, bytes]:
    """Return the id of a secret that a layer contains, and the path; nothing if there is none.

    Args:
        pack: The layer; names, targets of links, attributes and contents are searched.
        secrets: Values by id; values shorter than eight bytes are ignored.

    Raises:
        PackDamagedError: The pack is damaged.
    """
    wanted = _searched(secrets)
    if not wanted:
        return "", b""
    with_secret = dict(_contents_with(pack, wanted))
    for entry in pack.entries():
        texts = (entry.path, entry.target, *(value for pair in entry.xattrs for value in pair))
        name = with_secret.get(entry.content, "") or next((n for n, v in wanted if any(v in t for t in texts)), "")
        if name:
            return name, entry.path
    return "", b""


def _searched(secrets: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    stripped = ((name, value.strip()) for name, value in secrets.items())
    return [(name, value) for name, value in stripped if len(value) >= _SHORTEST_SEARCHED]


def _contents_with(pack: Pack, wanted: list[tuple[str, bytes]]) -> Iterable[tuple[int, str]]:
    overlap = max(len(value) for _, value in wanted) - 1
    reader = ContentReader(pack)
    for number, content in enumerate(pack.contents):
        rest = b""
        for piece in reader.pieces(content):
            data = rest + bytes(piece)
            found = next((name for name, value in wanted if value in data), "")
            if found:
                yield number, found
                break
            rest = data[-overlap:]
