"""Pulling, looking into, comparing and uploading images by the API."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

import sifmake
from support.hello import HELLO


def test_the_shortest_program(tmp_path: Path) -> None:
    sif = sifmake.pull(HELLO, "hello.sif")
    assert sif.path == Path("hello.sif")
    assert sif.size == (tmp_path / "hello.sif").stat().st_size
    assert repr(sif) == f"SifFile(path=PosixPath('hello.sif'), size={sif.size})"


def test_a_pull_without_a_target_has_the_usual_name() -> None:
    assert sifmake.pull(HELLO).path == Path("layout_latest.sif")
    assert Path("layout_latest.sif").exists()
    Path("folder").mkdir()
    assert sifmake.pull(HELLO, folder="folder").path == Path("folder/layout_latest.sif")
    assert sifmake.pull(HELLO, "other.sif", folder="folder").path == Path("folder/other.sif")


def test_an_existing_target_stays(hello: sifmake.SifFile) -> None:
    before = hello.path.stat().st_ino
    with pytest.raises(sifmake.errors.TargetExistsError, match="force=True"):
        sifmake.pull(HELLO, hello)
    assert hello.path.stat().st_ino == before
    assert sifmake.pull(HELLO, hello, force=True) == hello
    assert hello.path.stat().st_ino != before


def test_a_pull_takes_the_platform_and_the_compression(tmp_path: Path) -> None:
    with pytest.raises(sifmake.SifmakeError, match="s390x"):
        sifmake.pull(HELLO, "other.sif", platform="linux/s390x")
    small = sifmake.pull(HELLO, "zstd.sif", compression="zstd")
    with sifmake.open_sif(small) as sif:
        main = sif.primary()
        assert main is not None
        assert sif.pread(main, 22)[20:] == b"\x06\x00"  # squashfs' number of zstd


def test_the_settings_are_those_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "sifmake.yaml").write_text(f"store: {{path: {tmp_path}/elsewhere}}")
    sifmake.pull(HELLO, "hello.sif", root=root)
    assert (tmp_path / "elsewhere" / "packs").is_dir()
    assert not (tmp_path / "store" / "packs").exists()
    assert sifmake.Cache(root).folder == tmp_path / "elsewhere"


def test_inspect(hello: sifmake.SifFile) -> None:
    found = sifmake.inspect(hello)
    assert found.labels["org.label-schema.usage.singularity.deffile.bootstrap"] == "oci"
    assert "bootstrap" in found.definition
    assert found.runscript.startswith("#!")
    assert "PATH" in "".join(found.environment.values())
    assert (found.apps, found.help, found.test, found.startscript) != (None,) * 4
    assert set(sifmake.inspect(hello, only=["labels"]).attributes) == {"labels"}
    assert len(repr(found)) < 200


def test_open_sif_and_readable_values(hello: sifmake.SifFile) -> None:
    with sifmake.open_sif(str(hello.path)) as sif:
        assert repr(sif) == f"Sif(path='{hello.path}', amd64, {len(sif.objects)} objects, {hello.size} bytes)"
        for value in (sif, sif.header, *sif.objects):
            assert len(repr(value)) < 200
            assert "\\x00" not in repr(value)
        assert sif.header.architecture == "amd64"
        assert sif.problems() == []
        assert b"bootstrap" in sif.read(sif.find(sifmake.DataType.DEFINITION)[0])


def test_a_digest_is_that_of_the_content(hello: sifmake.SifFile) -> None:
    other = sifmake.pull(HELLO, "zstd.sif", compression="zstd")
    assert sifmake.digest(hello).startswith("sha256:")
    assert sifmake.digest(hello) == sifmake.digest(other)


def test_diff(hello: sifmake.SifFile) -> None:
    found = sifmake.diff(hello, hello)
    assert not found
    assert repr(found) == "Comparison(nothing changed)"
    lock = Path("a.yaml")
    lock.touch()
    with pytest.raises(sifmake.errors.UsageError, match="cannot be compared"):
        sifmake.diff(hello, lock)


def test_push_and_pull_back(hello: sifmake.SifFile, registry) -> None:
    pushed = sifmake.push(hello, f"oras://{registry.host}/group/hello:1.0", plain_http=True)
    assert pushed.reference == f"oras://{registry.host}/group/hello:1.0@{pushed.digest}"
    back = sifmake.pull(f"oras://{registry.host}/group/hello@{pushed.digest}", "back.sif", plain_http=True)
    assert back.path.read_bytes() == hello.path.read_bytes()


def test_what_is_pushed_elsewhere_is_refused(hello: sifmake.SifFile) -> None:
    with pytest.raises(sifmake.errors.UsageError, match="write oras://registry"):
        sifmake.push(hello, "docker://registry.example.org/hello")


def test_sign_and_verify_with_a_key_of_the_api(hello: sifmake.SifFile, tmp_path: Path) -> None:
    with pytest.raises(sifmake.NotVerifiedError, match="it is not signed") as caught:
        sifmake.verify(hello)
    assert caught.value.verification.verdict is sifmake.Verdict.UNSIGNED
    assert caught.value.exit_code == 10
    assert str(copy.copy(caught.value)) == str(caught.value)
    ring = sifmake.Keyring()
    pair = ring.new_pair("mine", "correct horse")
    with pytest.raises(sifmake.errors.KeyFileError, match="has a passphrase"):
        sifmake.sign(hello, "mine")
    with pytest.raises(sifmake.errors.KeyFileError, match="does not open this key; it came from the caller"):
        sifmake.sign(hello, "mine", passphrase="wrong")
    signed = sifmake.sign(hello, "mine", passphrase="correct horse")
    found = sifmake.verify(hello)
    assert [signer.fingerprint for signer in found.signers] == [signed.fingerprint]
    assert sifmake.verify(hello, keys=pair.public) == found
    assert len(repr(found)) < 3000
    assert "correct" not in repr(signed)
    ring.remove("mine")
    with pytest.raises(sifmake.NotVerifiedError) as caught:
        sifmake.verify(hello)
    assert caught.value.verification.verdict is sifmake.Verdict.UNTRUSTED


def test_a_denied_key_verifies_nothing(hello: sifmake.SifFile, tmp_path: Path) -> None:
    sifmake.Keyring().new_pair("mine")
    signed = sifmake.sign(hello, "mine")
    (tmp_path / "denied").write_text(signed.fingerprint)
    with pytest.raises(sifmake.NotVerifiedError):
        sifmake.verify(hello, deny=tmp_path / "denied")
