"""The command line of `build`: words, secrets, and what is printed."""

import json
import shlex

import pytest

from sifmake.cli.build_words import as_secrets
from sifmake.cli.main import main
from sifmake.errors import UsageError
from support.building import Works, needs_scripts, root_tar


def test_what_was_built_is_printed_as_json(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root.tar").write_bytes(root_tar("etc"))
    assert main(["-q", "build", "--json", "a.sif", "root.tar"]) == 0
    size = (tmp_path / "a.sif").stat().st_size
    assert json.loads(capfd.readouterr().out) == {"path": "a.sif", "size": size, "steps": {"run": 0, "cached": 0}}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--encrypt a.sif root.tar", "--encrypt is not supported"),
        ("--mksquashfs-args x a.sif root.tar", "see --compression"),
        ("a.sif root.tar more", "too many arguments"),
        ("--build-arg X a.sif root.tar", "--build-arg NAME=VALUE"),
        ("--section posts a.sif root.tar", "there is no section 'posts'"),
        ("--bind /x/y/z a.sif root.tar", "/x/y/z: there is nothing to bind"),
        ("--secret id=a a.sif root.tar", "id=NAME,src=FILE"),
        ("there.sif root.tar", "already exists; use --force"),
        ("a.sif missing.def", "missing.def: the file or folder does not exist"),
        ("--force root.tar root.tar", "root.tar: the output file is what is built from"),
        ("--force root.tar ./root.tar", "root.tar: the output file is what is built from"),
        ("a.sif ''", "the source to build from is empty"),
        ("--force '' root.tar", "the name of the output file is empty"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, monkeypatch, capfd, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "root.tar").write_bytes(root_tar("etc"))
    (tmp_path / "there.sif").touch()
    assert main(["-q", "build", *shlex.split(words)]) in (1, 2)
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root.tar", "there.sif"]


def test_secrets_come_from_files_and_variables(tmp_path):
    (tmp_path / "file").write_bytes(b"one\n")
    found = as_secrets([f"id=a,src={tmp_path / 'file'}", "id=b,env=B"], {"B": "two"})
    assert found == {"a": b"one\n", "b": b"two"}
    for wrong in ("id=a", "src=x", "id=a,src=x,env=B", "id=../a,env=B", "id=a,env=C", "id=a,src=/nowhere/x", "x"):
        with pytest.raises(UsageError):
            as_secrets([wrong], {"B": "two"})


@needs_scripts
@pytest.mark.parametrize("section", ["post", "test"])
def test_a_script_that_fails_is_an_error_like_any_other(tmp_path, monkeypatch, capfd, section):
    monkeypatch.chdir(tmp_path)
    works = Works(tmp_path)
    (tmp_path / "tool.def").write_text(f"Bootstrap: oci\nFrom: {works.folder}/base\n%{section}\n    exit 77\n")
    assert main(["-q", "build", "--tmpdir", ".", "a.sif", "tool.def"]) == 1
    assert "ended with exit status 77" in capfd.readouterr().err.splitlines()[-1]


@needs_scripts
def test_output_of_scripts_is_on_standard_error_without_secrets(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", "s3cr3t-value")
    works = Works(tmp_path)
    text = f"Bootstrap: oci\nFrom: {works.folder}/base\n%post\n    echo to $(cat /run/secrets/t)\n"
    (tmp_path / "tool.def").write_text(text)
    assert main(["-q", "build", "--secret", "id=t,env=TOKEN", "--tmpdir", ".", "a.sif", "tool.def"]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "to ***\n" in err
    assert "s3cr3t" not in err
    assert main(["cache", "list", "-v"]) == 0
    assert "step  echo to $(cat /run/secrets/t)" in capfd.readouterr().out
