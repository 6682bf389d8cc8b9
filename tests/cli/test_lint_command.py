import json

from sifmake.cli.main import main

HEADER = f"Bootstrap: docker\nFrom: alpine:3@sha256:{'0' * 64}\n"


def write(folder, name, text):
    (folder / name).write_text(HEADER + text)
    return str(folder / name)


def test_findings_are_lines_and_the_exit_status_is_the_worst(tmp_path, capsys):
    clean = write(tmp_path, "clean.def", "%post\ntrue\n")
    warned = write(tmp_path, "warned.def", "%post\ncd /tmp\n")
    broken = write(tmp_path, "broken.def", "%pots\n")
    assert main(["lint", clean]) == 0
    assert capsys.readouterr().out == ""
    assert main(["lint", clean, warned]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{warned}:4: warning: %post: /tmp is the host's folder")
    assert out.endswith(" [host-tmp]\n")
    assert main(["lint", broken, warned]) == 2
    assert f"{broken}:3: error: unknown section %pots; write %post [unknown-section]" in capsys.readouterr().out


def test_json_has_the_findings_of_each_file(tmp_path, capsys):
    path = write(tmp_path, "x.def", "%post\necho {{ A }} /tmp\n")
    assert main(["lint", "--json", "--build-arg", "A=1", path]) == 1
    (document,) = json.loads(capsys.readouterr().out)
    assert document["file"] == path
    (finding,) = document["findings"]
    assert (finding["line"], finding["section"], finding["rule"], finding["severity"]) == (
        4,
        "post",
        "host-tmp",
        "warning",
    )


def test_what_cannot_be_read_is_one_line(tmp_path, capsys):
    assert main(["lint", str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"sifmake: error: {tmp_path}/none: No such file or directory")
    assert err.count("\n") == 1
    assert main(["lint", "--build-arg", "A", str(tmp_path / "none")]) == 2


def test_a_line_of_the_argument_file_that_says_nothing_is_a_warning(tmp_path, capsys):
    path = write(tmp_path, "x.def", "%post\necho {{ A }}\n")
    (tmp_path / "args").write_text("A=1\nodd\n")
    assert main(["lint", "--build-arg-file", str(tmp_path / "args"), path]) == 0
    assert capsys.readouterr().err == f"sifmake: warning: {tmp_path}/args:2: 'odd' is ignored: it is not NAME=VALUE\n"
