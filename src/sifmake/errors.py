"""Errors that a user can read: what happened, where, and what to do next."""

from __future__ import annotations

import errno
import os

NO_MEMORY = "there is not enough memory; raise the limit (ulimit -v, or --mem of the batch system)"
LONGEST_PART = 2000
"""Characters of a part of a message; names and texts of strangers may have a million."""
_LONGEST_END = 500
"""How many of them are the end of the text."""


class SifmakeError(Exception):
    """Base of all errors that sifmake raises on purpose; the command line prints it as one line.

    Attributes:
        what: What went wrong, a clause without a full stop.
        where: Image, layer digest, path in the layer, file: outermost first; may be empty.
        hint: What the user can do next; may be empty.
        exit_code: Exit status of the command line when the error ends it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what, where, hint)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        where, what, hint = map(_shortened, (self.where, self.what, self.hint))
        head = f"{where}: {what}" if where else what
        return one_line(f"{head}; {hint}" if hint else head)

    def __reduce__(self) -> tuple[object, ...]:
        # A process pool carries errors to the caller, with all that they say.
        return _restored, (type(self), self.args, vars(self).copy())

    def advised(self, hint: str) -> SifmakeError:
        """Return the same error with a hint if it has none."""
        self.hint = self.hint or hint
        return self

    def within(self, where: str) -> SifmakeError:
        """Return the same error with an outer place put before the inner one."""
        self.where = f"{where}: {self.where}" if self.where else where
        return self

    def at_root(self, root: str) -> SifmakeError:
        """Return the same error; commands in its hint name the project's folder, so that they work when pasted."""
        if root != ".":
            import re
            from shlex import quote

            named = f"sifmake lock --root {quote(root)}"
            self.hint = re.sub(r"\bsifmake lock\b(?! --root)", lambda _: named, self.hint)
        return self


def _restored(kind: type[SifmakeError], args: tuple[str, ...], state: dict[str, object]) -> SifmakeError:
    error = kind.__new__(kind, *args)
    vars(error).update(state)
    return error


def _shortened(text: str) -> str:
    """Return the text, or its beginning and end where it is so long that nobody would find anything in it."""
    left_out = len(text) - LONGEST_PART
    if left_out <= 0:
        return text
    return f"{text[: LONGEST_PART - _LONGEST_END]}[{left_out} characters]{text[-_LONGEST_END:]}"


def one_line(text: str) -> str:
    """Return the text with line breaks and control characters escaped, fit for one terminal line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def explain(error: OSError) -> str:
    """Return where, what and what to do next for an error of the operating system."""
    hints = {
        errno.ENOENT: "is the path right?",
        errno.EISDIR: "name a file",
        errno.EFBIG: "files are limited to a smaller size here (ulimit -f, or the file system)",
        errno.EACCES: "may you read and write there?",
        errno.EROFS: "name another folder",
        errno.ENOSPC: "free some space there, or name another folder (SIFMAKE_CACHE for the store)",
        errno.EDQUOT: "free some space there, or name another folder (SIFMAKE_CACHE for the store)",
    }
    if error.errno is None or not error.strerror:
        return one_line(str(error))
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
    hint = hints.get(error.errno)
    return one_line(f"{where}{error.strerror}" + (f"; {hint}" if hint else ""))


class UsageError(SifmakeError):
    """The command line or a reference is not well-formed."""

    exit_code = 2


class BadReferenceError(UsageError):
    """An image reference does not follow the grammar."""


class SourceError(SifmakeError):
    """An image cannot be read from where it is said to be."""


class RegistryError(SourceError):
    """A registry refused, failed or sent something that no registry should send."""


class IntegrityError(SourceError):
    """Bytes do not have the digest, size or form that they were announced with."""


class LimitError(IntegrityError):
    """An image needs more of something than a limit allows; it is not damaged, and nobody else has a better one."""


class WrongBlobError(IntegrityError):
    """A blob's bytes are not those that its descriptor names.

    Attributes:
        elsewhere: Whether the source knows a further place that may have the right ones: open the blob again.
    """

    elsewhere = False


class LayerError(IntegrityError):
    """A layer's tar stream or compression is damaged, hostile or beyond a limit."""


class StoreError(SifmakeError):
    """The store cannot be read or written."""


class PackDamagedError(StoreError):
    """A layer pack does not match its checksums; it has to be made again."""


class FlattenError(SifmakeError):
    """Layers cannot be merged into one tree."""


class SquashfsError(SifmakeError):
    """A tree does not fit into the limits of squashfs 4.0."""


class SifError(SifmakeError):
    """A file is not a well-formed SIF."""


class ConfigError(UsageError):
    """A configuration file is not valid."""


class DefinitionError(ConfigError):
    """A definition file is not valid, or asks for what cannot be done."""


class LockError(SifmakeError):
    """A lock file is missing, stale or damaged."""


class TargetExistsError(SifmakeError):
    """The output file is there already and may not be replaced."""


class OutputPathError(SifmakeError):
    """A file cannot be written where the user wants it: a folder, a device or a pipe is there, or nobody may write."""


class NoRoomError(SifmakeError):
    """What is to be written does not fit where it should go; nothing was fetched yet."""


class BusyError(SifmakeError):
    """Somebody else is at work where only one may be; try again later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class SigningError(SifmakeError):
    """A file cannot be signed, or a key cannot be used for it."""


class KeyFileError(SifmakeError):
    """A key cannot be read, written or found."""
