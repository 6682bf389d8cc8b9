"""OpenPGP signatures between sifmake and the gpg program, in both directions."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from sifmake.errors import KeyFileError, SigningError
from sifmake.sif import DataType, open_sif, read_signature
from sifmake.signing import Passphrase, TrustStore, Verdict, load_signer, sign_file, verify_file
from support.signing import NO_PASSPHRASE, KeyPair, signed, write_sif

pytestmark = pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed (apt-get install gnupg)")
GPG = ["gpg", "--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]


@dataclass
class Home:
    """A GnuPG home of its own."""

    folder: Path

    def run(self, *arguments, data=b"", check=True):
        return subprocess.run([*GPG, *arguments], input=data, capture_output=True, check=check)

    def make(self, name, algorithm="ed25519", *, expires="never", passphrase=""):
        command = [*GPG[:-1], passphrase, "--quick-generate-key", name, algorithm, "sign", expires]
        subprocess.run(command, capture_output=True, check=True)
        return self.fingerprint(name)

    def fingerprint(self, name):
        listing = self.run("--with-colons", "--list-keys", name).stdout.decode()
        return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))

    def pair(self, folder, name):
        pair = KeyPair(folder / "gpg.sec", folder / "gpg.pub")
        pair.secret.write_bytes(self.run("--export-secret-keys", name).stdout)
        pair.public.write_bytes(self.run("--armor", "--export", name).stdout)
        return pair


@pytest.fixture
def gpg(tmp_path_factory, monkeypatch):
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    folder.chmod(0o700)
    monkeypatch.setenv("GNUPGHOME", str(folder))
    monkeypatch.delenv("SIFMAKE_PASSPHRASE", raising=False)
    yield Home(folder)
    subprocess.run(["gpgconf", "--kill", "all"], check=False, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def signature_of(path):
    with open_sif(path) as sif:
        (item,) = sif.find(DataType.SIGNATURE)
        return sif.read(item), read_signature(item)[1].hex().upper()


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa2048", "nistp256"])
@pytest.mark.parametrize("backend", ["library", "gpg"])
def test_gpg_accepts_the_signature_object(gpg, tmp_path, algorithm, backend):
    fingerprint = gpg.make("Ann <ann@example.org>", algorithm)
    pair = gpg.pair(tmp_path, "ann@example.org")
    signer = pair.signer if backend == "library" else load_signer(f"gpg:{fingerprint}", NO_PASSPHRASE)
    path = write_sif(tmp_path / "a.sif")
    sign_file(path, path, signer)
    data, named = signature_of(path)
    assert named == fingerprint
    done = gpg.run("--status-fd", "1", "--verify", data=data)
    assert f"VALIDSIG {fingerprint}" in done.stdout.decode(errors="replace")
    assert verify_file(path, pair.trust).verdict is Verdict.VERIFIED
    broken = gpg.run("--verify", data=data.replace(b"sha256:", b"sha256;", 1), check=False)
    assert broken.returncode != 0


def test_signing_subkey_signs_and_the_primary_is_named(gpg, tmp_path):
    command = [*GPG, "--quick-generate-key", "Bob <bob@example.org>", "rsa2048", "cert", "never"]
    subprocess.run(command, capture_output=True, check=True)
    fingerprint = gpg.fingerprint("bob@example.org")
    gpg.run("--quick-add-key", fingerprint, "rsa2048", "sign", "never")
    pair = gpg.pair(tmp_path, "bob@example.org")
    for signer in (pair.signer, load_signer(f"gpg:{fingerprint}", NO_PASSPHRASE)):
        path = write_sif(tmp_path / "a.sif")
        sign_file(path, path, signer)
        data, named = signature_of(path)
        assert named == fingerprint
        assert b"Good signature" in gpg.run("--verify", data=data).stderr
        (found,) = verify_file(path, pair.trust).signers
        assert (found.fingerprint, found.name) == (fingerprint, "Bob <bob@example.org>")


def test_revoked_key_and_revoked_subkey(gpg, tmp_path):
    fingerprint = gpg.make("Ann <ann@example.org>")
    pair = gpg.pair(tmp_path, "ann@example.org")
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    certificate = gpg.folder / "openpgp-revocs.d" / f"{fingerprint}.rev"
    gpg.run("--import", data=certificate.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))
    trust = gpg.pair(tmp_path, "ann@example.org").trust
    result = verify_file(path, trust)
    assert (result.exit_code, result.reasons) == (13, (f"key {fingerprint} is revoked",))
    with pytest.raises(KeyFileError, match="neither expired nor revoked"):
        _ = gpg.pair(tmp_path, "ann@example.org").signer


def test_subkey_that_was_revoked_by_its_owner(gpg, tmp_path):
    command = [*GPG, "--quick-generate-key", "Bob <bob@example.org>", "ed25519", "cert", "never"]
    subprocess.run(command, capture_output=True, check=True)
    fingerprint = gpg.fingerprint("bob@example.org")
    gpg.run("--quick-add-key", fingerprint, "ed25519", "sign", "never")
    pair = gpg.pair(tmp_path, "bob@example.org")
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    assert verify_file(path, pair.trust).verdict is Verdict.VERIFIED
    edit = [*GPG, "--command-fd", "0", "--edit-key", fingerprint]
    subprocess.run(edit, input=b"key 1\nrevkey\ny\n0\n\ny\nsave\n", capture_output=True, check=True)
    result = verify_file(path, gpg.pair(tmp_path, "bob@example.org").trust)
    assert result.exit_code == 13
    assert result.reasons[0].startswith("signing subkey ")
    assert result.reasons[0].endswith(" is revoked")


def test_key_that_expired_since(gpg, tmp_path):
    gpg.run("--faked-system-time", "20200101T000000", "--quick-generate-key", "Old <o@x>", "ed25519", "sign", "10d")
    message = gpg.run("--faked-system-time", "20200102T000000", "--digest-algo", "SHA256", "--clearsign", data=b"{}")
    assert message.stdout.startswith(b"-----BEGIN PGP SIGNED MESSAGE")
    pair = gpg.pair(tmp_path, "o@x")

    class Past:
        kind, fingerprint, entity = "pgp", "old", bytes.fromhex(gpg.fingerprint("o@x"))

        def sign(self, text):
            done = gpg.run(
                *("--faked-system-time", "20200102T000000", "--digest-algo", "SHA256", "--clearsign"), data=text
            )
            return done.stdout

    path = write_sif(tmp_path / "a.sif")
    sign_file(path, path, Past())
    result = verify_file(path, pair.trust)
    assert (result.exit_code, result.reasons) == (13, (f"key {gpg.fingerprint('o@x')} expired on 2020-01-11",))


@pytest.mark.parametrize("algorithm", ["SHA1", "RIPEMD160"])
def test_weak_hash_is_refused(gpg, tmp_path, algorithm):
    fingerprint = gpg.make("Ann <ann@example.org>", "rsa2048")
    pair = gpg.pair(tmp_path, "ann@example.org")
    weak = ("--allow-weak-digest-algos", "--digest-algo", algorithm, "--clearsign")
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    with open_sif(path) as sif:
        (item,) = sif.find(DataType.SIGNATURE)
        text = sif.read(item).split(b"\n")[3]
    data = gpg.run(*weak, data=text).stdout
    from sifmake.signing.openpgp import PgpState, verify

    result = verify(data, pair.trust.certificates, frozenset())
    assert (result.state, result.reason.split(" (")[0]) == (
        PgpState.INVALID,
        f"the signature uses the weak hash {'RipeMD' if algorithm == 'RIPEMD160' else algorithm}",
    )
    assert fingerprint


def test_key_whose_own_signature_is_weak_is_not_relied_on(gpg, tmp_path):
    weak = ("--allow-weak-digest-algos", "--cert-digest-algo", "SHA1")
    gpg.run(*weak, "--quick-generate-key", "Sha <s@x>", "rsa2048", "sign", "never")
    pair = gpg.pair(tmp_path, "s@x")
    path = write_sif(tmp_path / "a.sif")
    sign_file(path, path, load_signer("gpg:s@x", NO_PASSPHRASE))
    result = verify_file(path, pair.trust)
    assert result.exit_code == 12
    assert "has no strong signature of its own" in result.reasons[0]
    with pytest.raises(KeyFileError, match="cannot sign"):
        _ = pair.signer


def test_passphrase_goes_to_gpg_by_a_pipe_and_never_by_argument(gpg, tmp_path, monkeypatch):
    fingerprint = gpg.make("Ann <ann@example.org>", passphrase="open sesame")
    real, seen = subprocess.run, []

    def run(command, **options):
        seen.append((list(command), options.get("env") or {}))
        return real(command, **options)

    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "open sesame")
    monkeypatch.setattr("sifmake.signing.gpg.subprocess.run", run)
    path = write_sif(tmp_path / "a.sif")
    sign_file(path, path, load_signer(f"gpg:{fingerprint}", Passphrase()))
    assert len(seen) == 2
    assert "sesame" not in repr([(command, environment) for command, environment in seen])
    subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=True)
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "wrong")
    before = path.read_bytes()
    with pytest.raises(SigningError, match="gpg cannot sign"):
        sign_file(path, path, load_signer(f"gpg:{fingerprint}", Passphrase()))
    assert path.read_bytes() == before


def test_keys_that_gpg_does_not_have_or_that_are_not_clear(gpg):
    for name in ("one", "two"):
        gpg.make(f"{name} <{name}@example.org>")
    for key, words in [("nobody@example.org", "no such secret key"), ("@example.org", "2 secret keys match")]:
        with pytest.raises(KeyFileError, match=words):
            load_signer(f"gpg:{key}", NO_PASSPHRASE)
    with pytest.raises(KeyFileError, match="not a fingerprint"):
        load_signer("gpg:--version", NO_PASSPHRASE)


def test_gpgs_binary_export_is_a_keyring(gpg, tmp_path):
    names = [gpg.make(f"{name} <{name}@example.org>") for name in ("one", "two")]
    ring = tmp_path / "pgp-public"
    ring.write_bytes(gpg.run("--export").stdout)
    assert {item.fingerprint for item in TrustStore.load([ring]).certificates} == set(names)


def test_missing_gpg_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KeyFileError, match="the program gpg is not installed; install gnupg"):
        load_signer("gpg:0123", NO_PASSPHRASE)
