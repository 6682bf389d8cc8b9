"""The SIF file that is run, as the options name it."""

from __future__ import annotations

from sifmake.builder.image_to_run import open_image_to_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.cli.running_parse import Options
    from sifmake.project.configuration import Configuration
    from sifmake.reference import Uri
    from sifmake.store.stored_files import Found

NO_CACHE = "what is pulled is kept in the store all the same; SIFMAKE_CACHE=DIR names another one, to be removed later"


def opened_image(options: Options, *, by_path: bool = False) -> tuple[str, int]:
    """Return the absolute path of the SIF file to run and the file itself, open or -1.

    See :func:`~sifmake.builder.image_to_run.open_image_to_run`.

    Args:
        options: Name the image.
        by_path: Whether what runs it opens it by its path.
    """
    return open_image_to_run(options.image, lambda *wanted: _stored_sif(options, *wanted), by_path=by_path)


def _stored_sif(options: Options, uri: Uri, configuration: Configuration | None) -> Found:
    """Return the SIF file in the store that an image's URI comes to; made now if it is not there."""
    from pathlib import Path

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
    """Raise UsageError for options of Apptainer's that are done otherwise here."""
    hints = {
        "docker_login": "log in once by `sifmake registry login`",
        "docker_host": "set the variable DOCKER_HOST to it",
    }
    for name, hint in hints.items():
        if getattr(options, name):
            from sifmake.errors import UsageError

            raise UsageError(f"{options.given[name]} is not done here", hint=hint)
