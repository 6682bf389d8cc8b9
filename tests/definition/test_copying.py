"""Where ``%files`` puts what: the record of Apptainer for two definitions, and the rules one by one."""

import os

import pytest

from sifmake.definition.host_copying import plan_app_copies, plan_host_copies
from sifmake.definition.host_folder import HostError, HostFile, HostFolder
from sifmake.definition.model import CopyLine, Files
from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.stage_copying import plan_stage_copies
from sifmake.errors import DefinitionError, SourceError
from sifmake.flatten.tree import Tree
from sifmake.layers.entry import CHAR, DIR, FIFO, FILE, HARDLINK, SYMLINK, Inode
from sifmake.limits import Limits
from support.corpus import needs_corpus
from support.definitions import DEFINITIONS, HEADER, good, parsed, recorded, stage

PLACE = DefinitionPlace("x.def")
LETTERS = {DIR: "d", FILE: "f", SYMLINK: "l"}


def tree(**kinds):
    """Return a tree from names with ``__`` for slashes to octal modes (files), links or None (folders)."""
    made = Tree()
    for name, value in kinds.items():
        add(made, name.replace("__", "/"), value)
    return made


def add(made, path, value):
    *above, name = path.encode().split(b"/")
    node = made.root
    for part in above:
        node = node.children.setdefault(part, Inode(part, DIR, 0o755, 0, 0, 0, children={}))
    if isinstance(value, Inode):
        node.children[name] = value
    elif value is None:
        node.children[name] = Inode(path.encode(), DIR, 0o755, 0, 0, 0, children={})
    elif isinstance(value, str):
        node.children[name] = Inode(path.encode(), SYMLINK, 0o777, 0, 0, 0, target=value.encode())
    else:
        node.children[name] = Inode(path.encode(), FILE, value, 0, 0, 0, size=3)


@pytest.fixture
def ctx(tmp_path):
    """Return the folder that the corpus was made with: its links and modes are not in the corpus."""
    top = tmp_path / "ctx"
    for folder in ("d/sub", "glob", "priv", "with space", "empty"):
        (top / folder).mkdir(parents=True)
    for name, text in {
        "one.txt": "one\n", "two.txt": "two\n", "d/exe.sh": "exe\n", "d/sub/s.txt": "s\n", "glob/a.dat": "",
        "glob/b.dat": "", "glob/c d.dat": "c\n", "glob/.hid.dat": "", "with space/a b.txt": "ab\n", "priv/p": "p\n",
    }.items():  # fmt: skip
        (top / name).write_text(text)
        (top / name).chmod(0o644)
    (top / "hard.txt").hardlink_to(top / "one.txt")
    (top / "d/link").symlink_to("../one.txt")
    (top / "d/dirlink").symlink_to("sub")
    (top / "d/exe.sh").chmod(0o4755)
    (top / "two.txt").chmod(0o640)
    (top / "priv").chmod(0o700)
    for folder in ("d", "d/sub", "glob", "with space", "empty"):
        (top / folder).chmod(0o755)
    return tmp_path


def base():
    names = [path for path, entry in recorded("../00-base.apptainer")["tree"].items() if entry["type"] == "d"]
    made = Tree()
    for path in sorted(names):
        if path != "/":
            add(made, path[1:], None)
    return made


def host(copies, folder, image, allowed=(), limits=None):
    files = Files("", tuple(CopyLine(*pair, 7) for pair in copies), 6)
    return plan_host_copies(files, HostFolder(folder, allowed), image, PLACE, limits or Limits())


def shown(copies):
    return {
        copy.entry.path.decode(): oct(copy.entry.mode) if copy.entry.kind == FILE else LETTERS[copy.entry.kind]
        for copy in copies
    }


def facts(copies):
    return {
        "/" + copy.entry.path.decode(): (LETTERS[copy.entry.kind], copy.entry.mode, copy.entry.uid, copy.entry.gid)
        for copy in copies
    }


def wanted(name, skip=()):
    tree = recorded(name)["tree"]
    return {
        path: (entry["type"], int(entry["mode"], 8), entry["uid"], entry["gid"])
        for path, entry in tree.items()
        if not path.startswith("/.singularity.d") and path not in skip
    }


@needs_corpus
def test_copies_from_the_host_are_apptainers(ctx):
    (files,) = parsed(good("09-files").read_text()).last.files
    copies = plan_host_copies(files, HostFolder(ctx), base(), PLACE, Limits())
    assert facts(copies) == wanted("09-files")
    assert [copy.source.path for copy in copies if copy.entry.path == b"globbed/c d.dat"] == [b"ctx/glob/c d.dat"]


@needs_corpus
def test_copies_from_a_stage_are_apptainers():
    built = tree(out__empty=None, out__link="prog", out__abslink="/out/prog")
    prog = Inode(b"out/prog", FILE, 0o4755, 0, 0, 5, size=6)
    for path, value in {
        "out/prog": prog,
        "out/hard": prog,
        "out/sub": Inode(b"out/sub", DIR, 0o775, 33, 34, 5, children={}),
        "out/sub/x": 0o600,
        "etc/stage1": 0o664,
    }.items():
        add(built, path, value)
    built.resolve(b"out/empty").mode = 0o775
    files, _ = parsed(good("10-multistage").read_text()).last.files
    copies = plan_stage_copies(files, built, base(), PLACE, Limits())
    found = {copy.entry.path: copy for copy in copies}
    assert (found[b"copied/hard"].entry.kind, found[b"copied/prog"].entry.target) == (FILE, b"copied/hard")
    rows = facts(copy for copy in copies if copy.entry.kind != HARDLINK)
    assert rows == wanted("10-multistage", {"/host-one.txt", "/listing", "/copied/prog"})
    assert (found[b"copied/sub/x"].source.size, found[b"copied/sub"].entry.mtime, found[b"copied"].entry.mtime) == (
        3,
        5,
        0,
    )


@needs_corpus
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dangling", "ctx/dangling: No such file or directory"),
        ("filemissing", "ctx/missing: No such file or directory"),
        ("globmissing", "ctx/miss*: No such file or directory"),
    ],
)
def test_files_that_are_missing_name_their_line(name, message, ctx):
    (ctx / "ctx/dangling").symlink_to("nothing")
    (files,) = parsed((DEFINITIONS / f"bad/{name}.def").read_text()).last.files
    with pytest.raises(DefinitionError) as error:
        plan_host_copies(files, HostFolder(ctx), base(), PLACE, Limits())
    assert str(error.value).startswith(f"x.def:4: %files: {message}")


def test_a_double_quote_without_end_is_ignored():
    (files,) = parsed(HEADER + '%files\n "a /x\n').last.files
    assert (files.copies[0].source, files.copies[0].destination) == ("a", "/x")


RULES = [
    ("a file becomes the name", [("f", "/x")], {}, {"x": "0o644"}),
    ("parents are made", [("f", "/p/q/x")], {}, {"p": "d", "p/q": "d", "p/q/x": "0o644"}),
    ("a slash makes a folder", [("f", "/p/")], {}, {"p": "d", "p/f": "0o644"}),
    ("a file goes into a folder", [("f", "/p")], {"p": None}, {"p/f": "0o644"}),
    ("a folder becomes the name", [("d", "/p")], {}, {"p": "d", "p/g": "0o644"}),
    ("a folder goes into a folder", [("d", "/p"), ("d/", "/p/")], {"p": None}, {"p/d": "d", "p/d/g": "0o644"}),
    ("contents by a dot", [("d/.", "/p")], {"p": None}, {"p/g": "0o644"}),
    ("a folder that an earlier line made", [("d", "/p"), ("f", "/p")], {}, {"p": "d", "p/g": "0o644", "p/f": "0o644"}),
    ("no destination", [("d/g", "")], {}, {"d": "d", "d/g": "0o644"}),
    ("a relative destination", [("f", "p/x")], {}, {"p": "d", "p/x": "0o644"}),
    ("a file that is there keeps its mode", [("f", "/x")], {"x": 0o4600}, {"x": "0o600"}),
    ("a link is followed in the image", [("f", "/l/x")], {"l": "/../../r", "r": None}, {"r/x": "0o644"}),
    ("a link to nothing is a name", [("f", "/l/x")], {"l": "../r"}, {"r": "d", "r/x": "0o644"}),
    ("dots do not lead out", [("f", "/../../x")], {}, {"x": "0o644"}),
    ("a link within a folder that is merged", [("d", "/")], {"d__g": "/r", "r": 0o640}, {"r": "0o640"}),
    ("a pattern in a folder", [("d/*", "/p/")], {}, {"p": "d", "p/g": "0o644"}),
    ("a link on the host", [("l", "/x"), ("ld", "/y"), ("ld/", "/z/")], {},
     {"x": "0o644", "y": "d", "y/g": "0o644", "z": "d", "z/ld": "d", "z/ld/g": "0o644"}),
    ("a name with blanks", [("*y", "/x")], {}, {"x": "0o644"}),
]  # fmt: skip


@pytest.fixture
def files(tmp_path):
    (tmp_path / "d").mkdir()
    for name in ("f", "d/g", "x y"):
        (tmp_path / name).write_text("abc")
        (tmp_path / name).chmod(0o646)
    (tmp_path / "d").chmod(0o757)
    (tmp_path / "l").symlink_to(tmp_path / "f")
    (tmp_path / "ld").symlink_to("d")
    return tmp_path


@pytest.mark.parametrize(("copies", "image", "result"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
def test_where_copies_go(copies, image, result, files):
    assert shown(host(copies, files, tree(**image))) == result


@pytest.mark.parametrize(
    ("copies", "image", "message"),
    [
        ([("none", "/x")], {}, "none: No such file or directory"),
        ([("no*", "/x")], {}, r"no\*: No such file or directory"),
        ([("f/", "/x")], {}, "f/"),
        ([("f", "/p/")], {"p": 0o644}, "/p is not a folder; remove the / at its end"),
        ([("f", "/p/x")], {"p": 0o644}, "/p is not a folder, so /p cannot be created"),
        ([("d", "/p")], {"p": 0o644}, "the folder d cannot replace /p, which is not a folder"),
        ([("d", "/")], {"d__g": None}, "d/g cannot replace /d/g, which is a folder"),
        ([("d", "/")], {"d__g": "/none"}, "/d/g is a link to /none, which does not exist"),
        ([("f", "/l/x")], {"l": "l"}, "links in the image form a loop at /l/x"),
        ([("loop", "/x")], {}, "loop/in is a link to a folder above it"),
        ([("gone", "/x")], {}, "gone/l: No such file or directory"),
        ([("/dev/null", "/x")], {}, "/dev/null is a device"),
        ([("/proc/self/status", "/x")], {}, "/proc/self/status has content but reports no size"),
        ([("$HOME/x", "/x")], {}, "shell variables and commands"),
        ([("{1..99999999}", "/x")], {}, "braces expand to more than"),
    ],
)
def test_what_cannot_be_copied_names_its_line(copies, image, message, files):
    (files / "loop").mkdir()
    (files / "loop/in").symlink_to("../loop")
    (files / "gone").mkdir()
    (files / "gone/l").symlink_to("nothing")
    with pytest.raises(DefinitionError, match=message) as error:
        host(copies, files, tree(**image))
    assert str(error.value).startswith("x.def:7: %files: ")


def test_only_what_lies_below_an_allowed_folder_is_read(files):
    (files / "sub").mkdir()
    (files / "sub/out").symlink_to(files / "f")
    (files / "sub/up").symlink_to("..")
    (files / "sub/in").write_text("x")
    (files / "sub/also").symlink_to(files / "sub/in")
    inside = HostFolder(files / "sub", (files / "sub",))
    assert inside.look(b"also").size == 1
    for path in (b"out", b"../f", b"up/f", bytes(files / "f"), b"/etc/passwd", b"~", b".."):
        with pytest.raises(HostError, match=r"is outside the folders|No such file"):
            inside.look(path)
    assert inside.names("up") is None
    with pytest.raises(DefinitionError, match="sub/up/f is outside the folders that may be copied from"):
        host([("sub/up/f", "/x")], files, Tree(), (files / "sub",))
    assert HostFolder(files / "sub", (files / "sub", files)).look(b"out").size == 3


def test_what_was_checked_is_what_is_read(files):
    folder = HostFolder(files)
    file = folder.look(b"l")
    assert b"".join(folder.read(file)) == b"abc"
    (files / "f").write_text("abcd")
    with pytest.raises(SourceError, match="l changed while it was read"):
        list(folder.read(file))
    (files / "l").unlink()
    with pytest.raises(SourceError, match="No such file"):
        list(folder.read(file))
    grown = HostFile(b"f", FILE, 0o646, 3, int((files / "f").stat().st_mtime), folder.look(b"f").identity)
    with pytest.raises(SourceError, match="f changed while it was read"):
        list(folder.read(grown))


def test_no_descriptor_stays_open(files):
    before = os.listdir("/proc/self/fd")
    copies = host([("*", "/x/"), ("d", "/y")], files, Tree())
    for copy in copies:
        if copy.source:
            list(HostFolder(files).read(copy.source))
    assert os.listdir("/proc/self/fd") == before


def test_a_named_pipe_is_copied_and_never_opened(files):
    os.mkfifo(files / "pipe", 0o600)
    (copy,) = host([("pipe", "/x")], files, Tree())
    assert (copy.entry.kind, copy.source) == (FIFO, None)


def test_home_is_what_a_tilde_stands_for(files, monkeypatch):
    monkeypatch.setenv("HOME", str(files))
    assert shown(host([("~/f", "/x"), ("~/d", "/y")], files / "d", Tree())) == {"x": "0o644", "y": "d", "y/g": "0o644"}


def test_limits_count_what_is_checked(files):
    for copies in ([("d", "/x")] * 5, [("*", "/x/")], [("d", "/")] * 9):
        with pytest.raises(
            DefinitionError, match=r"%files reads more than 6 files and folders \(limit files-entries\)"
        ):
            host(copies, files, tree(d=None), limits=Limits(files_entries=6))
    with pytest.raises(DefinitionError, match=r"\(limit name-bytes\)"):
        host([("f", "/" + "n" * 50)], files, Tree(), limits=Limits(name_bytes=40))


def test_files_of_apps(files):
    (app,) = stage("%appfiles a\n # c\n f x.txt # c\n d   bin/\n f bin\n f ../../up\n").apps
    image = tree(scif__apps__a__bin=None)
    copies = plan_app_copies(app, HostFolder(files), image, PLACE, Limits())
    assert shown(copies) == {
        "scif/apps/a/bin/d": "d",
        "scif/apps/a/bin/d/g": "0o644",
        "scif/apps/a/bin/f": "0o644",
        "scif/apps/a/x.txt": "0o644",
        "scif/up": "0o644",
    }
    for text in ("d/g", "f none/x", "no* x", f"{files}/f"):
        (app,) = stage(f"%appfiles a\n {text}\n").apps
        with pytest.raises(DefinitionError, match=r"^x.def:4: %appfiles: "):
            plan_app_copies(app, HostFolder(files), image, PLACE, Limits())


def from_stage(copies, source, image):
    lines = Files("s", tuple(CopyLine(*pair, 7) for pair in copies), 6)
    return plan_stage_copies(lines, source, image, PLACE, Limits())


def test_a_file_over_a_folder_takes_what_was_put_into_it():
    source = tree(a__n__x=0o644, b__n=0o600, c__n__y=0o644)
    assert shown(from_stage([("/a/", "/t/"), ("/b/", "/t/")], source, Tree())) == {"t": "d", "t/n": "0o600"}
    with pytest.raises(DefinitionError, match=r"x.def:7: %files: /t/n is replaced twice; copy to another path"):
        from_stage([("/b/", "/t/"), ("/c/", "/t/")], source, tree(t__n__old=0o644))


def test_folders_of_the_host_may_be_deep_but_not_endless(files, monkeypatch):
    monkeypatch.setattr("sifmake.definition.host_copying._DEEPEST", 3)
    (files / "d/1/2/3").mkdir(parents=True)
    with pytest.raises(DefinitionError, match="d/1/2/3 is more than 3 folders deep"):
        host([("d", "/x")], files, Tree())


STAGE_RULES = [
    ("a named link is followed", [("/l", "/x")], {}, {"x": "0o4755"}),
    ("a link keeps its name in a folder", [("/l", "/p/")], {}, {"p": "d", "p/l": "0o4755"}),
    ("links in a folder stay", [("/d", "/x")], {}, {"x": "d", "x/k": "l", "x/e": "d", "x/e/g": "0o640"}),
    ("a slash copies the contents", [("/d/", "/x/")], {}, {"x": "d", "x/k": "l", "x/e": "d", "x/e/g": "0o640"}),
    ("a folder goes into a folder", [("/d/e", "/p")], {"p": None}, {"p/e": "d", "p/e/g": "0o640"}),
    ("patterns stay in the stage", [("/up/d/e/*", "/x/")], {}, {"x": "d", "x/g": "0o640"}),
    ("dots do not lead out", [("/../../p", "/x")], {}, {"x": "0o4755"}),
    ("no slash", [("p", "")], {}, {"p": "0o4755"}),
    ("a link in the way within a folder is replaced", [("/d", "/")], {"d__e": "/z", "z": None},
     {"d/k": "l", "d/e": "d", "d/e/g": "0o640"}),
    ("a folder in the way within a folder is replaced", [("/d", "/")], {"d__k__x": 0o644},
     {"d/k": "l", "d/e": "d", "d/e/g": "0o640"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("copies", "image", "result"), [rule[1:] for rule in STAGE_RULES], ids=[rule[0] for rule in STAGE_RULES]
)
def test_where_copies_from_a_stage_go(copies, image, result):
    source = tree(p=0o4755, l="/p", d__k="/p", d__e__g=0o640, up="/")
    assert shown(from_stage(copies, source, tree(**image))) == result


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/none", "/none is not in the stage s"),
        ("/p/", "/p/ is not in the stage s"),
        ("/no*", r"/no\* is not in the stage s"),
        ("/dev", "/fifo is a named pipe or a socket, which is not copied; remove it"),
        ("/dev/c", "/dev/c is a device or a named pipe"),
        ("/$x", "variables and commands"),
        ("/dev/c/*", "is not in the stage"),
    ],
)
def test_what_a_stage_cannot_give(source, message):
    image = tree(p=0o755, dev__fifo=Inode(b"fifo", FIFO, 0o644, 0, 0, 0), dev__c=Inode(b"c", CHAR, 0o644, 0, 0, 0))
    with pytest.raises(DefinitionError, match=message):
        from_stage([(source, "/x")], image, Tree())


def test_what_is_in_the_way_of_a_copy_from_a_stage():
    source = tree(f=0o644, d__f__g=0o644)
    for pair, message in (
        (("/d", "/x"), "the folder /d cannot replace /x, which is not a folder"),
        (("/f", "/"), "/f cannot replace /f, which is a folder"),
    ):
        with pytest.raises(DefinitionError, match=message):
            from_stage([pair], source, tree(x=0o644, f__y=0o644))


def test_stars_do_not_follow_links_of_a_stage():
    copies = from_stage([("/d/**/g", "/x/")], tree(d__e__g=0o644, d__g=0o600, d__z="/y", y__g=0o640), Tree())
    assert shown(copies) == {"x": "d", "x/g": "0o600"}


def test_capabilities_stay_and_other_attributes_do_not():
    file = Inode(b"p", FILE, 0o6755, 5, 6, 7, size=3, xattrs=((b"security.capability", b"1"), (b"user.x", b"2")))
    one, two = from_stage([("/p", "/x"), ("/p", "/y")], tree(p=file), Tree())
    assert one.entry.xattrs == ((b"security.capability", b"1"),)
    assert (one.entry.mode, one.entry.uid, one.entry.gid, one.entry.mtime) == (0o6755, 5, 6, 7)
    assert two.entry.kind == FILE
    linked = from_stage([("/d", "/x")], tree(d__p=file, d__q=file), Tree())
    assert [(copy.entry.kind, copy.entry.mode, copy.entry.xattrs) for copy in linked[1:]] == [
        (FILE, 0o755, ()),
        (HARDLINK, 0o755, ()),
    ]
