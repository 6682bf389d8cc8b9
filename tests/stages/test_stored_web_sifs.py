"""The store's copy of a SIF file from the web is fetched again when it is damaged, in the same run."""

from __future__ import annotations

import json
import random
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sifmake.builder.checked_sif import _facts
from sifmake.errors import SourceError
from sifmake.project.project import Modes, Project
from sifmake.project.stage_table import STAGE_NAMES, TARGET
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from sifmake.store.naming import SIFS
from support.faults import pull_image, write_image
from support.messages import Messages

RANDOM = random.Random(40)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments):
        """Say nothing."""


@pytest.fixture(scope="module")
def sif(tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    return folder, pull_image(write_image(folder / "image", 100_000), folder / "a.sif", folder / "store")


@pytest.fixture
def project(tmp_path, sif):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(sif[0])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = tmp_path / "project" / "config"
    config.mkdir(parents=True)
    (config / "config.yaml").write_text(json.dumps({"store": {"path": str(tmp_path / "store")}}))
    uri = f"http://127.0.0.1:{server.server_port}/a.sif"
    (config / "images.yaml").write_text(json.dumps({"images": {"it": {"from": uri}}}))
    LockRefresher(Project(tmp_path / "project")).refresh("it")
    yield Project(tmp_path / "project")
    server.shutdown()
    server.server_close()


def build(project, modes=None):
    project.path(TARGET, "it").unlink(missing_ok=True)
    listener = Messages()
    with open_runner(Project(project.root, modes, listener)) as runner:
        for stage in STAGE_NAMES:
            runner.run(stage, "it")
    return project.path(TARGET, "it").read_bytes(), listener.warnings


def damage(project, at=None):
    (path,) = (project.store.root / SIFS).rglob("*.sif")
    data = bytearray(path.read_bytes())
    spot = RANDOM.randrange(len(data)) if at is None else at
    kind = RANDOM.randrange(3)
    if kind == 0 and at is None:
        del data[spot:]
    else:
        data[spot] ^= 1 << RANDOM.randrange(8)
    path.write_bytes(data)
    return path


def test_40_damages_are_mended(project, sif):
    assert build(project)[0] == sif[1]
    for number in range(40):
        damage(project)
        data, warnings = build(project)
        assert data == sif[1], number
        assert any("is damaged" in text for text in warnings), number


def test_damage_that_no_time_tells_of_is_mended_too(project, sif):
    build(project)
    for at in (40, 5000, len(sif[1]) // 2):
        path = damage(project, at)
        with path.open("rb") as file:
            project.store.sifs.keep_name(f"checked {path}", _facts(file.fileno()))
        data, warnings = build(project)
        assert data == sif[1]
        assert any("is damaged" in text for text in warnings)


def test_without_a_network_the_error_says_what_is_missing(project):
    build(project)
    damage(project)
    with pytest.raises(SourceError, match="is not in the store, and the run is offline"):
        build(project, Modes(offline=True))
