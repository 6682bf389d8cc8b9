"""``WWW-Authenticate`` headers as registries send them (rows a9 to a11) and as RFC 9110 allows them."""

from __future__ import annotations

import time

import pytest

from sifmake.registry.challenge import Challenge, parse_challenges, pull_scopes

NGC = 'Bearer realm="https://nvcr.io/proxy_auth?scope=repository:nvidia/x:pull,push"'


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/x:pull"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:library/x:pull",
                    },
                )
            ],
        ),
        (NGC, [("bearer", {"realm": "https://nvcr.io/proxy_auth?scope=repository:nvidia/x:pull,push"})]),
        ("Basic realm=x", [("basic", {"realm": "x"})]),
        ('basic  realm = "a, b" , charset="UTF-8"', [("basic", {"realm": "a, b", "charset": "UTF-8"})]),
        (
            'Bearer scope="a:b:pull,push", realm=https://h/t',
            [("bearer", {"scope": "a:b:pull,push", "realm": "https://h/t"})],
        ),
        ('Basic realm="x", Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        ('Bearer realm="y", Basic realm="x"', [("bearer", {"realm": "y"}), ("basic", {"realm": "x"})]),
        (r'Basic realm="a \"quoted\" b"', [("basic", {"realm": 'a "quoted" b'})]),
        ("Negotiate, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("Negotiate dG9rZW4=, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm=""', [("bearer", {"realm": ""})]),
        ("", []),
        (",,, ,", []),
        ('"', []),
    ],
)
def test_headers(header, expected):
    assert [(item.scheme, item.parameters) for item in parse_challenges(header)] == expected


@pytest.mark.parametrize(
    "header",
    [
        'Bearer a="' + "\\" * 100_000,
        "a " * 100_000,
        "a," * 100_000,
        "," * 100_000,
        " " * 100_000,
        '",' * 100_000,
        "=," * 9999,
        "a" + ", " * 100_000,
        "a b" + "\t" * 100_000,
        'a="",' * 100_000,
        "x" * 8000 + " " * 8000,
    ],
)
def test_a_hostile_header_ends_quickly(header):
    began = time.process_time()
    assert len(parse_challenges(header)) < 20_000
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("", ["repository:org/x:pull"]),
        ("repository:org/x:pull,push", ["repository:org/x:pull"]),
        ("repository:proxy/org/x:pull", ["repository:proxy/org/x:pull"]),
        ("repository:a:pull repository:b:push", ["repository:a:pull", "repository:b:pull"]),
        ("registry:catalog:*", ["repository:org/x:pull"]),
        ("nonsense", ["repository:org/x:pull"]),
    ],
)
def test_a10_only_pulling_is_asked_for(scope, expected):
    assert pull_scopes(Challenge("bearer", {"scope": scope}), "org/x", "pull") == expected
