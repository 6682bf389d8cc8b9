"""Command lines and variables of ``run``, ``exec``, ``shell`` and ``test``, as the peers read them.

What is expected was seen with Apptainer 1.5 and SingularityCE 4.5; tests/integration/test_runtime_options.py asks them
again where they are on the machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sifmake.cli.main import build_parser, parse
from sifmake.cli.running_options import FLAG, LIST, PEERS, SHARED, TEXTS, VALUE, all_rows, long_word
from sifmake.cli.running_parse import WRAPPED, Options, parse_plain, read_variables
from sifmake.cli.running_request import env_items, leave_out_idle, peer_words, request_of
from sifmake.errors import SifmakeError, UsageError
from sifmake.runtime.errors import RunError

ACTIONS = ("exec", "run", "shell", "test")
LINES = [
    ["exec", "x.sif", "cmd", "-q", "--", "--env", "A"],
    ["exec", "-e", "-C", "--bind", "a:b", "-B", "c", "--env=A=1", "--env", "B=2", "x.sif"],
    ["run", "--pwd=/x", "-H", "/h", "--no-eval", "-q", "docker://a/b:c", ""],
    ["shell", "-s", "/bin/zsh", "--runtime", "builtin", "--offline", "x.sif"],
    ["test", "--debug", "--overlay", "o", "--nv", "--env-file", "f", "x.sif", "y", "--"],
    ["exec", "-eC", "-B/a:/b", "x.sif", "-x"],
]


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line)[:40])
def test_parses_as_argparse_where_both_can(line):
    plain = parse_plain(line)
    full = build_parser(line[0]).parse_args(line)
    names = set(vars(Options(line[0]))) - {"shell", "given"} | ({"shell"} if line[0] == "shell" else set())
    assert {name: getattr(plain, name) for name in names} == {name: getattr(full, name) for name in names}


@pytest.mark.parametrize(
    ("line", "want"),
    [
        ("exec --cleanenv=false x.sif a", {"cleanenv": False, "arguments": ["a"]}),
        ("exec -e=T x.sif a", {"cleanenv": True}),
        ("exec -eB=/a x.sif -- a", {"cleanenv": True, "bind": ["/a"], "arguments": ["--", "a"]}),
        ("exec -pB /a x.sif a", {"pid": True, "bind": ["/a"], "image": "x.sif"}),
        ("exec --env -x x.sif a", {"env": ["-x"], "image": "x.sif"}),
        ("exec -- x.sif -e", {"image": "x.sif", "arguments": ["-e"], "cleanenv": False}),
        ("exec --pwd /a --cwd /b x.sif a", {"cwd": "/b"}),
        ("-q --debug exec x.sif a", {"quiet": True, "debug": True, "image": "x.sif"}),
        ("-q exec --no-eval=0 x.sif a", {"quiet": True, "no_eval": False}),
    ],
)
def test_lines(line, want):
    options = vars(parse(line.split()))
    assert {name: options[name] for name in want} == want


@pytest.mark.parametrize(
    "line",
    ["exec --help", "exec", "exec --bin a x", "exec --bind", "exec --cleanenv=maybe x", "exec -ex x", "exec --none x"],
)
def test_the_rest_is_left_to_argparse(line):
    assert parse_plain(line.split()) is None


@pytest.mark.parametrize("action", ACTIONS)
def test_every_word_and_attribute_is_in_one_row(action):
    rows = all_rows(action)
    words = [word for row in rows for word in row[1].split()]
    assert len(words) == len(set(words))
    assert len(rows) == len({row[0] for row in rows})
    assert all(long_word(row).startswith("--") for row in rows)


@pytest.mark.parametrize("action", ACTIONS)
def test_help_names_every_option(action, capsys):
    with pytest.raises(SystemExit):
        build_parser(action).parse_args([action, "--help"])
    text = capsys.readouterr().out
    assert [word for row in all_rows(action) for word in row[1].split() if word not in text] == []


def test_the_guide_names_every_option_of_ours():
    guide = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    rows = [row for row in all_rows("shell") if row not in PEERS]
    assert [long_word(row) for row in rows if f"`{long_word(row)}`" not in guide] == []


def parsed(line, environ):
    """Return a line's options with those from variables."""
    options = parse_plain(line.split())
    read_variables(options, environ)
    return options


VARIABLES = [
    ({"APPTAINER_CLEANENV": "1"}, {"cleanenv": True}),
    ({"APPTAINER_CLEANENV": "T", "SINGULARITY_CLEANENV": "0"}, {"cleanenv": True}),
    ({"APPTAINER_CLEANENV": "0", "SINGULARITY_CLEANENV": "1"}, {"cleanenv": False}),
    ({"APPTAINER_CLEANENV": "", "SINGULARITY_CLEANENV": "1"}, {"cleanenv": False}),
    ({"SINGULARITY_CLEANENV": "true"}, {"cleanenv": True}),
    (
        {"APPTAINER_BIND": "/1", "APPTAINER_BINDPATH": "/2", "SINGULARITY_BIND": "/3", "SINGULARITY_MOUNT": "m"},
        {"bind": ["/b", "/1", "/2"], "mount": ["m"]},
    ),
    ({"SINGULARITY_BIND": "/3", "SINGULARITY_BINDPATH": "/4"}, {"bind": ["/b", "/3", "/4"]}),
    ({"APPTAINER_CWD": "/c", "APPTAINER_PWD": "/p"}, {"cwd": "/p"}),
    ({"APPTAINER_TARGET_PWD": "/t"}, {"cwd": "/t"}),
    ({"APPTAINER_HOME": " /h "}, {"home": "/h"}),
    ({"APPTAINER_SCRATCH": " /q , /r"}, {"scratch": ["/q,/r"]}),
    ({"APPTAINER_SCRATCHDIR": "/s"}, {"scratch": ["/s"]}),
    ({"APPTAINER_NOENV": "A,B"}, {"no_env": ["A,B"]}),
    ({"APPTAINER_NO_EVAL": "0"}, {"no_eval": True}),
    ({"APPTAINER_NV": "0", "APPTAINER_NO_HTTPS": "1"}, {"nv": False, "no_https": True}),
    ({"APPTAINER_UNSHARE_PID": "1", "SINGULARITY_UNSHARE_IPC": "1"}, {"pid": True, "ipc": True}),
    ({"APPTAINERENV_BIND": "/x", "XAPPTAINER_BIND": "/y", "APPTAINER_BIND": "  "}, {"bind": ["/b"]}),
]


@pytest.mark.parametrize(("environ", "want"), VARIABLES, ids=lambda value: " ".join(map(str, value))[:50])
def test_variables_stand_for_options(environ, want):
    options = vars(parsed("exec --bind /b --no-eval x.sif y", environ))
    assert {name: options[name] for name in want} == want


@pytest.mark.parametrize("value", ["yes", "2", "tRUE", "on"])
def test_a_variable_that_is_neither_true_nor_false(value):
    with pytest.raises(UsageError, match=f"APPTAINER_CLEANENV: is neither true nor false: {value}"):
        parsed("exec x.sif y", {"APPTAINER_CLEANENV": value})


def test_variables_of_one_action():
    assert parsed("shell x.sif", {"APPTAINER_SHELL": "/bin/zsh"}).shell == "/bin/zsh"
    assert "shell" not in parsed("exec x.sif y", {"APPTAINER_SHELL": "/bin/zsh"}).given


def test_a_given_option_beats_its_variable():
    options = parsed("exec --cleanenv=false --home /g x.sif y", {"APPTAINER_CLEANENV": "1", "APPTAINER_HOME": "/v"})
    assert (options.cleanenv, options.home) == (False, "/g")


@pytest.mark.parametrize("row", PEERS, ids=lambda row: row[0])
def test_what_only_peers_know_is_passed_on_and_else_refused(row):
    word = long_word(row)
    line = f"exec {word} x.sif y" if row[2] is FLAG else f"exec {word} 7 x.sif y"
    options = parse_plain(line.split())
    assert peer_words(options) == line.split()[1:-2]
    with pytest.raises(RunError, match=f"^{word} needs apptainer or singularity"):
        request_of(options, {})
    if row[3]:
        key = f"APPTAINER_{row[3].split()[0]}"
        with pytest.raises(RunError, match=f"^{key} needs apptainer or singularity"):
            request_of(parsed("exec x.sif y", {key: "1"}), {})


@pytest.mark.parametrize("row", SHARED, ids=lambda row: row[0])
def test_what_all_know_is_passed_on_as_it_was_given(row):
    value = {FLAG: [], VALUE: ["7"]}.get(row[2], ["A=1,2"])
    for word in row[1].split():
        options = parse_plain(["exec", word, *value, "x.sif", "y"])
        assert peer_words(options) == [long_word(row), *value]


def test_a_flag_that_is_turned_off_is_passed_on():
    assert peer_words(parse_plain(["run", "--nv=false", "-e", "x.sif"])) == ["--cleanenv", "--nv=false"]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("A=1", ["A=1"]),
        ("A=1,2", ["A=1,2"]),
        ("A=1,B=2", ["A=1", "B=2"]),
        ('A=1,"B=2,3"', ["A=1", "B=2,3"]),
        ("A=a=b", ["A=a=b"]),
        ('"A=1"', ["A=1"]),
        ("A=", ["A="]),
        ("A=1,2,B=3", None),
        ("A", None),
        ('A=1,"B=2', None),
    ],
)
def test_assignments(text, want):
    if want is None:
        with pytest.raises(SifmakeError):
            env_items([text])
    else:
        assert env_items([text]) == want


def test_files_of_assignments(tmp_path):
    (tmp_path / "one").write_text('A=1\nexport B="$A-$HOST"\nC=$(echo x)\n# c\nD=a,b\nHOST=h\nunset D\n')
    (tmp_path / "two").write_text("A=2\nE=5\nUID=7\n")
    line = f"exec --env-file {tmp_path}/one,{tmp_path}/two --env E=7 x.sif y"
    request = request_of(parse_plain(line.split()), {"HOST": "host"})
    values = dict(item.split("=", 1) for item in request.env)
    assert values == {"A": "2", "B": "1-host", "C": "x", "HOST": "h", "E": "7"}
    (tmp_path / "one").write_text("rm -rf /\n")
    with pytest.raises(UsageError, match="not a list of assignments"):
        request_of(parse_plain(line.split()), {})


IMPLIED = [
    ("-C", {"contain", "cleanenv", "pid", "ipc"}),
    ("--compat", {"contain", "cleanenv", "pid", "ipc", "writable_tmpfs", "no_eval", "no_umask", "no_init"}),
    ("-C --no-pid", {"contain", "cleanenv", "ipc"}),
    ("--hostname h", {"uts"}),
    ("-c", {"contain"}),
    ("--pid", {"pid"}),
    ("--unsquash", {"unpack"}),
    ("--underlay --no-nv --no-rocm --no-oci=false", set()),
]


@pytest.mark.parametrize(("words", "want"), IMPLIED, ids=[words for words, _want in IMPLIED])
def test_what_options_imply(words, want):
    request = request_of(parse_plain(["exec", *words.split(), "x.sif", "y"]), {})
    assert {name for name, value in vars(request).items() if value is True} == want


def test_privileges_are_roots(monkeypatch):
    options = parse_plain(["exec", "--keep-privs", "x.sif", "y"])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    request_of(options, {})
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(RunError, match="only root may use"):
        request_of(options, {})


@pytest.mark.parametrize(("line", "net"), [("--net --network none", True), ("-n --network=none", True), ("", False)])
def test_no_network_is_done_here(line, net):
    assert request_of(parse_plain(f"exec {line} x.sif y".split()), {}).net is net


@pytest.mark.parametrize("line", ["--net", "--network none", "--net --network bridge", "--net --network none,bridge"])
def test_other_networks_are_the_peers(line):
    with pytest.raises(RunError, match="needs apptainer or singularity"):
        request_of(parse_plain(f"exec {line} x.sif y".split()), {})


def test_a_gpu_that_is_not_there_is_a_warning_and_one_that_is_there_is_refused(tmp_path, monkeypatch):
    there, missing = tmp_path / "nvidiactl", tmp_path / "kfd"
    there.touch()
    monkeypatch.setattr("sifmake.cli.running_request._GPU_DEVICES", {"nv": (str(there),), "rocm": (str(missing),)})
    options = parse_plain(["exec", "--rocm", "--no-oci", "x.sif", "y"])
    assert leave_out_idle(options) == ["--rocm: this machine has no such GPU, so nothing is added"]
    request_of(options, {})
    options = parse_plain(["exec", "--nv", "--rocm", "x.sif", "y"])
    assert len(leave_out_idle(options)) == 1
    with pytest.raises(RunError, match="--nv needs apptainer or singularity"):
        request_of(options, {})


def test_every_option_has_the_type_of_its_kind() -> None:
    types = {FLAG: "bool", VALUE: "str", LIST: "list[str]", TEXTS: "list[str]"}
    rows = {row[0]: types[row[2]] for action in WRAPPED for row in all_rows(action)}
    own = {"command", "quiet", "debug", "image", "arguments", "given"}
    assert {name: kind for name, kind in Options.__annotations__.items() if name not in own} == rows
