"""Errors of the operating system name the file that the user knows, and say what it is to the user."""

import errno
import os
import ssl
from pathlib import Path

import pytest

from sifmake.builder.pull import PullRequest, pull
from sifmake.errors import describe_os_error
from sifmake.os_errors import name_file, naming, naming_open, path_in
from sifmake.places import Place, telling_places
from sifmake.progress import Silent
from sifmake.project.configuration import Configuration
from sifmake.project.project import Project
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from support.faults import write_image


def told(error, *places):
    with pytest.raises(OSError) as caught, telling_places(*places):
        raise error
    return describe_os_error(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{0}/store/packs/ab/abc", "{0}/store/packs/ab/abc: Input/output error (the store)"),
        ("{0}/store/tmp/.tmp-scratch-host.1-2/x.sif", "{0}/store/tmp: Input/output error (the store)"),
        ("{0}/.tmp-a.sif-host.1-2/a.sif", "{0}: Input/output error (the image file)"),
        ("{0}/elsewhere", "{0}/elsewhere: Input/output error;"),
    ],
)
def test_a_path_gets_its_role_and_made_up_names_go(tmp_path, name, words):
    places = Place("the image file", tmp_path / "a.sif"), Place("the store", tmp_path / "store")
    error = OSError(errno.EIO, os.strerror(errno.EIO), name.format(tmp_path))
    assert told(error, *places).startswith(words.format(tmp_path))


def test_the_inner_role_stays(tmp_path):
    error = OSError(errno.EIO, os.strerror(errno.EIO), str(tmp_path / "a"))
    with pytest.raises(OSError), telling_places(Place("the inner", tmp_path)):
        raise error
    assert told(error, Place("the outer", tmp_path)).startswith(f"{tmp_path}/a: Input/output error (the inner);")


def test_errors_of_connections_name_no_file(tmp_path):
    for error in (ConnectionResetError(errno.ECONNRESET, "reset"), ssl.SSLError(1, "bad certificate"), OSError("odd")):
        name_file(error, tmp_path)
        assert error.filename is None


def test_what_is_open_is_called_by_its_name(tmp_path):
    file = tmp_path / "a"
    file.touch()
    fd = os.open(file, os.O_RDONLY)
    try:
        with pytest.raises(OSError) as caught, naming_open(fd):
            os.write(fd, b"x")
        assert caught.value.filename == str(file)
        by_way = OSError(errno.EIO, "x", f"/proc/self/fd/{fd}")
        assert path_in(by_way) == str(file)
        with pytest.raises(OSError) as caught, naming(Path("other")):
            raise by_way
        assert caught.value.filename == str(file)
    finally:
        os.close(fd)


def test_a_pack_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    uri = write_image(tmp_path / "image", 600_000)
    pull(PullRequest(uri, tmp_path / "a.sif"), Silent(), Configuration(store=tmp_path / "store"))
    real = os.preadv

    def fail(fd, buffers, at):
        if "/store/packs/" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(fd, buffers, at)

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(OSError) as caught:
        pull(PullRequest(uri, tmp_path / "b.sif"), Silent(), Configuration(store=tmp_path / "store"))
    assert describe_os_error(caught.value).startswith(f"{tmp_path}/store/packs/")
    assert not (tmp_path / "b.sif").exists()


def test_what_fails_when_the_file_is_in_place_says_so(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    uri = write_image(tmp_path / "image", 600_000)
    (tmp_path / "config" / "images.yaml").write_text(f"images: {{a: {{from: '{uri}'}}}}\n")
    (tmp_path / "sifmake.yaml").write_text(f"store: {{path: '{tmp_path}/store'}}\n")
    LockRefresher(Project(tmp_path)).refresh("a")
    real = Path.unlink

    def fail(path, *, missing_ok=False):
        if path.name == "tree":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        real(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", fail)
    with open_runner(Project(tmp_path)) as runner, pytest.raises(OSError, match="in place") as caught:
        runner.run("publish", "a")
    assert describe_os_error(caught.value).startswith(
        f"{tmp_path}/results/a/tree: {tmp_path}/images/a.sif is in place, but"
    )
    monkeypatch.undo()
    monkeypatch.setattr("sifmake.stages.context.write_record", lambda *_: os.open("/proc/1/mem/x", os.O_RDONLY))
    with open_runner(Project(tmp_path)) as runner, pytest.raises(OSError, match=r"what the stage .* made is in place"):
        runner.run("publish", "a", force=True)
