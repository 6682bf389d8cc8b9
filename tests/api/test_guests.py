"""The library is a good guest: in threads, in an event loop, in a notebook, and in a process with habits of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import sifmake
from support.hello import HELLO
from support.images import Blobs, write_layout
from support.layers import file, tar

if TYPE_CHECKING:
    from support.registry import FakeRegistry


def layout(place: Path, text: str) -> str:
    """Write an image of two layers, one of which all have; return its URI."""
    blobs = Blobs()
    shared = tar(file("usr/share/common", b"the same in all" * 5000))
    image = blobs.image([shared, tar(file("etc/name", text.encode()))])
    return f"oci:{write_layout(place, blobs, {'latest': image})}:latest"


def test_different_images_in_eight_threads(tmp_path: Path) -> None:
    uris = [layout(tmp_path / f"layout{number}", str(number)) for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        files = list(threads.map(lambda pair: sifmake.pull(pair[1], f"{pair[0]}.sif"), enumerate(uris)))
    digests = {sifmake.digest(sif) for sif in files}
    assert len(digests) == 8
    assert [sifmake.pull(uri, "again.sif", force=True).path.read_bytes() for uri in uris] == [
        sif.path.read_bytes() for sif in files
    ]


def test_the_same_image_in_four_threads(registry: FakeRegistry) -> None:
    raw = [tar(file(f"layer{number}", os.urandom(200_000))) for number in range(3)]
    registry.tag("group/app", "1.0", registry.blobs.image(raw))
    uri = f"docker://{registry.host}/group/app:1.0"
    start = threading.Barrier(4)

    def pull(number: int) -> bytes:
        start.wait()
        return sifmake.pull(uri, f"{number}.sif", plain_http=True).path.read_bytes()

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(pull, range(4)))) == 1
    # Four config and four manifest at most, but each layer once: the others wait for its pack.
    assert all(registry.count("GET", digest) <= 1 for digest in layers(registry))


def layers(registry: FakeRegistry) -> list[str]:
    return [digest for digest, data in registry.blobs.data.items() if not data.startswith(b"{")]


def test_a_failure_in_one_thread_is_its_own(tmp_path: Path) -> None:
    good = layout(tmp_path / "layout", "good")

    def pull(number: int) -> str:
        try:
            return str(sifmake.pull(good if number % 2 else f"oci:{tmp_path}/none", f"{number}.sif").path)
        except sifmake.SifmakeError as error:
            return type(error).__name__

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(pull, range(4))) == ["SourceError", "1.sif", "SourceError", "3.sif"]


def test_a_running_event_loop_is_not_an_obstacle() -> None:
    async def work() -> tuple[sifmake.SifFile, sifmake.SifFile]:
        return sifmake.pull(HELLO, "one.sif"), await asyncio.to_thread(sifmake.pull, HELLO, "two.sif")

    one, two = asyncio.run(work())
    assert one.path.read_bytes() == two.path.read_bytes()


def everything(registry: FakeRegistry) -> None:
    """Do nearly all that the library can."""
    sif = sifmake.pull(HELLO, "all.sif", force=True)
    ring = sifmake.Keyring()
    ring.new_pair("mine")
    sifmake.sign(sif, "mine")
    sifmake.verify(sif)
    ring.export_file("mine", "mine.pem")
    assert ring.private_keys()
    assert ring.trusted_keys()
    sifmake.inspect(sif)
    sifmake.digest(sif)
    sifmake.diff(sif, sif)
    sifmake.push(sif, f"oras://{registry.host}/all:1", plain_http=True)
    sifmake.login(registry.host, "me", "secret", plain_http=True, auth_file="auth.json")
    assert [row.username for row in sifmake.logins(auth_file="auth.json")] == ["me"]
    assert sifmake.logout(registry.host, auth_file="auth.json") == ("auth.json",)
    cache = sifmake.Cache()
    cache.export_archive("archive.tar")
    assert cache.verify()
    cache.collect(max_size="1G")
    cache.clean()
    assert cache.import_archive("archive.tar").new
    root = sifmake.start_project("project").root
    (root / "config/images.yaml").write_text(f"images: {{hello: {{from: '{HELLO}'}}}}")
    assert [outcome.state for outcome in sifmake.lock(root=root)] == ["changed"]
    assert [sifmake.run_stage(stage, "hello", root=root) for stage in sifmake.STAGES] == [True] * len(sifmake.STAGES)
    sifmake.seed("prefix", root=root)
    assert not sifmake.rebuild(root).has_failed
    for wrong in (lambda: sifmake.pull("docker://A"), lambda: sifmake.verify("none"), lambda: ring.remove("none")):
        with pytest.raises((sifmake.SifmakeError, OSError)):
            wrong()


def test_it_prints_nothing_asks_nothing_and_leaves_the_process_as_it_is(
    registry: FakeRegistry, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.setattr("getpass.getpass", lambda *_: pytest.fail("a question"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    monkeypatch.setattr("sys.exit", lambda *_: pytest.fail("an exit"))
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    environ, folder, umask = dict(os.environ), Path.cwd(), os.umask(0o077)
    os.umask(umask)
    open_files, running = set(os.listdir("/proc/self/fd")), threading.active_count()
    everything(registry)
    assert capfd.readouterr() == ("", "")
    assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers
    assert (dict(os.environ), Path.cwd()) == (environ, folder)
    assert os.umask(umask) == umask
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    assert len(set(os.listdir("/proc/self/fd")) - open_files) <= 2  # connections that are kept for the next request
    assert threading.active_count() <= running + 4  # the registry's


def test_a_terminal_is_not_asked_for_a_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr("getpass.getpass", lambda *_: pytest.fail("a question"))
    sifmake.Keyring().new_pair("mine", "secret")
    (tmp_path / "sifmake.yaml").write_text("key: mine\n")
    with pytest.raises(sifmake.errors.KeyFileError, match="has a passphrase"):
        sifmake.pull(HELLO, "hello.sif")
    assert not Path("hello.sif").exists()


class Asking(sifmake.Silent):
    """A progress that lets itself be asked."""

    def __init__(self) -> None:
        self.questions: list[str] = []

    def ask(self, question: str) -> str:
        self.questions.append(question)
        return "secret"


def test_a_progress_may_be_asked(tmp_path: Path) -> None:
    pair = sifmake.Keyring().new_pair("mine", "secret")
    (tmp_path / "sifmake.yaml").write_text(f"key: mine\ntrusted-keys: ['{pair.public}']\n")
    progress = Asking()
    sif = sifmake.pull(HELLO, "hello.sif", progress=progress)
    assert progress.questions
    assert sifmake.verify(sif)


class Watching(sifmake.Silent):
    """A progress that keeps its messages."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.said: list[str] = []

    def info(self, message: str) -> None:
        self.said.append(message)

    def warning(self, message: str) -> None:
        self.said.append(f"warning: {message}")

    def task(self, label: str, total: int | None = None) -> sifmake.Task:
        self.said.append(f"{label} of {total}")
        return Counting(self, label)


class Counting:
    def __init__(self, watching: Watching, label: str) -> None:
        self.watching = watching
        self.label = label

    def advance(self, amount: int) -> None:
        self.watching.done[self.label] = self.watching.done.get(self.label, 0) + amount

    def finish(self, note: str = "") -> None:
        self.watching.said.append(f"{self.label} {note}")


def test_progress_is_told_of_every_layer() -> None:
    watching = Watching()
    sifmake.pull(HELLO, "hello.sif", compression="zstd", progress=watching)
    assert sum(watching.done.values()) > 0
    assert any("zstd" in line for line in watching.said)
