"""Paths and scripts in ``/.singularity.d`` that every image has, before anything is built on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.layers.entry import DIR, FILE
from sifmake.rootfs.environment import environment_script
from sifmake.rootfs.fixed import FIXED, text_of
from sifmake.rootfs.runscript import runscript

if TYPE_CHECKING:
    from sifmake.rootfs.editing import Editor
    from sifmake.rootfs.settings import Settings

META = b".singularity.d"
_OWN_FOLDERS = (b"libs", b"actions", b"env")
_MOUNT_POINTS = (b"dev", b"proc", b"root", b"var/tmp", b"tmp", b"etc", b"sys", b"home")
_LINKS = {
    b"singularity": b".singularity.d/runscript",
    b".run": b".singularity.d/actions/run",
    b".exec": b".singularity.d/actions/exec",
    b".test": b".singularity.d/actions/test",
    b".shell": b".singularity.d/actions/shell",
    b"environment": b".singularity.d/env/90-environment.sh",
}
NO_RUNSCRIPT = "#!/bin/sh\n"
"""The program that a tree without a config runs; the peers write the same."""


def add_places(editor: Editor, *, keep: bool = False) -> list[str]:
    """Add directories, links into ``/.singularity.d`` and the two files that runtimes bind over; return warnings.

    Args:
        editor: Changes the tree.
        keep: Whether these two files keep existing content, as in an image that was a SIF file before.

    Raises:
        SourceError: Something is in the way of ``/.singularity.d``.
    """
    warnings = []
    for name in _OWN_FOLDERS:
        editor.directory(META + b"/" + name)
    warnings = [
        f"/{path.decode()} cannot be created: a link or file is in the way"
        for path in _MOUNT_POINTS
        if not editor.mount_point(path)
    ]
    for name, target in _LINKS.items():
        editor.link(name, target)
    for path in (b"etc/hosts", b"etc/resolv.conf"):
        old = editor.tree.resolve(path, follow_last=False)
        if old is not None and old.kind == DIR:
            warnings.append(f"/{path.decode()} is a directory; runtimes cannot put the host's file there")
        else:
            _put(editor, path, b"", 0o644, keep=keep)
    return warnings


def add_image_scripts(editor: Editor, settings: Settings) -> list[str]:
    """Add the scripts of an image with an OCI config; return warnings about its environment.

    Raises:
        SourceError: Something is in the way.
    """
    environment, warnings = environment_script(settings.env)
    scripts = {name: text_of(name) for name in FIXED}
    scripts["env/10-docker2singularity.sh"] = environment
    scripts["runscript"] = runscript(settings.entrypoint, settings.cmd)
    for name, text in sorted(scripts.items()):
        editor.write(META + b"/" + name.encode(), text.encode(), 0o755)
    return warnings


def add_plain_scripts(editor: Editor, *, keep: bool) -> None:
    """Add the scripts of a tree without a config.

    Args:
        editor: Changes the tree.
        keep: Whether existing scripts keep their content, and only get the right mode.

    Raises:
        SourceError: Something is in the way.
    """
    scripts = {name: text_of(name) for name in FIXED} | {"runscript": NO_RUNSCRIPT}
    for name, text in sorted(scripts.items()):
        _put(editor, META + b"/" + name.encode(), text.encode(), 0o755, keep=keep)


def _put(editor: Editor, path: bytes, data: bytes, mode: int, *, keep: bool) -> None:
    old = editor.tree.resolve(path, follow_last=False)
    if keep and old is not None and old.kind != DIR:
        old.mode = mode if old.kind == FILE else old.mode
    else:
        editor.write(path, data, mode)


def keep_history(editor: Editor) -> None:
    """Move the definition of an image that was a SIF file before into ``bootstrap_history``."""
    if editor.tree.resolve(META + b"/Singularity", follow_last=False) is None:
        return
    history = META + b"/bootstrap_history"
    taken = editor.directory(history).children or {}
    number = len(taken)
    while b"Apptainer%d" % number in taken:
        number += 1
    editor.move(META, b"Singularity", history, b"Apptainer%d" % number)
