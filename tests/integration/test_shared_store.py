"""One store, many processes: killed, crowded, full, read-only and oddly named."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from support.images import Blobs, write_layout
from support.layers import file, folder, tar
from support.measured import WITHIN_LIMITS
from support.project import Folder

IMAGES = ("first", "second", "third")
SIFMAKE = [sys.executable, "-m", "sifmake"]


def noise(seed, size):
    return random.Random(seed).randbytes(size)


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """Three images on one base."""
    blobs = Blobs()
    base = tar(folder("data/"), *(file(f"data/{n}", noise(n, 300_000)) for n in range(12)))
    tops = {name: tar(file(f"data/{name}", noise(name, 200_000))) for name in IMAGES}
    place = tmp_path_factory.mktemp("images") / "layout"
    write_layout(place, blobs, {name: blobs.image([base, top], compression="none") for name, top in tops.items()})
    return place


@pytest.fixture(scope="module")
def expected(layout, tmp_path_factory):
    """What undisturbed pulls give, by image."""
    place = tmp_path_factory.mktemp("expected")
    for name in IMAGES:
        result = pull(layout, name, place / f"{name}.sif", place / "store")
        assert result.returncode == 0, result.stderr
    return {name: (place / f"{name}.sif").read_bytes() for name in IMAGES}


def environ(store, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SIFMAKE_", "XDG_"))}
    return {**kept, "SIFMAKE_CACHE": str(store), "LC_ALL": "C.UTF-8", **more}


def start(layout, name, target, store, **more):
    command = [*SIFMAKE, "pull", "--force", str(target), f"oci:{layout}:{name}"]
    return subprocess.Popen(
        command, env=environ(store, **more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def pull(layout, name, target, store, **more):
    process = start(layout, name, target, store, **more)
    _, text = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, "", text)


def cache(store, *words):
    return subprocess.run([*SIFMAKE, "cache", *words], env=environ(store), capture_output=True, text=True, check=False)


def leftovers(*folders):
    return [path for place in folders for path in place.rglob(".tmp-*")]


def test_many_at_once_get_the_right_file_and_share_the_work(layout, expected, tmp_path):
    names = [IMAGES[number % 3] for number in range(8)]
    running = [start(layout, name, tmp_path / f"{n}.sif", tmp_path / "store") for n, name in enumerate(names)]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 8, said
    for number, name in enumerate(names):
        assert (tmp_path / f"{number}.sif").read_bytes() == expected[name]
    made = re.findall(r"^sha256:\w+  done", "".join(said), re.MULTILINE)
    assert len(made) == 4, "four different layers, each packed once"
    assert cache(tmp_path / "store", "verify").returncode == 0
    assert leftovers(tmp_path) == []


def test_one_target_for_many_is_always_a_whole_file(layout, expected, tmp_path):
    target = tmp_path / "one.sif"
    target.write_bytes(expected["first"])
    running = [start(layout, name, target, tmp_path / "store") for name in ("first", "second", "third")]
    while any(process.poll() is None for process in running):
        assert target.read_bytes() in expected.values()
        time.sleep(0.02)
    for process in running:
        _, text = process.communicate()
        assert process.returncode == 0, text


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_runs_leave_the_old_target_and_a_store_that_works(layout, expected, tmp_path, number):
    chance = random.Random(number)
    target = tmp_path / "out.sif"
    target.write_bytes(expected["second"])
    for _ in range(4):
        process = start(layout, "first", target, tmp_path / "store")
        time.sleep(chance.uniform(0.1, 0.7))
        process.send_signal(number)
        process.communicate(timeout=60)
        assert target.read_bytes() in (expected["second"], expected["first"])
    result = pull(layout, "first", target, tmp_path / "store")
    assert result.returncode == 0, result.stderr
    assert target.read_bytes() == expected["first"]
    assert cache(tmp_path / "store", "verify").returncode == 0


def test_what_killed_runs_left_is_swept_after_a_day(layout, tmp_path):
    store = tmp_path / "store"
    assert pull(layout, "first", tmp_path / "a.sif", store).returncode == 0
    left = next((store / "packs").iterdir()) / ".tmp-left-1-abcdef"
    left.write_bytes(b"x")
    for path in (left, store / ".swept"):
        os.utime(path, (1, 1))
    assert pull(layout, "second", tmp_path / "b.sif", store).returncode == 0
    assert not left.exists()


def test_a_site_store_serves_layers_that_are_nowhere_else(layout, expected, tmp_path):
    site = tmp_path / "site"
    assert pull(layout, "first", tmp_path / "a.sif", site).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    own = tmp_path / "own"
    result = pull(layout, "second", tmp_path / "b.sif", own, SIFMAKE_READONLY_CACHE=str(site))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "b.sif").read_bytes() == expected["second"]
    assert len(list((own / "packs").rglob("*-*"))) == 1, "the base comes from the site"
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before


@pytest.mark.parametrize("whose", ["own", "site"])
@pytest.mark.parametrize("place", ["data", "index", "footer"])
def test_a_damaged_pack_is_made_again_in_the_own_store(layout, expected, tmp_path, place, whose):
    site, own = tmp_path / "site", tmp_path / "own"
    assert pull(layout, "first", tmp_path / "a.sif", tmp_path / whose).returncode == 0
    for pack in (tmp_path / whose / "packs").rglob("*-*"):
        data = bytearray(pack.read_bytes())
        data[{"data": 1000, "index": -150, "footer": -5}[place]] ^= 1
        pack.write_bytes(data)
    result = pull(layout, "first", tmp_path / "b.sif", own, SIFMAKE_READONLY_CACHE=str(site))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "b.sif").read_bytes() == expected["first"]


@pytest.mark.parametrize("name", ["with blank", "a@sha256:1", "c:d", "\u00e9\u2603"])
def test_folder_names_do_not_matter(layout, expected, tmp_path, name):
    (tmp_path / name / "real").mkdir(parents=True)
    store = tmp_path / name / "link"
    store.symlink_to("real")
    target = tmp_path / name / "out.sif"
    result = pull(layout, "third", target, store)
    assert result.returncode == 0, result.stderr
    assert target.read_bytes() == expected["third"]


@pytest.mark.parametrize("home", [None, "", "/proc/none"])
def test_without_a_usable_home(layout, tmp_path, home):
    """With HOME unset the password database says where home is; a home that cannot be written is an error."""
    names = environ(tmp_path)
    del names["SIFMAKE_CACHE"]
    names.pop("HOME", None)
    if home is not None:
        names["HOME"] = home
    words = ["cache", "list"] if home != "/proc/none" else ["pull", str(tmp_path / "x.sif"), f"oci:{layout}:first"]
    result = subprocess.run([*SIFMAKE, *words], env=names, capture_output=True, text=True, check=False)
    if home == "/proc/none":
        assert result.returncode == 1
        assert "SIFMAKE_CACHE" in result.stderr
        assert result.stderr.count("sifmake: error: ") == 1
    else:
        assert result.returncode == 0, result.stderr
    assert not (tmp_path / "x.sif").exists()


@contextmanager
def small_disk(place, size):
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
@pytest.mark.parametrize("full", ["store", "target"])
def test_a_full_disk_is_one_line_and_nothing_half_done(layout, expected, tmp_path, full):
    with small_disk(tmp_path / "disk", "1m") as disk:
        store, target = (
            (disk / "store", tmp_path / "x.sif") if full == "store" else (tmp_path / "store", disk / "x.sif")
        )
        result = pull(layout, "first", target, store)
        assert result.returncode == 1
        errors = [line for line in result.stderr.splitlines() if line.startswith("sifmake: error: ")]
        assert len(errors) == 1, result.stderr
        assert f"{disk}/" in errors[0]
        role = "the store" if full == "store" else "the image file"
        assert re.search(rf"No space left on device.* \({role}\); free some space there", errors[0]), errors[0]
        assert "Traceback" not in result.stderr
        assert "bug in sifmake" not in result.stderr
        assert not target.exists()
        assert leftovers(disk, tmp_path) == []
    result = pull(layout, "first", tmp_path / "y.sif", tmp_path / "store")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "y.sif").read_bytes() == expected["first"]


def test_e17_a_limit_on_the_size_of_files_is_one_line_and_nothing_half_done(layout, tmp_path):
    """A quota gives the same kind of error; SIGXFSZ is ignored by Python."""
    command = [*SIFMAKE, "--quiet", "pull", str(tmp_path / "x.sif"), f"oci:{layout}:first"]
    done = subprocess.run(
        command,
        env=environ(tmp_path / "store", **WITHIN_LIMITS),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = rf"sifmake: error: {tmp_path}/store/packs/.*: File too large \(the store\); .*ulimit -f.*\n"
    assert re.fullmatch(said, done.stderr)
    assert not (tmp_path / "x.sif").exists()
    assert leftovers(tmp_path) == []


def test_a_damaged_pack_is_made_again_by_the_stages_too(layout, tmp_path):
    project = Folder(tmp_path / "project", tmp_path / "home", {}, {"one": {"from": f"oci:{layout}:first"}})
    project.write()
    project.build("doit")
    good = project.target("one").read_bytes()
    project.target("one").unlink()
    shutil.rmtree(project.root / "results")
    for pack in (tmp_path / "home" / "store" / "packs").rglob("*-*"):
        data = bytearray(pack.read_bytes())
        data[1000] ^= 1
        pack.write_bytes(data)
    assert "damaged" in project.build("doit")
    assert project.target("one").read_bytes() == good
