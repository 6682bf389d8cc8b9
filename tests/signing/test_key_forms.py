"""Every kind of key that openssl, ssh-keygen and gpg make: used, or refused by a line that says what to do."""

import io
import shutil
import subprocess
import tempfile

import pysequoia
import pytest

from sifmake.cli.main import main
from sifmake.errors import KeyFileError
from sifmake.signing.pem import load_plain, load_public
from support.signing import write_sif

WORKS = "use RSA with 2048 bits or more, ECDSA P-256, P-384, P-521 or Ed25519"


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("APPTAINER_KEYSDIR", str(tmp_path / "none"))
    monkeypatch.delenv("SIFMAKE_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return tmp_path / "config"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Keys as the tools write them: the private half as NAME.pem, the public one as NAME.pub."""
    folder = tmp_path_factory.mktemp("keys")
    run(folder, *COMMANDS)
    return folder


def run(folder, *commands):
    for command in commands:
        if shutil.which(command.split()[0]) is None:
            pytest.skip(f"{command.split()[0]} is not installed")
        subprocess.run(["sh", "-c", command], cwd=folder, check=True, capture_output=True)


CURVES = {"p256": "prime256v1", "p384": "secp384r1", "p521": "secp521r1", "k1": "secp256k1", "p224": "secp224r1"}
OTHERS = {"ed25519": "ed25519", "ed448": "ed448", "x25519": "x25519", "rsapss": "RSA-PSS"}
COMMANDS = [
    "openssl genrsa -out rsa.pem 2048",
    "openssl genrsa -out weak.pem 1024",
    *(f"openssl ecparam -name {curve} -genkey -noout -out {name}.pem" for name, curve in CURVES.items()),
    *(f"openssl genpkey -algorithm {kind} -out {name}.pem" for name, kind in OTHERS.items()),
    "openssl dsaparam -genkey -noout -out dsa.pem 1024",
    "openssl ecparam -name prime256v1 -genkey -noout -param_enc explicit -out explicit.pem",
    *(
        f"openssl pkey -in {name}.pem -pubout -out {name}.pub"
        for name in ("rsa", "weak", "dsa", "explicit", *CURVES, *OTHERS)
    ),
    "openssl rsa -in rsa.pem -traditional -out pkcs1.pem",
    "openssl rsa -in rsa.pem -RSAPublicKey_out -out pkcs1.pub",
    "openssl pkcs8 -topk8 -in p256.pem -passout pass:sesame -out locked.pem",
    "openssl rsa -in rsa.pem -traditional -aes256 -passout pass:sesame -out locked1.pem",
    "openssl pkey -in rsa.pem -outform DER -out der.pem",
    "openssl pkey -in rsa.pem -pubout -outform DER -out der.pub",
    "openssl pkey -in ed25519.pem -outform DER -out shortder.pem",
    "openssl req -x509 -new -key rsa.pem -subj /CN=x -days 3 -out cert.pub",
    "openssl req -new -key rsa.pem -subj /CN=x -out request.pub",
    "openssl pkcs12 -export -in cert.pub -inkey rsa.pem -passout pass:x -out pkcs12.pem",
    "openssl crl2pkcs7 -nocrl -certfile cert.pub -out pkcs7.pub",
    *(f"ssh-keygen -q -t {kind} -N '' -f ssh-{kind}.pem" for kind in ("rsa", "ecdsa", "ed25519")),
    *(f"mv ssh-{kind}.pem.pub ssh-{kind}.pub" for kind in ("rsa", "ecdsa", "ed25519")),
    "ssh-keygen -e -f ssh-rsa.pub > ssh2.pub",
    "cat rsa.pub ed25519.pub > two.pub",
    "cat rsa.pem ed25519.pem > two.pem",
    "cat rsa.pem cert.pub > withcert.pem",
    "printf 'PuTTY-User-Key-File-3: ssh-rsa\\nEncryption: none\\n' > putty.pem",
    "printf nothing > noise.pem; cp noise.pem noise.pub",
]

GOOD = ["rsa", "p256", "p384", "p521", "ed25519", "pkcs1"]
REFUSED = {
    "weak": f"an RSA key of 1024 bits is too weak; {WORKS}",
    "k1": f"the curve secp256k1 is not supported; {WORKS}",
    "p224": f"the curve secp224r1 is not supported; {WORKS}",
    "ed448": f"Ed448 keys cannot sign SIF files; {WORKS}",
    "x25519": f"X25519 keys cannot sign SIF files; {WORKS}",
    "dsa": f"DSA keys cannot sign SIF files; {WORKS}",
    "rsapss": "the RSA key is for PSS only, which Apptainer and SingularityCE cannot use; make a key without RSA-PSS",
    "explicit": "the curve is written out instead of named, which Apptainer and SingularityCE cannot read; run `"
    "openssl ec -param_enc named_curve",
}
REFUSED_PRIVATE = {
    "der": "this is a key in binary form (DER); convert it to PEM: openssl pkey -inform DER -in {file}",
    "shortder": "this is a key in binary form (DER); convert it to PEM: openssl pkey -inform DER -in {file}",
    "pkcs12": "extract the private key: openssl pkcs12 -nocerts -in {file} | openssl pkcs8 -topk8 -out key.pem",
    "ssh-rsa": "this is an OpenSSH private key; "
    "convert a copy to PEM: cp -p {file} key.pem && ssh-keygen -p -m PKCS8 -f key.pem",
    "ssh-ecdsa": "this is an OpenSSH private key; "
    "convert a copy to PEM: cp -p {file} key.pem && ssh-keygen -p -m PKCS8 -f key.pem",
    "ssh-ed25519": "this is an OpenSSH private key; "
    "ssh-keygen cannot convert such a key to PEM; run `sifmake key newpair` to make",
    "putty": "this is a PuTTY private key; "
    "convert an RSA or ECDSA key to PEM: puttygen {file} -O private-openssh -o key.pem",
    "two": "the file has 2 private keys; put each key into a separate file",
    "noise": "not a key; ",
}
REFUSED_PUBLIC = {
    "der": "this is a key in binary form (DER); convert it to PEM: openssl pkey -inform DER -in {file}",
    "cert": "this is a certificate; extract the public key: openssl x509 -noout -pubkey -in {file} > key.pub.pem",
    "request": "this is a certificate request; "
    "extract the public key: openssl req -noout -pubkey -in {file} > key.pub.pem",
    "pkcs7": "openssl pkcs7 -print_certs -in {file} | openssl x509 -noout -pubkey > key.pub.pem",
    "ssh-rsa": "this is an OpenSSH public key; convert it to PEM: ssh-keygen -e -m PKCS8 -f {file} > key.pub.pem",
    "ssh-ecdsa": "this is an OpenSSH public key; convert it to PEM: ssh-keygen -e -m PKCS8 -f {file} > key.pub.pem",
    "ssh-ed25519": "this is an OpenSSH public key; "
    "ssh-keygen cannot convert such a key to PEM; run `sifmake key newpair` to make",
    "ssh2": "this is an SSH2 public key; "
    "convert it to PEM: ssh-keygen -i -f {file} > key.pub && ssh-keygen -e -m PKCS8 -f key.pub",
    "two": "the file has 2 public keys; put each key into a separate file",
    "noise": "not a key; ",
}


@pytest.mark.parametrize("name", [*GOOD, "withcert"])
def test_good_private_keys_are_kept_and_sign(keys, tmp_path, name):
    sif = str(write_sif(tmp_path / "a.sif"))
    assert main(["-q", "key", "import", str(keys / f"{name}.pem")]) == 0
    assert main(["-q", "sign", "--key", name, sif]) == 0
    public = "rsa" if name == "withcert" else name
    assert main(["-q", "verify", "--key", str(keys / f"{public}.pub"), sif]) == 0
    assert main(["-q", "key", "import", str(keys / f"{public}.pub")]) == 0
    assert main(["-q", "verify", sif]) == 0


def refusals():
    for name, text in {**REFUSED, **REFUSED_PRIVATE}.items():
        yield f"{name}.pem", text
    for name, text in {**REFUSED, **REFUSED_PUBLIC}.items():
        yield f"{name}.pub", text.replace("cannot sign SIF files", "are not supported")


@pytest.mark.parametrize(("name", "text"), list(refusals()))
def test_others_are_refused_before_anything_is_kept(keys, tmp_path, config, capsys, name, text):
    file = keys / name
    sif = str(write_sif(tmp_path / "a.sif"))
    use = ["verify", "--key", str(file), sif] if name.endswith(".pub") else ["sign", "--key", str(file), sif]
    for words in (["key", "import", str(file)], use):
        assert main(words) == 1
        message = capsys.readouterr().err
        assert message.startswith(f"sifmake: error: {file}: ")
        assert text.format(file=file) in message
        assert message.count("\n") == 1
    assert not list(config.rglob("*.pem"))


@pytest.mark.parametrize("name", ["locked", "locked1"])
def test_keys_with_a_passphrase(keys, tmp_path, capsys, monkeypatch, name):
    sif = str(write_sif(tmp_path / "a.sif"))
    assert main(["key", "import", str(keys / f"{name}.pem")]) == 0, "its kind cannot be seen without the passphrase"
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "wrong")
    capsys.readouterr()
    assert main(["sign", "--key", name, sif]) == 1
    assert "the passphrase does not open this key; it came from the variable SIFMAKE_PASSPHRASE" in (
        capsys.readouterr().err
    )
    (tmp_path / "words").write_text("wrong\n")
    assert main(["sign", "--passphrase-file", str(tmp_path / "words"), "--key", name, sif]) == 1
    assert f"it came from the first line of {tmp_path / 'words'}" in capsys.readouterr().err
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "sesame")
    assert main(["sign", "--key", name, sif]) == 0


def test_what_ssh_keygen_is_said_to_do_works(keys, tmp_path):
    for kind in ("rsa", "ecdsa"):
        run(
            tmp_path,
            f"cp -p {keys}/ssh-{kind}.pem key.pem",
            "ssh-keygen -p -m PKCS8 -N '' -f key.pem",
            f"ssh-keygen -e -m PKCS8 -f {keys}/ssh-{kind}.pub > key.pub.pem",
        )
        sif = str(write_sif(tmp_path / "a.sif"))
        assert main(["-q", "sign", "--key", str(tmp_path / "key.pem"), sif]) == 0
        assert main(["-q", "verify", "--key", str(tmp_path / "key.pub.pem"), sif]) == 0


def test_what_openssl_is_said_to_do_works(keys, tmp_path):
    run(
        tmp_path,
        f"openssl pkcs12 -nocerts -passin pass:x -nodes -in {keys}/pkcs12.pem | openssl pkcs8 -topk8 -nocrypt -out k",
        f"openssl pkey -inform DER -in {keys}/der.pem > d",
        f"openssl x509 -noout -pubkey -in {keys}/cert.pub > c.pub",
        f"openssl req -noout -pubkey -in {keys}/request.pub > r.pub",
        f"openssl pkcs7 -print_certs -in {keys}/pkcs7.pub | openssl x509 -noout -pubkey > p.pub",
        f"openssl ec -param_enc named_curve -in {keys}/explicit.pem > n",
        f"openssl ec -pubin -param_enc named_curve -in {keys}/explicit.pub > n.pub",
    )
    for secret, publics in (("k", "crp"), ("d", "c"), ("n", "n")):
        sif = str(write_sif(tmp_path / "a.sif"))
        assert main(["-q", "sign", "--key", str(tmp_path / secret), sif]) == 0
        for public in publics:
            assert main(["-q", "verify", "--key", str(tmp_path / f"{public}.pub"), sif]) == 0


def test_halves_are_not_taken_for_each_other(keys, tmp_path, capsys):
    sif = str(write_sif(tmp_path / "a.sif"))
    assert main(["sign", "--key", str(keys / "rsa.pub"), sif]) == 1
    assert "this is a public key; use the private key to sign" in capsys.readouterr().err
    assert main(["verify", "--key", str(keys / "rsa.pem"), sif]) == 1
    assert "this is a private key; use the public key to verify" in capsys.readouterr().err


@pytest.fixture(scope="module")
def gpg_keys(tmp_path_factory):
    """Keys as gpg writes them: NAME.asc public, NAME.sec private, and its keyring."""
    with tempfile.TemporaryDirectory(prefix="g") as home:  # short: the agent's socket lies in it
        folder = tmp_path_factory.mktemp("gpg")
        gpg = f"gpg -q --homedir {home} --batch --pinentry-mode loopback --passphrase ''"
        for name, kind in {"rsa": "rsa2048", "weak": "rsa1024", "k1": "secp256k1"}.items():
            run(
                folder,
                f"{gpg} --quick-gen-key '{name}.' {kind} sign never",
                f"{gpg} --armor --export '{name}.' > {name}.asc",
                f"{gpg} --armor --export-secret-keys '{name}.' > {name}.sec",
            )
        run(folder, f"cp {home}/pubring.kbx ring.asc", f"gpgconf --homedir {home} --kill all")
        return folder


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rsa.asc", ""),
        ("weak.asc", "the key is too weak, of an unsupported kind, or has no strong self-signature"),
        ("k1.asc", "the key is too weak, of an unsupported kind, or has no strong self-signature"),
        ("rsa.sec", "the file contains a secret OpenPGP key; use the output of `gpg --export`"),
        ("ring.asc", "this is gpg's keyring; export a public key: gpg --armor --export FINGERPRINT > key.asc"),
    ],
)
def test_gpgs_keys(gpg_keys, capsys, name, text):
    assert main(["key", "import", str(gpg_keys / name)]) == (1 if text else 0)
    assert text in capsys.readouterr().err


def test_gpgs_halves_are_not_taken_for_each_other(gpg_keys, tmp_path, capsys):
    sif = str(write_sif(tmp_path / "a.sif"))
    assert main(["sign", "--key", str(gpg_keys / "rsa.asc"), sif]) == 1
    assert "this is a public key; use the private key to sign" in capsys.readouterr().err
    assert main(["sign", "--key", str(gpg_keys / "weak.sec"), sif]) == 1
    assert "cannot sign: " in capsys.readouterr().err


def test_a_ring_with_several_secret_keys(tmp_path, capsys):
    """As Apptainer's ``pgp-secret`` is: packets of one key behind those of another."""
    sif = str(write_sif(tmp_path / "a.sif"))
    keys = [pysequoia.Tsk.generate(name) for name in ("Ann", "Ben")]
    for count, status in ((1, 0), (2, 1)):
        (tmp_path / "ring").write_bytes(b"".join(bytes(key) for key in keys[:count]))
        assert main(["sign", "--key", str(tmp_path / "ring"), sif]) == status
    assert "ring: the file has 2 OpenPGP keys; export one key: gpg --export-secret-keys FPR" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("half", ["PRIVATE", "PUBLIC"])
def test_a_large_file_is_not_given_to_the_library(half):
    """It takes 90 bytes of memory for each byte."""
    data = b"-----BEGIN %b KEY-----\n%b\n" % (half.encode(), b"\n" * (1 << 16))
    load = load_public if half == "PUBLIC" else load_plain
    with pytest.raises(KeyFileError, match=r"a key in PEM form has at most 65536 \(a limit\)"):
        load(data, "k.pem")
