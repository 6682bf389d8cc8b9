"""Room for open files: each layer of an image keeps one open while the image is built."""

from __future__ import annotations

import resource

from sifmake.errors import LimitError

_RESERVE = 128
"""Files besides those of the layers: connections, the store's locks, what is written."""


def allow_files(layers: int) -> None:
    """Raise the limit on open files of this process as far as an image needs and the system allows.

    Raises:
        LimitError: It does not allow as many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = layers + _RESERVE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LimitError(
            f"the image has {layers} layers, which need {needed} open files, and only {hard} are allowed",
            hint=f"set ulimit -n {needed}, or have its owner build it with fewer layers",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
