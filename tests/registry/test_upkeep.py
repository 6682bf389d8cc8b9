"""Lists of tags page by page, and deleted manifests."""

from __future__ import annotations

import json

import pytest

from sifmake.errors import SifmakeError
from sifmake.reference.reference import Reference
from sifmake.registry.client import RegistryClient
from sifmake.sources.registry_image import client_settings
from support.pulling import settings
from support.registry import Answer, FakeRegistry, error

DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture
def registry():
    with FakeRegistry() as running:
        yield running


def upkeep(registry, limit=10_000):
    client = RegistryClient(Reference(registry.host, "site/packs"), client_settings(settings()))
    return client.upkeep(limit)


def page(registry, query, tags, link=""):
    body = json.dumps({"name": "site/packs", "tags": tags}).encode()
    registry.on("GET", f"/tags/list?{query}", Answer(200, body, {"Link": link} if link else {}))


def test_pages_are_followed_to_the_end(registry):
    page(registry, "n=1000", ["a", "b"], '</v2/site/packs/tags/list?last=b&n=1000>; rel="next"')
    page(registry, "last=b", ["b", "c"], f"<http://{registry.host}/v2/site/packs/tags/list?last=c>; rel=next")
    page(registry, "last=c", None)
    assert upkeep(registry).tags() == ["a", "b", "c"]


def test_no_repository_has_no_tags(registry):
    assert upkeep(registry).tags() == []


@pytest.mark.parametrize(
    ("tags", "link", "words"),
    [
        (["a"], "<http://elsewhere.invalid/v2/site/packs/tags/list>; rel=next", ""),
        (["a"], "</v2/site/secrets/tags/list>; rel=next", "goes on elsewhere"),
        ([], "</v2/site/packs/tags/list?n=1000>; rel=next", "an empty page"),
        (["a"], "</v2/site/packs/tags/list?n=1000>; rel=next", "more than 10000 bytes"),
        (["x" * 20_000], "", "more than 10000 bytes"),
        ("a", "", "not well-formed"),
        ([1], "", "not well-formed"),
    ],
)
def test_lists_that_end_nowhere_or_lead_elsewhere_are_refused(registry, tags, link, words):
    page(registry, "n=1000", tags, link)
    if not words:
        assert upkeep(registry).tags() == ["a"], "the next page is asked of the same host"
        assert registry.count("GET", "/tags/list") == 2
        return
    with pytest.raises(SifmakeError, match=words):
        upkeep(registry).tags()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(202), True),
        (error(404, "MANIFEST_UNKNOWN"), False),
        (error(405, "UNSUPPORTED"), "does not allow to delete manifests"),
        (error(400, "UNSUPPORTED"), "does not allow to delete manifests"),
        (error(403, "DENIED"), "access was refused"),
    ],
)
def test_a_manifest_is_deleted_or_the_reason_is_told(registry, answer, expected):
    registry.on("DELETE", f"/v2/site/packs/manifests/{DIGEST}", answer)
    if isinstance(expected, str):
        with pytest.raises(SifmakeError, match=expected):
            upkeep(registry).delete(DIGEST)
    else:
        assert upkeep(registry).delete(DIGEST) is expected
