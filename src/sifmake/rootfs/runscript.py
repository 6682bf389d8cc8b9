"""Entrypoint and Cmd as a shell script: ``/.singularity.d/runscript``.

Both peers look for the line that evaluates ``SINGULARITY_OCI_RUN``; if they find it, they run the script with a shell
of their own, so that images without a shell can run. The script therefore uses only plain POSIX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import LimitError
from sifmake.limits import MIB
from sifmake.rootfs.shell import double_quoted, single_quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_BYTES = 2 * MIB
"""What Linux passes to a program, arguments and variables together, where the stack has its usual 8 MiB (execve(2)). In
the script, quotes take fifteen times as much.
"""

_EVALUATED = """\

# Otherwise the words are put together as text, and the shell evaluates it: variables and command
# substitutions in the user's arguments take effect, the image's own words are protected by their quotes.
SINGULARITY_OCI_RUN="${OCI_ENTRYPOINT}"
if [ $# -gt 0 ]; then
    for OCI_ARGUMENT in "$@"; do
        SINGULARITY_OCI_RUN="${SINGULARITY_OCI_RUN} \\"${OCI_ARGUMENT}\\""
    done
else
    SINGULARITY_OCI_RUN="${SINGULARITY_OCI_RUN} ${OCI_CMD}"
fi
eval "set ${SINGULARITY_OCI_RUN}"
exec "$@"
"""


def runscript(entrypoint: Sequence[str], cmd: Sequence[str]) -> str:
    """Return the script: the entrypoint with the user's arguments, or with Cmd if the user gives none.

    Raises:
        LimitError: They are longer than what a program can be started with.
    """
    if sum(len(word) + 1 for word in (*entrypoint, *cmd)) > _MOST_BYTES:
        what = f"Entrypoint and Cmd of the image have more than {_MOST_BYTES} bytes, which Linux passes to no program"
        raise LimitError(f"{what} (a limit)", hint="ask its owner to put the words into a file")
    head = f"#!/bin/sh\nOCI_ENTRYPOINT={_word_list(entrypoint)}\nOCI_CMD={_word_list(cmd)}\n"
    return head + _literal(entrypoint, cmd) + _EVALUATED


def _word_list(words: Sequence[str]) -> str:
    return single_quoted(" ".join(double_quoted(word) for word in words))


def _literal(entrypoint: Sequence[str], cmd: Sequence[str]) -> str:
    """Return the part that passes on every word unchanged, for ``--no-eval`` and ``--compat``."""
    lines = [
        "",
        "# With --no-eval or --compat every word reaches the program as it was given.",
        'if [ -n "${SINGULARITY_NO_EVAL:-}" ]; then',
    ]
    if entrypoint and cmd:
        lines += ["    if [ $# -gt 0 ]; then", *_prepend(entrypoint), "    else"]
        lines += [*_prepend(cmd), *_prepend(entrypoint), "    fi"]
    elif entrypoint:
        lines += _prepend(entrypoint)
    elif cmd:
        lines += ["    if [ $# -eq 0 ]; then", *_prepend(cmd), "    fi"]
    lines += ['    exec "$@"', "fi"]
    return "\n".join(lines) + "\n"


def _prepend(words: Sequence[str]) -> list[str]:
    """Return lines that put words before the arguments; not indented, because a word may have several lines."""
    return [f'set -- {single_quoted(word)} "$@"' for word in reversed(words)]
