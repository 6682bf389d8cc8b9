"""JSON as Go's encoding/json writes it, so that our documents equal those of the peers byte for byte.

Go escapes ``<``, ``>``, ``&``, U+2028 and U+2029, sorts the keys of maps, and has no lone surrogates: if a text has
bytes that are not UTF-8 (``surrogateescape``), it writes an escape for each of them.
"""

from __future__ import annotations

import json

_ESCAPES = str.maketrans(
    {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"} | {chr(0xDC00 + byte): "\\ufffd" for byte in range(0x80, 0x100)}
)


def compact(value: object) -> bytes:
    """Return a document without white space; keys keep the order of the dictionaries."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES).encode()


def indented(value: object) -> bytes:
    """Return a document indented by tabs, without a newline at its end."""
    return json.dumps(value, ensure_ascii=False, indent="\t").translate(_ESCAPES).encode()


def clean(text: str) -> str:
    """Return the text with lone surrogates replaced by U+FFFD, as Go reads them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
