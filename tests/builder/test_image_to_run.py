"""Whoever asks for a file to run, the configuration of the folder decides whether it has to be signed."""

from __future__ import annotations

import os

import pytest

from sifmake.builder.image_to_run import open_image_to_run
from sifmake.errors import BadReferenceError, SigningError
from support.signing import write_sif


@pytest.fixture(params=["sifmake.yaml", "config/config.yaml"])
def asking(request, tmp_path, monkeypatch):
    """A folder whose configuration asks for signatures, with an unsigned file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config" / "keys").mkdir(parents=True)
    (tmp_path / request.param).write_text("require-signature: true\ntrusted-keys: [config/keys]\n")
    write_sif(tmp_path / "unsigned.sif", groups={1: 1})
    return tmp_path


def never(uri, configuration):
    raise AssertionError(uri)


@pytest.mark.parametrize("by_path", [True, False])
def test_an_unsigned_file_is_refused(asking, by_path):
    with pytest.raises(SigningError, match="require-signature is set"):
        open_image_to_run("unsigned.sif", never, by_path=by_path)


@pytest.mark.parametrize("uri", ["docker://alpine", "oci:layout", "docker-daemon:alpine:3"])
def test_an_image_that_cannot_be_signed_is_not_even_looked_for(asking, uri):
    with pytest.raises(SigningError, match="cannot be signed"):
        open_image_to_run(uri, never)


def test_without_the_setting_the_file_is_opened_by_who_runs_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sif(tmp_path / "unsigned.sif", groups={1: 1})
    assert open_image_to_run("unsigned.sif", never) == (str(tmp_path / "unsigned.sif"), -1)


def test_a_uri_is_parsed_and_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Stored:
        path = tmp_path / "stored.sif"

        def __init__(self):
            self.fd = os.open(os.devnull, os.O_RDONLY)

    def find(uri, configuration):
        assert (uri.transport, configuration) == ("docker", None)
        return Stored()

    path, fd = open_image_to_run("docker://alpine", find)
    os.close(fd)
    assert path == str(tmp_path / "stored.sif")
    assert open_image_to_run("docker://alpine", find, by_path=True)[1] == -1
    with pytest.raises(BadReferenceError):
        open_image_to_run("nothing://alpine", find)
