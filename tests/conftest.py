"""What all tests share: a clean environment, and tools that must not be missing where CI says so."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support import loopback
from support.corpus import CORPUS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell that starts the tests in the background has them ignore interrupts, and so would all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # likewise under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

loopback.watch()

REQUIRED = frozenset({"kernel", "umoci", "squashfs_tools", "registry"})
"""Markers of tests that compare with real tools; CI installs the tools, so a skip there hides a fault."""

HARDLY_SLOW = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # a busy machine is not a fault
settings.register_profile("fixed", derandomize=True, **HARDLY_SLOW)
settings.register_profile("random", **HARDLY_SLOW)
settings.load_profile("fixed")  # a change fails by what it changes, not by the examples of the day

FAILED = pytest.StashKey[bool]()
NAMED = pytest.StashKey[int]()
MOST_NAMED = 5

PEERS_VARIABLES = ("APPTAINER_PULLDIR", "SINGULARITY_PULLDIR", "APPTAINER_PULLFOLDER", "SINGULARITY_PULLFOLDER")


@pytest.fixture(autouse=True)
def _own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """Keep the user's store, keys and modes out of the tests."""
    home = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("SIFMAKE_CACHE", str(home / "cache"))
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(home / "configuration"))
    trees = home / f"trees-{request.module.__name__.rpartition('.')[2]}"  # what one module unpacks, others do not list
    trees.mkdir(exist_ok=True)
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(trees))
    steps = ("SIFMAKE_UPDATE_STEPS", "SIFMAKE_ACCEPT_STEPS")
    modes = ("SIFMAKE_LOCKED", "SIFMAKE_OFFLINE", "SIFMAKE_CHECK", *steps)
    for name in ("CI", *modes, "SIFMAKE_PASSPHRASE", "SIFMAKE_REFUSE_DEVELOPMENT", *PEERS_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    """Give back what commands change that are called as functions here and otherwise end with their process.

    These are the handlers of signals, and whether Python looks for reference cycles.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, handler)
    gc.enable()


@pytest.fixture(autouse=True)
def _loopback_only() -> Iterator[None]:
    """Fail a test that asks for a host elsewhere, even where the code under test takes the refusal well."""
    loopback.reached_beyond()
    yield
    assert not (hosts := loopback.reached_beyond()), f"the test reached beyond loopback: {hosts}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turn a skip for want of a tool into a failure where ``SIFMAKE_REQUIRE_TOOLS`` is set."""
    report = yield
    markers = REQUIRED & {marker.name for marker in item.iter_markers()}
    if "corpus" in {marker.name for marker in item.iter_markers()} and not CORPUS.is_dir():
        markers = set()  # the corpus is not a tool; where it is absent, its tests are skipped
    if report.skipped and not CORPUS.is_dir() and "shared/corpus" in str(report.longrepr):
        markers = set()
    if report.skipped and "SIFMAKE_RELIABILITY=long" in str(report.longrepr):
        markers = set()  # it runs on request
    if "peers" in {marker.name for marker in item.iter_markers()}:
        markers = set()  # Debian has neither of them
    if report.skipped and markers and os.environ.get("SIFMAKE_REQUIRE_TOOLS") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} needs {', '.join(sorted(markers))} and was skipped: {reason}"
    item.stash[FAILED] = report.failed or item.stash.get(FAILED, False)
    report.ends_failed = item.stash[FAILED] and report.when == "teardown"
    return report


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    """Name the first failed tests in pytest's last line, because that may be all one sees of a run elsewhere."""
    named = config.stash.get(NAMED, 0)
    if not getattr(report, "ends_failed", False) or report.failed or named == MOST_NAMED:
        return None
    config.stash[NAMED] = named + 1
    path, _, test = report.nodeid.partition("::")
    return f"{path.rpartition('/')[2]}::{test[:80]}", "", ""


@pytest.fixture(scope="session")
def repository(pytestconfig: pytest.Config) -> Path:
    """The folder of this repository."""
    return pytestconfig.rootpath
