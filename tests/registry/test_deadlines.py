"""Answers that never end: a head, an interim answer, a chunk, a trailer, a tunnel. None is waited for.

Each case would hang for ever, or until the memory is full, if only the next bytes had a time-out.
"""

from __future__ import annotations

import re
import time

import pytest

from sifmake.errors import IntegrityError, RegistryError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.registry import HostSettings, endpoint
from sifmake.registry.settings import DEFAULT_RETRY
from sifmake.sources import SourceSettings
from support.proxy import Proxy
from support.pulling import FAST, pull
from support.raw_server import RawServer, endlessly, sends
from support.registry import FakeRegistry

SLOW = 0.05
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NO_CONTENT, NO_END = "bytes besides its content", "did not end within"
HEADS = {
    "100 without end": (endlessly(b"HTTP/1.1 100 Continue\r\n\r\n" * 100), NO_CONTENT),
    "103 without end": (
        endlessly(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100),
        NO_CONTENT,
    ),
    "100 now and then": (endlessly(b"HTTP/1.1 100 Continue\r\n\r\n", pause=SLOW), NO_END),
    "102 now and then": (endlessly(b"HTTP/1.1 102 Processing\r\n\r\n", pause=SLOW), NO_END),
    "101": (endlessly(b"", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", pause=1), NO_END),
    "headers of an interim answer": (
        endlessly(b"A: " + b"b" * 2000 + b"\r\n", b"HTTP/1.1 103 X\r\n"),
        NO_CONTENT,
    ),
    "one long header": (endlessly(b"a" * 4096, OK + b"A: "), "(header line|besides its content)"),
    "headers": (endlessly(b"A: b\r\n", OK), "(100 headers|no content)"),
    "headers now and then": (endlessly(b"A: b\r\n", OK, pause=SLOW), NO_END),
    "bytes of a status line": (endlessly(b"H", pause=SLOW), NO_END),
    "bytes of a header": (endlessly(b"a", OK + b"A: ", pause=SLOW), NO_END),
    "folded lines": (endlessly(b" x\r\n", OK + b"A: b\r\n", pause=SLOW), NO_END),
}
HASTY = FAST._replace(head_time=0.6, answer_timeout=300, stall_time=0.4)
SOON = 60
"""Seconds in which all is over, on a busy machine too; without the deadlines, five minutes or for ever."""


def refusal(server, **changes):
    began = time.monotonic()
    with pytest.raises(RegistryError) as caught:
        pull(f"docker://{server.host}/org/image:1", **{"retry": HASTY, **changes})
    assert time.monotonic() - began < SOON
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("script", "words"), HEADS.values(), ids=HEADS.keys())
def test_a_head_without_end_is_given_up_at_once(script, words):
    with RawServer(script) as server:
        text = refusal(server, registries={server.host: HostSettings(plain_http=True)})
        assert len(server.asked) == 1
    assert re.search(words, text), text


BODIES = {
    "an extension of a chunk": endlessly(b"x" * 4096, CHUNKED + b"5;"),
    "an extension of a chunk now and then": endlessly(b"x", CHUNKED + b"5;", pause=SLOW),
    "trailers": endlessly(b"A: b\r\n", CHUNKED + b"0\r\n"),
    "trailers now and then": endlessly(b"A: b\r\n", CHUNKED + b"0\r\n", pause=SLOW),
    "zeros of a chunk's size": endlessly(b"0", CHUNKED, pause=SLOW),
    "no chunk": endlessly(b"", CHUNKED, pause=1),
    "bytes now and then": endlessly(b"x", OK + b"\r\n", pause=SLOW),
    "small chunks with long extensions": endlessly(b"1;" + b"x" * 1000 + b"\r\n \r\n", CHUNKED, pause=0.01),
}


@pytest.mark.parametrize("script", BODIES.values(), ids=BODIES.keys())
def test_a_body_that_never_comes_is_given_up(script):
    with RawServer(script) as server:
        plain = {server.host: HostSettings(plain_http=True)}
        refusal(server, registries=plain, retry=HASTY._replace(attempts=2))
        assert 1 <= len(server.asked) <= 4


def test_interim_answers_are_passed_over():
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 X\r\n\r\n"
    with FakeRegistry() as registry:
        manifest = registry.blobs[registry.blobs.image([])["digest"]]
    answer = sends(hints, OK, b"Content-Length: %d\r\n\r\n" % len(manifest), manifest)
    with RawServer(answer) as server, pytest.raises(IntegrityError, match="config sha256:"):  # it was understood
        pull(f"docker://{server.host}/org/image:1", registries={server.host: HostSettings(plain_http=True)})


def test_what_follows_an_answer_is_not_taken_for_the_next_one():
    """A connection on which something comes unasked is not used again."""
    answers = iter([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n{}"] * 9)
    with RawServer(lambda connection: connection.sendall(next(answers))) as server:
        text = refusal(server, registries={server.host: HostSettings(plain_http=True)})
    assert "no such image" in text


def test_tls_that_never_ends_its_handshake_is_given_up(monkeypatch):
    monkeypatch.setattr(endpoint, "PROBE_TIMEOUT", 0.5)
    with RawServer(endlessly(b"\x16\x03\x03\x40\x00" + b"\0", pause=SLOW), listens=False) as server:
        refusal(server, retry=HASTY._replace(connect_timeout=0.3))


@pytest.mark.parametrize(
    "script",
    [
        endlessly(b"A: b\r\n", b"HTTP/1.1 200 OK\r\n", pause=SLOW),
        endlessly(b"A: b\r\n", b"HTTP/1.1 200 OK\r\n"),
        endlessly(b"HTTP/1.1 100 Continue\r\n\r\n"),
        endlessly(b"H", pause=SLOW),
    ],
)
def test_a_tunnel_without_end_is_given_up(script):
    with RawServer(script) as proxy:
        began = time.monotonic()
        with pytest.raises(RegistryError, match=r"registry\.example"):
            pull(
                "docker://registry.example/org/image:1",
                environ={"HTTPS_PROXY": f"http://{proxy.host}"},
                retry=HASTY._replace(connect_timeout=0.6),
            )
        assert time.monotonic() - began < SOON


def test_a_proxy_may_answer_late_and_then_serves():
    with FakeRegistry() as registry, Proxy(registry.host) as proxy:
        registry.tag("org/image", "1", registry.blobs.image([b"x" * 1000]))
        registry.on("GET", "/blobs/", lambda request: request.served(before=lambda: time.sleep(0.8)), times=1)
        plain = {"registry.example": HostSettings(plain_http=True)}
        pulled = pull(
            "docker://registry.example/org/image:1", registries=plain, environ={"HTTP_PROXY": proxy.url}, retry=HASTY
        )
        assert pulled.blobs


def test_a_late_first_byte_is_a_try_of_its_own():
    with FakeRegistry() as registry:
        registry.tag("org/image", "1", registry.blobs.image([b"x" * 1000]))
        registry.on("GET", "/blobs/", lambda request: request.served(before=lambda: time.sleep(90)), times=1)
        assert pull(f"docker://{registry.host}/org/image:1", retry=FAST._replace(answer_timeout=0.3)).blobs


def test_the_deadlines_are_those_of_the_limits():
    assert SourceSettings().policy == DEFAULT_RETRY
    limits = DEFAULT_LIMITS._replace(answer_seconds=7, head_seconds=3, head_bytes=99, stall_seconds=10, slowest_rate=5)
    policy = SourceSettings(limits=limits).policy
    assert (policy.answer_timeout, policy.head_time, policy.head_bytes) == (7, 3, 99)
    assert (policy.stall_time, policy.stall_bytes) == (10, 50)
