"""White space as the peers define it, so that words end where the peers end them."""

from __future__ import annotations

BLANKS = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
"""The characters that ``unicode.IsSpace`` of Go accepts; Python's ``str.strip`` also takes U+001C to U+001F."""

_TO_SPACES = str.maketrans(dict.fromkeys(BLANKS, " "))


def trimmed(text: str) -> str:
    """Return the text without white space at its ends."""
    return text.strip(BLANKS)


def words_of(text: str) -> list[str]:
    """Return the words between white space."""
    return [word for word in text.translate(_TO_SPACES).split(" ") if word]


def before_comment(text: str) -> str:
    """Return the text before the first ``#``, which begins a comment wherever it is."""
    return text.partition("#")[0]
