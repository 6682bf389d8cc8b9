"""The environment of ``%post``: variables of Apptainer, of the image, and those that the caller chose for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_USUAL_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_LIBRARIES = "/.singularity.d/libs"
_FIXED = {
    "HOME": "/root",
    "LANG": "C",
    "PS1": "Apptainer> ",
    "PROMPT_COMMAND": 'PS1="Apptainer> "; unset PROMPT_COMMAND',
    "APPTAINER_APPNAME": "",
    "APPTAINER_COMMAND": "exec",
}
_BOTH = {
    "BIND": "/etc/resolv.conf,/etc/hosts",
    "CONTAINER": "/",
    "NAME": "rootfs",
    "ENVIRONMENT": "/.singularity.d/env/91-environment.sh",
    "LABELS": "/.build.labels",
}
"""Set under the names of both peers; the path of a real folder would make each build different."""
_PASSED = ("TERM", "http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")
_CHOSEN = ("SINGULARITYENV_", "APPTAINERENV_")


def post_environment(image: Sequence[str], environ: Mapping[str, str], epoch: int) -> dict[str, str]:
    """Return all variables of a script of ``%post``.

    Args:
        image: ``NAME=value`` items of the image's config.
        environ: The caller's variables: proxies and TERM pass, ``APPTAINERENV_X`` is X.
        epoch: SOURCE_DATE_EPOCH (https://reproducible-builds.org/specs/source-date-epoch/).
    """
    own = {name: value for name, equals, value in (item.partition("=") for item in image) if equals}
    found = {**own, **_FIXED, "SOURCE_DATE_EPOCH": str(epoch), "TERM": "dumb"}
    for prefix in ("APPTAINER_", "SINGULARITY_"):
        found |= {prefix + name: value for name, value in _BOTH.items()}
    found["PATH"] = _whole_path(own.get("PATH", ""))
    found["LD_LIBRARY_PATH"] = ":".join(part for part in (own.get("LD_LIBRARY_PATH", ""), _LIBRARIES) if part)
    found |= passed_variables(environ)
    return found | dict(chosen_variables(environ))


def passed_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the caller that reach ``%post`` of a project's images: proxies and TERM, in no key."""
    return {name: value for name, value in environ.items() if _is_passed(name)}


def _is_passed(name: str) -> bool:
    return name.lower() in _PASSED or name in _PASSED


def chosen_variables(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the variables that the caller sets for ``%post``; those with Apptainer's prefix come last and win."""
    for prefix in _CHOSEN:
        for name, value in sorted(environ.items()):
            if name.startswith(prefix) and len(name) > len(prefix):
                yield name.removeprefix(prefix), value


def _whole_path(path: str) -> str:
    """Return a PATH with missing standard folders added at its end."""
    folders = [folder for folder in path.split(":") if folder]
    return ":".join([*folders, *(folder for folder in _USUAL_PATH if folder not in folders)])
