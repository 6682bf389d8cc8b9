"""The shipped schedules: run lock, log of digests, notification, and files that their readers accept."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from sifmake.signing.pem import new_private, private_bytes, public_bytes
from support.layers import file, tar
from support.project import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from support.counting_registry import CountingRegistry
    from support.project import Folder

DEPLOY = REPOSITORY / "deploy"


def rebuild(project: Folder, *arguments: str, status: int = 0) -> str:
    process = subprocess.run(
        [sys.executable, "-m", "sifmake", "rebuild", *arguments],
        cwd=project.root,
        env=project.variables(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == status, process.stdout + process.stderr
    return process.stdout + process.stderr


@pytest.fixture
def app(project: Folder, registry: CountingRegistry, tmp_path: Path) -> Folder:
    registry.tags["app:1"] = registry.blobs.image([tar(file("a", b"a"))])
    project.images["app"] = {"from": f"docker://{registry.host}/app:1"}
    project.config["notify"] = ["tee", str(tmp_path / "mail")]
    project.write()
    return project


def test_the_development_key_is_refused(app: Folder) -> None:
    assert "a scheduled run must not publish files signed with the development key" in rebuild(app, status=1)
    assert not app.target("app").exists()


@pytest.fixture
def signing_app(app: Folder) -> Folder:
    key = new_private()
    (app.root / "config/keys").mkdir()
    (app.root / "config/key.pem").write_bytes(private_bytes(key))
    (app.root / "config/keys/key.pem").write_bytes(public_bytes(key.public_key()))
    app.config["key"] = "config/key.pem"
    app.write()
    return app


def test_a_rebuild_logs_and_notifies_what_changed(
    signing_app: Folder, registry: CountingRegistry, tmp_path: Path
) -> None:
    app = signing_app
    rebuild(app)
    mail = tmp_path / "mail"
    first = json.loads(mail.read_text())
    assert [(image["name"], image["state"]) for image in first["images"]] == [("app", "rebuilt")]
    assert first["built"] is True

    mail.unlink()
    rebuild(app)
    assert not mail.exists()

    old = registry.tags["app:1"]["digest"]
    registry.tags["app:1"] = registry.blobs.image([tar(file("a", b"b"))])
    rebuild(app)
    assert json.loads(mail.read_text())["images"][0]["new"] == registry.tags["app:1"]["digest"]
    lines = [json.loads(line) for line in (app.root / "results/digests.jsonl").read_text().splitlines()]
    assert [line["old"] for line in lines] == ["", old]

    app.images["gone"] = {"from": f"docker://{registry.host}/gone:1"}
    app.write()
    before = app.target("app").read_bytes()
    rebuild(app, status=1)
    assert {image["name"]: image["state"] for image in json.loads(mail.read_text())["images"]} == {
        "app": "unchanged",
        "gone": "failed",
    }
    assert app.target("app").read_bytes() == before


def test_a_build_that_fails_is_neither_changed_nor_logged(
    signing_app: Folder, registry: CountingRegistry, tmp_path: Path
) -> None:
    rebuild(signing_app)
    log = (signing_app.root / "results/digests.jsonl").read_text()
    before = signing_app.target("app").read_bytes()
    image = registry.blobs.image([tar(file("a", b"c"))])
    registry.tags["app:1"] = image
    manifest = registry.blobs.document(image)
    del registry.blobs.data[manifest["layers"][0]["digest"]]
    assert "app: failed at pull" in rebuild(signing_app, status=1)
    (state,) = json.loads((tmp_path / "mail").read_text())["images"]
    assert (state["state"], state["stage"], state["new"]) == ("failed", "pull", "")
    assert manifest["layers"][0]["digest"][:19] in state["error"]
    assert (signing_app.root / "results/digests.jsonl").read_text() == log
    assert signing_app.target("app").read_bytes() == before


def test_a_notifier_that_is_not_there_is_one_line(signing_app: Folder) -> None:
    signing_app.config["notify"] = ["/nowhere/notifier"]
    signing_app.write()
    said = rebuild(signing_app, status=1)
    assert "/nowhere/notifier: No such file or directory; correct 'notify' in sifmake.yaml" in said
    assert "Traceback" not in said
    assert signing_app.target("app").exists()


def test_a_folder_without_a_project_stays_as_it_is(project: Folder) -> None:
    project.root.mkdir(parents=True)
    assert "config/images.yaml" in rebuild(project, status=2)
    assert list(project.root.iterdir()) == []


@pytest.mark.parametrize("name", ["sifmake.yaml", "config/images.yaml"])
def test_a_file_that_is_not_valid_ends_a_rebuild_with_a_line(app: Folder, name: str) -> None:
    (app.root / name).write_text("x: &x [*x]\n")
    said = rebuild(app, status=2)
    assert said.count("\n") == 1
    assert f"{name}:1: the alias *x is inside" in said


def test_a_second_rebuild_ends_at_once(app: Folder, registry: CountingRegistry) -> None:
    (app.root / "results").mkdir()
    with (app.root / "results/.rebuild.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        rebuild(app, status=75)
    assert registry.counts() == {}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units() -> None:
    units = [str(path) for path in (DEPLOY / "systemd").iterdir()]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    schedule = re.search(r"OnCalendar=(.*)", (DEPLOY / "systemd/sifmake.timer").read_text())[1]
    subprocess.run(["systemd-analyze", "calendar", schedule], capture_output=True, check=True)


@pytest.mark.parametrize("name", ["locks.yml", "build.yml"])
def test_actions_are_pinned_and_may_do_little(name: str) -> None:
    workflow = yaml.safe_load((DEPLOY / "github" / name).read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]) for step in steps if "uses" in step)
    assert workflow["permissions"]["contents"] == ("write" if name == "locks.yml" else "read")
    commands = " ".join(step.get("run", "") for step in steps)
    assert ("sifmake lock" in commands) == (name == "locks.yml")
    assert ("locked=1" in commands) == (name == "build.yml")


def jobs_of(name: str) -> list[tuple[dict[str, str], list[dict[str, Any]]]]:
    """Return permissions and steps of each job."""
    workflow = yaml.safe_load((DEPLOY / "github" / name).read_text())
    return [(job.get("permissions", workflow["permissions"]), job["steps"]) for job in workflow["jobs"].values()]


@pytest.mark.parametrize("name", ["locks.yml", "build.yml"])
def test_no_token_that_can_write_is_where_packages_are_installed(name: str) -> None:
    for permissions, steps in jobs_of(name):
        checkouts = [step for step in steps if "actions/checkout" in step.get("uses", "")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)
        commands = " ".join(step.get("run", "") for step in steps)
        if "install" in commands or "sifmake" in commands.replace("sifmake lock", "sifmake"):
            assert "write" not in permissions.values()
        if "write" in permissions.values():
            assert not re.search(r"\b(pip|python|sifmake|doit|snakemake)\b", commands)
        secrets = [step for step in steps if "secrets." in str(step) or "github.token" in str(step)]
        assert all("install" not in step["run"] for step in secrets)


@pytest.mark.parametrize("name", ["locks.yml", "build.yml"])
def test_text_of_registries_is_not_a_command_of_the_runner(name: str) -> None:
    for _, steps in jobs_of(name):
        for step in steps:
            run = step.get("run", "")
            assert "${{" not in run, "text would become part of a script"
            if "sifmake lock" in run or "doit" in run:
                assert run.index("::stop-commands::") < min(
                    run.find(word) % 10**6 for word in ("sifmake lock", "doit run")
                )


def test_all_that_pip_fetches_has_a_hash() -> None:
    script = (DEPLOY / "github/install.sh").read_text()
    installs = [line for line in script.splitlines() if line.startswith("pip ")]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    assert all("--no-build-isolation" in line or "--only-binary :all: --requirement" in line for line in installs)
    assert "pip install" not in "".join((DEPLOY / "github" / name).read_text() for name in ("locks.yml", "build.yml"))
    pinned = set()
    for name in ("build.txt", "run.txt"):
        entries = re.split(r"\n(?=[a-z])", (DEPLOY / "github/requirements" / name).read_text())[1:]
        assert entries
        for entry in entries:
            assert re.match(r"[a-z0-9-]+==[^ ]+ \\\n    --hash=sha256:[0-9a-f]{64}", entry), entry
            pinned.add(entry.partition("==")[0])
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[^\w.-]", text)[0].lower().replace(".", "-") for text in project["dependencies"]}
    assert wanted <= pinned


class Repository:
    """A clone with a remote, and a ``gh`` that keeps its arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clone, self.proposed = folder, folder / "clone", folder / "proposed"
        self.environ = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HOME": str(folder), "GH_TOKEN": "s3cret"}
        self.git("init", "-q", "--bare", "remote.git", cwd=folder)
        self.git("clone", "-q", "remote.git", "clone", cwd=folder)
        (self.clone / "config/locks").mkdir(parents=True)
        (self.clone / "config/locks/a.yaml").write_text("old\n")
        self.git("add", ".")
        self.git("-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "first")
        self.git("push", "-q", "origin", "HEAD")
        (folder / "bin").mkdir()
        gh = folder / "bin/gh"
        gh.write_text(f'#!/bin/sh\necho "$@" >> \'{folder}/gh.log\'\n[ "$2" != view ]\n')
        gh.chmod(0o755)
        (self.proposed / "locks").mkdir(parents=True)
        (self.proposed / "locks/a.yaml").write_text("new\n")
        (self.proposed / "summary.json").write_text("[]")

    def git(self, *words: str, cwd: Path | None = None) -> str:
        command = ["git", "-c", "init.defaultBranch=main", *words]
        run = subprocess.run(
            command, cwd=cwd or self.clone, env=self.environ, check=True, capture_output=True, text=True
        )
        return run.stdout

    def propose(self, status: int = 0) -> str:
        run = subprocess.run(
            [DEPLOY / "github/propose.sh", self.proposed],
            cwd=self.clone,
            env=self.environ,
            check=False,
            capture_output=True,
            text=True,
        )
        assert run.returncode == status, run.stderr
        return run.stdout + run.stderr


needs_git = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")


@needs_git
def test_changed_locks_are_proposed(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    (repository.proposed / "locks/new_1.0.yaml").write_text("new\n")
    repository.propose()
    assert repository.git("show", "origin/refresh-locks:config/locks/a.yaml") == "new\n"
    assert repository.git("show", "origin/refresh-locks:config/locks/new_1.0.yaml") == "new\n"
    said = (tmp_path / "gh.log").read_text()
    assert "pr create --head refresh-locks" in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"s3cret" in path.read_bytes()], "the token is on disk"


@needs_git
def test_nothing_changed_proposes_nothing(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    (repository.proposed / "locks/a.yaml").write_text("old\n")
    repository.propose()
    assert not (tmp_path / "gh.log").exists()


@needs_git
@pytest.mark.parametrize(
    "text", ["````\n# @everyone\n", "~~~\n", "```", "\x1b[2J", "<img src=x>", "é" * 40_000, "x" * 99_999]
)
def test_text_of_a_registry_stays_in_its_block(tmp_path: Path, text: str) -> None:
    repository = Repository(tmp_path)
    (repository.proposed / "summary.json").write_text(text)
    repository.propose()
    head, inside, tail = re.split(r"^````.*$", (repository.proposed / "body.md").read_text(), flags=re.MULTILINE)
    assert head.endswith("as text:\n\n")
    assert "`" not in inside
    assert re.fullmatch(r"[\n -~]*", inside)
    assert len(inside) < 60_000
    assert tail == "\n"


@needs_git
@pytest.mark.parametrize(
    "name", ["-x.yaml", "a b.yaml", "A.yaml", "..x.yaml", "a.yml", ".yaml", "link.yaml", "large.yaml"]
)
def test_only_locks_are_taken(tmp_path: Path, name: str) -> None:
    repository = Repository(tmp_path)
    path = repository.proposed / "locks" / name
    if name == "link.yaml":
        path.symlink_to("/etc/passwd")
    else:
        path.write_text("x" * (2_000_000 if name == "large.yaml" else 1))
    hidden = name.startswith(".")  # left out without a word
    said = repository.propose(status=0 if hidden else 1)
    assert ("nothing is proposed" in said) != hidden
    assert (tmp_path / "gh.log").exists() == hidden
    names = repository.git("ls-tree", "-r", "--name-only", "HEAD")
    assert names == "config/locks/a.yaml\n"


@needs_git
@pytest.mark.parametrize("failed", [0, 1])
@pytest.mark.parametrize("what", ["nothing", "changed", "new"])
def test_the_first_job_says_what_became_of_the_locks(tmp_path: Path, what: str, failed: int) -> None:
    repository = Repository(tmp_path)
    written = {"nothing": "true", "changed": "echo new > config/locks/a.yaml", "new": "echo > config/locks/b.yaml"}
    program = tmp_path / "bin/sifmake"
    program.write_text(f"#!/bin/sh\necho '::set-env name=X::y'\n{written[what]}\nexit {failed}\n")
    program.chmod(0o755)
    (_, steps), *_ = jobs_of("locks.yml")
    (run,) = [step["run"] for step in steps if step.get("id") == "refresh"]
    output = tmp_path / "output"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", run],
        cwd=repository.clone,
        env={**repository.environ, "GITHUB_OUTPUT": str(output)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert output.read_text() == f"failed={failed}\nchanged={int(what != 'nothing')}\n"
    stop, command, resume = done.stdout.splitlines()
    assert command == "::set-env name=X::y"
    assert stop == f"::stop-commands::{resume.strip(':')}"
    assert re.fullmatch(r"::[0-9a-f]{32}::", resume)
    assert (repository.clone / "proposed/locks/a.yaml").exists()


def test_names_in_shell_lines_of_rules_are_quoted() -> None:
    """Names of images are checked; folders of modules and projects are the user's own."""
    for path in (REPOSITORY / "workflow/rules").iterdir():
        for line in path.read_text().splitlines():
            if line.strip().startswith('"sifmake '):
                assert not re.search(r"{[\w.]+}", line), line


def test_the_cron_line_has_a_time_a_user_and_a_command() -> None:
    (line,) = [line for line in (DEPLOY / "cron/sifmake").read_text().splitlines() if re.match(r"[0-9*]", line)]
    minute, hour, day, month, weekday, user, command = line.split(maxsplit=6)
    assert (minute.isdigit(), hour.isdigit(), day, month, weekday, user) == (True, True, "*", "*", "*", "sifmake")
    assert "sifmake rebuild --root /srv/images" in command


def steps() -> list[str]:
    """Return the commands of the steps for a Debian machine."""
    text = (DEPLOY / "README.md").read_text().partition("step by step")[2].partition("\n## ")[0]
    return [line.strip() for line in text.splitlines() if line.startswith("       ")]


def test_steps_unit_and_cron_line_name_the_same_paths() -> None:
    """Who follows the steps by hand has made everything that the schedules need."""
    commands = "\n".join(steps())
    cron = (DEPLOY / "cron/sifmake").read_text()
    unit = (DEPLOY / "systemd/sifmake.service").read_text()
    settings = dict(re.findall(r"(SIFMAKE_[A-Z_]+)=(\S+)", cron))
    assert settings == dict(re.findall(r"(SIFMAKE_[A-Z_]+)=(\S+)", commands))
    passphrase = settings.pop("SIFMAKE_PASSPHRASE_FILE")
    assert f"LoadCredential=passphrase:{passphrase}\n" in unit
    assert all(f"Environment={name}={value}\n" in unit for name, value in settings.items())
    log = re.search(r">>(\S+) ", cron)[1]
    assert log in (DEPLOY / "cron/logrotate").read_text()
    made = " ".join(line for line in steps() if line.startswith("install -d"))
    needed = ["/srv/images", settings["SIFMAKE_CACHE"], settings["SIFMAKE_CONFIG_DIR"], log.rpartition("/")[0]]
    assert all(f" {folder}" in made for folder in needed)
    assert "useradd" in commands
    assert "User=sifmake\n" in unit
    assert re.search(r"^17 2 \* \* \* sifmake /opt/sifmake/bin/sifmake rebuild --root /srv/images ", cron, re.MULTILINE)
    assert "python3 -m venv /opt/sifmake" in steps()
    copied = [word for line in steps() if line.startswith("cp ") for word in line.split() if word.startswith("deploy/")]
    assert len(copied) == 4
    assert all((REPOSITORY / path).is_file() for path in copied)


def test_the_recipe_for_a_key_works_unattended(app: Folder, tmp_path: Path) -> None:
    """Locking needs neither the passphrase nor the secret; building takes the passphrase from a file."""

    def sifmake(*words: str, status: int = 0, **more: str) -> str:
        variables = {**app.variables(), "SIFMAKE_CONFIG_DIR": str(tmp_path / "keys"), **more}
        command = [sys.executable, "-m", "sifmake", *words]
        process = subprocess.run(
            command, cwd=app.root, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert process.returncode == status, process.stdout + process.stderr
        return process.stdout + process.stderr

    phrase = tmp_path / "phrase"
    phrase.write_text("sesame\n")
    named = {"SIFMAKE_PASSPHRASE_FILE": str(phrase)}
    sifmake("key", "newpair", "robot", **named)
    (app.root / "config/keys").mkdir()
    sifmake("key", "export", "robot", "config/keys/robot.pem")
    app.config["key"] = "robot"
    app.write()
    sifmake("lock")
    elsewhere = sifmake("lock", "--offline", SIFMAKE_CONFIG_DIR=str(tmp_path / "no keys"))
    assert "failed 0" in elsewhere
    refused = sifmake("rebuild", status=1)
    assert "failed at sign" in refused
    assert not (app.root / "results/digests.jsonl").exists() or not (app.root / "results/digests.jsonl").read_text()
    sifmake("rebuild", **named)
    sifmake("verify", "--key", "config/keys/robot.pem", str(app.target("app")))
