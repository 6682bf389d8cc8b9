"""Secrets: masked in every form in which a shell may print them, found in a layer wherever they are."""

import base64
import contextlib

import pytest

from sifmake.steps.secrets import SecretMask, find_in_bytes, find_in_layer, proxy_passwords
from support.layers import entry, file, make_pack, symlink, tar

SECRET = "p@ss w\u00f6rd/1".encode()


@pytest.mark.parametrize(
    "printed",
    [
        b"+ echo " + SECRET,
        base64.b64encode(SECRET),
        b"https://u:p%40ss%20w%C3%B6rd%2F1@h",
        SECRET + SECRET,
    ],
)
def test_what_is_printed_shows_no_secret(printed):
    masked = SecretMask([SECRET])(printed)
    assert b"***" in masked
    assert b"ss" not in masked


def test_each_line_of_a_secret_is_masked():
    mask = SecretMask([b"-----BEGIN-----\nline-one\nline-two\n"])
    assert mask(b"line-two then\n") == b"*** then\n"


def test_short_words_are_left_alone():
    assert SecretMask([b"ab"])(b"a table") == b"a table"


def test_passwords_of_proxies_are_secrets():
    found = proxy_passwords({"HTTPS_PROXY": "http://me:pa%20ss@proxy:1", "no_proxy": "a@b", "OTHER": "x://u:p@h"})
    assert found == [b"pa%20ss", b"pa ss"]


VALUES = {"token": b"0123456789abcdef\n", "short": b"abc"}
PLACES = {
    "small file": [file("etc/x", b"a 0123456789abcdef b")],
    "over blocks": [file("etc/x", b"x" * (131072 - 7) + b"0123456789abcdef" + b"y" * 200_000)],
    "name": [file("etc/0123456789abcdef", b"")],
    "link": [symlink("etc/x", "0123456789abcdef")],
    "attribute": [entry("etc/x", pax_headers={"SCHILY.xattr.user.a": "0123456789abcdef"})],
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_a_layer_is_found(tmp_path, place):
    with contextlib.closing(make_pack(tmp_path / "pack", tar(*PLACES[place]))) as pack:
        name, path = find_in_layer(pack, VALUES)
    assert name == "token"
    assert path.startswith(b"etc/")


def test_a_layer_without_secrets_is_none_of_theirs(tmp_path):
    with contextlib.closing(make_pack(tmp_path / "pack", tar(file("a", b"abc 0123456789")))) as pack:
        assert find_in_layer(pack, VALUES) == ("", b"")
    assert find_in_bytes(b"abc 0123456789abcdef", VALUES) == "token"
