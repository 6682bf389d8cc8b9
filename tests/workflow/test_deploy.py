"""The shipped schedules: run lock, log of digests, notification, and files that their readers accept."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

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
        [sys.executable, str(DEPLOY / "rebuild.py"), *arguments],
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
    assert "development key signs nothing" in rebuild(app, status=1)
    assert not app.target("app").exists()


def test_a_rebuild_logs_and_notifies_what_changed(app: Folder, registry: CountingRegistry, tmp_path: Path) -> None:
    key = new_private()
    (app.root / "config/keys").mkdir()
    (app.root / "config/key.pem").write_bytes(private_bytes(key))
    (app.root / "config/keys/key.pem").write_bytes(public_bytes(key.public_key()))
    app.config["key"] = "config/key.pem"
    app.write()
    rebuild(app)
    mail = tmp_path / "mail"
    first = json.loads(mail.read_text())
    assert [(image["name"], image["state"]) for image in first["images"]] == [("app", "changed")]
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


def test_the_cron_line_has_a_time_a_user_and_a_command() -> None:
    (line,) = [line for line in (DEPLOY / "cron/sifmake").read_text().splitlines() if re.match(r"[0-9*]", line)]
    minute, hour, day, month, weekday, user, command = line.split(maxsplit=6)
    assert (minute.isdigit(), hour.isdigit(), day, month, weekday, user) == (True, True, "*", "*", "*", "sifmake")
    assert "deploy/rebuild.py" in command
