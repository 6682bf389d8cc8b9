"""Row a22: proxies by the environment."""

from __future__ import annotations

import pytest

from sifmake.registry.proxies import find_proxy, is_loopback

PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxied"),
    [
        ("https://quay.io/v2/", "", True),
        ("https://quay.io/v2/", "quay.io", False),
        ("https://cdn.quay.io/v2/", "quay.io", False),
        ("https://cdn.quay.io/v2/", ".quay.io", False),
        ("https://cdn.quay.io/v2/", "*.quay.io", False),
        ("https://notquay.io/v2/", "quay.io", True),
        ("https://quay.io/v2/", "other,QUAY.IO", False),
        ("https://quay.io/v2/", "*", False),
        ("https://quay.io:8443/v2/", "quay.io:8443", False),
        ("https://quay.io:8443/v2/", "quay.io:443", True),
        ("https://10.1.2.3/v2/", "10.0.0.0/8", False),
        ("https://10.1.2.3/v2/", "10.1.2.3", False),
        ("https://11.1.2.3/v2/", "10.0.0.0/8", True),
        ("https://[fd00::1]/v2/", "fd00::/8", False),
        ("https://localhost:5000/v2/", "", False),
        ("https://127.0.0.2:5000/v2/", "", False),
        ("https://[::1]:5000/v2/", "", False),
    ],
)
def test_exceptions(url, no_proxy, proxied):
    assert find_proxy(url, {"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) == (PROXY if proxied else None)


def test_which_variable_counts():
    assert find_proxy("http://h/", {"HTTPS_PROXY": PROXY}) is None
    assert find_proxy("http://h/", {"http_proxy": "proxy:1", "HTTP_PROXY": PROXY}) == "http://proxy:1"
    assert find_proxy("https://h/", {"ALL_PROXY": PROXY}) == PROXY
    assert find_proxy("https://h/", {"https_proxy": PROXY, "no_proxy": "h", "NO_PROXY": ""}) is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.evil.org", False),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected
