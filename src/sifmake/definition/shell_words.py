"""Skip words of a shell script: quotes, substitutions, here-documents; POSIX shell with bash's additions."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_right

_PLAIN = re.compile(r"""[^ \t\n\\'"$`;&|()<>]+""")
_QUOTED = re.compile(r'[^"\\$`]*')
_BRACED = re.compile(r"""[^}"'\\$`]*""")
_BACKTICKS = re.compile(r"`(?:[^`\\]|\\.)*+`", re.DOTALL)
_BALANCED = re.compile(r"""\\.|'[^']*+'|"(?:[^"\\]|\\.)*+"|[()]|(?<=[ \t\n])#""", re.DOTALL)
DEEPEST = 60
"""Most nested compound commands and substitutions."""


class UnclearError(Exception):
    """The scanner cannot tell how a shell reads this.

    Attributes:
        line: Index of the line.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


class ShellWords(ABC):
    """A place in a script, with methods that move it forward.

    Attributes:
        text: The script.
        at: The place.
        heredocs: Here-documents that begin after the next newline: their last line, and whether tabs are skipped.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.heredocs: list[tuple[str, bool]] = []
        self._newlines = [match.start() for match in re.finditer("\n", text)]

    @abstractmethod
    def commands_to(self, ends: frozenset[str], depth: int, *, own: bool) -> str:
        """Read commands up to the word or operator that ends them; at depth 0, to the end of the script."""

    def line_of(self, at: int) -> int:
        """Return the index of the line that contains a place."""
        return bisect_right(self._newlines, at - 1)

    def unclear(self, what: str) -> UnclearError:
        """Return an error about this place."""
        return UnclearError(self.line_of(min(self.at, max(0, len(self.text) - 1))), what)

    def peek(self, size: int = 1) -> str:
        """Return the next characters."""
        return self.text[self.at : self.at + size]

    def newline(self) -> None:
        """Skip the end of a line, and the here-documents that begin there."""
        self.at += 1
        for delimiter, tabs in self.heredocs:
            while True:
                if self.at >= len(self.text):
                    raise self.unclear(f"the here-document has no line {delimiter[:20]!r}")
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                self.at = end + 1
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self.heredocs.clear()

    def blanks(self) -> None:
        """Skip blanks and line continuations."""
        while True:
            if self.peek() in {" ", "\t"}:
                self.at += 1
            elif self.peek(2) == "\\\n":
                self.at += 2
            else:
                return

    def skip(self, pattern: re.Pattern[str]) -> None:
        """Skip the text that a pattern matches here."""
        match = pattern.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def word(self, depth: int, *, must: bool = False) -> str:
        """Read a word and return it as written."""
        begin = self.at
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\n;&|)<>":
                break
            if char == "(":
                if self.text[self.at - 1 : self.at] not in set("?*+@!=") or self.at == begin:
                    break
                self.balanced()
            else:
                self._part(char, depth)
        if must and self.at == begin:
            raise self.unclear("a word is missing")
        return self.text[begin : self.at]

    def _part(self, char: str, depth: int) -> None:
        if char == "\\":
            self.at += 2
        elif char == "'":
            self.at = self._find("'", self.at + 1) + 1
        elif char == '"':
            self._quoted(depth)
        elif char == "`":
            self._backticks()
        elif char == "$":
            self._dollar(depth)
        else:
            self.skip(_PLAIN)

    def _find(self, text: str, at: int) -> int:
        found = self.text.find(text, at)
        if found < 0:
            raise self.unclear(f"a {text} has no end")
        return found

    def _quoted(self, depth: int) -> None:
        """Skip a text in double quotes."""
        self.at += 1
        while True:
            self.skip(_QUOTED)
            char = self.peek()
            if char == '"':
                self.at += 1
                return
            if not char:
                raise self.unclear('a " has no end')
            if self.peek(2) == "${":
                self.at += 2
                self._braces(depth, quoted=True)
            else:
                self._part(char, depth)

    def _backticks(self) -> None:
        match = _BACKTICKS.match(self.text, self.at)
        if match is None:
            raise self.unclear("a ` has no end")
        self.at = match.end()

    def _dollar(self, depth: int) -> None:
        following = self.peek(3)
        if following == "$((":
            self.at += 1
            self.balanced()
        elif following[:2] == "$(":
            self.at += 2
            self.commands_to(frozenset(")"), depth + 1, own=False)
        elif following[:2] == "${":
            self.at += 2
            self._braces(depth, quoted=False)
        elif following[:2] == "$'":
            end = self._find("'", self.at + 2)
            if "\\" in self.text[self.at : end]:
                raise self.unclear("shells do not agree on $'...' with a backslash")
            self.at = end + 1
        else:
            self.at += 1

    def _braces(self, depth: int, *, quoted: bool) -> None:
        """Skip the text after ``${``."""
        if depth > DEEPEST:
            raise self.unclear(f"substitutions are nested more than {DEEPEST} deep")
        while True:
            self.skip(_BRACED)
            char = self.peek()
            if char == "}":
                self.at += 1
                return
            if not char:
                raise self.unclear("${ has no end")
            if char == "'" and quoted:
                raise self.unclear('shells do not agree on a single quote in "${...}"')
            self._part(char, depth + 1)

    def balanced(self) -> None:
        """Skip parentheses and their content: arithmetic, patterns, arrays."""
        depth = 0
        for match in _BALANCED.finditer(self.text, self.at):
            if match[0] == "#":
                break
            depth += {"(": 1, ")": -1}.get(match[0], 0)
            if depth == 0:
                self.at = match.end()
                return
        raise self.unclear("a parenthesis without an end, or with a comment inside")
