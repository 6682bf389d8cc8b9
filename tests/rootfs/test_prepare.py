import json

import pytest

from sifmake.errors import SourceError
from sifmake.flatten.tree import Tree
from sifmake.layers.entry import CHAR, DIR, FILE, SYMLINK, Inode
from sifmake.oci.model import Descriptor, Image, ImageConfig, Platform
from sifmake.rootfs import Origin, prepare
from sifmake.rootfs.fixed import FIXED

OLD, NOW = 1_600_000_000, 1_612_325_106
M68K = r"'m\n68k'"
MANIFEST = "sha256:" + "a" * 64
ORIGIN = Origin("oci", "hello", "", MANIFEST)


def make_image(config=None, *, created="2021-02-03T04:05:06Z", architecture="amd64"):
    document = {"config": config, "created": created, "architecture": architecture, "os": "linux"}
    raw = json.dumps(document).encode()
    place = Platform("linux", architecture)
    return Image(MANIFEST, b"{}", Descriptor("", MANIFEST, len(raw)), ImageConfig(raw, document, place, ()), ())


class Built:
    """A tree made from a short description, and what became of it.

    ``files`` maps paths to a directory (None), a symlink's target (str) or a file's bytes.
    """

    def __init__(self, files=None, config=None, **more):
        self.contents = {}
        self.tree = Tree(Inode(b"", DIR, 0o755, 0, 0, OLD, children={}))
        for path, what in (files or {}).items():
            self.add(path, what)
        image = make_image(config, **more)
        self.prepared = prepare(self.tree, image, ORIGIN, {}, NOW, lambda inode, size: self.contents[id(inode)][:size])
        self.new = {id(inode): data for inode, data in self.prepared.files}

    def add(self, path, what):
        *above, name = path.encode().split(b"/")
        here = self.tree.root
        for part in above:
            here = here.children.setdefault(part, Inode(part, DIR, 0o755, 0, 0, OLD, children={}))
        if isinstance(what, Inode):
            here.children[name] = what
        elif what is None:
            here.children[name] = Inode(path.encode(), DIR, 0o711, 3, 4, OLD, children={})
        elif isinstance(what, str):
            here.children[name] = Inode(path.encode(), SYMLINK, 0o777, 3, 4, OLD, target=what.encode())
        else:
            inode = Inode(path.encode(), FILE, 0o640, 3, 4, OLD, size=len(what), xattrs=((b"user.a", b"b"),))
            here.children[name] = inode
            self.contents[id(inode)] = what

    def at(self, path):
        """Return what stands at a path, symlinks above it followed."""
        return self.tree.resolve(path.encode(), follow_last=False)

    def text(self, path):
        inode = self.tree.resolve(path.encode())
        return self.new.get(id(inode), self.contents.get(id(inode), b"")).decode()

    @property
    def warnings(self):
        return self.prepared.warnings


def facts(inode):
    return inode.kind, inode.mode, inode.uid, inode.gid, inode.mtime, inode.size


def test_an_empty_image_gets_every_place():
    built = Built()
    for path in ("dev", "proc", "root", "var/tmp", "tmp", "etc", "sys", "home", ".singularity.d/libs"):
        assert facts(built.at(path)) == (DIR, 0o755, 0, 0, NOW, 0), path
    for name in (*FIXED, "runscript", "env/10-docker2singularity.sh"):
        inode = built.at(f".singularity.d/{name}")
        assert facts(inode)[:5] == (FILE, 0o755, 0, 0, NOW), name
        assert inode.size == len(built.text(f".singularity.d/{name}"))
    for path in ("etc/hosts", "etc/resolv.conf"):
        assert facts(built.at(path)) == (FILE, 0o644, 0, 0, NOW, 0)
    assert built.at("singularity").target == b".singularity.d/runscript"
    assert built.tree.root.mtime == NOW
    assert built.warnings == ()
    assert all(
        inode.layer == inode.content == -1 and inode.size == len(data) > 0 for inode, data in built.prepared.files
    )


def test_times_of_directories_stay_when_nothing_is_added():
    built = Built({"etc/hosts": b"1", "etc/resolv.conf": b"2", "var/tmp": None, "dev": None})
    assert (built.at("etc").mtime, built.at("var").mtime, built.at("dev").mtime) == (OLD, OLD, OLD)
    assert facts(built.at("dev")) == (DIR, 0o711, 3, 4, OLD, 0)
    assert Built({"etc/hosts": b"1"}).at("etc").mtime == NOW


@pytest.mark.parametrize(
    "target", ["../run/resolv.real", "/run/resolv.real", "../run/gone", "resolv.conf", "../../../../run/resolv.real"]
)
def test_a_link_that_runtimes_bind_over_becomes_an_empty_file_and_its_target_stays(target):
    built = Built({"run/resolv.real": b"nameserver 192.0.2.3\n", "etc/resolv.conf": target})
    assert facts(built.at("etc/resolv.conf")) == (FILE, 0o644, 0, 0, NOW, 0)
    assert facts(built.at("run/resolv.real")) == (FILE, 0o640, 3, 4, OLD, 21)
    assert built.text("run/resolv.real") == "nameserver 192.0.2.3\n"
    assert built.at("run").children.keys() == {b"resolv.real"}


def test_an_older_file_gives_its_owner_and_loses_content_mode_and_attributes():
    built = Built({"etc/hosts": b"192.0.2.2 img\n"})
    assert facts(built.at("etc/hosts")) == (FILE, 0o644, 3, 4, NOW, 0)
    assert built.at("etc/hosts").xattrs == ()


def test_other_names_of_a_replaced_file_keep_their_content():
    shared = Inode(b"etc/hosts", FILE, 0o644, 0, 0, OLD, size=2, links=1)
    built = Built({"etc/hosts": shared, "srv/hosts": shared})
    assert (built.at("etc/hosts").size, built.at("srv/hosts").size) == (0, 2)
    assert built.at("srv/hosts") is shared


def test_a_directory_or_device_instead_of_a_bound_file():
    built = Built({"etc/hosts": None, "etc/resolv.conf": Inode(b"x", CHAR, 0o666, 0, 0, OLD, major=1, minor=3)})
    assert built.at("etc/hosts").kind == DIR
    assert built.at("etc/resolv.conf").kind == FILE
    assert built.warnings == ("/etc/hosts is a directory; runtimes cannot put the host's file there",)


@pytest.mark.parametrize(
    ("files", "untouched"),
    [
        ({"home": "/realhome", "realhome": None}, "home"),
        ({"home": "/data/home"}, "home"),
        ({"var/tmp": "/tmp", "tmp": None}, "var/tmp"),
        ({"tmp": "var/tmp"}, "tmp"),
        ({"tmp": "tmp"}, "tmp"),
        ({"dev": b"a file"}, "dev"),
    ],
)
def test_mount_points_that_are_links_or_files_are_left_alone(files, untouched):
    before = facts(Built({"x/y": None, **{f"x/{k}": v for k, v in files.items()}}).at(f"x/{untouched}"))
    built = Built(files)
    assert facts(built.at(untouched)) == before
    assert built.warnings == ()


def test_a_place_below_a_file_or_a_loop_is_given_up_with_a_warning():
    for var in (b"a file", "var"):
        assert Built({"var": var}).warnings == ("/var/tmp cannot be created: a link or file is in the way",)


def test_a_place_below_a_dangling_link_is_made_where_the_link_points():
    built = Built({"var": "data/var"})
    assert built.at("var").target == b"data/var"
    assert facts(built.at("data/var/tmp")) == (DIR, 0o755, 0, 0, NOW, 0)


@pytest.mark.parametrize("target", ["opt/sd", "/opt/sd", "../../opt/./sd", "opt/link"])
def test_a_linked_singularity_d_is_followed_inside_the_root(target):
    built = Built({"opt/sd/kept": b"k", "opt/link": "sd", ".singularity.d": target})
    assert built.at(".singularity.d").target == target.encode()
    assert built.text("opt/sd/kept") == "k"
    assert built.text("opt/sd/runscript").startswith("#!/bin/sh\n")


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({".singularity.d": b"file"}, "/.singularity.d/libs"),
        ({".singularity.d": ".singularity.d"}, "/.singularity.d/libs"),
        ({".singularity.d/runscript": None}, "/.singularity.d/runscript"),
        ({".singularity.d/env": b""}, "/.singularity.d/env"),
        ({"etc": b"file"}, "/etc"),
    ],
)
def test_what_stands_in_the_way_of_a_needed_file_is_named(files, path):
    with pytest.raises(SourceError) as caught:
        Built(files)
    assert caught.value.what.endswith(f"in the way of {path}")
    assert caught.value.hint


def test_an_older_singularity_d():
    built = Built(
        {
            ".singularity.d/runscript": b"#!/bin/sh\necho old\n",
            ".singularity.d/env/50-site.sh": b"export SITE=fifty\n",
            ".singularity.d/env/91-environment.sh": b"export NINETYONE=old\n",
            ".singularity.d/env/90-environment.sh": "/bin/busybox",
            ".singularity.d/labels.json": b'{"only":"there"}',
            ".singularity.d/test": b"#!/bin/sh\necho old test\n",
            ".singularity.d/runscript.help": b"old help\n\n",
            ".singularity.d/Singularity": b"bootstrap: docker\nfrom: old\n",
            ".singularity.d/bootstrap_history/Singularity0": b"older",
            "bin/busybox": b"B" * 100,
            "singularity": b"real file",
            ".exec": "/nowhere",
            ".run": ".singularity.d/actions/run",
        },
        {"Entrypoint": ["/bin/app"]},
    )
    assert facts(built.at(".singularity.d/runscript"))[:5] == (FILE, 0o755, 3, 4, NOW)
    assert facts(built.at(".singularity.d/labels.json"))[:5] == (FILE, 0o640, 3, 4, NOW)
    assert "only" not in built.text(".singularity.d/labels.json")
    assert built.text(".singularity.d/env/50-site.sh") == "export SITE=fifty\n"
    assert built.text("bin/busybox") == "B" * 100
    assert built.at(".singularity.d/env/90-environment.sh").kind == FILE
    assert built.at(".singularity.d/Singularity").mode == 0o644
    assert built.text(".singularity.d/bootstrap_history/Apptainer1") == "bootstrap: docker\nfrom: old\n"
    assert built.at(".singularity.d/bootstrap_history/Apptainer1").mtime == OLD
    assert built.at("singularity").kind == FILE
    assert (built.at(".exec").target, built.at(".exec").mtime) == (b".singularity.d/actions/exec", NOW)
    assert built.at(".run").mtime == OLD
    shown = json.loads(built.prepared.objects.inspect)["data"]["attributes"]
    assert list(shown) == ["environment", "labels", "runscript", "test", "helpfile", "deffile", "startscript"]
    assert (shown["test"], shown["helpfile"]) == ("#!/bin/sh\necho old test", "old help")
    assert [path.rpartition("/")[2] for path in shown["environment"]] == [
        "10-docker2singularity.sh",
        "90-environment.sh",
        "91-environment.sh",
    ]


def test_a_file_that_was_pulled_before_can_be_pulled_again():
    files = {".singularity.d/bootstrap_history/Apptainer2": b"b", ".singularity.d/bootstrap_history/x": b"a"}
    built = Built({**files, ".singularity.d/Singularity": b"c"})
    assert built.text(".singularity.d/bootstrap_history/Apptainer3") == "c"


def test_documents_agree_with_the_files():
    built = Built(None, {"Env": ["A=b"], "Labels": {"x": "<y>"}, "Cmd": ["/bin/x"]})
    objects = built.prepared.objects
    assert objects.deffile == b"bootstrap: oci\nfrom: hello\n\n"
    assert built.text(".singularity.d/Singularity").encode() == objects.deffile
    shown = json.loads(objects.inspect)["data"]["attributes"]
    assert json.loads(built.text(".singularity.d/labels.json")) == shown["labels"]
    assert shown["runscript"] + "\n" == built.text(".singularity.d/runscript")
    assert shown["labels"]["org.opencontainers.image.base.digest"] == MANIFEST
    assert b"\\u003cy\\u003e" in objects.inspect
    assert objects.oci_config == b'{"Cmd":["/bin/x"],"Env":["A=b"],"Labels":{"x":"\\u003cy\\u003e"}}'


def test_apps_of_an_older_container_are_shown():
    built = Built(
        {
            "scif/apps/one/scif/runscript": b"#!/bin/sh\n",
            "scif/apps/one/scif/labels.json": b'{"b":"1","a":"2"}',
            "scif/apps/one/scif/env/90-environment.sh": b"export X=1\n",
            "scif/apps/two/scif/labels.json": b"not json",
            "scif/apps/three/bin/x": b"",
        }
    )
    assert json.loads(built.prepared.objects.inspect)["data"]["attributes"]["apps"] == {
        "one": {
            "environment": {"/scif/apps/one/scif/env/90-environment.sh": "export X=1"},
            "labels": {"a": "2", "b": "1"},
            "runscript": "#!/bin/sh",
        },
        "two": {},
    }


@pytest.mark.parametrize(
    ("architecture", "found", "warning"),
    [
        ("arm64", "arm64", ()),
        ("aarch64", "arm64", ()),
        ("", "amd64", ("the image config names no architecture and the image has no program; assuming amd64",)),
        (
            "m\n68k",
            "amd64",
            (f"the image config names the unknown architecture {M68K} and the image has no program; assuming amd64",),
        ),
    ],
)
def test_without_programs_the_config_says_the_architecture(architecture, found, warning):
    built = Built(architecture=architecture)
    assert (built.prepared.architecture, built.warnings) == (found, warning)


def test_what_the_user_should_know():
    built = Built(None, {"Env": ["A.B=dot", "OK=1"]}, created="yesterday")
    assert built.warnings == (
        "environment variable 'A.B' is left out: no shell can set it",
        "the image has no usable creation time: 'yesterday'",
    )


def test_go_s_zero_time_says_nothing_and_is_not_a_reason_to_warn():
    built = Built(created="0001-01-01T00:00:00Z")
    assert built.warnings == ()
    assert "build-date" not in built.text(".singularity.d/labels.json")


def test_a_name_cannot_add_lines_to_the_definition():
    origin = Origin("oci", "a\nbootstrap: docker", "", MANIFEST)
    prepared = prepare(Tree(), make_image(), origin, {}, NOW, lambda *_: b"")
    assert prepared.objects.deffile == b"bootstrap: oci\nfrom: a\\nbootstrap: docker\n\n"


def test_programs_decide_the_architecture_and_a_mismatch_is_said():
    elf = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0\x3e\0" + bytes(44)
    built = Built({"bin/sh": elf}, architecture="arm64")
    assert built.prepared.architecture == "amd64"
    assert built.warnings == ("the image config says arm64, but its programs are for amd64",)
    labels = json.loads(built.text(".singularity.d/labels.json"))
    assert labels["org.label-schema.build-arch"] == "amd64"


def test_texts_that_come_to_too_much_are_left_out_of_what_inspect_shows():
    big = b"#" + b"x" * (1 << 20)
    scripts = {f".singularity.d/env/9{number:04}-environment.sh": big for number in range(500)}
    built = Built({**scripts, ".singularity.d/runscript.help": b"help"})
    attributes = json.loads(built.prepared.objects.inspect)["data"]["attributes"]
    assert len(built.prepared.objects.inspect) < 4 << 20
    assert attributes["helpfile"] == "help"
    (warning,) = [line for line in built.warnings if "shown by inspect" in line]
    assert warning.startswith("499 scripts and texts, first /.singularity.d/env/90001-environment.sh, are not shown")
