"""Evaluates the subset of the POSIX shell that environment scripts and OCI runscripts use, without a shell.

Images need not contain a shell, and a shell adds its own variables. So assignments, quotes, ``${NAME:-word}`` and
``$(echo ...)`` are evaluated here. Anything else raises :class:`NeedsShell`, and a real shell has to do it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

_NAME_START = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NAME_CHARS = _NAME_START | frozenset("0123456789")
_BLANKS = frozenset(" \t")
_META = frozenset(";&|<>()")
_GLOB = frozenset("*?[~")
_SPLITTING = frozenset(" \t\n*?[")
_MAX_DEPTH = 20
"""Deepest nesting of expansions."""
LONGEST_SCRIPT = 256 << 10
"""Most characters of all scripts of an image that are evaluated here."""
_MAX_GROWTH = 1 << 20
"""Most characters from expansions in all of them, because a few lines that double a variable would fill the memory."""


class NeedsShell(Exception):  # noqa: N818 - not an error, but a request for a real shell
    """The text uses more of the shell than this module supports."""


class UnbalancedError(ValueError):
    """A quote or a brace is not closed."""


class Allowance:
    """The remaining allowance for the parsers of one text; beyond it, a shell has to evaluate the text."""

    def __init__(self) -> None:
        self.growth = _MAX_GROWTH
        self.depth = _MAX_DEPTH

    def grow(self, text: str) -> str:
        """Count the result of an expansion and return it."""
        self.growth -= len(text)
        if self.growth < 0:
            raise NeedsShell("the result of expansions is too long")
        return text

    def begin_nested(self) -> None:
        """Enter a nested expansion."""
        self.depth -= 1
        if self.depth < 0:
            raise NeedsShell("nested too deeply")

    def end_nested(self) -> None:
        """Leave a nested expansion."""
        self.depth += 1


class _ShellParser:
    """Parses shell words in a text and expands them with the variables of an environment."""

    def __init__(self, text: str, env: Mapping[str, str], allowance: Allowance | None = None) -> None:
        self.text = text
        self.env = env
        self.at = 0
        self.allowance = allowance or Allowance()

    def peek(self) -> str:
        """Return the next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def skip_blanks(self) -> None:
        """Skip blanks, line continuations and a comment."""
        while self.at < len(self.text):
            if self.text[self.at] in _BLANKS:
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def command(self) -> list[tuple[str, bool]]:
        """Read the words of one simple command, each with whether it was plain text without quotes or expansions."""
        words: list[tuple[str, bool]] = []
        while True:
            self.skip_blanks()
            char = self.peek()
            if char in ("", "\n", ";"):
                self.at += 1
                return words
            words.append(self.word(assigning=not words or words[0] == ("export", True)))

    def words(self) -> list[str]:
        """Read all words up to the end of the text; NeedsShell if there is more than one command."""
        words = [text for text, _plain in self.command()]
        if self.at < len(self.text):
            raise NeedsShell("more than one command")
        return words

    def word(self, *, assigning: bool) -> tuple[str, bool]:
        """Read one word; unquoted expansions are accepted in assignments only, because there they are not split."""
        start = self.at
        parts: list[str] = []
        value = equals = False
        while (char := self.peek()) and char not in _BLANKS and char != "\n":
            if char in _META:
                if char == ";":
                    break
                raise NeedsShell(f"{char} outside quotes")
            if char == "=" and not equals:
                equals, value = True, assigning and is_name(self.text[start : self.at])
            if char in _GLOB and (not value or char == "~"):
                raise NeedsShell(f"{char} outside quotes")
            piece = self.piece(char)
            if char in "$`" and not value and (not piece or _SPLITTING.intersection(piece)):
                raise NeedsShell("an expansion outside quotes would be split")
            parts.append(piece)
        text = "".join(parts)
        return text, text == self.text[start : self.at]

    def piece(self, char: str) -> str:
        """Read the part that begins with ``char`` outside quotes."""
        if char == "'":
            end = self.text.find("'", self.at + 1)
            if end < 0:
                raise UnbalancedError("a single quote is not closed")
            piece = self.text[self.at + 1 : end]
            self.at = end + 1
            return piece
        if char == '"':
            self.at += 1
            return self.quoted('"')
        if char == "\\":
            self.at += 2
            escaped = self.text[self.at - 1 : self.at]
            return "" if escaped == "\n" else escaped or "\\"
        if char == "$":
            return self.dollar()
        if char == "`":
            return self.backquoted()
        self.at += 1
        return char

    def quoted(self, closing: str) -> str:
        """Read text as between double quotes up to and including ``closing``; if it is empty, read everything."""
        parts: list[str] = []
        while (char := self.peek()) != closing:
            if not char:
                raise UnbalancedError("a double quote or brace is not closed")
            if char == "\\":
                parts.append(self.escaped())
            elif char == "$":
                parts.append(self.dollar())
            elif char == "`":
                parts.append(self.backquoted())
            elif char == '"':
                self.at += 1
                parts.append(self.quoted('"') if closing == "}" else '"')
            else:
                parts.append(char)
                self.at += 1
        self.at += 1
        return "".join(parts)

    def escaped(self) -> str:
        """Read a backslash between double quotes."""
        following = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        if following == "\n":
            return ""
        return following if following and following in '$`"\\' else "\\" + following

    def dollar(self) -> str:
        """Read an expansion that begins with a dollar sign."""
        following = self.text[self.at + 1 : self.at + 2]
        if following == "{":
            return self.braced()
        if following == "(":
            return self.substituted()
        if following in _NAME_START and following:
            self.at += 1
            return self.allowance.grow(self.env.get(self.name(), ""))
        if following and following in "0123456789@*#?-$!":
            raise NeedsShell(f"${following}")
        self.at += 1
        return "$"

    def name(self) -> str:
        """Read a variable name."""
        start = self.at
        while self.peek() in _NAME_CHARS and self.peek():
            self.at += 1
        return self.text[start : self.at]

    def braced(self) -> str:
        """Read ``${NAME}`` with ``-``, ``:-``, ``+`` or ``:+``."""
        self.at += 2
        name = self.name()
        value = self.env.get(name)
        operator = self.text[self.at : self.at + 2]
        if not name or operator[:1] not in ("}", "-", "+", ":"):
            raise NeedsShell("parameter expansion")
        if operator[:1] == "}":
            self.at += 1
            return self.allowance.grow(value or "")
        if operator[0] == ":":
            value = value or None
            operator = operator[1:]
            self.at += 1
        if operator[:1] not in ("-", "+"):
            raise NeedsShell("parameter expansion")
        self.at += 1
        self.allowance.begin_nested()
        word = self.quoted("}")
        self.allowance.end_nested()
        if operator[0] == "-":
            return word if value is None else self.allowance.grow(value)
        return "" if value is None else word

    def substituted(self) -> str:
        """Read ``$( ... )`` whose command is echo."""
        start = at = self.at + 2
        level = 1
        while at < len(self.text) and level:
            if self.text[at] in "'\"\\`":
                raise NeedsShell("quotes in a command substitution")
            level += (self.text[at] == "(") - (self.text[at] == ")")
            at += 1
        if level:
            raise UnbalancedError("$( is not closed")
        self.at = at
        return self.run(self.text[start : at - 1])

    def backquoted(self) -> str:
        """Read a command between backquotes."""
        end = self.text.find("`", self.at + 1)
        if end < 0:
            raise UnbalancedError("a backquote is not closed")
        inner = self.text[self.at + 1 : end]
        if "\\" in inner:
            raise NeedsShell("backslash in a command substitution")
        self.at = end + 1
        return self.run(inner)

    def run(self, command: str) -> str:
        """Return the output of a substituted command; only echo is supported."""
        if not command.lstrip().startswith("echo "):
            raise NeedsShell(command)
        self.allowance.begin_nested()
        words = _ShellParser(command, self.env, self.allowance).words()
        self.allowance.end_nested()
        if words[1:2] and words[1].startswith("-"):
            raise NeedsShell(command)
        return " ".join(words[1:]).rstrip("\n")


def is_name(text: str) -> bool:
    """Whether a text can be the name of a shell variable."""
    return text[:1] in _NAME_START and bool(text) and _NAME_CHARS.issuperset(text)


def split_words(text: str, env: Mapping[str, str]) -> list[str]:
    """Return the words that ``eval "set TEXT"`` would set.

    Raises:
        UnbalancedError: A quote is not closed.
        NeedsShell: The text contains more than words.
    """
    return _ShellParser(text, env).words()


def expand_quoted(text: str, env: Mapping[str, str]) -> str:
    """Return the text as a shell expands it between double quotes; double quotes inside it are literal."""
    return _ShellParser(text, env).quoted("")


def source(
    script: str,
    variables: MutableMapping[str, str],
    exported: set[str],
    fixed: frozenset[str],
    allowance: Allowance | None = None,
) -> list[str]:
    """Run a script that only sets and exports variables.

    Args:
        script: Text of the script.
        variables: All variables so far; changed.
        exported: Names of exported variables; changed.
        fixed: Names that cannot be set.
        allowance: Shared by scripts that run one after the other.

    Returns:
        The fixed names that the script tried to set.

    Raises:
        NeedsShell: It does more; the variables may have been changed up to that point.
        UnbalancedError: A quote is not closed.
    """
    refused: list[str] = []
    reader = _ShellParser(script, variables, allowance)
    while reader.at < len(script):
        words = reader.command()
        if not words or words == [(":", True)]:
            continue
        head = words[0] if words[0] in (("export", True), ("unset", True)) else None
        for text, _plain in words[1:] if head else words:
            name, equals, value = text.partition("=")
            if not is_name(name) or bool(equals) < (head is None) or (equals and head == ("unset", True)):
                raise NeedsShell(text)
            if name in fixed:
                refused.append(name)
            elif head == ("unset", True):
                variables.pop(name, None)
                exported.discard(name)
            else:
                if equals:
                    variables[name] = value
                if head:
                    exported.add(name)
    return refused
