"""How many threads a limit leaves room for, and what counts as memory that ran out."""

import errno
import re
import resource
import subprocess
import sys

import pytest

from sifmake import memory
from sifmake.cli import main
from sifmake.threads import Threads

MIB = 1 << 20


def limited(monkeypatch, size):
    limits = {resource.RLIMIT_AS: size, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(memory.resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))


@pytest.mark.parametrize(("size", "threads"), [(100, 0), (256, 0), (400, 1), (1024, 5)])
def test_threads_that_fit(monkeypatch, size, threads):
    limited(monkeypatch, size * MIB)
    assert memory.most_threads() == threads
    assert memory.is_limited()


def test_without_a_limit_there_are_as_many_threads_as_asked_for(monkeypatch):
    limited(monkeypatch, resource.RLIM_INFINITY)
    assert memory.most_threads() is None


def test_a_second_attempt_uses_none_and_there_is_not_a_third(monkeypatch):
    monkeypatch.delenv("SIFMAKE_WITHOUT_THREADS", raising=False)
    environ = memory.environment_without_threads()
    monkeypatch.setenv("SIFMAKE_WITHOUT_THREADS", environ["SIFMAKE_WITHOUT_THREADS"])
    assert memory.most_threads() == 0
    assert memory.environment_without_threads() is None


def test_without_threads_work_is_done_at_once(monkeypatch):
    monkeypatch.setenv("SIFMAKE_WITHOUT_THREADS", "1")
    with Threads(4) as threads:
        done = []
        threads.submit(done.append, 1)
        assert done == [1]


def test_a_future_whose_work_cannot_say_that_it_failed_ends(monkeypatch):
    """``set_exception`` may run out of memory too; whoever waits must not wait for ever."""
    monkeypatch.delenv("SIFMAKE_WITHOUT_THREADS", raising=False)

    def fail():
        raise BaseExceptionGroup("no memory", [KeyboardInterrupt()])

    with Threads(1) as threads, pytest.raises(BaseExceptionGroup):
        threads.submit(fail).result(timeout=60)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (ImportError("x.so: failed to map segment from shared object"), True),
        (ImportError("No module named x"), False),
        (ValueError(), False),
    ],
)
def test_what_counts_as_memory_that_ran_out(error, expected):
    assert memory.is_out_of_memory(error) is expected


@pytest.mark.parametrize(("size", "expected"), [(100 * MIB, True), (resource.RLIM_INFINITY, False)])
def test_an_error_inside_python_counts_where_memory_is_limited(monkeypatch, size, expected):
    limited(monkeypatch, size)
    assert memory.is_out_of_memory(SystemError("error return without exception set")) is expected


def test_memory_is_lacking_when_not_even_that_can_be_looked_up(monkeypatch):
    monkeypatch.setitem(sys.modules, "sifmake.memory", None)
    assert main._lacks_memory(ValueError())


@pytest.mark.parametrize(("words", "status"), [("version", 1), ("pull x.sif oci:x", 1), ("exec x.sif true", 255)])
@pytest.mark.parametrize(("kind", "column"), [("AS", 0), ("DATA", 5)])
def test_no_command_starts_in_less_memory_than_it_needs(words, status, kind, column):
    """Python 3.11 may loop for ever if memory runs out while it imports modules, so it must not come to that."""
    code = (
        "import os, resource, sys; from sifmake.cli.main import main;"
        f"used = int(open('/proc/self/statm').read().split()[{column}]) * os.sysconf('SC_PAGE_SIZE');"
        "most = used + (int(sys.argv.pop(1)) << 20);"
        f"resource.setrlimit(resource.RLIMIT_{kind}, (most, most)); sys.exit(main())"
    )
    for more, says in (
        (7, "not enough memory: the limit is [0-9]+ MiB, and sifmake needs at least [0-9]+ MiB"),
        (3, "not enough memory"),
    ):
        ran = subprocess.run(
            [sys.executable, "-c", code, str(more), *words.split()], capture_output=True, text=True, check=False
        )
        assert ran.returncode == status
        assert re.fullmatch(f"sifmake: error: {says}; raise the limit [^\n]*\n", ran.stderr)
