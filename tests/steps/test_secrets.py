"""Secrets: masked in every form in which a shell may print them, found in a layer wherever they are."""

import base64
import subprocess

import pytest

from sifmake.errors import StepError
from sifmake.layers.entry import DIR, FILE, SYMLINK, Entry
from sifmake.steps.secrets import MaskedOutput, SecretMask, proxy_passwords, refuse_secrets, refusing_secrets

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


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_what_a_shell_traces_is_masked(shell):
    secret = b"it's a-secret's"
    traced = subprocess.run(
        [shell, "-xc", ': "$S" "${S}x"'], env={"S": secret.decode()}, capture_output=True, check=True
    )
    masked = SecretMask([secret])(traced.stderr)
    assert masked.count(b"***") == 2
    assert b"secret" not in masked


@pytest.mark.parametrize("before", [b"u:", b"us:", b"use:"])
def test_a_secret_is_masked_in_a_longer_text_in_base64(before):
    printed = base64.b64encode(before + b"0123456789abcdef" + b"...")
    masked = SecretMask([b"0123456789abcdef"])(printed)
    assert b"***" in masked
    assert len(masked) < 17


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_secret_in_two_pieces_is_masked(cut):
    shown = []
    masked = MaskedOutput(SecretMask([b"0123456789abcdef"]), shown.append)
    text = b"x" * 9 + b"0123456789abcdef" + b"y" * 9
    masked.write(text[:cut])
    masked.write(text[cut:])
    masked.end()
    assert b"".join(shown) == b"xxxxxxxxx***yyyyyyyyy"


def test_whole_lines_are_shown_at_once():
    shown = []
    MaskedOutput(SecretMask([b"0123456789abcdef"]), shown.append).write(b"a line\n")
    assert shown == [b"a line\n"]


VALUES = {"token": b"0123456789abcdef\n", "short": b"abc"}
SECRET_ATTRIBUTE = ((b"user.a", b"0123456789abcdef"),)
PLACES = {
    "file": (Entry(b"etc/x", FILE, 0o644, 0, 0, 0, 20), [b"a 0123456789abcdef b"]),
    "over pieces": (Entry(b"etc/x", FILE, 0o644, 0, 0, 0, 18), [b"a 012", b"3456789", b"abcdef"]),
    "name": (Entry(b"etc/0123456789abcdef", DIR, 0o755, 0, 0, 0), []),
    "link": (Entry(b"etc/x", SYMLINK, 0o777, 0, 0, 0, target=b"0123456789abcdef"), []),
    "attribute": (Entry(b"etc/x", FILE, 0o644, 0, 0, 0, xattrs=SECRET_ATTRIBUTE), []),
}


def pass_on(*changes):
    return [(entry.path, b"".join(content)) for entry, content in refusing_secrets(changes, VALUES)]


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_a_layer_is_refused(place):
    with pytest.raises(StepError, match="left the secret 'token' in /etc/") as failed:
        pass_on(PLACES[place])
    assert "0123456789abcdef" not in str(failed.value)


def test_a_layer_without_secrets_is_none_of_theirs():
    assert pass_on((Entry(b"a", FILE, 0o644, 0, 0, 0, 14), [b"abc 0123", b"456789"])) == [(b"a", b"abc 0123456789")]


def test_a_secret_in_labels_and_variables_is_refused():
    secrets = {"token": b"it's-a-secret"}
    with pytest.raises(StepError, match="LABELS"):
        refuse_secrets(b"A it's-a-secret\n", b"", secrets)
    with pytest.raises(StepError, match="variable"):
        refuse_secrets(b"", b"export T='it'\\''s-a-secret'\n", secrets)
    refuse_secrets(b"A b\n", b"T='x'\n", secrets)
