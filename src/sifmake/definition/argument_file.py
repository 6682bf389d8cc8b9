"""Build arguments from the command line: ``--build-arg NAME=VALUE`` and ``--build-arg-file FILE``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.definition.blanks import trimmed
from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.variables import pair_of
from sifmake.errors import describe_os_error
from sifmake.files import read_regular
from sifmake.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sifmake.limits import Limits


def read_build_arguments(
    given: Iterable[str],
    file: Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
    warn: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Return the values of build arguments; the command line takes precedence over the file.

    Args:
        given: ``NAME=VALUE`` each.
        file: Lines of the same form; blank lines and comments are skipped, and invalid lines too, with a warning.
        limits: ``definition_bytes`` bounds the file.
        warn: Called with a message about each invalid line of the file.

    Raises:
        DefinitionError: An argument has no name or no ``=``, or the file cannot be read.
    """
    values = _of_file(file, limits, warn) if file else {}
    for text in given:
        pair = pair_of(text)
        if pair is None:
            raise DefinitionPlace("").error(0, f"the build argument {trimmed(text)[:60]!r} is not NAME=VALUE")
        values[pair[0]] = pair[1]
    return values


def _of_file(path: Path, limits: Limits, warn: Callable[[str], None]) -> dict[str, str]:
    place = DefinitionPlace(str(path))
    try:
        data = read_regular(path, limits.definition_bytes + 1, pipes=True)
    except OSError as error:
        raise DefinitionPlace("").error(0, describe_os_error(error)) from None
    if len(data) > limits.definition_bytes:
        raise place.error(0, f"the file has more than {limits.definition_bytes} bytes (limit definition-bytes)")
    values: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), start=1):
        text = trimmed(line)
        if text and not text.startswith("#"):
            pair = pair_of(text)
            if pair is None:
                warn(f"{path}:{number}: {text[:60]!r} is ignored: it is not NAME=VALUE")
            else:
                values[pair[0]] = pair[1]
    return values
