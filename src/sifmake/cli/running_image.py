"""Find and open the SIF file that the options name."""

from __future__ import annotations

from sifmake.builder.image_to_run import open_image_to_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.cli.running_parse import Options
    from sifmake.project.configuration import Configuration
    from sifmake.reference import Uri
    from sifmake.runtime.finisher import Finisher
    from sifmake.store.stored_files import Found

NO_CACHE = (
    "no effect, because pulled files are kept in the store; set SIFMAKE_CACHE=DIR to use a store that you can remove"
)


def opened_image(options: Options, *, by_path: bool = False) -> tuple[str, int, Finisher | None]:
    """Return the absolute path of the SIF file to run, the file itself, open or -1, and what still finishes it.

    See :func:`~sifmake.builder.image_to_run.open_image_to_run`.

    Args:
        options: The options, which name the image.
        by_path: Whether the back end opens the file by its path, so that it is finished first.
    """
    finishers: list[Finisher] = []

    def find(uri: Uri, configuration: Configuration | None) -> Found:
        return _stored_sif(options, uri, configuration, None if by_path else finishers)

    sif, fd = open_image_to_run(options.image, find, by_path=by_path)
    return sif, fd, finishers[0] if finishers else None


def _stored_sif(
    options: Options, uri: Uri, configuration: Configuration | None, finishers: list[Finisher] | None
) -> Found:
    """Return the SIF file in the store for the URI of an image; build it if it is not there.

    Args:
        options: The options.
        uri: The image.
        configuration: The configuration, if it was read already.
        finishers: Gets what finishes the image; None to finish it at once.
    """
    from pathlib import Path

    from sifmake.cli.main import LEAST_TO_WORK, OWN_FAILURE, demand_memory

    demand_memory(LEAST_TO_WORK, OWN_FAILURE)
    from sifmake.builder.run_cache import ImageToRun, find_or_build
    from sifmake.cli.console import Console
    from sifmake.end_signals import interrupting
    from sifmake.runtime.finisher import Finisher

    _refuse_own_options(options)
    console = Console(quiet=options.quiet)
    if options.disable_cache:
        console.warning(f"{options.given['disable_cache']}: {NO_CACHE}")
    auth_file = Path(options.authfile) if options.authfile else None
    wanted = ImageToRun(uri, options.offline, options.no_https, auth_file)
    try:
        with interrupting():
            if finishers is None:
                return find_or_build(wanted, console, configuration)
            finishers.append(Finisher(console.warning))
            return find_or_build(wanted, console, configuration, finishers[0].start)
    finally:
        console.close()


def _refuse_own_options(options: Options) -> None:
    """Raise UsageError for options of Apptainer that sifmake handles in another way."""
    hints = {
        "docker_login": "run `sifmake registry login HOST` once",
        "docker_host": "set the variable DOCKER_HOST instead",
    }
    for name, hint in hints.items():
        if getattr(options, name):
            from sifmake.errors import UsageError

            raise UsageError(f"{options.given[name]} is not supported", hint=hint)
