"""The simulation of a site: what it takes one image to cost is what sifmake asks, and more sharing asks for less."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import sifmake
from support.layers import file, tar
from support.project import Folder
from support.registry import FakeRegistry, TokenAuth, Uploads

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import site_plan  # noqa: E402
from benchmarks.site_plan import Costs, Machine, Upstream  # noqa: E402


@pytest.fixture(scope="module")
def days():
    return site_plan.simulate_days(Costs())


def kinds(registry):
    """Return how many requests there were since the last call; a refused one belongs to the token that follows."""
    asked, refused = [], []
    for request in registry.log:
        (asked if "authorization" in request.headers else refused).append(request)
    registry.log.clear()
    return {
        "heads": sum(request.method == "HEAD" for request in asked),
        "manifests": sum(request.method == "GET" and "/manifests/" in request.path for request in asked),
        "blobs": sum("/blobs/" in request.path for request in asked),
        "tokens": len(refused),
    }


def test_one_image_costs_what_the_simulation_says(tmp_path, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    costs = Costs()
    with FakeRegistry() as upstream, FakeRegistry() as packs:
        Uploads(packs)
        image = upstream.blobs.image([tar(file("a", b"a" * 5000)), tar(file("b", b"b"))])
        upstream.tag("org/app", "1", upstream.blobs.index([image]))
        TokenAuth(upstream)
        plain = {registry.host: {"plain-http": True} for registry in (upstream, packs)}
        store = {"remote": [{"uri": f"oci://{packs.host}/site/packs", "push": True}]}
        first = Folder(tmp_path / "first", tmp_path, {"registries": plain, "store": store})
        first.images["app"] = {"from": f"docker://{upstream.host}/org/app:1"}
        first.write()
        monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store-first"))
        sifmake.lock(root=first.root)
        documents = {"manifests": costs.manifests, "blobs": costs.documents - costs.manifests}
        assert kinds(upstream) == {"heads": 0, **documents, "tokens": costs.tokens}
        sifmake.lock(root=first.root)
        assert kinds(upstream) == {"heads": 1, "manifests": 0, "blobs": 0, "tokens": costs.tokens}
        sifmake.run_stage("pull", "app", root=first.root)
        assert kinds(upstream)["blobs"] == 2, "each layer once"
        packs.log.clear()
        shutil.copytree(first.root / "config", tmp_path / "second" / "config")
        shutil.copy(first.root / "sifmake.yaml", tmp_path / "second")
        monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store-second"))
        sifmake.run_stage("pull", "app", root=tmp_path / "second")
        assert kinds(upstream) == {"heads": 0, **documents, "tokens": costs.tokens}
        assert packs.count("GET") == 2 * costs.pack_requests


def test_a_layer_is_fetched_once_by_a_machine_and_again_if_it_changed():
    upstream, costs = Upstream(), Costs()
    machine = Machine(upstream, costs)
    layers = site_plan.BASE_LAYERS + site_plan.OWN_LAYERS
    assert machine.build([0]).others == layers
    assert machine.build([0]).others == 0
    assert machine.build([site_plan.BASES]).others == site_plan.OWN_LAYERS, "it has the same base"
    assert 0 in upstream.next_day()
    assert machine.build([0]).others == site_plan.CHANGED_BASES + site_plan.OWN_LAYERS


def test_more_sharing_asks_less_of_the_registry(days):
    for day in days:
        assert day.prove.requests <= day.lock.requests
        assert day.packs.upstream == day.files.upstream == 0
        assert day.packs.cpu < day.build.cpu
    first, later = days
    assert later.build.upstream < first.build.upstream / 20
    assert later.lock.manifests < first.lock.manifests / 20


def test_the_page_has_what_the_program_prints(days):
    page = (REPOSITORY / "docs" / "howto" / "many-machines.md").read_text()
    for part in (site_plan.table(days[0], Costs()), site_plan.quotas(days[0]), site_plan.table(days[1], Costs())):
        assert f"\n\n{part}\n\n" in page


def test_the_page_says_what_is_assumed(days):
    page = " ".join((REPOSITORY / "docs" / "howto" / "many-machines.md").read_text().split())
    costs = Costs()
    assert f"{site_plan.MACHINES} machines that all keep the same {site_plan.IMAGES:,} images" in page
    assert f"of {site_plan.CHANGED_IMAGES} images, and one base image with the" in page
    assert f"one of {site_plan.BASES} bases of {site_plan.BASE_LAYERS} layers, with {site_plan.OWN_LAYERS}" in page
    assert f"{site_plan.MEDIAN_BASE:.0f} MB, of an image {site_plan.MEDIAN_OWN:.0f} MB" in page
    assert f"{costs.cores} cores, gets {costs.rate:.0f} MB/s" in page
    assert f"{costs.lock_cpu * 1e3} ms of processor time to ask" in page
    assert f"{costs.pack_cpu * 1e3:.0f} ms to fetch and pack" in page
    assert f"{costs.proof_cpu * 1e3:.0f} ms to fetch and prove" in page
    assert f"{costs.write_cpu * 1e3} ms to write" in page
    assert f"A pack has {costs.pack_size} times" in page
