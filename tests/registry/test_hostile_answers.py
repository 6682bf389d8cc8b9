"""Answers that no registry should give: each is one line that says so, and never an error of a library."""

from __future__ import annotations

import pytest

from sifmake.errors import RegistryError, SifmakeError
from sifmake.registry import Credentials, HostSettings
from support.pulling import pull
from support.registry import Answer, FakeRegistry, TokenAuth, error

ADDRESSES = [
    "http://[bad",
    "http://[::1",
    "http://a:99999/x",
    "http://a:port/",
    "http://a b/c",
    "http://%zz/",
    "http://.../",
    "http://a..b/",
    f"http://{'a' * 300}/",
    "http://",
    "http://127.0.0.1\0.x/",
    "http://a\x7fb/",
    "mailto:x",
    "https://user:hunter2@127.0.0.1:1/x",
    "https://user:hunter2@[bad/x",
    "https://user:hunter2@a b/x",
    "https://user:hun/ter@hunter2@127.0.0.1:1/x",
    "ftp://user:hunter2@127.0.0.1/x",
    "https://127.0.0.1:1/x?X-Amz-Signature=hunter2",
    "https://127.0.0.1:port/x?sig=hunter2#hunter2",
]


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        registry.tag("org/image", "1", registry.blobs.image([b"x" * 1000]))
        yield registry


def refused(registry, **changes):
    with pytest.raises(RegistryError) as caught:
        pull(f"docker://{registry.host}/org/image:1", **changes)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 600
    assert "hunter2" not in text
    assert "user:" not in text
    assert caught.value.hint
    return text


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_redirects_to_nowhere(registry, address, part):
    registry.on("GET", part, Answer(307, headers={"Location": address}))
    refused(registry)


@pytest.mark.parametrize("address", [*ADDRESSES, "ftp://x/y", "http:"])
@pytest.mark.parametrize("token", ["", "hunter2"], ids=["password", "identity token"])
def test_token_services_nowhere(registry, address, token):
    TokenAuth(registry, challenge=f'Bearer realm="{address}",service="x"')
    refused(registry, credentials=Credentials("alice", "hunter2", identity_token=token))


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b'{"token": 5}', b'{"token": "a\\nb"}', b'{"token": "\\u00e4"}', b"\xff", b"[" * 100_000, b""],
)
def test_tokens_that_are_none(registry, body):
    registry.on("GET", "/token", Answer(200, body))
    TokenAuth(registry)
    assert "the token service did not return a token" in refused(registry)


@pytest.mark.parametrize("life", ["1e999", "NaN", "-1", "true", '"x"', "1" + "0" * 400])
def test_lives_of_tokens_that_are_none_are_short(registry, life):
    auth = TokenAuth(registry)
    registry._rules.insert(0, registry._rules[0].__class__("GET", "/token", lambda _: give(auth, life), float("inf")))
    assert pull(f"docker://{registry.host}/org/image:1").blobs


def give(auth, life):
    auth.issued.append(token := f"token-{len(auth.issued)}")
    return Answer(200, f'{{"token": "{token}", "expires_in": {life}}}'.encode())


@pytest.mark.parametrize(
    "header", ["-1", "9" * 30, "\xff", "Wed, 99 Foo 9999 99:99:99 GMT", f"Sun, 06 Nov {'9' * 20} 08:49:37 GMT"]
)
def test_times_to_come_back_that_are_none(registry, header):
    registry.on("GET", "/manifests/", error(429, "TOOMANYREQUESTS", **{"Retry-After": header}), times=1)
    assert pull(f"docker://{registry.host}/org/image:1").blobs


@pytest.mark.parametrize("proxy", ["http://user:hunter2@[bad", "http://a:port", "http://a:99999"])
def test_a_proxy_that_is_not_an_address(registry, proxy):
    plain = {"registry.example": HostSettings(plain_http=True)}
    with pytest.raises(RegistryError, match=r"the proxy .* is not a valid address; write http://PROXY:PORT") as caught:
        pull("docker://registry.example/org/image:1", registries=plain, environ={"HTTP_PROXY": proxy})
    assert "hunter2" not in str(caught.value)


def test_a_user_in_a_redirect_or_a_realm_is_not_logged_in_as(registry):
    auth = TokenAuth(registry)
    auth.realm = f"http://user:hunter2@{registry.host}/token"
    registry.on("GET", "/there", Answer(200, b"x"))
    redirect = Answer(307, headers={"Location": f"http://user:hunter2@{registry.host}/there"})
    registry.on("GET", "/blobs/", redirect)
    with pytest.raises(SifmakeError):
        pull(f"docker://{registry.host}/org/image:1")
    sent = [request.headers.get("authorization", "") for request in registry.log]
    assert registry.asked("GET", "/token")
    assert registry.asked("GET", "/there")
    assert not [header for header in sent if header.startswith("Basic")]
