"""Find the top level of a shell script, and the commands that change the shell itself.

A script is cut into steps only where that is certain to be right. The scanner reads POSIX shell with bash's additions,
builds no syntax tree, and gives up (:class:`~sifmake.definition.shell_words.UnclearError`) on anything unknown. It runs
nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sifmake.definition.shell_words import DEEPEST, ShellWords

_COMMENT = re.compile(r"[^\n]*")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\[[^\]]*\])?\+?=", re.ASCII)
_REDIRECTION = re.compile(r"(?:&>>|&>|<<<|<<-|<<|<>|>>|>\||<&|>&|<|>)")
_OPERATORS = re.compile(r"&&|\|\||\|&|\|")
_EMPTY_PARENS = re.compile(r"[ \t]*\([ \t]*\)")
_CASE_ENDS = frozenset((";;", ";&", ";;&", "esac"))
_PREFIXES = frozenset(("command", "builtin"))


@dataclass(frozen=True)
class ShellCommand:
    """A simple command that the script's own shell runs, at any depth; ``f()`` and ``&`` appear as commands, too.

    Attributes:
        words: Its words as written, without assignments and redirections.
        line: Index of its line.
        redirected: Whether it has redirections.
    """

    words: tuple[str, ...]
    line: int
    redirected: bool = False


class ShellScan(ShellWords):
    """Reads one script.

    Attributes:
        comments: Indices of lines at the top level, between two commands, that begin with ``#``.
        commands: In the order of the script.
    """

    def __init__(self, text: str, *, bash: bool = False) -> None:
        """Prepare to read a script.

        Args:
            text: The script.
            bash: Whether bash runs it: ``&>`` is a redirection then.
        """
        super().__init__(text)
        self.comments: set[int] = set()
        self.commands: list[ShellCommand] = []
        self._bash = bash

    def run(self) -> None:
        """Read the script to its end.

        Raises:
            UnclearError: It ends too early, is nested too deeply, or has unknown syntax.
        """
        self.commands_to(frozenset(), 0, own=True)

    def commands_to(self, ends: frozenset[str], depth: int, *, own: bool) -> str:
        """Read commands up to the word or operator that ends them; at depth 0, to the end of the script."""
        if depth > DEEPEST:
            raise self.unclear(f"commands are nested more than {DEEPEST} deep")
        continued = False
        while not self._at_end(ends):
            if self.peek() == "\n":
                self.newline()
            elif self.peek() == "#":
                if depth == 0 and not continued and (self.at == 0 or self.text[self.at - 1] == "\n"):
                    self.comments.add(self.line_of(self.at))
                self.skip(_COMMENT)
            elif match := _OPERATORS.match(self.text, self.at):
                self.at, continued = match.end(), True
            else:
                continued = False
                if end := self._end(ends) or self._command(ends, depth, own=own):
                    return end
        return ""

    def _at_end(self, ends: frozenset[str]) -> bool:
        """Skip blanks and tell whether the script ends there; raise if it must not."""
        self.blanks()
        if self.at < len(self.text):
            return False
        if ends or self.heredocs:
            raise self.unclear("a compound command, a quote or a here-document has no end")
        return True

    def _end(self, ends: frozenset[str]) -> str:
        """Consume an operator that ends the list."""
        for size in (3, 2, 1):
            if self.peek(size) in ends and self.peek() in ";)":
                self.at += size
                return self.text[self.at - size : self.at]
        return ""

    def _command(self, ends: frozenset[str], depth: int, *, own: bool) -> str:
        """Read one command, or the word that ends the list."""
        char = self.peek()
        begin = self.at
        if char == ";":
            self.at += 1
        elif char == "&" and not (self._bash and self.peek(2) == "&>"):
            self.at += 1
            self.commands.append(ShellCommand(("&",), self.line_of(begin)))
        elif char == "(":
            self._parens(depth)
        elif char == ")":
            raise self.unclear("a closing parenthesis has no opening one")
        else:
            word = self.word(depth) if _REDIRECTION.match(self.text, begin) is None else ""
            if word in ends:
                return word
            self._worded(word, begin, depth, own=own)
        return ""

    def _parens(self, depth: int) -> None:
        begin = self.at
        if self.peek(2) == "((":
            self.balanced()
            if "\n" in self.text[begin : self.at]:
                raise self.unclear("(( and )) are in different lines")
        else:
            self.at += 1
            self.commands_to(frozenset(")"), depth + 1, own=False)
        self.blanks()

    def _worded(self, word: str, begin: int, depth: int, *, own: bool) -> None:
        """Read the rest of a command after its first word."""
        if word in {"if", "while", "until", "for", "select", "case", "{"}:
            self._compound(word, depth + 1, own=own)
        elif word == "[[":
            while self._test_word(depth) != "]]":
                pass
        elif word in {"function", "coproc"}:
            self.commands.append(ShellCommand((word,), self.line_of(begin)))
            self.blanks()
            self.word(depth)
            self._empty_parens()
        elif word not in {"!", "time", "then", "elif", "else", "do"}:
            self._simple(word, begin, depth, own=own)

    def _compound(self, word: str, depth: int, *, own: bool) -> None:
        if word == "if":
            self.commands_to(frozenset(("then",)), depth, own=own)
            while self.commands_to(frozenset(("elif", "else", "fi")), depth, own=own) != "fi":
                pass
        elif word in {"while", "until"}:
            self.commands_to(frozenset(("do",)), depth, own=own)
            self.commands_to(frozenset(("done",)), depth, own=own)
        elif word == "case":
            self._case(depth, own=own)
        elif word == "{":
            self.commands_to(frozenset("}"), depth, own=own)
        else:
            self._for(depth, own=own)

    def _for(self, depth: int, *, own: bool) -> None:
        self.blanks()
        if self.peek(2) == "((":
            self.balanced()
        else:
            self.word(depth)
            self.blanks()
            if self.word(depth) == "do":
                self.commands_to(frozenset(("done",)), depth, own=own)
                return
            self.blanks()
            while self.peek() not in {";", "\n", ""}:  # here do is a value like any other
                self.word(depth, must=True)
                self.blanks()
        self.commands_to(frozenset(("do",)), depth, own=own)
        self.commands_to(frozenset(("done",)), depth, own=own)

    def _case(self, depth: int, *, own: bool) -> None:
        self.blanks()
        self.word(depth)
        self._empty_lines()
        if self.word(depth) != "in":
            raise self.unclear("case without in")
        while True:
            self._empty_lines()
            if self.peek() == "(":
                self.at += 1
                self.blanks()
            elif self.word(depth, must=True) == "esac":
                return
            self.blanks()
            while self.peek() != ")":
                if self.peek() == "|":
                    self.at += 1
                else:
                    self.word(depth, must=True)
                self.blanks()
            self.at += 1
            if self.commands_to(_CASE_ENDS, depth, own=own) == "esac":
                return

    def _empty_lines(self) -> None:
        while True:
            self.blanks()
            if self.peek() == "\n":
                self.newline()
            elif self.peek() == "#":
                self.skip(_COMMENT)
            else:
                return

    def _test_word(self, depth: int) -> str:
        """Read a word inside ``[[ ]]``, where operators are words."""
        self.blanks()
        if self.at >= len(self.text):
            raise self.unclear("[[ has no ]]")
        if self.peek() in "()<>&|;\n":
            self.at += 1
            return ""
        return self.word(depth)

    def _simple(self, word: str, begin: int, depth: int, *, own: bool) -> None:
        """Read a simple command to its end, or the name of a function and its parentheses."""
        words: list[str] = []
        redirected = False
        while True:
            if word and not (not words and _ASSIGNMENT.match(word)) and not (not words and word in _PREFIXES):
                words.append(word)
            self.blanks()
            if (match := _REDIRECTION.match(self.text, self.at)) and (self._bash or match[0][0] != "&"):
                redirected = True
                if word.isdigit() and self.text[match.start() - 1].isdigit() and words:
                    words.pop()
                self._redirection(match[0], match.end(), depth)
                word = ""
                continue
            char = self.peek()
            if char == "(" and len(words) == 1 and self._empty_parens():
                self.commands.append(ShellCommand(("f()",), self.line_of(begin)))
                return
            if char in {"", "\n", ";", "&", "|", ")", "("}:
                break
            if char == "#":
                self.skip(_COMMENT)
                continue
            word = self.word(depth, must=True)
        if own:
            self.commands.append(ShellCommand(tuple(words), self.line_of(begin), redirected))
        if char == "(":
            raise self.unclear("a parenthesis inside a command")

    def _redirection(self, operator: str, end: int, depth: int) -> None:
        self.at = end
        if operator in {"<", ">"} and self.peek() == "(":
            self.at += 1
            self.commands_to(frozenset(")"), depth + 1, own=False)
            return
        self.blanks()
        target = self.word(depth, must=True)
        if operator in {"<<", "<<-"}:
            self.heredocs.append((re.sub(r"""\\(.)|['"]""", r"\1", target), operator == "<<-"))

    def _empty_parens(self) -> bool:
        match = _EMPTY_PARENS.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return match is not None
