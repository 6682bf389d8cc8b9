"""Which keys are read from files and folders, and which are refused."""

import pytest

from sifmake.errors import KeyFileError
from sifmake.signing import TrustStore
from sifmake.signing.pem import load_private, load_public
from sifmake.signing.trust import normalized, read_denied
from support.corpus import SIF_KEYS, needs_corpus
from support.signing import NO_PASSPHRASE, pem_pair, pgp_pair

WEAK_BITS = 1024


@needs_corpus
def test_fingerprints_are_those_that_the_reference_library_wrote_into_its_envelopes():
    store = TrustStore.load([SIF_KEYS])
    assert {key.name: key.key_id for key in store.keys} == {
        "ecdsa-public.pem": "SHA256:13cNV0A11AxgIQYCvlDmJlRi0CjRtjnYF47RzrMhlaU",
        "ed25519-public.pem": "SHA256:x6l8ZblpSSXGaPMCzySedWg88BwIFcz8jlPb6el0mFs",
        "rsa-public.pem": "SHA256:BhCwr7qZulYcOMSl2Jt2DuYHxHNnN6th4NdMqR/PGa4",
    }


def test_folder_gives_its_keys_its_deny_list_and_passes_over_the_rest(tmp_path):
    pem_pair(tmp_path).secret.unlink()
    pgp_pair(tmp_path).secret.unlink()
    (tmp_path / "README.md").write_text("keys")
    (tmp_path / ".hidden.pem").write_text("editor's")
    (tmp_path / "denied.txt").write_text("# gone\n\n0123 4567 89ab cdef 0123  4567 89ab cdef 0123 4567 # old\n")
    store = TrustStore.load([tmp_path])
    assert (len(store.keys), len(store.certificates)) == (1, 1)
    assert store.denied == {"0123456789ABCDEF0123456789ABCDEF01234567"}


def test_binary_and_armored_certificates_are_the_same(tmp_path):
    import pysequoia

    pair = pgp_pair(tmp_path)
    binary = tmp_path / "binary.gpg"
    binary.write_bytes(bytes(pysequoia.Cert.from_file(str(pair.public))))
    (one,), (two,) = (TrustStore.load([path]).certificates for path in (pair.public, binary))
    assert (one.fingerprint, one.name, one.keys) == (two.fingerprint, two.name, two.keys)
    assert one.name == "Ann <ann@example.org>"
    assert len(TrustStore.load([pair.public, binary]).certificates) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"garbage", "not a key; use a public PEM key, or the output of `gpg"),
        (
            b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
            "this is a certificate; extract the public key: openssl x509",
        ),
        (b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n", "not a public key in PEM form"),
        (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----", "not an OpenPGP certif"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, words):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=words) as caught:
        TrustStore.load([path])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secret_keys_are_no_trusted_keys(tmp_path):
    with pytest.raises(KeyFileError, match="contains a secret OpenPGP key"):
        TrustStore.load([pgp_pair(tmp_path).secret])
    with pytest.raises(KeyFileError, match="this is a private key"):
        TrustStore.load([pem_pair(tmp_path).secret])


def test_missing_file_is_named(tmp_path):
    with pytest.raises(KeyFileError, match="no such key file"):
        TrustStore.load([tmp_path / "none.pem"])


def test_weak_and_strange_keys_are_refused():
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

    from sifmake.signing.pem import private_bytes, public_bytes

    for key, words in [
        (rsa.generate_private_key(65537, WEAK_BITS), "1024 bits is too weak"),
        (ec.generate_private_key(ec.SECP224R1()), "curve secp224r1 is not supported"),
        (ed448.Ed448PrivateKey.generate(), "Ed448"),
    ]:
        with pytest.raises(KeyFileError, match=words):
            load_private(private_bytes(key), "k", NO_PASSPHRASE)
        with pytest.raises(KeyFileError, match=words):
            load_public(public_bytes(key.public_key()), "k")


@pytest.mark.parametrize("text", ["", "abc", "SHA256:short", "0" * 39, "z" * 40])
def test_no_fingerprint(tmp_path, text):
    with pytest.raises(KeyFileError, match="is not a fingerprint"):
        normalized(text)
    if text:
        (tmp_path / "denied.txt").write_text(f"# one\n{text}\n")
        with pytest.raises(KeyFileError, match=r"denied.txt, line 2"):
            read_denied(tmp_path / "denied.txt")
