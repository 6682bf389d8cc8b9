"""Find and open the SIF file that the options name."""

from __future__ import annotations

from sifmake.builder.image_to_run import open_image_to_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.cli.running_parse import Options
    from sifmake.project.configuration import Configuration
    from sifmake.reference import Uri
    from sifmake.store.stored_files import Found

NO_CACHE = (
    "no effect, because pulled files are kept in the store; set SIFMAKE_CACHE=DIR to use a store that you can remove"
)


def opened_image(options: Options, *, by_path: bool = False) -> tuple[str, int]:
    """Return the absolute path of the SIF file to run and the file itself, open or -1.

    See :func:`~sifmake.builder.image_to_run.open_image_to_run`.

    Args:
        options: The options, which name the image.
        by_path: Whether the back end opens the file by its path.
    """
    return open_image_to_run(options.image, lambda *wanted: _stored_sif(options, *wanted), by_path=by_path)


def _stored_sif(options: Options, uri: Uri, configuration: Configuration | None) -> Found:
    """Return the SIF file in the store for the URI of an image; build it if it is not there."""
    from pathlib import Path

    from sifmake.cli.main import LEAST_TO_WORK, OWN_FAILURE, demand_memory

    demand_memory(LEAST_TO_WORK, OWN_FAILURE)
    from sifmake.builder.run_cache import ImageToRun, find_or_build
    from sifmake.cli.console import Console
    from sifmake.end_signals import interrupting

    _refuse_own_options(options)
    console = Console(quiet=options.quiet)
    if options.disable_cache:
        console.warning(f"{options.given['disable_cache']}: {NO_CACHE}")
    auth_file = Path(options.authfile) if options.authfile else None
    try:
        with interrupting():
            wanted = ImageToRun(uri, options.offline, options.no_https, auth_file)
            return find_or_build(wanted, console, configuration)
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
