"""What goes wrong leaves the old target alone, stops nothing else, and is made good by the next run."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from sifmake.signing.pem import new_private, private_bytes, public_bytes
from support.layers import file, folder, tar

if TYPE_CHECKING:
    from pathlib import Path

    from support.counting_registry import CountingRegistry
    from support.project import Folder

ENGINES = ["doit", "snakemake"]
BASE = tar(folder("etc/"), file("etc/base", b"base" * 1000))
BIG = tar(file("big", os.urandom(400_000)))


def push(registry: CountingRegistry, tag: str, *layers: bytes) -> dict:
    registry.tags[tag] = registry.blobs.image(layers)
    return registry.tags[tag]


@pytest.fixture
def app(project: Folder, registry: CountingRegistry) -> Folder:
    project.images["app"] = {"from": f"docker://{registry.host}/app:1"}
    project.write()
    push(registry, "app:1", BASE)
    return project


def state(project: Folder) -> tuple[int, bytes]:
    target = project.target("app")
    return target.stat().st_ino, target.read_bytes()


def test_registry_down(app: Folder, registry: CountingRegistry) -> None:
    app.build("doit")
    before = state(app)
    pinned = registry.blobs.image([BASE, BIG])
    app.images["pinned"] = {"from": f"docker://{registry.host}/app@{pinned['digest']}"}
    app.write()
    app.build("doit")
    app.images["new"] = {"from": f"docker://{registry.host}/new:1"}
    app.write()
    registry.forget()
    registry.down = True

    text = app.doit("pull_image", status=1)
    assert "building from the lock" in text
    assert "!! lock:new" in text
    assert state(app) == before
    assert "Traceback" not in text
    assert "bug in sifmake" not in text
    assert app.doit("pull_image:app", "pull_image:pinned").count("building from the lock") == 1
    assert "!! lock:app" in app.doit("lock:app", status=1)
    assert "building from" not in app.doit("pull_image:pinned")

    app.snakemake("images/app.sif", "images/pinned.sif")
    assert state(app) == before
    app.snakemake("images/new.sif", status=1)

    text = app.run("sifmake", "lock", status=1)
    assert "scanned 3, changed 0, unchanged 1, failed 2" in text


@pytest.mark.parametrize("engine", ENGINES)
def test_locked_and_offline_ask_nothing(app: Folder, registry: CountingRegistry, engine: str) -> None:
    arguments = ("locked=1",) if engine == "doit" else ("--config", "locked=1")
    text = app.doit("pull_image", *arguments, status=1) if engine == "doit" else app.snakemake(*arguments, status=1)
    assert "there is no lock; run `sifmake lock app`" in text
    assert registry.counts() == {}
    app.build(engine)
    before = state(app)
    app.target("app").unlink()
    push(registry, "app:1", BASE, BIG)
    registry.forget()
    app.environ = {"CI": "true"}
    app.build(engine)
    assert state(app)[1] == before[1]
    app.environ = {"SIFMAKE_OFFLINE": "1"}
    app.build(engine)
    assert registry.counts() == {}
    assert state(app)[1] == before[1]


def test_lock_check_and_summary(app: Folder, registry: CountingRegistry) -> None:
    app.images["broken"] = {"from": f"docker://{registry.host}/nothing:1"}
    app.write()
    text = app.run("sifmake", "lock", status=1)
    assert "scanned 2, changed 1, unchanged 0, failed 1" in text
    assert "Traceback" not in text
    assert "bug in sifmake" not in text
    text = app.run("sifmake", "lock", "--json", status=1)
    found = json.loads(text[text.index("{") :])
    assert {image["name"]: image["state"] for image in found["images"]} == {"app": "unchanged", "broken": "failed"}
    del app.images["broken"]
    app.write()
    lock = app.lock_text("app")
    app.run("sifmake", "lock", "--check")
    push(registry, "app:1", BASE, BIG)
    text = app.run("sifmake", "lock", "--check", status=3)
    assert f"{lock.split('@')[1][:19]} -> {registry.tags['app:1']['digest'][:19]} (1 of 2 layers are new)" in text
    assert app.lock_text("app") == lock
    assert "app: lock: " in app.doit("outdated")
    assert app.lock_text("app") == lock
    (app.root / "config/locks/app.yaml").write_text(lock.replace(lock.split("@")[1][:71], "sha256:" + "0" * 64))
    for engine in ENGINES:
        text = app.build(engine, *(["locked=1"] if engine == "doit" else []), status=1)
        assert "run `sifmake lock app`" in text


def own_key(project: Folder, name: str, passphrase: str = "", *, trusted: bool = True) -> str:
    """Give the project a signing key; return its name in the configuration."""
    folder = project.root / "config"
    key = new_private()
    (folder / "keys").mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.pem").write_bytes(private_bytes(key, passphrase))
    (folder / f"{name}.pem.pub").write_bytes(public_bytes(key.public_key()))
    if trusted:
        (folder / "keys" / f"{name}.pem").write_bytes(public_bytes(key.public_key()))
    return f"config/{name}.pem"


@pytest.mark.parametrize(("first", "second"), [ENGINES, ENGINES[::-1]])
def test_changed_key_signs_again_and_failures_leave_the_old_file(
    app: Folder, registry: CountingRegistry, first: str, second: str
) -> None:
    app.build(first)
    before = state(app)
    registry.forget()

    app.config["key"] = own_key(app, "locked", "secret", trusted=False)
    app.write()
    if second == "snakemake":
        assert "run `sifmake lock --offline`" in app.build(second, status=1)
    app.run("sifmake", "lock", "--offline")
    text = app.build(second, status=1)
    assert "the key has a passphrase" in text
    assert "secret" not in text.replace("secret passphrase", "")
    assert state(app) == before

    app.environ["SIFMAKE_PASSPHRASE"] = "secret"
    text = app.build(second, status=1)
    assert "does not verify" in text
    assert state(app) == before
    assert "secret" not in text

    (app.root / "config/keys/locked.pem").write_bytes((app.root / "config/locked.pem.pub").read_bytes())
    app.build(second)
    assert app.record("verify", "app")["result"]["trust"] == "trusted"
    assert state(app)[1] != before[1]
    assert registry.blob_gets() == {}
    after = state(app)[1]
    app.build(first)
    assert state(app)[1] == after


def test_schedules_refuse_the_development_key(app: Folder) -> None:
    app.environ["SIFMAKE_REFUSE_DEVELOPMENT"] = "1"
    assert "a scheduled run must not publish files signed with the development key" in app.doit("pull_image", status=1)
    assert not app.target("app").exists()


STOP_AT = """
import os, signal
from dataclasses import replace
from sifmake.stages import {stage} as module

real = module.STAGE

def stop(context):
    open({mark!r}, "w").close()
    if {before}:
        os.kill(os.getpid(), {signal})
    result = real.run(context)
    os.kill(os.getpid(), {signal})
    return result

module.STAGE = replace(real, run=stop)
"""


@pytest.mark.parametrize(
    ("engine", "stage", "how"),
    [
        *(("doit", stage, signal.SIGKILL) for stage in ("pull", "sif", "sign", "publish")),
        *(("doit", stage, signal.SIGINT) for stage in ("sif", "publish")),
        *(("snakemake", stage, signal.SIGKILL) for stage in ("sif", "publish")),
    ],
)
def test_a_killed_run_leaves_nothing_that_looks_done(
    app: Folder, registry: CountingRegistry, tmp_path: Path, engine: str, stage: str, how: signal.Signals
) -> None:
    """The process dies when a stage's outputs are there and its record is not, the worst moment."""
    app.build("doit")
    first = state(app)
    push(registry, "app:1", BASE, BIG)
    app.run("sifmake", "lock")
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        STOP_AT.format(stage=stage, before=stage == "publish", signal=int(how), mark=str(tmp_path / "stopped"))
    )
    app.environ["PYTHONPATH"] = str(hook)
    app.build(engine, status=None)
    assert (tmp_path / "stopped").exists()
    assert not app.target("app").exists() or state(app) == first
    assert not (app.root / "results/app" / f"{stage}.json").exists() or (
        app.record(stage, "app")["key"] != {} and app.record("publish", "app")["result"]["size"] == len(first[1])
    )
    del app.environ["PYTHONPATH"]
    registry.forget()
    if engine == "snakemake":
        app.snakemake("--unlock")
    app.build(engine)
    assert state(app)[1] != first[1]
    assert registry.blob_gets() == {}
    assert "verified" in app.run("sifmake", "verify", str(app.target("app")))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_killed_while_a_layer_comes(app: Folder, registry: CountingRegistry, engine: str, how: signal.Signals) -> None:
    (small,) = (layer["digest"] for layer in registry.blobs.document(registry.tags["app:1"])["layers"])
    app.build(engine)
    before = state(app)
    push(registry, "app:1", BASE, BIG)
    app.run("sifmake", "lock")
    registry.forget()
    registry.slow = 0.05
    process = app.start_engine(engine, start_new_session=True)
    assert registry.blob_started.wait(120)
    os.killpg(process.pid, how)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert not app.target("app").exists() or state(app) == before
    assert not [path for path in app.root.rglob("images/*") if path.name != "app.sif"]
    registry.slow = 0
    registry.forget()
    if engine == "snakemake":
        app.snakemake("--unlock")
    app.build(engine)
    assert small not in registry.blob_gets()
    assert state(app)[1] != before[1]
    assert len(app.packs() - {path for path in app.packs() if path.startswith(".tmp-")}) == 2


def test_an_interrupted_pull_ends_at_once_and_cleans_up(app: Folder, registry: CountingRegistry) -> None:
    push(registry, "app:1", *(tar(file(f"big{number}", os.urandom(400_000))) for number in range(3)))
    registry.slow = 2.0
    process = app.start("sifmake", "pull", "x.sif", f"docker://{registry.host}/app:1")
    assert registry.blob_started.wait(120)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert text.splitlines()[-1] == "sifmake: error: interrupted"
    assert not (app.root / "x.sif").exists()
    assert app.packs() == set()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_damaged_pack_is_made_again_in_the_run_that_finds_it(
    app: Folder, registry: CountingRegistry, engine: str
) -> None:
    push(registry, "app:1", BASE, BIG)
    app.build(engine)
    before = state(app)[1]
    big = max((app.home / "store/packs").rglob("*-gzip*"), key=lambda path: path.stat().st_size)
    data = bytearray(big.read_bytes())
    data[1000] ^= 1
    big.write_bytes(data)
    app.target("app").unlink()
    registry.forget()
    app.build(engine)
    assert len(registry.blob_gets()) == 1
    assert state(app)[1] == before


@pytest.mark.parametrize("name", ["sifmake.yaml", "config/images.yaml"])
@pytest.mark.parametrize("task", ["pull_image", "outdated"])
def test_a_damaged_configuration_is_one_line_for_doit_too(app: Folder, name: str, task: str) -> None:
    (app.root / name).write_text("images: [\n")
    text = app.doit(task, status=1)
    assert f"{name}:2: not valid YAML" in text
    assert "Traceback" not in text
    assert "bug in sifmake" not in text
