"""Where the top level of a shell script is, and which of its commands change the shell that runs them.

A script is cut into steps only where that is certain. This reads POSIX shell with bash's additions, keeps no tree, and
gives up (:class:`UnclearError`) on what it does not know. It runs nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

_DEEPEST = 60
"""Compound commands and substitutions within each other."""

_PLAIN = re.compile(r"""[^ \t\n\\'"$`;&|()<>]+""")
_COMMENT = re.compile(r"[^\n]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\[[^\]]*\])?\+?=", re.ASCII)
_REDIRECTION = re.compile(r"(?:&>>|&>|<<<|<<-|<<|<>|>>|>\||<&|>&|<|>)")
_OPERATORS = re.compile(r"&&|\|\||\|&|\|")
_EMPTY_PARENS = re.compile(r"[ \t]*\([ \t]*\)")
_QUOTED = re.compile(r'[^"\\$`]*')
_BRACED = re.compile(r"""[^}"'\\$`]*""")
_BACKTICKS = re.compile(r"`(?:[^`\\]|\\.)*+`", re.DOTALL)
_BALANCED = re.compile(r"""\\.|'[^']*+'|"(?:[^"\\]|\\.)*+"|[()]|(?<=[ \t\n])#""", re.DOTALL)
_CASE_ENDS = frozenset((";;", ";&", ";;&", "esac"))
_PREFIXES = frozenset(("command", "builtin"))


class UnclearError(Exception):
    """The scanner does not know how a shell reads this.

    Attributes:
        line: Index of the line.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


@dataclass(frozen=True)
class Command:
    """A simple command that the script's own shell runs, at any depth; or ``f()`` and ``&``, by these names.

    Attributes:
        words: Its words as they are written, without assignments and redirections.
        line: Index of its line.
        redirected: Whether it has redirections.
    """

    words: tuple[str, ...]
    line: int
    redirected: bool = False


@dataclass
class ShellScan:
    """Reads one script.

    Attributes:
        text: The script.
        bash: Whether bash runs it: ``&>`` is a redirection then.
        comments: Indices of lines at the top level, between two commands, that begin with ``#``.
        commands: In the order of the script.
    """

    text: str
    bash: bool = False
    comments: set[int] = field(default_factory=set)
    commands: list[Command] = field(default_factory=list)
    _at: int = 0
    _heredocs: list[tuple[str, bool]] = field(default_factory=list)
    _newlines: list[int] = field(default_factory=list)

    def run(self) -> None:
        """Read the script to its end.

        Raises:
            UnclearError: It ends too early, is nested too deeply, or has what this does not know.
        """
        self._newlines = [match.start() for match in re.finditer("\n", self.text)]
        self._list(frozenset(), 0, own=True)

    def _line(self, at: int) -> int:
        return bisect_right(self._newlines, at - 1)

    def _unclear(self, what: str) -> UnclearError:
        return UnclearError(self._line(min(self._at, max(0, len(self.text) - 1))), what)

    def _peek(self, size: int = 1) -> str:
        return self.text[self._at : self._at + size]

    def _list(self, ends: frozenset[str], depth: int, *, own: bool) -> str:
        """Read commands up to a word or operator that ends them; at depth 0 to the end of the script."""
        if depth > _DEEPEST:
            raise self._unclear(f"commands are nested more than {_DEEPEST} deep")
        continued = False
        while not self._at_end(ends):
            if self._peek() == "\n":
                self._newline()
            elif self._peek() == "#":
                if depth == 0 and not continued and (self._at == 0 or self.text[self._at - 1] == "\n"):
                    self.comments.add(self._line(self._at))
                self._skip(_COMMENT)
            elif match := _OPERATORS.match(self.text, self._at):
                self._at, continued = match.end(), True
            else:
                continued = False
                if end := self._end(ends) or self._command(ends, depth, own=own):
                    return end
        return ""

    def _at_end(self, ends: frozenset[str]) -> bool:
        """Step over blanks and tell whether the script ends there, where it may."""
        self._blanks()
        if self._at < len(self.text):
            return False
        if ends or self._heredocs:
            raise self._unclear("a compound command, a quote or a here-document has no end")
        return True

    def _end(self, ends: frozenset[str]) -> str:
        """Consume an operator that ends the list."""
        for size in (3, 2, 1):
            if self._peek(size) in ends and self._peek() in ";)":
                self._at += size
                return self.text[self._at - size : self._at]
        return ""

    def _command(self, ends: frozenset[str], depth: int, *, own: bool) -> str:
        """Read one command, or the word that ends the list."""
        char = self._peek()
        begin = self._at
        if char == ";":
            self._at += 1
        elif char == "&" and not (self.bash and self._peek(2) == "&>"):
            self._at += 1
            self.commands.append(Command(("&",), self._line(begin)))
        elif char == "(":
            self._parens(depth)
        elif char == ")":
            raise self._unclear("a closing parenthesis has no opening one")
        else:
            word = self._word(depth) if _REDIRECTION.match(self.text, begin) is None else ""
            if word in ends:
                return word
            self._worded(word, begin, depth, own=own)
        return ""

    def _parens(self, depth: int) -> None:
        begin = self._at
        if self._peek(2) == "((":
            self._balanced()
            if "\n" in self.text[begin : self._at]:
                raise self._unclear("(( and )) are in different lines")
        else:
            self._at += 1
            self._list(frozenset(")"), depth + 1, own=False)
        self._blanks()

    def _worded(self, word: str, begin: int, depth: int, *, own: bool) -> None:
        """Read on behind the first word of a command."""
        if word in {"if", "while", "until", "for", "select", "case", "{"}:
            self._compound(word, depth + 1, own=own)
        elif word == "[[":
            while self._test_word(depth) != "]]":
                pass
        elif word in {"function", "coproc"}:
            self.commands.append(Command((word,), self._line(begin)))
            self._blanks()
            self._word(depth)
            self._empty_parens()
        elif word not in {"!", "time", "then", "elif", "else", "do"}:
            self._simple(word, begin, depth, own=own)

    def _compound(self, word: str, depth: int, *, own: bool) -> None:
        if word == "if":
            self._list(frozenset(("then",)), depth, own=own)
            while self._list(frozenset(("elif", "else", "fi")), depth, own=own) != "fi":
                pass
        elif word in {"while", "until"}:
            self._list(frozenset(("do",)), depth, own=own)
            self._list(frozenset(("done",)), depth, own=own)
        elif word == "case":
            self._case(depth, own=own)
        elif word == "{":
            self._list(frozenset("}"), depth, own=own)
        else:
            self._for(depth, own=own)

    def _for(self, depth: int, *, own: bool) -> None:
        self._blanks()
        if self._peek(2) == "((":
            self._balanced()
        else:
            self._word(depth)
            self._blanks()
            if self._word(depth) == "do":
                self._list(frozenset(("done",)), depth, own=own)
                return
            self._blanks()
            while self._peek() not in {";", "\n", ""}:  # here do is a value like any other
                self._word(depth, must=True)
                self._blanks()
        self._list(frozenset(("do",)), depth, own=own)
        self._list(frozenset(("done",)), depth, own=own)

    def _case(self, depth: int, *, own: bool) -> None:
        self._blanks()
        self._word(depth)
        self._empty_lines()
        if self._word(depth) != "in":
            raise self._unclear("case has no in")
        while True:
            self._empty_lines()
            if self._peek() == "(":
                self._at += 1
                self._blanks()
            elif self._word(depth, must=True) == "esac":
                return
            self._blanks()
            while self._peek() != ")":
                if self._peek() == "|":
                    self._at += 1
                else:
                    self._word(depth, must=True)
                self._blanks()
            self._at += 1
            if self._list(_CASE_ENDS, depth, own=own) == "esac":
                return

    def _empty_lines(self) -> None:
        while True:
            self._blanks()
            if self._peek() == "\n":
                self._newline()
            elif self._peek() == "#":
                self._skip(_COMMENT)
            else:
                return

    def _test_word(self, depth: int) -> str:
        """Read a word within ``[[ ]]``, where operators are words."""
        self._blanks()
        if self._at >= len(self.text):
            raise self._unclear("[[ has no ]]")
        if self._peek() in "()<>&|;\n":
            self._at += 1
            return ""
        return self._word(depth)

    def _simple(self, word: str, begin: int, depth: int, *, own: bool) -> None:
        """Read a simple command to its end, or the name of a function and its parentheses."""
        words: list[str] = []
        redirected = False
        while True:
            if word and not (not words and _ASSIGNMENT.match(word)) and not (not words and word in _PREFIXES):
                words.append(word)
            self._blanks()
            if (match := _REDIRECTION.match(self.text, self._at)) and (self.bash or match[0][0] != "&"):
                redirected = True
                if word.isdigit() and self.text[match.start() - 1].isdigit() and words:
                    words.pop()
                self._redirection(match[0], match.end(), depth)
                word = ""
                continue
            char = self._peek()
            if char == "(" and len(words) == 1 and self._empty_parens():
                self.commands.append(Command(("f()",), self._line(begin)))
                return
            if char in {"", "\n", ";", "&", "|", ")", "("}:
                break
            if char == "#":
                self._skip(_COMMENT)
                continue
            word = self._word(depth, must=True)
        if own:
            self.commands.append(Command(tuple(words), self._line(begin), redirected))
        if char == "(":
            raise self._unclear("a parenthesis stands within a command")

    def _redirection(self, operator: str, end: int, depth: int) -> None:
        self._at = end
        if operator in {"<", ">"} and self._peek() == "(":
            self._at += 1
            self._list(frozenset(")"), depth + 1, own=False)
            return
        self._blanks()
        target = self._word(depth, must=True)
        if operator in {"<<", "<<-"}:
            self._heredocs.append((re.sub(r"""\\(.)|['"]""", r"\1", target), operator == "<<-"))

    def _empty_parens(self) -> bool:
        match = _EMPTY_PARENS.match(self.text, self._at)
        self._at = match.end() if match else self._at
        return match is not None

    def _newline(self) -> None:
        """Step over the end of a line, and over the here-documents that begin there."""
        self._at += 1
        for delimiter, tabs in self._heredocs:
            while True:
                if self._at >= len(self.text):
                    raise self._unclear(f"the here-document has no line {delimiter[:20]!r}")
                end = self.text.find("\n", self._at)
                end = len(self.text) if end < 0 else end
                line = self.text[self._at : end]
                self._at = end + 1
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self._heredocs.clear()

    def _blanks(self) -> None:
        while True:
            if self._peek() in {" ", "\t"}:
                self._at += 1
            elif self._peek(2) == "\\\n":
                self._at += 2
            else:
                return

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self._at)
        self._at = match.end() if match else self._at

    def _word(self, depth: int, *, must: bool = False) -> str:
        """Read a word and return it as it is written."""
        begin = self._at
        while self._at < len(self.text):
            char = self.text[self._at]
            if char in " \t\n;&|)<>":
                break
            if char == "(":
                if self.text[self._at - 1 : self._at] not in set("?*+@!=") or self._at == begin:
                    break
                self._balanced()
            else:
                self._part(char, depth)
        if must and self._at == begin:
            raise self._unclear("a word is missing")
        return self.text[begin : self._at]

    def _part(self, char: str, depth: int) -> None:
        if char == "\\":
            self._at += 2
        elif char == "'":
            self._at = self._find("'", self._at + 1) + 1
        elif char == '"':
            self._quoted(depth)
        elif char == "`":
            self._backticks()
        elif char == "$":
            self._dollar(depth)
        else:
            self._skip(_PLAIN)

    def _find(self, text: str, at: int) -> int:
        found = self.text.find(text, at)
        if found < 0:
            raise self._unclear(f"a {text} has no end")
        return found

    def _quoted(self, depth: int) -> None:
        """Step over a text in double quotes."""
        self._at += 1
        while True:
            self._skip(_QUOTED)
            char = self._peek()
            if char == '"':
                self._at += 1
                return
            if not char:
                raise self._unclear('a " has no end')
            if self._peek(2) == "${":
                self._at += 2
                self._braces(depth, quoted=True)
            else:
                self._part(char, depth)

    def _backticks(self) -> None:
        match = _BACKTICKS.match(self.text, self._at)
        if match is None:
            raise self._unclear("a ` has no end")
        self._at = match.end()

    def _dollar(self, depth: int) -> None:
        following = self._peek(3)
        if following == "$((":
            self._at += 1
            self._balanced()
        elif following[:2] == "$(":
            self._at += 2
            self._list(frozenset(")"), depth + 1, own=False)
        elif following[:2] == "${":
            self._at += 2
            self._braces(depth, quoted=False)
        elif following[:2] == "$'":
            end = self._find("'", self._at + 2)
            if "\\" in self.text[self._at : end]:
                raise self._unclear("shells do not agree on $'...' with a backslash")
            self._at = end + 1
        else:
            self._at += 1

    def _braces(self, depth: int, *, quoted: bool) -> None:
        """Step over what follows ``${``."""
        if depth > _DEEPEST:
            raise self._unclear(f"substitutions are nested more than {_DEEPEST} deep")
        while True:
            self._skip(_BRACED)
            char = self._peek()
            if char == "}":
                self._at += 1
                return
            if not char:
                raise self._unclear("${ has no end")
            if char == "'" and quoted:
                raise self._unclear('shells do not agree on a single quote in "${...}"')
            self._part(char, depth + 1)

    def _balanced(self) -> None:
        """Step over parentheses and what is within them: arithmetic, patterns, arrays."""
        depth = 0
        for match in _BALANCED.finditer(self.text, self._at):
            if match[0] == "#":
                break
            depth += {"(": 1, ")": -1}.get(match[0], 0)
            if depth == 0:
                self._at = match.end()
                return
        raise self._unclear("a parenthesis has no end, or a comment within")
