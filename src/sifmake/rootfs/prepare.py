"""Turn a flattened image into a container for Apptainer: its tree, and the documents next to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.errors import one_line
from sifmake.rootfs.arch import ARCHITECTURES, find_architecture
from sifmake.rootfs.editing import Editor
from sifmake.rootfs.gojson import compact, indented
from sifmake.rootfs.inspection import inspection
from sifmake.rootfs.labels import make_labels, parse_created
from sifmake.rootfs.model import Prepared, SifMetadata
from sifmake.rootfs.places import META, add_image_scripts, add_places, keep_history
from sifmake.rootfs.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode
    from sifmake.oci.model import Image
    from sifmake.rootfs.model import Origin

_GO_ZERO_TIME = "0001-01-01T00:00:00"
"""Values that tools write to say nothing."""
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
    """Add the files that the peers expect to a tree, and make the documents of the SIF file.

    Args:
        tree: Changed in place.
        image: The image that the tree belongs to.
        origin: Where it came from.
        labels: Labels from the configuration; they overwrite all others.
        epoch: Time stamp of everything that is added, in seconds.
        read_head: Returns the first bytes of a regular file of the tree.

    Raises:
        SourceError: The image config is not valid, or something is in the way of a required file.
    """
    settings = read_settings(image.config)
    architecture, warnings = choose_architecture(tree, image.config.platform.architecture, read_head)
    all_labels = make_labels(settings.labels, labels, origin, image.config.created, architecture)
    deffile = definition_text(origin)
    editor = Editor(tree, epoch)
    warnings += add_places(editor)
    warnings += add_image_scripts(editor, settings)
    editor.write(META + b"/labels.json", indented(all_labels), 0o644, keep_mode=True)
    keep_history(editor)
    editor.write(META + b"/Singularity", deffile.encode(), 0o644)
    document, left_out = inspection(tree, _reader_of(editor, read_head), all_labels, deffile)
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
    """Return the definition stored in a SIF file: where its image came from."""
    return f"bootstrap: {origin.transport}\nfrom: {one_line(origin.name)}\n\n"


def choose_architecture(tree: Tree, said: str, read_head: Callable[[Inode, int], bytes]) -> tuple[str, list[str]]:
    """Return the architecture of the programs, else that of the image config, and a warning if it is odd."""
    said = _ALIASES.get(said, said)
    found = find_architecture(tree, read_head)
    if found is not None:
        if said and said != found:
            return found, [f"the image config says {one_line(said)}, but its programs are for {found}"]
        return found, []
    if said in ARCHITECTURES:
        return said, []
    wrong = f"the unknown architecture '{one_line(said)}'" if said else "no architecture"
    return _DEFAULT_ARCHITECTURE, [
        f"the image config names {wrong} and the image has no program; assuming {_DEFAULT_ARCHITECTURE}"
    ]


def _reader_of(editor: Editor, read_head: Callable[[Inode, int], bytes]) -> Callable[[Inode, int], bytes]:
    """Return a reader that also knows the new files."""
    new = {id(inode): data for inode, data in editor.files}

    def read(inode: Inode, size: int) -> bytes:
        if inode.size == 0:
            return b""
        data = new.get(id(inode))
        return data[:size] if data is not None else read_head(inode, size)

    return read
