"""Patterns for names in bash syntax: ``*``, ``?``, ``[a-z]``, ``+(a|b)``, ``{a,b}``, ``{1..3}``, and a backslash.

Matching a pattern against a name takes time that grows with the product of both lengths at most, because the state of a
match is a set of positions, kept as the bits of a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise, product

_MOST_WORDS = 10_000
"""Most words that the braces of one pattern may expand to."""
_LONGEST = 4096
"""Most characters of a pattern: Linux has no longer paths."""
_DEEPEST = 20
"""Most nested braces or groups."""
_META = re.compile(r"\\.|[*?\[]|[+@!]\(", re.DOTALL)
_BRACES = re.compile(r"\\.|[{},]", re.DOTALL)
_RANGE = re.compile(r"(-?[0-9]{1,9})\.\.(-?[0-9]{1,9})(?:\.\.(-?[0-9]{1,9}))?|([a-zA-Z])\.\.([a-zA-Z])", re.ASCII)
_CLASS = re.compile(r"\[:([a-z]+):\]")
_CLASSES = {
    "alnum": str.isalnum,
    "alpha": str.isalpha,
    "blank": " \t".__contains__,
    "cntrl": lambda char: char < " " or char == "\x7f",
    "digit": "0123456789".__contains__,
    "graph": lambda char: char.isprintable() and char != " ",
    "lower": str.islower,
    "print": str.isprintable,
    "punct": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~".__contains__,
    "space": str.isspace,
    "upper": str.isupper,
    "xdigit": "0123456789abcdefABCDEF".__contains__,
}


class PatternError(Exception):
    """A pattern expands to too much, or is nested too deeply."""


def has_pattern(text: str) -> bool:
    """Tell whether a text has a character with a special meaning."""
    return any(not match[0].startswith("\\") for match in _META.finditer(text))


def unescaped(text: str) -> str:
    """Return the name that a text without patterns stands for."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def expand_braces(text: str, depth: int = 0) -> list[str]:
    """Return the words that a text with braces expands to; the text itself if it has none.

    Raises:
        PatternError: The text is too long, has too many results, or is nested too deeply.
    """
    if depth > _DEEPEST:
        raise PatternError(f"braces are nested more than {_DEEPEST} deep")
    if len(text) > _LONGEST:
        raise PatternError(f"the path has more than {_LONGEST} characters")
    parts: list[list[str]] = []
    count, done = 1, 0
    for start, end, commas in _braces(text):
        if start < done:
            continue
        words = _choices(text, [start, *commas, end], depth) if commas else _sequence(text[start + 1 : end])
        if words:
            count *= len(words)
            if count > _MOST_WORDS:
                raise _too_many()
            parts += [[text[done:start]], words]
            done = end + 1
    return ["".join(pieces) for pieces in product(*parts, [text[done:]])]


def _choices(text: str, cuts: list[int], depth: int) -> list[str]:
    """Return the words between commas, each with its own braces expanded."""
    words: list[str] = []
    for left, right in pairwise(cuts):
        words += expand_braces(text[left + 1 : right], depth + 1)
        if len(words) > _MOST_WORDS:
            raise _too_many()
    return words


def _too_many() -> PatternError:
    return PatternError(f"braces expand to more than {_MOST_WORDS} paths")


def _braces(text: str) -> list[tuple[int, int, list[int]]]:
    """Return where each pair of braces begins and ends, and the commas between them, in the order of the beginnings."""
    stack: list[tuple[int, list[int]]] = []
    pairs: list[tuple[int, int, list[int]]] = []
    for match in _BRACES.finditer(text):
        char = match[0]
        if char == "{":
            stack.append((match.start(), []))
        elif char == "," and stack:
            stack[-1][1].append(match.start())
        elif char == "}" and stack:
            start, commas = stack.pop()
            pairs.append((start, match.start(), commas))
    return sorted(pairs)


def _sequence(text: str) -> list[str]:
    """Return the words of ``1..10``, ``1..10..2`` or ``a..e``; nothing for another text."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return []
    first, last = (int(match[1]), int(match[2])) if match[1] else (ord(match[4]), ord(match[5]))
    step = abs(int(match[3] or 1)) or 1
    if abs(last - first) // step >= _MOST_WORDS:
        raise _too_many()
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    if not match[1]:
        return [chr(number) for number in numbers]
    given = (match[1], match[2])
    padded = any(re.match(r"-?0[0-9]", number) for number in given)
    width = max(map(len, given)) if padded else 0
    return [f"{number:0{width}d}" for number in numbers]


@dataclass(frozen=True)
class _Set:
    """``[...]``: characters, ranges and classes."""

    negated: bool
    ranges: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]

    def has(self, char: str) -> bool:
        inside = any(low <= char <= high for low, high in self.ranges) or any(
            _CLASSES[name](char) for name in self.classes
        )
        return inside != self.negated


@dataclass(frozen=True)
class _Group:
    """``?(a|b)``, ``*(a|b)``, ``+(a|b)``, ``@(a|b)``, ``!(a|b)``."""

    kind: str
    choices: tuple[tuple[_Item, ...], ...]


_Item = str | _Set | _Group
"""A character, ``*`` and ``?`` as ``"**"`` and ``"??"``, a set or a group."""
_STAR, _ANY = "**", "??"


@dataclass
class NamePattern:
    """A pattern for one name.

    Attributes:
        text: The pattern as written, without slashes.
    """

    text: str
    _items: tuple[_Item, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._items = _Parser(self.text).items(0, "", 0)[0]

    @property
    def dotted(self) -> bool:
        """Whether it begins with a dot, and so matches hidden files."""
        return bool(self._items) and self._items[0] == "."

    def matches(self, name: str) -> bool:
        """Tell whether a name matches; a hidden name matches only if the pattern begins with a dot."""
        if name.startswith(".") and not self.dotted:
            return False
        return bool(_Matcher(name).step(self._items, 1) >> len(name) & 1)


class _Parser:
    """Reads a pattern; a group that has no end is read once, however many others it is in."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._last = text.rfind("]")
        self._groups: dict[int, tuple[_Group, int] | None] = {}

    def items(self, at: int, end: str, depth: int) -> tuple[tuple[_Item, ...], int]:
        """Return the items up to one of the characters in ``end``, and where that is."""
        if depth > _DEEPEST:
            raise PatternError(f"groups are nested more than {_DEEPEST} deep")
        text = self._text
        items: list[_Item] = []
        while at < len(text) and text[at] not in (end or "\0"):
            char = text[at]
            if char in "?*+@!" and text[at + 1 : at + 2] == "(" and (group := self._group(at, depth)):
                items.append(group[0])
                at = group[1]
            elif char == "[" and (found := self._set(at)):
                items.append(found[0])
                at = found[1]
            elif char == "\\" and at + 1 < len(text):
                items.append(text[at + 1])
                at += 2
            else:
                item = {"*": _STAR, "?": _ANY}.get(char, char)
                if not (item == _STAR and items and items[-1] == _STAR):
                    items.append(item)
                at += 1
        return tuple(items), at

    def _group(self, at: int, depth: int) -> tuple[_Group, int] | None:
        """Return a group and where it ends; None if it has no end."""
        if at not in self._groups:
            choices: list[tuple[_Item, ...]] = []
            here = at + 1
            while here < len(self._text) and self._text[here] in "(|":
                items, here = self.items(here + 1, "|)", depth + 1)
                choices.append(items)
            closed = self._text[here : here + 1] == ")"
            self._groups[at] = (_Group(self._text[at], tuple(choices)), here + 1) if closed else None
        return self._groups[at]

    def _set(self, at: int) -> tuple[_Set, int] | None:
        """Return a set and where it ends; None if it has no end. An unknown class has no characters."""
        text = self._text
        here = at + 1
        negated = text[here : here + 1] in ("!", "^")
        here += negated
        ranges: list[tuple[str, str]] = []
        classes: list[str] = []
        first = here
        while here <= self._last:
            if text[here] == "]" and here > first:
                return _Set(negated, tuple(ranges), tuple(classes)), here + 1
            if match := _CLASS.match(text, here):
                classes += [match[1]] if match[1] in _CLASSES else []
                here = match.end()
                continue
            low, here = _char(text, here)
            high = low
            if text[here : here + 1] == "-" and text[here + 1 : here + 2] not in ("]", ""):
                high, here = _char(text, here + 1)
            ranges.append((low, high))
        return None


def _char(text: str, at: int) -> tuple[str, int]:
    if text[at] == "\\" and at + 1 < len(text):
        return text[at + 1], at + 2
    return text[at], at + 1


class _Matcher:
    """Follows the positions in one name: bit N is set where what was matched ends before character N."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._all = (1 << len(name) + 1) - 1
        self._masks: dict[str, int] = {}
        for number, char in enumerate(name):
            self._masks[char] = self._masks.get(char, 0) | 1 << number

    def step(self, items: tuple[_Item, ...], starts: int) -> int:
        """Return where the items may end if they begin at one of the places."""
        for item in items:
            if not starts:
                return 0
            starts = self._one(item, starts)
        return starts

    def _one(self, item: _Item, starts: int) -> int:
        if isinstance(item, _Group):
            return self._grouped(item, starts)
        if isinstance(item, _Set):
            return (starts & self._mask(item)) << 1
        if item == _STAR:
            return self._all & -(starts & -starts)
        if item == _ANY:
            return (starts << 1) & self._all
        return (starts & self._masks.get(item, 0)) << 1

    def _mask(self, item: _Set) -> int:
        return sum(mask for char, mask in self._masks.items() if item.has(char))

    def _grouped(self, group: _Group, starts: int) -> int:
        if group.kind == "!":
            return self._negated(group, starts)
        once = self._choice(group, starts)
        if group.kind == "@":
            return once
        if group.kind == "?":
            return starts | once
        found, new = once, once
        while new:
            new = self._choice(group, new) & ~found
            found |= new
        return found | (starts if group.kind == "*" else 0)

    def _choice(self, group: _Group, starts: int) -> int:
        found = 0
        for items in group.choices:
            found |= self.step(items, starts)
        return found

    def _negated(self, group: _Group, starts: int) -> int:
        found = 0
        while starts:
            lowest = starts & -starts
            starts ^= lowest
            found |= self._all & -lowest & ~self._choice(group, lowest)
        return found
