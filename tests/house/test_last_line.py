"""Of a run on another machine one may see the last line only, so it names tests that failed."""

import subprocess
import sys

from support.project import REPOSITORY

TESTS = """
import pytest

@pytest.mark.parametrize("n", range(9))
def test_some(n):
    assert n % 2

@pytest.fixture
def none():
    raise KeyError

def test_other(none):
    pass
"""


def last_line(folder, *words):
    (folder / "test_x.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", "none.ini", *words]
    (folder / "none.ini").write_text("[pytest]\n")
    environ = {"PYTHONPATH": str(REPOSITORY / "tests"), "PYTEST_DEBUG_TEMPROOT": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[-1].strip("= ")


def test_the_last_line_names_the_first_five(tmp_path):
    line = last_line(tmp_path, "-n0")
    assert line.startswith("5 failed, 4 passed, 1 error, 1 test_x.py::test_some[0], ")
    assert line.count("test_x.py") == 5


def test_names_come_from_other_processes_too(tmp_path):
    assert last_line(tmp_path, "-n1", "-k", "other or 8").startswith(
        "1 failed, 1 error, 1 test_x.py::test_some[8], 1 test_x.py::test_other in "
    )


def test_without_a_failure_it_is_pytests(tmp_path):
    assert last_line(tmp_path, "-n0", "-k", "1 or 3").startswith("2 passed, 8 deselected in ")
