"""``sifmake diff`` of two locks of steps: step by step, and file by file where the lists are in the store."""

import json

import pytest

from sifmake.cli.main import main
from sifmake.compare.steps import compare_steps
from sifmake.oci.digest import digest_bytes
from sifmake.project.steps_lock import LockedStep, StepsLock, write_steps_lock
from sifmake.store import Store

LINE = "f 644 0 0 1 %d %s - /%s -\n"


def listed(**files):
    rows = [LINE % (len(text), text.encode().hex() or "-", name) for name, text in sorted(files.items())]
    return "".join(["sifmake files 1\n", *rows]).encode()


def step(number, title, layer=None, files=b"", **more):
    digest = f"sha256:{(layer if layer is not None else number):064}"
    return LockedStep(f"{number:064x}", title, digest, "root", digest_bytes(files) if files else "", **more)


OLD, NEW = listed(a="x", b="y"), listed(a="z", c="y")
LISTS = {digest_bytes(data): data for data in (OLD, NEW)}


def changes(old, new):
    return [(one.step, one.what, one.files) for one in compare_steps(StepsLock(old), StepsLock(new), LISTS.get)]


def test_equal_locks_do_not_differ():
    one = (step(1, "a"), step(2, "b"))
    assert changes(one, one) == []


def test_another_layer_of_the_same_inputs_names_its_files():
    found = changes((step(1, "a", 7, OLD),), (step(1, "a", 8, NEW),))
    assert found == [("a", "other layer", ["/a: content", "/b: removed", "/c: added"])]


def test_a_changed_step_is_compared_with_the_one_of_the_same_first_line():
    found = changes((step(1, "a"), step(2, "b", 7, OLD)), (step(1, "a"), step(3, "b", 8, NEW), step(4, "c")))
    assert found[0] == ("b", "other inputs, other layer", ["/a: content", "/b: removed", "/c: added"])
    assert found[1:] == [("c", "added", [])]


def test_steps_that_are_gone_come_last():
    assert changes((step(1, "a"), step(2, "a"), step(3, "b")), (step(4, "a"),)) == [
        ("a", "other inputs, other layer", []),
        ("a", "removed", []),
        ("b", "removed", []),
    ]


def test_what_has_no_file_is_named_too():
    one, other = step(1, "a", labels=f"sha256:{'1' * 64}"), step(1, "a", snapshot=f"sha256:{'2' * 64}")
    assert changes((one,), (other,)) == [("a", "other variables of the shell, other labels", [])]


@pytest.fixture
def locks(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    store = Store.open(tmp_path / "store")
    many = listed(**{f"f{number:03}": "x" for number in range(30)})
    for data in (OLD, many):
        store.blobs.put(digest_bytes(data), data)
    write_steps_lock(tmp_path / "old.steps.yaml", StepsLock((step(1, "make", 7, OLD),)))
    write_steps_lock(tmp_path / "new.steps.yaml", StepsLock((step(1, "make", 8, many),)))
    return [str(tmp_path / f"{name}.steps.yaml") for name in ("old", "new")]


def test_the_command_names_files_up_to_a_number(locks, capsys):
    assert main(["diff", *locks]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["step make: other layer", "    /a: removed", "    /b: removed"]
    assert lines[-1] == "    and 12 more (all of them with --json)"
    assert main(["diff", "--json", *locks]) == 0
    assert len(json.loads(capsys.readouterr().out)["steps"][0]["files"]) == 32


def test_the_command_compares_like_with_like(locks, capsys, tmp_path):
    (tmp_path / "x.yaml").write_text("")
    assert main(["diff", locks[0], str(tmp_path / "x.yaml")]) == 2
    assert "only with another" in capsys.readouterr().err
    assert main(["diff", locks[0], str(tmp_path / "none.steps.yaml")]) == 1
    assert "there is no such lock of steps" in capsys.readouterr().err
