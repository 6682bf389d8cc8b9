"""Raw keys and signatures between sifmake and openssl: its keys sign, and it verifies what they signed."""

import shutil
import subprocess

import pytest

from sifmake.sif import DataType, open_sif
from sifmake.signing import Passphrase, Verdict, dsse, load_signer, sign_file, verify_file
from support.signing import KeyPair, signed, write_sif

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

KEYS = {
    "rsa-pkcs8": "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {key}",
    "rsa-pkcs1": "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {key}.8 && "
    "openssl rsa -in {key}.8 -traditional -out {key}",
    "p256-sec1": "openssl ecparam -name prime256v1 -genkey -noout -out {key}",
    "p384-sec1": "openssl ecparam -name secp384r1 -genkey -noout -out {key}",
    "p521-pkcs8": "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp521r1 -out {key}",
    "ed25519": "openssl genpkey -algorithm ed25519 -out {key}",
}


def make(kind, folder):
    pair = KeyPair(folder / "key.pem", folder / "key.pub.pem")
    commands = KEYS[kind] + " && openssl pkey -in {key} -pubout -out {key}.pub && mv {key}.pub {public}"
    script = commands.format(key=pair.secret, public=pair.public)
    subprocess.run(["sh", "-c", script], check=True, capture_output=True)
    return pair


def envelope_of(path):
    with open_sif(path) as sif:
        (item,) = sif.find(DataType.SIGNATURE)
        return dsse.decode(sif.read(item))


def openssl_verifies(pair, envelope, folder):
    """Return whether openssl finds the envelope's first signature good over the bytes that DSSE says are signed."""
    (folder / "pae").write_bytes(
        b"DSSEv1 40 application/vnd.sylabs.sif-metadata+json %d %b" % (len(envelope.payload), envelope.payload)
    )
    (folder / "sig").write_bytes(envelope.signatures[0].value)
    digest = (
        []
        if "ED25519" in str(subprocess.check_output(["openssl", "pkey", "-in", pair.secret, "-text"]))
        else [
            "-digest",
            "sha256",
        ]
    )
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", pair.public, "-rawin", *digest]
    done = subprocess.run(
        [*command, "-in", folder / "pae", "-sigfile", folder / "sig"], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.mark.parametrize("kind", KEYS)
def test_openssl_accepts_the_signature(tmp_path, kind):
    pair = make(kind, tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    envelope = envelope_of(path)
    assert openssl_verifies(pair, envelope, tmp_path)
    assert verify_file(path, pair.trust).verdict is Verdict.VERIFIED
    changed = dsse.Envelope(envelope.payload + b" ", envelope.signatures)
    assert not openssl_verifies(pair, changed, tmp_path)


@pytest.mark.parametrize("form", ["pkcs8", "traditional"])
def test_encrypted_keys(tmp_path, form):
    pair = make("p256-sec1", tmp_path)
    locked = tmp_path / "locked.pem"
    tool = ["pkcs8", "-topk8", "-v2", "aes256"] if form == "pkcs8" else ["ec", "-aes256"]
    command = ["openssl", *tool, "-in", pair.secret, "-out", locked, "-passout", "pass:sesame"]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "pass").write_text("sesame\n")
    path = write_sif(tmp_path / "a.sif")
    sign_file(path, path, load_signer(str(locked), Passphrase(tmp_path / "pass")))
    assert openssl_verifies(pair, envelope_of(path), tmp_path)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
@pytest.mark.parametrize("kind", KEYS)
def test_fingerprint_is_the_one_that_openssh_shows(tmp_path, kind):
    pair = make(kind, tmp_path)
    from cryptography.hazmat.primitives import serialization

    key = pair.trust.keys[0]
    line = key.key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (tmp_path / "id.pub").write_bytes(line + b"\n")
    shown = subprocess.check_output(["ssh-keygen", "-l", "-f", tmp_path / "id.pub"], text=True)
    assert (
        shown.split()[1] == key.key_id == envelope_of(signed(write_sif(tmp_path / "a.sif"), pair)).signatures[0].key_id
    )
