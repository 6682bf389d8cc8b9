import pytest

from sifmake.definition.build_labels import About
from sifmake.definition.section_choice import SectionChoice
from sifmake.definition.section_files import Below, apply_sections, script_text
from sifmake.errors import LimitError
from sifmake.flatten.tree import Tree
from sifmake.limits import Limits
from sifmake.rootfs.editing import Editor
from support.definitions import stage

META = b".singularity.d/"


class Image:
    """A small tree whose files can be read."""

    def __init__(self, **files):
        self.editor = Editor(Tree(), 0)
        for name, (data, mode, uid) in files.items():
            self.editor.write(META + name.replace("__", ".").encode(), data, mode)
            self.editor.tree.resolve(META + name.replace("__", ".").encode()).uid = uid

    def read(self, path):
        inode = self.editor.tree.resolve(path)
        found = [data for other, data in self.editor.files if other is inode]
        return None if inode is None else (found or [b""])[0]

    def apply(self, sections, base=None, post=b"", choice=None, limits=None, about=None):
        below = Below(self.read, base or {}, post)
        values = about or About("amd64"), choice or SectionChoice(), limits or Limits()
        return apply_sections(self.editor, stage(sections), b"text", below, *values)

    def mode(self, name):
        inode = self.editor.tree.resolve(META + name)
        return inode.mode, inode.uid


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("%runscript\n a\n\n", "#!/bin/sh\n\n a\n\n\n"),
        ("%runscript -e # c\n a\n", "#!/bin/sh -e \n\n a\n\n"),
        ("%runscript -e\n#!/bin/bash -x  \na\n", "#!/bin/bash -x -e\n\na\n\n"),
        ("%runscript\n\n#!/bin/bash\na\n", "\n\n#!/bin/bash\na\n\n"),
        ("%runscript\n\n", "#!/bin/sh\n\n\n\n"),
    ],
)
def test_scripts_begin_with_their_shell(section, text):
    assert script_text(stage(section).sections["runscript"]) == text


def test_existing_files_keep_mode_and_owner():
    image = Image(runscript=(b"old", 0o700, 5), runscript__help=(b"h", 0o600, 6))
    image.apply("%runscript\n a\n%help\n new\n%test\n t\n", choice=SectionChoice(force=True))
    assert image.mode(b"runscript") == (0o700, 5)
    assert image.mode(b"runscript.help") == (0o600, 6)
    assert image.mode(b"test") == (0o755, 0)
    assert image.read(META + b"runscript.help") == b" new\n\n"


def test_an_environment_is_added_or_begun():
    image = Image()
    image.apply("%environment\n export A=1\n")
    assert image.read(META + b"env/90-environment.sh") == b"#!/bin/sh\n\n export A=1\n\n"
    image.apply("%environment\nB\n")
    assert image.read(META + b"env/90-environment.sh") == b"#!/bin/sh\n\n export A=1\n\n\nB\n\n"


def test_a_help_text_of_the_base_stays_without_force():
    image = Image(runscript__help=(b"old", 0o644, 0))
    _, warnings = image.apply("%help\n new\n")
    assert image.read(META + b"runscript.help") == b"old"
    assert warnings == ["the base has a help text: %help is ignored; use --force to replace it"]


def test_which_label_wins():
    base, post = {"a": "base", "b": "base", "c": "base"}, b"b post\nd post\norg.label-schema.build-arch post\n"
    sections = "%labels\na own\nd own\ne own\norg.label-schema.build-arch own\n"
    labels, warnings = Image().apply(sections, base, post)
    assert [labels[name] for name in "abcde"] == ["base", "post", "base", "post", "own"]
    assert labels["org.label-schema.build-arch"] == "amd64"
    assert len(warnings) == 3
    labels, warnings = Image().apply(sections, base, post, SectionChoice(force=True))
    assert [labels[name] for name in "abcde"] == ["own", "post", "base", "own", "own"]
    assert labels["org.label-schema.build-arch"] == "own"
    assert warnings == []


def test_labels_about_the_base_and_the_build():
    about = About("arm", "v7", None, "docker.io/library/a:1", "sha256:0")
    labels, _ = Image().apply("%help\n h\n", about=about)
    assert labels["org.opencontainers.image.variant"] == "v7"
    assert labels["org.opencontainers.image.base.name"] == "docker.io/library/a:1"
    assert labels["org.label-schema.usage"] == "/.singularity.d/runscript.help"
    assert labels["org.label-schema.usage.singularity.deffile.from"] == "base"
    assert not [name for name in labels if "created" in name or "date" in name]


def test_labels_json_has_gos_escapes():
    image = Image()
    labels, _ = image.apply("", post="a <b>&\u2028\x01\b\x7fü".encode() + b"\xff")
    assert '"a": "\\u003cb\\u003e\\u0026\\u2028\\u0001\\b\x7fü\\ufffd"' in image.read(META + b"labels.json").decode()
    assert labels["a"].endswith("ü\ufffd")


def test_only_chosen_sections_count():
    image = Image()
    labels, _ = image.apply(
        "%labels\na b\n%help\n h\n%runscript\n r\n%test\n t\n", choice=SectionChoice(only=frozenset(("test",)))
    )
    assert "a" not in labels
    assert "org.label-schema.usage" not in labels
    assert image.read(META + b"runscript") is None
    assert image.read(META + b"test") is not None


def test_too_many_labels_of_post():
    with pytest.raises(LimitError, match=r"%post sets more than 1 labels \(limit definition-labels\)"):
        Image().apply("", post=b"a b\nc d\n", limits=Limits(definition_labels=1))
