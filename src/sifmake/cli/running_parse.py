"""Read the command lines and variables of ``run``, ``exec``, ``shell`` and ``test`` as Apptainer does.

argparse would take half of the time of a run and parses some lines differently, so it is used only for help and errors.
"""

from __future__ import annotations

from sifmake.cli.running_options import FLAG, LIST, PEERS, TEXTS, VALUE, all_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from sifmake.cli.running_options import Row

WRAPPED = {
    "exec": "sifmake exec [options] SIF|URI COMMAND [ARGUMENT...]",
    "run": "sifmake run [options] SIF|URI [ARGUMENT...]",
    "shell": "sifmake shell [options] SIF|URI",
    "test": "sifmake test [options] SIF|URI [ARGUMENT...]",
}
_GLOBAL: tuple[Row, ...] = (("quiet", "-q --quiet", FLAG, "", "", ""), ("debug", "--debug", FLAG, "", "", ""))
_PREFIXES = ("APPTAINER_", "SINGULARITY_")
"""Prefixes of variables that set options. The first one takes precedence, even if its value is empty."""
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
"""The truth values of Go's strconv.ParseBool, which the peers use."""


class _NotPlainError(Exception):
    """The line is wrong or asks for help, which argparse handles."""


class Options:
    """Parsed options: an attribute for each row, as in argparse's Namespace, and where each one was set.

    Attributes:
        command: The action.
        image: As the user wrote it.
        arguments: The words after the image.
        given: For each attribute, the option word or variable that set it.
    """

    command: str
    quiet: bool
    debug: bool
    image: str
    arguments: list[str]
    shell: str
    given: dict[str, str]

    # One attribute for each row of the tables; a test checks that they match. Those of another action are not set.
    add_caps: str
    allow_setuid: bool
    app: str
    apply_cgroups: str
    authfile: str
    bind: list[str]
    blkio_weight: str
    blkio_weight_device: list[str]
    cdi_dirs: list[str]
    cleanenv: bool
    compat: bool
    compat32: bool
    contain: bool
    containall: bool
    containlibs: list[str]
    cpu_shares: str
    cpus: str
    cpuset_cpus: str
    cpuset_mems: str
    cwd: str
    data: list[str]
    device: list[str]
    disable_cache: bool
    dmtcp_launch: str
    dmtcp_restart: str
    dns: list[str]
    docker_host: str
    docker_login: bool
    drop_caps: str
    env: list[str]
    env_file: list[str]
    fakeroot: bool
    fusemount: list[str]
    home: str
    hostname: str
    ignore_fakeroot: bool
    ignore_subuid: bool
    ignore_userns: bool
    intel_hpu: bool
    ipc: bool
    keep_layers: bool
    keep_privs: bool
    memory: str
    memory_reservation: str
    memory_swap: str
    mount: list[str]
    net: bool
    netns_path: str
    network: str
    network_args: list[str]
    no_compat: bool
    no_env: list[str]
    no_eval: bool
    no_home: bool
    no_https: bool
    no_init: bool
    no_mount: list[str]
    no_nv: bool
    no_oci: bool
    no_pid: bool
    no_privs: bool
    no_rocm: bool
    no_setgroups: bool
    no_tmp_sandbox: bool
    no_umask: bool
    nv: bool
    nvccli: bool
    oci: bool
    offline: bool
    oom_kill_disable: bool
    overlay: list[str]
    passphrase: bool
    pem_path: str
    pid: bool
    pids_limit: str
    rocm: bool
    runscript_timeout: str
    runtime: str
    scratch: list[str]
    security: list[str]
    sharens: bool
    tmp_sandbox: bool
    underlay: bool
    unsquash: bool
    userns: bool
    uts: bool
    workdir: str
    writable: bool
    writable_tmpfs: bool

    def __init__(self, action: str) -> None:
        values = {"command": action, "quiet": False, "debug": False, "image": "", "arguments": [], "shell": ""}
        self.__dict__.update(values)
        for row in all_rows(action):
            self.__dict__[row[0]] = False if row[2] is FLAG else "" if row[2] is VALUE else []
        self.given = {}

    def take(self, row: Row, text: str, origin: str) -> None:
        """Set an option from a text; ValueError if the option does not accept it."""
        name, kind = row[0], row[2]
        if kind is FLAG:
            self.__dict__[name] = _truth(text)
        elif kind is VALUE:
            self.__dict__[name] = text
        else:
            self.__dict__[name] = [*self.__dict__[name], text]
        self.given[name] = origin


def _truth(text: str) -> bool:
    """Return the truth value of a word; ValueError if it is neither true nor false."""
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(text)


def configure(parser: argparse.ArgumentParser, action: str) -> None:
    """Add the arguments of one of the actions, for help and for errors."""
    import argparse

    parser.usage = WRAPPED[action]
    peers = parser.add_argument_group("options that only apptainer and singularity support")
    for row in all_rows(action):
        name, words, kind, _variables, shown, text = row
        group = peers if row in PEERS or name == "runscript_timeout" else parser
        if kind is FLAG:
            group.add_argument(*words.split(), dest=name, action="store_true", help=text)
        elif kind is VALUE:
            group.add_argument(*words.split(), dest=name, default="", metavar=shown, help=text)
        else:
            group.add_argument(*words.split(), dest=name, action="append", default=[], metavar=shown, help=text)
    parser.add_argument("image", metavar="SIF|URI", help="SIF file, or URI of an image as for pull")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="command or arguments")


def parse_plain(words: list[str]) -> argparse.Namespace | None:
    """Parse a command line; None if it is wrong or asks for help, which argparse then handles.

    Args:
        words: The action, options, the image and its arguments. Everything after the image belongs to the program.
    """
    options = Options(words[0])
    known = {word: row for row in (*all_rows(words[0]), *_GLOBAL) for word in row[1].split()}
    pending = words[:0:-1]
    try:
        while pending and pending[-1].startswith("-") and pending[-1] != "-":
            word = pending.pop()
            if word == "--":
                break
            if word.startswith("--"):
                _take_long(options, known, word, pending)
            else:
                _take_short(options, known, word, pending)
    except _NotPlainError:
        return None
    if not pending:
        return None
    options.__dict__.update(image=pending.pop(), arguments=pending[::-1])
    return options  # type: ignore[return-value]  # it has all attributes that callers read


def _take_long(options: Options, known: Mapping[str, Row], text: str, pending: list[str]) -> None:
    """Take ``--word``, ``--word=value`` or ``--word value``."""
    word, equals, value = text.partition("=")
    row = _row_of(known, word)
    if not equals:
        value = "true" if row[2] is FLAG else _following(pending)
    _take(options, row, value, word)


def _take_short(options: Options, known: Mapping[str, Row], text: str, pending: list[str]) -> None:
    """Take one or more one-letter options; the rest after the first option with a value is its value."""
    at = 1
    while at < len(text):
        word = f"-{text[at]}"
        row = _row_of(known, word)
        rest = text[at + 1 :]
        if row[2] is not FLAG or rest.startswith("="):
            _take(options, row, rest.removeprefix("=") if rest else _following(pending), word)
            return
        _take(options, row, "true", word)
        at += 1


def _row_of(known: Mapping[str, Row], word: str) -> Row:
    """Return the row of an option; NotPlainError if there is none."""
    if word not in known:
        raise _NotPlainError(word)
    return known[word]


def _take(options: Options, row: Row, text: str, word: str) -> None:
    """Set an option; NotPlainError if the option does not accept the text."""
    try:
        options.take(row, text, word)
    except ValueError:
        raise _NotPlainError(word) from None


def _following(pending: list[str]) -> str:
    """Take the next word."""
    if not pending:
        raise _NotPlainError
    return pending.pop()


def read_variables(options: Options, environ: Mapping[str, str], rows: Iterable[Row] = ()) -> None:
    """Set options that are not on the command line from variables such as ``APPTAINER_BIND``; binds and mounts add up.

    Args:
        options: Changed.
        environ: The environment.
        rows: The options to read; all options of the action if empty.

    Raises:
        UsageError: A variable for a flag is neither true nor false.
    """
    found = {name: value for name, value in environ.items() if name.startswith(_PREFIXES)}
    if not found:
        return
    for prefix in _PREFIXES:
        for row in rows or all_rows(options.command):
            for key in row[3].split():
                if prefix + key in found and (prefix is _PREFIXES[0] or _PREFIXES[0] + key not in found):
                    _take_variable(options, row, prefix + key, found[prefix + key].strip())


def _take_variable(options: Options, row: Row, name: str, value: str) -> None:
    """Set an option from a variable's value."""
    if not value or (row[2] is not TEXTS and row[0] in options.given):
        return
    if row[2] is LIST:
        value = ",".join(item.strip() for item in value.split(","))
    try:
        options.take(row, value, name)
    except ValueError:
        from sifmake.errors import UsageError

        raise UsageError(f"is neither true nor false: {value}", where=name, hint="set it to 1 or 0") from None
