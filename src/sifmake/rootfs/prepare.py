"""Making a flattened image into a container of Apptainer's kind: its tree, and the documents beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import one_line
from sifmake.layers.entry import DIR
from sifmake.rootfs.arch import ARCHITECTURES, find_architecture
from sifmake.rootfs.editing import Editor
from sifmake.rootfs.environment import environment_script
from sifmake.rootfs.fixed import FIXED, text_of
from sifmake.rootfs.gojson import compact, indented
from sifmake.rootfs.inspection import inspection
from sifmake.rootfs.labels import make_labels, parse_created
from sifmake.rootfs.model import Prepared, SifMetadata
from sifmake.rootfs.runscript import runscript
from sifmake.rootfs.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode
    from sifmake.oci.model import Image
    from sifmake.rootfs.model import Origin

_META = b".singularity.d"
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
_GO_ZERO_TIME = "0001-01-01T00:00:00"
"""Written by tools that want to say nothing."""
_DEFAULT_ARCHITECTURE = "amd64"
_ALIASES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386"}


def prepare(
    tree: Tree,
    image: Image,
    origin: Origin,
    labels: Mapping[str, str],
    epoch: int,
    read_head: Callable[[Inode, int], bytes],
) -> Prepared:
    """Add to a tree what Apptainer and SingularityCE look for, and make the documents of the SIF file.

    Args:
        tree: Changed in place.
        image: Whose tree it is.
        origin: Where it came from.
        labels: Of the configuration; they overwrite all others.
        epoch: Time stamp, in seconds, of everything that is added.
        read_head: Gives the first bytes of a regular file of the tree.

    Raises:
        SourceError: The image config is not valid, or something is in the way of a file that has to be there.
    """
    settings = read_settings(image.config)
    architecture, warnings = _architecture(tree, image, read_head)
    all_labels = make_labels(settings.labels, labels, origin, image.config.created, architecture)
    deffile = definition_text(origin)
    editor = Editor(tree, epoch)
    warnings += _add_places(editor)
    warnings += _add_scripts(editor, settings)
    editor.write(_META + b"/labels.json", indented(all_labels), 0o644, keep_mode=True)
    _keep_history(editor)
    editor.write(_META + b"/Singularity", deffile.encode(), 0o644)
    document, left_out = inspection(tree, _reader(editor, read_head), all_labels, deffile)
    warnings += left_out
    objects = SifMetadata(
        deffile=deffile.encode(),
        inspect=document,
        oci_config=compact(settings.document),
    )
    created = image.config.created
    if created and not created.startswith(_GO_ZERO_TIME) and parse_created(created) is None:
        warnings.append(f"the image has no usable creation time: '{one_line(created[:60])}'")
    return Prepared(tuple(editor.files), objects, architecture, tuple(warnings))


def definition_text(origin: Origin) -> str:
    """Return the definition that a SIF file carries: where its image came from."""
    return f"bootstrap: {origin.transport}\nfrom: {one_line(origin.name)}\n\n"


def _architecture(tree: Tree, image: Image, read_head: Callable[[Inode, int], bytes]) -> tuple[str, list[str]]:
    """Return the architecture of the programs, else of the config, and what is odd about it."""
    said = image.config.platform.architecture
    said = _ALIASES.get(said, said)
    found = find_architecture(tree, read_head)
    if found is not None:
        if said and said != found:
            return found, [f"the image config says {one_line(said)}, but the programs inside are for {found}"]
        return found, []
    if said in ARCHITECTURES:
        return said, []
    wrong = f"the unknown architecture '{one_line(said)}'" if said else "no architecture"
    return _DEFAULT_ARCHITECTURE, [
        f"the image config names {wrong} and there is no program inside; taken as {_DEFAULT_ARCHITECTURE}"
    ]


def _add_places(editor: Editor) -> list[str]:
    """Add directories, links into ``/.singularity.d`` and the two files that runtimes bind over."""
    warnings = []
    for name in _OWN_FOLDERS:
        editor.directory(_META + b"/" + name)
    warnings = [
        f"/{path.decode()} cannot be made: a link or file is in the way"
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
            editor.write(path, b"", 0o644)
    return warnings


def _add_scripts(editor: Editor, settings: Settings) -> list[str]:
    environment, warnings = environment_script(settings.env)
    scripts = {name: text_of(name) for name in FIXED}
    scripts["env/10-docker2singularity.sh"] = environment
    scripts["runscript"] = runscript(settings.entrypoint, settings.cmd)
    for name, text in sorted(scripts.items()):
        editor.write(_META + b"/" + name.encode(), text.encode(), 0o755)
    return warnings


def _keep_history(editor: Editor) -> None:
    """Move the definition of an image that was a SIF file before into ``bootstrap_history``."""
    if editor.tree.resolve(_META + b"/Singularity", follow_last=False) is None:
        return
    history = _META + b"/bootstrap_history"
    taken = editor.directory(history).children or {}
    number = len(taken)
    while b"Apptainer%d" % number in taken:
        number += 1
    editor.move(_META, b"Singularity", history, b"Apptainer%d" % number)


def _reader(editor: Editor, read_head: Callable[[Inode, int], bytes]) -> Callable[[Inode, int], bytes]:
    """Return a reader that knows the new files, too."""
    new = {id(inode): data for inode, data in editor.files}

    def read(inode: Inode, size: int) -> bytes:
        if inode.size == 0:
            return b""
        data = new.get(id(inode))
        return data[:size] if data is not None else read_head(inode, size)

    return read
