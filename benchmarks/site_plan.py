"""What a site of many machines asks of registries in a day: a simulation, printed as in docs/howto/many-machines.md.

``python -m benchmarks.site_plan`` counts requests and bytes of each machine, layer by layer, for images that share
bases. What one image costs is measured; :class:`Costs` says how. A test compares the page with this program.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

IMAGES, MACHINES, REPOSITORIES = 10_000, 100, 1_000
BASES, BASE_LAYERS, OWN_LAYERS = 60, 5, 3
MEDIAN_BASE, MEDIAN_OWN, SPREAD = 20.0, 8.0, 1.0
"""Compressed megabytes of a layer, and the deviation of their logarithm."""
CHANGED_IMAGES, CHANGED_BASES = 100, 1
"""What upstream replaces in a day: the top layer of images, and a base with all that is built on it."""
PULLS_OF_DOCKER_HUB = {"without an account": 100, "with a free account": 200}
"""In six hours; a request for a manifest counts, a HEAD does not."""


class Costs(NamedTuple):
    """What was measured on 2 cores, and what a cluster's network is assumed to give.

    Attributes:
        documents: Requests for an image that is new: index, manifest, config (tests/benchmarks counts them). A machine
            that builds from a lock makes them, too, to prove the lock.
        manifests: How many of these are for manifests, which Docker Hub counts.
        tokens: Requests for the token of a repository, where a registry wants one (tests/benchmarks counts them).
        pack_requests: Requests for a pack from a remote store: manifest and blob (tests/benchmarks counts them).
        update_requests: Requests for a newer SIF file beside an older one (``--only update``).
        document_bytes: Bytes of index, manifest and config of an image.
        pack_size: Bytes of a pack for each byte of its layer (1.40 GB in three layers).
        sif_size: Bytes of a SIF file for each byte of its layers (the same).
        update_size: Bytes of an update for each byte of the layers that changed (``--only update``).
        lock_cpu: Seconds to ask about an unchanged image (``--only many``).
        pack_cpu: Seconds to fetch and pack a megabyte of a layer (``--only first``).
        proof_cpu: Seconds to fetch and prove it as a pack instead (``--only packs``).
        write_cpu: Seconds to write a megabyte of a SIF file from packs (``--only incremental``).
        cores: Of a machine.
        rate: Megabytes each second of a machine's network.
        round_trip: Seconds from a request to its answer.
        at_once: Requests at the same time.
    """

    documents: int = 3
    manifests: int = 2
    tokens: int = 2
    pack_requests: int = 2
    update_requests: int = 9
    document_bytes: int = 8_000
    pack_size: float = 1.16
    sif_size: float = 1.16
    update_size: float = 1.3
    lock_cpu: float = 0.0011
    pack_cpu: float = 0.063
    proof_cpu: float = 0.016
    write_cpu: float = 0.0026
    cores: int = 32
    rate: float = 100.0
    round_trip: float = 0.05
    at_once: int = 16


class Layer(NamedTuple):
    """A layer: a number that no other one has, and its compressed megabytes."""

    number: int
    size: float


@dataclass
class Upstream:
    """All images: each is a base with layers of its own."""

    seed: int = 1
    _made: int = 0
    bases: list[list[Layer]] = field(default_factory=list)
    own: list[list[Layer]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.bases = [[self._layer(MEDIAN_BASE) for _ in range(BASE_LAYERS)] for _ in range(BASES)]
        self.own = [[self._layer(MEDIAN_OWN) for _ in range(OWN_LAYERS)] for _ in range(IMAGES)]

    def layers(self, image: int) -> list[Layer]:
        """Return the layers of an image."""
        return self.bases[image % BASES] + self.own[image]

    def next_day(self) -> list[int]:
        """Replace layers as upstream does in a day; return the images that changed."""
        changed = set(self._random.sample(range(IMAGES), CHANGED_IMAGES))
        for image in changed:
            self.own[image][-1] = self._layer(MEDIAN_OWN)
        for base in range(CHANGED_BASES):
            self.bases[base][-1] = self._layer(MEDIAN_BASE)
            for image in range(base, IMAGES, BASES):
                self.own[image] = [self._layer(MEDIAN_OWN) for _ in range(OWN_LAYERS)]
                changed.add(image)
        return sorted(changed)

    def _layer(self, median: float) -> Layer:
        self._made += 1
        return Layer(self._made, median * self._random.lognormvariate(0.0, SPREAD))


@dataclass
class Asked:
    """What servers were asked for, and what it took.

    Attributes:
        heads: Requests whether a tag has moved.
        manifests: Requests for indexes and manifests of images.
        others: All other requests to the image's registry.
        inside: Requests to a server of the site.
        upstream: Megabytes from the image's registry.
        within: Megabytes from servers of the site.
        cpu: Seconds of processors.
    """

    heads: int = 0
    manifests: int = 0
    others: int = 0
    inside: int = 0
    upstream: float = 0.0
    within: float = 0.0
    cpu: float = 0.0

    @property
    def requests(self) -> int:
        """All requests to the image's registry."""
        return self.heads + self.manifests + self.others

    def seconds(self, costs: Costs) -> float:
        """Return the time for one machine: waiting, transferring and computing one after the other."""
        waiting = (self.requests + self.inside) / costs.at_once * costs.round_trip
        return waiting + (self.upstream + self.within) / costs.rate + self.cpu / costs.cores

    def __add__(self, other: Asked) -> Asked:
        mine, theirs = vars(self), vars(other)
        return Asked(**{name: mine[name] + theirs[name] for name in mine})

    def times(self, count: int) -> Asked:
        """Return what so many machines ask that do the same."""
        return Asked(**{name: value * count for name, value in vars(self).items()})


class Machine:
    """One machine with a store: it locks images and builds what it lacks."""

    def __init__(self, upstream: Upstream, costs: Costs) -> None:
        self._upstream = upstream
        self._costs = costs
        self._packs: set[int] = set()

    def lock(self, fresh: list[int], *, first: bool = False) -> Asked:
        """Return what it takes to ask for all tags, and for the documents of images that are new."""
        costs = self._costs
        asked = Asked(
            heads=0 if first else IMAGES,
            others=costs.tokens * REPOSITORIES,
            cpu=costs.lock_cpu * IMAGES,
        )
        return asked + self.prove(fresh, tokens=False)

    def prove(self, fresh: list[int], *, tokens: bool = True) -> Asked:
        """Return what it takes to get the documents of images that are new."""
        costs = self._costs
        repositories = len({image % REPOSITORIES for image in fresh}) if tokens else 0
        return Asked(
            manifests=costs.manifests * len(fresh),
            others=(costs.documents - costs.manifests) * len(fresh) + costs.tokens * repositories,
            upstream=costs.document_bytes * len(fresh) / 1e6,
        )

    def build(self, images: list[int], *, remote: bool = False) -> Asked:
        """Return what it takes to build images: layers that the store lacks, from upstream or as remote packs."""
        costs, asked = self._costs, Asked()
        for image in images:
            for number, size in self._upstream.layers(image):
                if number not in self._packs:
                    self._packs.add(number)
                    asked += self._fetch(size, remote=remote)
            asked.cpu += costs.write_cpu * costs.sif_size * self.size_of(image)
        return asked

    def size_of(self, image: int) -> float:
        """Return the compressed megabytes of an image."""
        return sum(size for _, size in self._upstream.layers(image))

    def _fetch(self, size: float, *, remote: bool) -> Asked:
        costs = self._costs
        if remote:
            return Asked(inside=costs.pack_requests, within=costs.pack_size * size, cpu=costs.proof_cpu * size)
        return Asked(others=1, upstream=size, cpu=costs.pack_cpu * size)


class Day(NamedTuple):
    """What single machines do in a day.

    Attributes:
        lock: One that asks for all tags.
        prove: One that gets the documents of new images to prove their locks.
        build: One that builds from upstream.
        packs: One that takes packs of another machine.
        files: One that takes finished SIF files of another machine.
    """

    lock: Asked
    prove: Asked
    build: Asked
    packs: Asked
    files: Asked


_WAYS = {
    "every machine asks and builds": lambda day: day.lock + day.build,
    "one asks, all build from its locks": lambda day: day.prove + day.build,
    "the same, through a mirror of the site": lambda day: _moved_inside(day.prove + day.build),
    "the same, with the packs of the first": lambda day: _moved_inside(day.prove) + day.packs,
    "one builds, the others take its SIF files": lambda day: day.files,
    "one builds into a shared folder": lambda _: Asked(),
}
"""What each machine does besides the one that asks and builds first."""


def simulate_days(costs: Costs) -> list[Day]:
    """Return the first day, on which all stores are empty, and another one."""
    upstream = Upstream()
    builder, user = Machine(upstream, costs), Machine(upstream, costs)
    days = []
    for first in (True, False):
        old = {image: {layer.number for layer in upstream.layers(image)} for image in range(IMAGES)}
        images = list(range(IMAGES)) if first else upstream.next_day()
        lock, prove = builder.lock(images, first=first), builder.prove(images)
        files = _files(upstream, costs, images, {} if first else old)
        days.append(Day(lock, prove, builder.build(images), user.build(images, remote=True), files))
    return days


def _files(upstream: Upstream, costs: Costs, images: list[int], old: dict[int, set[int]]) -> Asked:
    """Return what it takes to fetch SIF files; of those that are there in an older version, only what changed."""
    asked = Asked(inside=len(images) * (costs.update_requests if old else costs.documents))
    for image in images:
        known = old.get(image, set())
        moved = sum(layer.size for layer in upstream.layers(image) if layer.number not in known)
        asked.within += (costs.update_size if known else costs.sif_size) * moved
        asked.cpu += costs.write_cpu * costs.sif_size * sum(layer.size for layer in upstream.layers(image))
    return asked


def _moved_inside(asked: Asked) -> Asked:
    return Asked(inside=asked.requests, within=asked.upstream, cpu=asked.cpu)


def table(day: Day, costs: Costs) -> str:
    """Return the table of one day, in Markdown."""
    head = "| | requests | manifests | downloaded | requests inside | sent inside | slowest machine | processors |"
    lines = [head, "|---|" + "---:|" * 7]
    for name, way in _WAYS.items():
        first, other = day.lock + day.build, way(day)
        total = first + other.times(MACHINES - 1)
        slowest = max(first.seconds(costs), other.seconds(costs))
        cells = [
            f"{total.requests:,}", f"{total.manifests:,}", _bytes(total.upstream), f"{total.inside:,}",
            _bytes(total.within), _time(slowest), _time(total.cpu),
        ]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def quotas(day: Day) -> str:
    """Return how long Docker Hub's limits make the first day of one machine, as a list in Markdown."""
    return "\n".join(
        f"- {who}, {pulls} manifests in six hours: {day.lock.manifests / pulls / 4:,.0f} days"
        for who, pulls in PULLS_OF_DOCKER_HUB.items()
    )


def _bytes(megabytes: float) -> str:
    return f"{megabytes / 1e6:,.1f} TB" if megabytes >= 1e6 else f"{megabytes / 1e3:,.1f} GB"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"


def main() -> None:
    """Print the tables."""
    costs = Costs()
    first, later = simulate_days(costs)
    print(f"{table(first, costs)}\n\n{quotas(first)}\n\n{table(later, costs)}")


if __name__ == "__main__":
    main()
