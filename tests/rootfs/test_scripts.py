"""The scripts are run by real shells, with the words that Apptainer and SingularityCE were seen to pass on."""

import json
import os
import re
import shutil
import subprocess
import tarfile
from io import BytesIO

import pytest

from sifmake.errors import LimitError
from sifmake.rootfs.environment import environment_script
from sifmake.rootfs.fixed import FIXED, text_of
from sifmake.rootfs.runscript import runscript
from sifmake.rootfs.settings import read_settings
from support.corpus import CORPUS, needs_corpus
from support.golden import blob, image, names, record, sif_record

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
HOST = {"PATH": "/usr/bin:/bin", "HOME": "/root", "X_HOST": "hostval"}
"""The environment in which the peers were recorded."""
SET_BY_SHELL = {
    "HOSTNAME",
    "SHELL",
    "UID",
    "EUID",
    "GID",
    "PPID",
    "RANDOM",
    "IFS",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "HOME",
    "PATH",
}
CHANGED_LATER = {"PS1", "LD_LIBRARY_PATH"}
"""By 99-base.sh, which this comparison reads, too."""

shells = pytest.mark.parametrize("shell", [pytest.param(command, id=name) for name, command in SHELLS.items()])


ELSEWHERE = {"ep-wrapper", "ep-relative", "scratch-static"}
"""Images whose programs stand where this machine has none."""


def with_runs(kind):
    return [n for n in names() if n not in ELSEWHERE and any(label.startswith(kind) for label in record(n)["run"])]


@pytest.fixture(scope="module")
def show(tmp_path_factory):
    """The program of the golden images that prints its arguments and environment as JSON."""
    if not CORPUS.is_dir():
        pytest.skip("../shared/corpus is not on this machine")
    folder = tmp_path_factory.mktemp("bin")
    with tarfile.open(fileobj=BytesIO(blob(image("ep-only").layers[0].descriptor.digest))) as layer:
        (folder / "show").write_bytes(layer.extractfile("bin/show").read())
    (folder / "show").chmod(0o755)
    return folder / "show"


def run(shell, script, arguments, environment):
    return subprocess.run(
        [shutil.which(shell[0]), *shell[1:], script, *arguments],
        env=environment,
        capture_output=True,
        check=False,
        timeout=20,
        text=True,
    )


def shown(text, member):
    """Return one member of what the program printed; it writes every byte as one character."""
    found = [item.encode("latin-1").decode() for item in json.loads(text)[member]]
    return found if member == "argv" else dict(item.split("=", 1) for item in found)


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def argument_cases(name):
    """Give (arguments, no-eval, recorded argv) of all runs that ended well."""
    for label, runs in record(name)["run"].items():
        found = re.fullmatch(r"run (--no-eval )?(\[.*\])", label, re.DOTALL)
        if found and "argv" in runs[0]:
            assert all(one["argv"] == runs[0]["argv"] for one in runs)
            yield json.loads(found[2]), bool(found[1]), runs[0]["argv"]


@needs_corpus
@shells
@pytest.mark.parametrize("name", with_runs("run ["))
def test_programs_get_the_words_that_they_get_from_the_peers(name, shell, show, tmp_path):
    settings = read_settings(image(name).config)

    def here(words):
        return [word.replace("/bin/show", str(show)) for word in words]

    script = written(tmp_path / "runscript", runscript(here(settings.entrypoint), here(settings.cmd)))
    for arguments, no_eval, argv in argument_cases(name):
        environment = HOST | ({"SINGULARITY_NO_EVAL": "1"} if no_eval else {})
        got = run(shell, script, here(arguments), environment)
        assert got.returncode == 0, (arguments, no_eval, got.stderr)
        assert shown(got.stdout, "argv") == here(argv), (arguments, no_eval)


@shells
def test_without_entrypoint_and_cmd_arguments_are_the_program(shell, show, tmp_path):
    script = written(tmp_path / "runscript", runscript([], []))
    for extra in ({}, {"SINGULARITY_NO_EVAL": "1"}):
        got = run(shell, script, [str(show), "a b"], HOST | extra)
        assert shown(got.stdout, "argv") == [str(show), "a b"]
        nothing = run(shell, script, [], HOST | extra)
        assert nothing.returncode == 0
        assert "X_HOST=" in nothing.stdout


def test_the_line_that_both_runtimes_look_for_stands_alone():
    assert 'eval "set ${SINGULARITY_OCI_RUN}"' in runscript(["/x"], []).split("\n")


def source_all(tmp_path, env):
    """Write all environment scripts to a folder, and a script that reads them as the runtimes do and runs a program."""
    folder = tmp_path / "env"
    folder.mkdir()
    for name in FIXED:
        if name.startswith("env/"):
            written(tmp_path / name, text_of(name))
    written(folder / "10-docker2singularity.sh", environment_script(env)[0])
    return written(tmp_path / "all", f'for s in {folder}/*.sh; do . "$s"; done\nexec "$@"\n')


@needs_corpus
@shells
@pytest.mark.parametrize("name", with_runs("env minimal"))
def test_the_environment_is_that_of_the_peers(name, shell, show, tmp_path):
    if name == "env-readonly" and shell[0] == "bash":
        return  # UID is read-only in bash, which then stops; both runtimes read the script with a shell of their own
    recorded = next(r for r in record(name)["run"]["env minimal"] if "A-sif in A" in r["combos"])["env"]
    env = read_settings(image(name).config).env
    got = run(shell, source_all(tmp_path, env), [str(show)], {})
    assert got.returncode == 0, got.stderr
    found = shown(got.stdout, "env")
    valid = {item.partition("=")[0] for item in env} & recorded.keys() - SET_BY_SHELL | CHANGED_LATER
    wrong_with_peers = {"DUP"}
    own = {key for key in valid if not key.startswith(("SINGULARITY", "APPTAINER", "USER_PATH"))} - wrong_with_peers
    own.discard("PROMPT_COMMAND")
    assert {key: found.get(key) for key in own} == {key: recorded.get(key) for key in own}
    # The runtimes put the prompt behind the image's value, after the scripts, which therefore must not do it, too.
    prompt = f'PS1="{found["PS1"]}"'
    before = found.get("PROMPT_COMMAND")
    again = f'{before}; PROMPT_COMMAND="${{PROMPT_COMMAND%%; PROMPT_COMMAND=*}}"; {prompt}'
    assert recorded["PROMPT_COMMAND"] == (again if before else f"{prompt}; unset PROMPT_COMMAND")


@shells
def test_the_last_of_several_values_wins(shell, show, tmp_path):
    got = run(shell, source_all(tmp_path, ["DUP=one", "PATH=/a", "DUP=two", "PATH=/b"]), [str(show)], {})
    found = shown(got.stdout, "env")
    assert (found["DUP"], found["PATH"]) == ("two", "/b")


@shells
@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "/img"),
        ({"PREPEND_PATH": "/p"}, "/p:/img"),
        ({"APPEND_PATH": "/a"}, "/img:/a"),
        ({"PREPEND_PATH": "/p", "APPEND_PATH": "/a"}, "/p:/img:/a"),
        ({"PATH": "/only"}, "/only"),
    ],
)
def test_the_user_can_change_path(shell, show, tmp_path, given, path):
    environment = {f"SING_USER_DEFINED_{key}": value for key, value in given.items()}
    got = run(shell, source_all(tmp_path, ["PATH=/img"]), [str(show)], environment)
    found = shown(got.stdout, "env")
    assert found["PATH"] == path
    assert not [key for key in found if key.startswith("SING_USER")]


@shells
@pytest.mark.parametrize("name", [name for name in FIXED if text_of(name)])
def test_shells_accept_every_script(shell, name, tmp_path):
    script = written(tmp_path / "script", text_of(name))
    assert script.read_text(encoding="utf-8").startswith("#!/bin/sh\n")
    checked = subprocess.run([*shell, "-n", script], capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.fixture
def root(tmp_path):
    """A small root file system with busybox as its shell and all scripts in place."""
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    for folder in ("bin", ".singularity.d/env", ".singularity.d/actions", "scif/apps/one/scif/env"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("busybox", "sh", "env", "cat"):
        shutil.copy("/usr/bin/busybox", tmp_path / "bin" / name)
    for name in FIXED:
        script = written(tmp_path / ".singularity.d" / name, text_of(name))
        script.chmod(0o755)
    written(tmp_path / ".singularity.d/env/10-docker2singularity.sh", environment_script(["A=b c"])[0])
    return tmp_path


def act(root, action, *arguments, **environment):
    return subprocess.run(
        [shutil.which("chroot"), root, f"/.singularity.d/actions/{action}", *arguments],
        env={"PATH": "/bin", **environment},
        capture_output=True,
        check=False,
        text=True,
    )


def test_actions_run_in_the_environment_of_the_container(root):
    written(root / ".singularity.d/runscript", runscript(["/bin/sh", "-c", 'echo "$A|$0|$1"'], [])).chmod(0o755)
    assert act(root, "exec", "/bin/sh", "-c", 'echo "$A"').stdout == "b c\n"
    assert act(root, "run", "x y", "z").stdout == "b c|x y|z\n"
    assert act(root, "shell", "-c", 'echo "$A $SHELL"').stdout == "b c /bin/sh\n"
    assert act(root, "start").returncode == 0
    none = act(root, "test")
    assert (none.returncode, none.stdout) == (0, "This container has no test script.\n")
    written(root / ".singularity.d/test", "#!/bin/sh\necho tested $A $1\n").chmod(0o755)
    assert act(root, "test", "x").stdout == "tested b c x\n"


def test_actions_know_apps(root):
    app = root / "scif/apps/one/scif"
    written(app / "runscript", '#!/bin/sh\necho "$SCIF_APPNAME $IN_APP $1"\n').chmod(0o755)
    written(app / "env/90-environment.sh", "export IN_APP=yes\n")
    assert act(root, "run", "x", SINGULARITY_APPNAME="one").stdout == "one yes x\n"
    missing = act(root, "run", APPTAINER_APPNAME="two")
    assert (missing.returncode, missing.stderr) == (1, "The app two of this container has no runscript.\n")


@needs_corpus
@pytest.mark.parametrize("name", [name for name in names() if name != "env-names" and sif_record(name)])
def test_scripts_equal_those_of_the_peers(name):
    attributes = sif_record(name)["json"]["inspect-metadata.json"]["data"]["attributes"]
    settings = read_settings(image(name).config)
    script, warnings = environment_script(settings.env)
    assert script == attributes["environment"]["/.singularity.d/env/10-docker2singularity.sh"] + "\n"
    assert warnings == []
    assert runscript(settings.entrypoint, settings.cmd).split("\n\n")[0] == attributes["runscript"].split("\n\n")[0]


def test_words_that_no_program_gets_are_refused_before_they_are_quoted():
    """With quotes, two such texts of 4 MB took more than 256 MiB."""
    half = "'" * (1 << 20)
    assert len(runscript([half], [])) > 10 << 20
    with pytest.raises(LimitError, match=r"Entrypoint and Cmd of the image have more than 2097152 bytes"):
        runscript([half], [half])
