"""Registries elsewhere cannot send sifmake to services of this machine, whatever name they give them.

Here ``127.0.0.2`` stands for elsewhere, ``127.0.0.1`` for this machine and ``127.0.0.3`` for a service on its link.
"""

from __future__ import annotations

import socket
from functools import partial

import pytest

from sifmake.errors import RegistryError
from sifmake.registry import Credentials, HostSettings, connections
from sifmake.registry.reach import ELSEWHERE, LINK_LOCAL, LOOPBACK, may_lead, place_of
from sifmake.registry.transport import Transport, TransportError
from support.proxy import Proxy
from support.pulling import pull
from support.registry import Answer, FakeRegistry, TokenAuth

PLACES = {"127.0.0.1": LOOPBACK, "127.0.0.2": ELSEWHERE, "127.0.0.3": LINK_LOCAL}
IMAGE = "org/image"
WHO = [None, Credentials("alice", "hunter2"), Credentials("", identity_token="hunter2")]


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("127.0.0.1", LOOPBACK),
        ("127.9.9.9", LOOPBACK),
        ("::1", LOOPBACK),
        ("[::1]", LOOPBACK),
        ("0.0.0.0", LOOPBACK),  # noqa: S104
        ("::", LOOPBACK),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("::127.0.0.1", LOOPBACK),
        ("64:ff9b::7f00:1", LOOPBACK),
        ("2002:7f00:1::", LOOPBACK),
        ("169.254.169.254", LINK_LOCAL),
        ("::ffff:169.254.169.254", LINK_LOCAL),
        ("64:ff9b::a9fe:a9fe", LINK_LOCAL),
        ("fe80::1%eth0", LINK_LOCAL),
        ("fd00:ec2::254", LINK_LOCAL),
        ("100.100.100.200", LINK_LOCAL),
        ("10.1.2.3", ELSEWHERE),
        ("192.168.1.1", ELSEWHERE),
        ("fd00::1", ELSEWHERE),
        ("1.1.1.1", ELSEWHERE),
        ("registry.example", ELSEWHERE),
    ],
)
def test_where_an_address_is(address, place):
    assert place_of(address) == place


def test_the_same_address_at_both_ends_is_this_machine():
    assert place_of("10.1.2.3", "10.1.2.3") == LOOPBACK


def test_who_may_lead_where():
    assert [may_lead(ELSEWHERE, place) for place in (ELSEWHERE, LOOPBACK, LINK_LOCAL)] == [True, False, False]
    assert [may_lead(LOOPBACK, place) for place in (ELSEWHERE, LOOPBACK, LINK_LOCAL)] == [True, True, False]
    assert [may_lead(LINK_LOCAL, place) for place in (ELSEWHERE, LOOPBACK, LINK_LOCAL)] == [True, False, True]


@pytest.fixture
def away(monkeypatch):
    """A registry elsewhere, and the names ``NAME.example`` for all that listens here."""
    monkeypatch.setattr(connections, "place_of", lambda peer, _own: PLACES[peer])
    with FakeRegistry("127.0.0.2") as registry:
        registry.tag(IMAGE, "1", registry.blobs.image([b"x" * 1000]))
        yield registry


@pytest.fixture(params=["127.0.0.1", "127.0.0.3"], ids=["this machine", "its link"])
def inside(request):
    with FakeRegistry(request.param) as service:
        service.on("GET", "/secret", Answer(200, b'{"token": "stolen"}'))
        yield service


def names(monkeypatch, **addresses):
    """Let names stand for addresses, one after the other; the last one for good."""
    real = socket.getaddrinfo

    def look_up(host, port, *rest):
        left = addresses.get(str(host).partition(".")[0]) if str(host).endswith(".example") else None
        if left:
            host = left.pop(0) if len(left) > 1 else left[0]
        return real(host, port, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def refused(registry, *services, **changes):
    with pytest.raises(RegistryError) as caught:
        pull(f"docker://{registry.host}/{IMAGE}:1", **changes)
    assert "a remote server leads to" in str(caught.value)
    assert not any(service.log for service in services)
    return str(caught.value)


@pytest.mark.parametrize(
    "credentials", [None, Credentials("alice", "hunter2"), Credentials("", identity_token="hunter2")]
)
def test_a_token_service_on_this_machine_is_not_asked(away, inside, credentials):
    TokenAuth(away).realm = f"http://{inside.host}/secret"
    assert "hunter2" not in refused(away, inside, credentials=credentials)


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_a_redirect_to_this_machine_is_not_followed(away, inside, part):
    away.on("GET", part, Answer(307, headers={"Location": f"http://{inside.host}/secret"}))
    refused(away, inside)


def test_nor_by_way_of_a_third_host(away, inside):
    with FakeRegistry("127.0.0.2") as third:
        away.on("GET", "/blobs/", Answer(307, headers={"Location": f"http://{third.host}/next"}))
        third.on("GET", "/next", Answer(307, headers={"Location": f"http://{inside.host}/secret"}))
        refused(away, inside)
        assert third.count("GET", "/next") == 1


@pytest.mark.parametrize("kind", ["realm", "redirect"])
def test_the_address_counts_and_not_the_name(away, inside, monkeypatch, kind):
    address, _, port = inside.host.rpartition(":")
    names(monkeypatch, service=[address])
    if kind == "realm":
        TokenAuth(away).realm = f"http://service.example:{port}/secret"
    else:
        away.on("GET", "/blobs/", Answer(307, headers={"Location": f"http://service.example:{port}/secret"}))
    assert "service.example" in refused(away, inside)


def test_a_name_that_changes_its_address_meanwhile_is_found_out(away, monkeypatch):
    """The token service has the registry's own name, which leads to this machine the second time."""
    port = int(away.host.rpartition(":")[2])
    names(monkeypatch, evil=["127.0.0.2", "127.0.0.1"])
    challenge = f'Bearer realm="http://evil.example:{port}/secret"'
    away.on("GET", "/v2/", Answer(401, headers={"WWW-Authenticate": challenge, "Connection": "close"}))
    plain = {f"evil.example:{port}": HostSettings(plain_http=True)}
    with socket.create_server(("127.0.0.1", port)) as listener:
        with pytest.raises(RegistryError, match="a remote server leads to"):
            pull(f"docker://evil.example:{port}/{IMAGE}:1", registries=plain)
        with listener.accept()[0] as connection:
            assert connection.recv(10) == b""


def test_a_connection_that_is_there_already_is_not_a_way_in(away):
    """A registry on this machine was asked before; nobody elsewhere may use what is left of that."""
    with FakeRegistry() as own:
        transport = Transport({})
        ask = partial(transport.exchange, "GET", f"http://{own.host}/v2/", {}, HostSettings())
        ask().read_all(100)
        with pytest.raises(TransportError, match="a remote server leads to"):
            ask(sender=ELSEWHERE)
        ask(sender=LOOPBACK).read_all(100)
        transport.close()
        assert own.count("GET") == 2


def test_a_registry_on_this_machine_may_have_its_token_service_here(away, monkeypatch):
    with FakeRegistry() as own:
        own.tag(IMAGE, "1", own.blobs.image([b"x" * 1000]))
        TokenAuth(own)
        assert pull(f"docker://{own.host}/{IMAGE}:1").blobs
        names(monkeypatch, tunnel=["127.0.0.1"])
        host = f"tunnel.example:{own.host.rpartition(':')[2]}"
        plain = {host: HostSettings(plain_http=True)}
        assert pull(f"docker://{host}/{IMAGE}:1", registries=plain).blobs
        own.on("GET", "/blobs/", lambda request: Answer(307, headers={"Location": f"http://{away.host}{request.path}"}))
        away.blobs.data.update(own.blobs.data)
        assert pull(f"docker://{own.host}/{IMAGE}:1").blobs


def test_behind_a_proxy_the_address_in_the_name_counts(away):
    away.on("GET", "/blobs/", Answer(307, headers={"Location": "http://169.254.169.254/latest/meta-data"}))
    plain = {"registry.example": HostSettings(plain_http=True)}
    with Proxy(away.host) as proxy:
        with pytest.raises(RegistryError, match=r"leads to 169\.254\.169\.254, which is this machine's own link"):
            pull(f"docker://registry.example/{IMAGE}:1", registries=plain, environ={"HTTP_PROXY": proxy.url})
        assert not [asked for asked in proxy.asked if "169.254" in asked]
