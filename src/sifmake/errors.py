"""Errors for users: what happened, where, and what to do next."""

from __future__ import annotations

import errno
import os

NO_MEMORY = "not enough memory; raise the limit (ulimit -v, or --mem of the batch system)"
LONGEST_PART = 2000
"""Most characters of one part of a message, because names and texts from outside may have a million."""
_LONGEST_END = 500
"""How many of them come from the end of the text."""


class SifmakeError(Exception):
    """Base of all errors that sifmake raises on purpose; the command line prints it as one line.

    Attributes:
        what: What went wrong, a clause without a full stop.
        where: The place, outermost first: image, layer digest, path in the layer, file; may be empty.
        hint: What the user can do next; may be empty.
        exit_code: Exit status of the command line if the error ends it.
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
        # A process pool pickles errors to pass them to the caller; all attributes have to survive.
        return _restored, (type(self), self.args, vars(self).copy())

    def advised(self, hint: str) -> SifmakeError:
        """Set the hint if the error has none; return the error."""
        self.hint = self.hint or hint
        return self

    def within(self, where: str) -> SifmakeError:
        """Put an outer place before the present one; return the error."""
        self.where = f"{where}: {self.where}" if self.where else where
        return self

    def at_root(self, root: str) -> SifmakeError:
        """Let commands in the hint name the project's folder, so that they work when pasted; return the error."""
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
    """Return the text, or only its beginning and end if it is too long to be readable."""
    left_out = len(text) - LONGEST_PART
    if left_out <= 0:
        return text
    return f"{text[: LONGEST_PART - _LONGEST_END]}[{left_out} characters]{text[-_LONGEST_END:]}"


def one_line(text: str) -> str:
    """Return the text with line breaks and control characters escaped, so that it fits on one terminal line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def describe_os_error(error: OSError) -> str:
    """Return the message for an operating system error: where, what, what to do next."""
    hints = {
        errno.ENOENT: "check the path",
        errno.EISDIR: "name a file",
        errno.EFBIG: "raise the limit on file sizes (ulimit -f), or use another file system",
        errno.EACCES: "check the permissions of the file and its folder",
        errno.EROFS: "name another folder",
        errno.EIO: "the disk or the file system has a fault: look into the kernel's log",
        errno.EAGAIN: "raise the limit of processes (ulimit -u)",
        errno.EMFILE: "raise the limit of open files (ulimit -n)",
        errno.ENOMEM: "free some memory, or raise the limit (ulimit -v, or --mem of the batch system)",
        errno.ENOSPC: "free some space there, or name another folder (SIFMAKE_CACHE for the store)",
        errno.EDQUOT: "free some space there, or name another folder (SIFMAKE_CACHE for the store)",
    }
    if error.errno is None or not error.strerror:
        return one_line(str(error))
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
    hint = hints.get(error.errno)
    transport, slash, rest = where.removesuffix(": ").partition(":/")
    if error.errno == errno.ENOENT and slash and transport in {"docker", "oras", "http", "https"}:
        uri = f"{transport}://{rest}"  # a path has lost one of the slashes
        where, hint = f"{uri}: ", f"this command takes a SIF file: run `sifmake pull OUT.sif {uri}` first"
    return one_line(f"{where}{error.strerror}" + (f"; {hint}" if hint else ""))


class UsageError(SifmakeError):
    """The command line or a reference is malformed."""

    exit_code = 2


class BadReferenceError(UsageError):
    """An image reference does not follow the grammar."""


class SourceError(SifmakeError):
    """An image cannot be read from its source."""


class RegistryError(SourceError):
    """A registry refused a request, failed, or sent an invalid answer."""


class IntegrityError(SourceError):
    """Bytes do not have the expected digest, size or format."""


class LimitError(IntegrityError):
    """An image exceeds a limit; it is not damaged, so another copy would not help."""


class WrongBlobError(IntegrityError):
    """A blob's bytes do not match its descriptor.

    Attributes:
        elsewhere: Whether the source knows another place that may have the right bytes; if so, open the blob again.
    """

    elsewhere = False


class LayerError(IntegrityError):
    """A layer's tar stream or compression is damaged or hostile, or exceeds a limit."""


class StepError(SifmakeError):
    """A script of a definition file failed, or left what it must not leave."""


class StoreError(SifmakeError):
    """The store cannot be read or written."""


class PackDamagedError(StoreError):
    """A layer pack does not match its checksums; it must be rebuilt."""


class FlattenError(SifmakeError):
    """Layers cannot be merged into one tree."""


class SquashfsError(SifmakeError):
    """A tree exceeds the limits of squashfs 4.0."""


class SifError(SifmakeError):
    """A file is not a valid SIF file."""


class ConfigError(UsageError):
    """A configuration file is not valid."""


class DefinitionError(ConfigError):
    """A definition file is not valid, or asks for what cannot be done.

    Attributes:
        line: Number of its line; 0 where it is about the whole file.
        section: Name of the section that contains the line; may be empty.
    """

    line = 0
    section = ""


class LockError(SifmakeError):
    """A lock file is missing, stale or damaged."""


class StepsDifferError(LockError):
    """A step gave something else than its lock says.

    Attributes:
        changes: ``PATH: WHAT`` for each file that differs, if the list of the locked files is in the store.
    """

    exit_code = 4
    changes: tuple[str, ...] = ()


class TargetExistsError(SifmakeError):
    """The output file exists and may not be replaced."""


class OutputPathError(SifmakeError):
    """An output path cannot be used: it is a folder, a device or a pipe, or is not writable."""


class NoRoomError(SifmakeError):
    """What is to be written does not fit where it should go; nothing was fetched yet."""


class BusyError(SifmakeError):
    """Another process is doing the same work; try again later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class SigningError(SifmakeError):
    """A file cannot be signed, or a key cannot be used for it."""


class KeyFileError(SifmakeError):
    """A key cannot be read, written or found."""
