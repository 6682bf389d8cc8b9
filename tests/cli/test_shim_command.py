"""The programs that ``sifmake shim`` writes, and the words of Apptainer in ``sifmake`` itself."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from sifmake import __version__
from sifmake.cli.main import main, parse
from support.counting_registry import CountingRegistry
from support.images import Blobs, write_layout
from support.layers import file, tar
from support.stand_in import needs_containers, shell_image, write_shim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("apptainer", "singularity")


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    return write_shim(tmp_path / "shim folder")


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def registry(blobs: Blobs) -> Iterator[CountingRegistry]:
    with CountingRegistry(blobs) as running:
        running.tags["app:1"] = shell_image(blobs)
        yield running


@pytest.fixture
def layout(tmp_path: Path, blobs: Blobs) -> str:
    write_layout(tmp_path / "layout", blobs, {"1": blobs.image([tar(file("a", b"a"))])})
    return f"oci:{tmp_path}/layout:1"


def call(program: Path, *words: str, status: int = 0, cwd: Path, **env: str) -> str:
    """Run a program with ``env`` and PATH alone, as Nextflow does; return what it printed."""
    given = {name: os.environ[name] for name in ("SIFMAKE_CACHE", "SIFMAKE_CONFIG_DIR")}
    variables = {"PATH": f"{program.parent}:/usr/bin:/bin", **given, **env}
    done = subprocess.run(
        [program, *words], cwd=cwd, env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def snakemakes_version(raw: str) -> Version:
    """Read a version as Snakemake does: the longest beginning of the last word that is one."""
    word = raw.rsplit(" ", 1)[-1].removeprefix("v")
    for end in range(len(word), 0, -1):
        try:
            return Version(word[:end])
        except ValueError:
            continue
    raise AssertionError(raw)


@pytest.mark.parametrize("name", NAMES)
def test_versions_are_read_as_those_of_the_real_ones(shim: Path, tmp_path: Path, name: str) -> None:
    line = call(shim / name, "--version", cwd=tmp_path)
    flavour, number = re.match(r"(.+) version ([0-9\.]+)", line).groups()  # as cwltool does
    assert flavour == {"apptainer": "apptainer", "singularity": "singularity-ce"}[name]
    assert Version(number.rstrip(".")) >= Version({"apptainer": "1.4.0", "singularity": "4.1.0"}[name])
    assert snakemakes_version(line) >= Version("1.4.0")
    assert f"sifmake.{__version__}" in line
    assert call(shim / name, "version", cwd=tmp_path).split() == line.split()[-1:]


def test_sifmake_says_its_own_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_a_link_of_that_name_is_a_stand_in_too(shim: Path, tmp_path: Path) -> None:
    script = tmp_path / "sifmake"
    text = (shim / "apptainer").read_text()
    python = re.search(r"exec (\S+) -P", text).group(1)
    script.write_text(f"#!{python}\nimport sys\nfrom sifmake.cli.main import main\nsys.exit(main())\n")
    script.chmod(0o755)
    (tmp_path / "singularity").symlink_to(script)
    assert call(tmp_path / "singularity", "--version", cwd=tmp_path).startswith("singularity-ce version 4.1.0+")


def test_programs_of_others_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "singularity").write_text("#!/bin/sh\nexit 9\n")
    assert main(["shim", str(tmp_path)]) == 1
    assert "singularity: the file exists and was not written by sifmake" in capsys.readouterr().err
    assert not (tmp_path / "apptainer").exists()
    assert main(["shim", "--force", str(tmp_path)]) == 0
    assert main(["shim", str(tmp_path)]) == 0, "its own are replaced"


def test_the_folder_here_is_not_imported_from(shim: Path, tmp_path: Path) -> None:
    (tmp_path / "sifmake").mkdir()
    (tmp_path / "sifmake/__init__.py").write_text("raise SystemExit(66)\n")
    call(shim / "apptainer", "version", cwd=tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        "pull --name x.img.pulling.17 {uri}",
        "--silent -s --nocolor -d -v pull --nohttps --name x.img.pulling.17 {uri}",
        "pull --force --no-https x.img.pulling.17 {uri}",
        "pull -U --tmpdir . --no-cleanup --library https://x --disable-cache --name x.img.pulling.17 {uri}",
        "pull --docker-username me --docker-password secret x.img.pulling.17 {uri}",
        "-q build --force --fakeroot --fix-perms -T x.img.pulling.17 {uri}",
        "build x.img.pulling.17 {uri}",
    ],
)
def test_what_others_call_pulls(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.format(uri=layout).split()) == 0
    assert (tmp_path / "x.img.pulling.17").read_bytes().startswith(b"#!/usr/bin/env run-singularity")
    capfd.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("build -u out {uri}", "--update is not supported; name a new target"),
        ("build out.sif recipe.def", "recipe.def: the file or folder does not exist"),
        ("build {uri}", "the output file or the source is missing"),
        ("pull --docker-login x.sif {uri}", "cannot ask for the password: no terminal"),
        ("pull --docker-username me x.sif {uri}", "--docker-password is missing"),
        ("pull --docker-host tcp://x x.sif {uri}", "DOCKER_HOST"),
        ("pull --name y.sif x.sif {uri}", "--name and an output file are both given"),
        ("pull library://lolcow", "library://"),
        ("instance start x.sif me", "instance: sifmake does not have this command of Apptainer; start the program"),
        ("remote login -u me docker://x", "log in to a registry with `registry login HOST`"),
        ("--silent config global --list", "config: sifmake does not have this command of Apptainer; run it with"),
        ("isntance list", "there is no such command; `help` lists all commands"),
        ("cahce list", "cahce: there is no such command; did you mean `cache`?"),
        ("cache clean --type=blob", "unrecognized arguments: --type=blob"),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_what_cannot_be_is_one_line(shim: Path, layout: str, tmp_path: Path, words: str, said: str) -> None:
    output = call(shim / "apptainer", *words.format(uri=layout).split(), status=2, cwd=tmp_path)
    assert output.startswith("FATAL:   ")
    assert said in output
    assert output.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout", "shim folder"]


def test_verify_complains_as_the_others(shim: Path, layout: str, tmp_path: Path) -> None:
    call(shim / "apptainer", "pull", "x.sif", layout, cwd=tmp_path)
    assert call(shim / "apptainer", "verify", "x.sif", status=10, cwd=tmp_path).startswith("FATAL:   x.sif: ")


@needs_containers
@pytest.mark.parametrize("name", NAMES)
def test_nextflows_own_lines_work(registry: CountingRegistry, shim: Path, tmp_path: Path, name: str) -> None:
    """As SingularityCache and SingularityBuilder write them, for images that are pulled and ociAutoPull."""
    uri = f"docker://{registry.host}/app:1"
    line = f"{name} pull --no-https --name app-1.img.pulling.123 {uri} > /dev/null"
    env = {"PATH": f"{shim}:/usr/bin:/bin", "SIFMAKE_CACHE": str(tmp_path / "cache")}
    subprocess.run(["bash", "-c", line], cwd=tmp_path, env=env, check=True, timeout=120)
    prefix = name.upper()
    for image in (str(tmp_path / "app-1.img.pulling.123"), uri):
        run = (
            f'set +u; env - PATH="$PATH" SIFMAKE_CACHE="$SIFMAKE_CACHE" ${{TMPDIR:+{prefix}ENV_TMPDIR="$TMPDIR"}} '
            f'{prefix}ENV_NXF_TASK_WORKDIR="$PWD" {name} exec --no-home --pid --no-https -B {tmp_path} {image} '
            f'/bin/sh -c "cd \\"\\$NXF_TASK_WORKDIR\\"; cat /etc/name > out"'
        )
        subprocess.run(["bash", "-c", run], cwd=tmp_path, env=env, check=True, timeout=120)
        assert (tmp_path / "out").read_text() == "the image\n"
        (tmp_path / "out").unlink()


@needs_containers
def test_global_words_before_commands_that_run_programs(registry: CountingRegistry, shim: Path, tmp_path: Path) -> None:
    call(shim / "apptainer", "pull", "--no-https", "a.sif", f"docker://{registry.host}/app:1", cwd=tmp_path)
    head = ["--quiet", "--silent", "-s", "--nocolor", "-dv"]
    output = call(shim / "apptainer", *head, "exec", "--nv", "a.sif", "cat", "/etc/name", cwd=tmp_path)
    assert output == "the image\n"
    output = call(shim / "singularity", "exec", "--nv", "a.sif", "cat", "/etc/name", cwd=tmp_path)
    assert "no such GPU" in output
    output = call(shim / "singularity", "run-help", "a.sif", cwd=tmp_path)
    assert output == "No help sections have been defined for this container\n"
    assert '"attributes"' in call(shim / "singularity", "inspect", "--json", "a.sif", cwd=tmp_path)
    inside = call(
        shim / "apptainer", "exec", "--net", "--network", "none", "a.sif", "cat", "/proc/net/dev", cwd=tmp_path
    )
    assert "eth" not in inside


def test_short_options_before_and_behind_a_command_differ() -> None:
    args = parse(["-s", "-v", "shell", "-s", "/bin/zsh", "x.sif"])
    assert (args.quiet, args.shell) == (2, "/bin/zsh")
    assert parse(["-q", "exec", "x.sif", "a"]).quiet == 1
    assert parse(["-d", "exec", "x.sif", "a"]).debug
    assert parse(["-s", "cache", "list", "-v"]).verbose
    assert parse(["-s", "cache", "list"]).quiet == 2


@pytest.mark.parametrize("words", [["help"], ["help", "pull"], ["help", "cache", "clean"], ["pull", "--help"]])
def test_help_is_a_command_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    assert "usage: sifmake" in capsys.readouterr().out


def test_folders_of_the_peers_variables_are_used(shim: Path, layout: str, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    folders = {"APPTAINER_CACHEDIR": str(tmp_path / "cache"), "SINGULARITY_PULLFOLDER": str(tmp_path / "here")}
    call(shim / "apptainer", "pull", "x.sif", layout, cwd=tmp_path, SIFMAKE_CACHE="", HOME=str(tmp_path), **folders)
    assert (tmp_path / "here/x.sif").exists()
    assert (tmp_path / "cache/sifmake").is_dir()
    assert not (tmp_path / ".cache").exists()


def test_clean_by_days(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    assert main(["pull", "x.sif", layout]) == 0
    old, new = sorted((tmp_path / "cache/blobs").rglob("[0-9a-f]" * 8 + "*"))[-2:]
    os.utime(old, (1, 1))
    assert main(["cache", "clean", "--force", "--days", "7"]) == 0
    assert (old.exists(), new.exists()) == (False, True)
    assert main(["cache", "clean", "--force", "--days", "some"]) == 2
