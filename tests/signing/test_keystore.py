"""The user's keys on disk: places, modes, races, Apptainer's keyring."""

import os
import stat
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from sifmake.errors import KeyFileError
from sifmake.signing import Passphrase, Verdict, default_trust, development_key, keystore, load_signer, verify_file
from sifmake.signing.pem import load_private
from sifmake.signing.trust import read_key_file
from support.signing import NO_PASSPHRASE, pem_pair, pgp_pair, signed, write_sif


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("SIFMAKE_CONFIG_DIR", "XDG_CONFIG_HOME", "APPTAINER_KEYSDIR", "APPTAINER_CONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def import_keys(config, path):
    return keystore.import_keys(config, path, read_key_file(path))


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "home/.config/sifmake"),
        ({"XDG_CONFIG_HOME": "/x"}, "/x/sifmake"),
        ({"XDG_CONFIG_HOME": "x"}, "home/.config/sifmake"),
        ({"XDG_CONFIG_HOME": "/x", "SIFMAKE_CONFIG_DIR": "/y"}, "/y"),
    ],
)
def test_configuration_folder(tmp_path, monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert keystore.config_folder() == tmp_path / expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "home/.apptainer/keys/pgp-public"),
        ({"APPTAINER_CONFIGDIR": "/c"}, "/c/keys/pgp-public"),
        ({"APPTAINER_CONFIGDIR": "/c", "APPTAINER_KEYSDIR": "/k"}, "/k/pgp-public"),
    ],
)
def test_apptainers_keyring(tmp_path, monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert keystore.apptainer_ring() == tmp_path / expected


def test_new_pair_is_private_and_trusted_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        secret, public = keystore.new_pair(tmp_path / "c", "work", "secret words")
    finally:
        os.umask(old)
    assert (mode(secret), mode(public)) == (0o600, 0o600)
    assert {mode(folder) for folder in (secret.parent, public.parent, secret.parent.parent)} == {0o700}
    assert b"ENCRYPTED PRIVATE KEY" in secret.read_bytes()
    (tmp_path / "pass").write_text("secret words\nsecond line")
    key = load_private(read_key_file(secret), "work", Passphrase(tmp_path / "pass"))
    assert keystore.default_trust(tmp_path / "c").keys[0].key.public_bytes_raw() == key.public_key().public_bytes_raw()
    with pytest.raises(KeyFileError, match="the passphrase does not open this key"):
        load_private(read_key_file(secret), "work", NO_PASSPHRASE)


def test_a_name_is_not_given_twice_and_nothing_is_overwritten(tmp_path):
    secret, _ = keystore.new_pair(tmp_path, "work", "")
    before = secret.read_bytes()
    with pytest.raises(KeyFileError, match="a key with this name exists"):
        keystore.new_pair(tmp_path, "work", "")
    assert secret.read_bytes() == before


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "a b", "x" * 101])
def test_names_that_no_key_gets(tmp_path, name):
    with pytest.raises(KeyFileError, match="not a valid name for a key"):
        keystore.new_pair(tmp_path, name, "")


def make_development_key(config):
    return development_key(Path(config)).read_bytes()


def test_processes_that_race_for_the_development_key_get_one(tmp_path):
    with ProcessPoolExecutor(4) as pool:
        keys = set(pool.map(make_development_key, [str(tmp_path)] * 16))
    assert len(keys) == 1
    path = development_key(tmp_path)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert [item.name for item in path.parent.iterdir()] == ["development.pem"]


def test_development_key_signs_and_is_trusted_here_only(tmp_path, monkeypatch):
    path = write_sif(tmp_path / "a.sif")
    from sifmake.signing import sign_file

    sign_file(path, path, load_signer("development", NO_PASSPHRASE))
    assert verify_file(path, default_trust()).verdict is Verdict.VERIFIED
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "elsewhere"))
    assert verify_file(path, default_trust()).verdict is Verdict.UNTRUSTED


def test_apptainers_public_keys_are_trusted(tmp_path, home):
    import pysequoia

    pair = pgp_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    assert verify_file(path, default_trust()).verdict is Verdict.UNTRUSTED
    ring = home / ".apptainer" / "keys" / "pgp-public"
    ring.parent.mkdir(parents=True)
    ring.write_bytes(b"")
    assert verify_file(path, default_trust()).verdict is Verdict.UNTRUSTED
    ring.write_bytes(bytes(pysequoia.Cert.from_file(str(pair.public))))
    assert verify_file(path, default_trust()).verdict is Verdict.VERIFIED


def test_import_find_and_update(tmp_path):
    import pysequoia

    pem, pgp = pem_pair(tmp_path), pgp_pair(tmp_path)
    config = tmp_path / "c"
    assert import_keys(config, pem.public) == [pem.signer.fingerprint]
    assert import_keys(config, pem.public) == [pem.signer.fingerprint]
    (label,) = import_keys(config, pgp.public)
    fingerprint = label.split()[0]
    assert keystore.find_trusted(config, pem.signer.fingerprint).name == "ed25519.pub.pem"
    assert keystore.find_trusted(config, fingerprint.lower()).name == f"{fingerprint}.asc"
    key = pysequoia.Tsk.from_file(str(pgp.secret))
    cert = key.extract_certificate()
    (tmp_path / "revoked.gpg").write_bytes(bytes(cert) + bytes(cert.revoke(key.certifier())))
    import_keys(config, tmp_path / "revoked.gpg")
    import_keys(config, pgp.public)
    assert default_trust(config).certificates[0].revoked
    with pytest.raises(KeyFileError, match="no such trusted key"):
        keystore.find_trusted(config, "nobody")


def test_deny_list_in_the_trusted_folder_counts(tmp_path):
    config = tmp_path / "c"
    keystore.new_pair(config, "work", "")
    signer = load_signer(str(keystore.secret_path(config, "work")), NO_PASSPHRASE)
    path = write_sif(tmp_path / "a.sif")
    from sifmake.signing import sign_file

    sign_file(path, path, signer)
    assert verify_file(path, default_trust(config)).verdict is Verdict.VERIFIED
    (keystore.trusted_folder(config) / "denied.txt").write_text(signer.fingerprint)
    assert verify_file(path, default_trust(config)).verdict is Verdict.REVOKED


CLOSED = f"/{'h' * 300}"
"""Looking there is an error for root too: a name of more than 255 bytes."""


def test_e18_a_home_that_cannot_be_entered(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", CLOSED)
    with pytest.raises(
        KeyFileError, match=r"the folder of your keys cannot be read: .*; set SIFMAKE_CONFIG_DIR to a folder"
    ):
        default_trust()
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path))
    path, pair = write_sif(tmp_path / "a.sif"), pem_pair(tmp_path)
    import_keys(tmp_path, pair.public)
    assert verify_file(signed(path, pair), default_trust()).verdict is Verdict.VERIFIED


def test_e18_no_home_at_all(tmp_path, monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(KeyFileError, match="there is no home directory for your keys; set SIFMAKE_CONFIG_DIR"):
        default_trust()
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path))
    assert not default_trust().keys


def test_files_of_any_name_are_imported_beside_each_other(tmp_path):
    for number, name in enumerate(("a b.pem", "é.pem", "-x.pub", f"{'n' * 99}.pem")):
        folder = tmp_path / str(number)
        folder.mkdir()
        import_keys(tmp_path / "c", pem_pair(folder).public.rename(folder / name))
    found = {path.name for path in keystore.trusted_folder(tmp_path / "c").iterdir()}
    assert found == {"a-b.pem", "key.pem", "x.pem", f"{'n' * 99}.pem"}
