"""A pull or a build ends by a signal at any moment: the next run is right, and nothing is left beside what is wanted.

CI sends each signal a few times; ``SIFMAKE_RELIABILITY=long`` 200 times, at 60 MB.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

from sifmake.temporaries import TEMP_PREFIX
from support.counting_registry import CountingRegistry
from support.faults import MIB, write_image
from support.images import Blobs
from support.layers import file, tar
from support.project import DOIT, Folder
from support.runtime import wait_until

if TYPE_CHECKING:
    from pathlib import Path

LONG = os.environ.get("SIFMAKE_RELIABILITY") == "long"
KILLS, SIZE, CHECK_EVERY = (200, 60 * MIB, 10) if LONG else (2, 2 * MIB, 2)
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
TEXTS = {signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "ended by SIGHUP", signal.SIGINT: "interrupted"}


IMPORTING = re.compile(r'\A(?:Fatal Python error|Traceback)(?!(.|\n)*/sifmake/[^"]*", line \d+, in (?!<module>))')
"""A traceback in which Python or doit starts and modules are imported, and no function of sifmake runs."""


@dataclass
class Job:
    """Something that is killed.

    Attributes:
        words: The command.
        target: What it makes.
        app: The project.
    """

    words: tuple[str, ...]
    target: Path
    app: Folder

    @cached_property
    def calm(self) -> tuple[bytes, float]:
        """What it makes, and the seconds that it takes when everything is made again."""
        self.finish()
        self.forget()
        begun = time.monotonic()
        return self.finish(), time.monotonic() - begun

    def start(self) -> subprocess.Popen[str]:
        return self.app.start(*self.words)

    def finish(self) -> bytes:
        text, _ = (process := self.start()).communicate(timeout=120)
        assert process.returncode == 0, text
        return self.target.read_bytes()

    def forget(self) -> None:
        """Remove what is finished, so that all is made again; temporaries stay."""
        for folder in (self.app.home / "store", self.app.root / "results", self.app.root / "images"):
            for path in folder.rglob("*"):
                if path.is_file() and not any(part.startswith(TEMP_PREFIX) for part in path.parts):
                    path.unlink()

    def left(self) -> list[str]:
        return [
            str(path)
            for top in (self.app.root, self.app.home)
            for path in top.rglob("*")
            if path.name.startswith((TEMP_PREFIX, "tmp", "sifmake-run-")) and path.name != "tmp"
        ]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    top = tmp_path_factory.mktemp("jobs")
    uri = write_image(top / "image", SIZE)
    app = Folder(top / "project", top / "home", {"key": "development"}, {"a": {"from": uri}})
    app.write()
    return make_jobs(app, uri)


def make_jobs(app: Folder, uri: str) -> dict[str, Job]:
    """Return ways to get an image that is the only one of a project."""
    (app.home / "run").mkdir(parents=True)
    app.environ["TMPDIR"] = str(app.home / "run")
    (app.root / "images").mkdir()
    return {
        "pull": Job(("sifmake", "pull", "-F", "images/b.sif", uri), app.root / "images" / "b.sif", app),
        "doit": Job((*DOIT, "pull_image"), app.target("a"), app),
        "exec": Job(("sifmake", "exec", uri, "true"), app.root / "none", app),
        "rebuild": Job(("sifmake", "rebuild"), app.target("a"), app),
    }


def end_by(job: Job, number: signal.Signals, after: float) -> str:
    """Start a job and end it after some seconds; return what is not right about its end."""
    job.forget()
    process = job.start()
    time.sleep(after)
    process.send_signal(number)
    text, _ = process.communicate(timeout=120)
    status = process.returncode
    if number == signal.SIGKILL or status in (0, -number) or IMPORTING.search(text):
        return ""  # ended before the signal came, or the signal came before sifmake could do anything about it
    right = status == 128 + number and f"sifmake: error: {TEXTS[number]}" in text
    return "" if right else f"status {status}: {text}"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("name", ["pull", "doit"])
def test_after_a_signal_the_next_run_is_right_and_nothing_is_left(jobs, name, number):
    job = jobs[name]
    good, takes = job.calm
    dice = random.Random(int(number))
    bad = []
    for kill in range(1, KILLS + 1):
        if trouble := end_by(job, number, dice.uniform(0.1, 1) * takes):
            bad.append(trouble)
        if kill % CHECK_EVERY == 0:
            job.forget()
            if job.finish() != good:
                bad.append("wrong bytes")
            bad += job.left()
    assert bad == []


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """Jobs that do not end by themselves: the registry takes a quarter of an hour for the layer."""
    top = tmp_path_factory.mktemp("endless")
    blobs = Blobs()
    with CountingRegistry(blobs) as registry:
        registry.tags["a:1"] = blobs.image([tar(file("a", random.Random(1).randbytes(4 * MIB)))])
        uri = f"docker://{registry.host}/a:1"
        app = Folder(top / "project", top / "home", {"key": "development"}, {"a": {"from": uri}})
        app.config["registries"] = {registry.host: {"plain-http": True}}
        app.write()
        app.run("sifmake", "lock")
        registry.slow = 1.0
        yield make_jobs(app, uri)


@pytest.fixture(scope="module")
def helped(endless, tmp_path_factory):
    """A stage by way of the helper, as Snakemake runs it."""
    app = endless["doit"].app
    own = {**app.variables(), "TMPDIR": str(tmp_path_factory.mktemp("helper"))}
    command = [sys.executable, "-m", "sifmake.drivers.stage_helper"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own) as helper:
        name, _, address = helper.stdout.readline().strip().partition("=")
        with_helper = Folder(app.root, app.home, app.config, app.images, {**app.environ, name: address})
        yield Job(("sifmake", "stage", "--root", ".", "pull", "a"), app.target("a"), with_helper)
        helper.stdin.close()


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *((name, number) for name in ("pull", "doit") for number in TEXTS),
        *(("exec", number) for number in (signal.SIGTERM, signal.SIGINT)),
        *(("stage", number) for number in (signal.SIGTERM, signal.SIGHUP)),
        ("rebuild", signal.SIGTERM),
    ],
)
def test_a_run_that_is_asked_to_end_removes_what_it_has_begun(endless, name, number, request):
    job = request.getfixturevalue("helped") if name == "stage" else endless[name]
    job.forget()
    process = job.start()
    try:
        wait_until(job.left)
        process.send_signal(number)
        text, _ = process.communicate(timeout=120)
    finally:
        process.kill()  # what goes on would fail the next tests
    assert process.returncode == 128 + number, text
    assert f"sifmake: error: {TEXTS[number]}" in text
    assert "Traceback" not in text
    assert job.left() == []


@pytest.mark.parametrize("name", ["pull", "rebuild", "exec"])
def test_the_end_does_not_wait_for_downloads(tmp_path, name):
    """The registry takes a quarter of an hour for each of two images; one of them waits for its turn."""
    blobs = Blobs()
    with CountingRegistry(blobs) as registry:
        app = Folder(tmp_path / "project", tmp_path / "home", {})
        app.config["registries"] = {registry.host: {"plain-http": True}}
        for image in "ab":
            registry.tags[f"{image}:1"] = blobs.image([tar(file(image, random.Random(image).randbytes(4 * MIB)))])
            app.images[image] = {"from": f"docker://{registry.host}/{image}:1"}
        app.write()
        registry.slow = 1.0
        uri = app.images["a"]["from"]
        words = {"pull": ["pull", "a.sif", uri], "rebuild": ["rebuild", "--jobs", "1"], "exec": ["exec", uri, "true"]}
        process = app.start("sifmake", *words[name])
        layer = blobs.document(registry.tags["a:1"])["layers"][0]["digest"]
        wait_until(lambda: any(layer in path for _, path in registry.requests))
        time.sleep(0.3)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=120)
    assert (process.returncode, time.monotonic() - begun < 60) == (143, True), text
    assert text.endswith("sifmake: error: ended by SIGTERM\n")


@pytest.mark.parametrize("name", ["pull", "doit"])
def test_a_hangup_that_was_ignored_stays_ignored(jobs, name):
    job = jobs[name]
    job.forget()
    process = job.app.start(*job.words, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    while not job.left() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGHUP)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text
    assert job.target.exists()


def test_the_library_installs_no_handler(tmp_path):
    uri = write_image(tmp_path / "image", MIB)
    code = (
        "import signal; from pathlib import Path; from support.faults import pull_image; import sifmake.doit;"
        "before = [signal.getsignal(n) for n in range(1, 30) if n not in (9, 19)];"
        f"pull_image({uri!r}, Path({str(tmp_path / 'a.sif')!r}), Path({str(tmp_path / 'store')!r}));"
        "assert before == [signal.getsignal(n) for n in range(1, 30) if n not in (9, 19)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)})
