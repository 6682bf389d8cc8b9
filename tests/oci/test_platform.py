"""Names of platforms and which image serves which (containerd's platforms package; rows a29 to a31)."""

from __future__ import annotations

import pytest

from sifmake.errors import SourceError, UsageError
from sifmake.oci import Descriptor, Platform, choose_manifest, host_platform, parse_platform
from sifmake.oci.platform import is_served_by, rank


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("x86-64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("i686", "linux/386"),
        ("aarch64", "linux/arm64"),
        ("arm64/v8", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("arm64/v9", "linux/arm64/v9"),
        ("armhf", "linux/arm/v7"),
        ("armel", "linux/arm/v6"),
        ("arm", "linux/arm/v7"),
        ("arm/6", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("ppc64el", "linux/ppc64le"),
        ("riscv64", "linux/riscv64"),
        ("loongarch64", "linux/loong64"),
        ("amd64/v1", "linux/amd64"),
        ("amd64/v3", "linux/amd64/v3"),
    ],
)
def test_names(text, expected):
    assert str(parse_platform(text)) == expected


@pytest.mark.parametrize("text", ["", "windows/amd64", "linux", "linux/pdp11", "a/b/c/d", "linux/arm/x!", "../x"])
def test_what_is_not_a_platform(text):
    with pytest.raises(UsageError):
        parse_platform(text)


def test_host_platform_is_linux():
    assert host_platform().os == "linux"


@pytest.mark.parametrize(
    ("offered", "wanted", "expected"),
    [
        ("amd64", "amd64", 0),
        ("arm64", "arm64/v8", 0),
        ("arm64/v8", "arm64", 0),
        ("arm64/v9", "arm64", None),
        ("arm64/v8", "arm64/v9", 1),
        ("arm/v7", "arm/v6", None),
        ("arm/v5", "arm/v7", 2),
        ("arm", "arm/v7", 0),
        ("arm", "arm/v6", None),
        ("arm64", "arm/v7", None),
        ("amd64/v3", "amd64", None),
        ("amd64", "amd64/v3", 2),
        ("386", "amd64", None),
        ("ppc64le", "ppc64le", 0),
    ],
)
def test_rank(offered, wanted, expected):
    assert rank(parse_platform(offered), parse_platform(wanted)) == expected


@pytest.mark.parametrize(
    ("config", "wanted", "expected"),
    [
        (Platform("", "", ""), "arm64", True),
        (Platform("linux", "arm64", "v8"), "arm64", True),
        (Platform("linux", "arm", ""), "arm/v6", True),
        (Platform("linux", "arm", "v7"), "arm/v6", False),
        (Platform("windows", "amd64", ""), "amd64", False),
        (Platform("", "amd64", ""), "amd64", True),
    ],
)
def test_what_a_config_serves(config, wanted, expected):
    assert is_served_by(config, parse_platform(wanted)) is expected


def entry(number, text):
    digest = f"sha256:{number:064x}"
    return Descriptor("application/vnd.oci.image.manifest.v1+json", digest, 1, platform=Platform(*text.split("/")))


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["linux/arm/v7", "linux/arm/v5"], "arm/v6", 1),
        (["linux/arm/v5", "linux/arm/v7"], "arm/v6", 0),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "arm/v7", 2),
        (["linux/amd64/v3", "linux/amd64"], "amd64", 1),
        (["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"], "amd64/v2", 1),
        (["windows/amd64", "linux/amd64", "linux/amd64"], "amd64", 1),
        (["unknown/unknown", "linux/amd64"], "amd64", 1),
    ],
)
def test_the_best_entry_is_chosen_whatever_the_order(offered, wanted, chosen):
    entries = [entry(number, text) for number, text in enumerate(offered)]
    assert choose_manifest(entries, parse_platform(wanted)) is entries[chosen]


def test_no_match_lists_what_there_is():
    with pytest.raises(SourceError, match=r"no image for linux/s390x, only for linux/amd64, linux/arm64; choose"):
        choose_manifest([entry(0, "linux/arm64"), entry(1, "linux/amd64")], parse_platform("s390x"))
