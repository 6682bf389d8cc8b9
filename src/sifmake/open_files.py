"""The limit on open files: each layer of an image keeps a file open while the image is built."""

from __future__ import annotations

import resource

from sifmake.errors import LimitError

_RESERVE = 128
"""Open files besides those of the layers: connections, locks of the store, outputs."""


def allow_files(layers: int) -> None:
    """Raise this process's limit on open files as far as an image needs.

    Raises:
        LimitError: The system does not allow that many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = layers + _RESERVE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LimitError(
            f"the image has {layers} layers, which need {needed} open files, and only {hard} are allowed",
            hint=f"raise the hard limit to {needed} (ulimit -n), or ask the owner of the image for fewer layers",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
