"""Every call of the operating system fails once, at every place of the source, with every error of a list.

Whatever fails: a target has its old bytes or the right new ones, an error is raised unless the new ones are there, it
names a file that the user knows and what that is, nothing is left behind, and the next run is right. Places that no
scenario reaches fail the run: then a scenario is missing. CI fails each place with one error;
``SIFMAKE_RELIABILITY=long`` with all, at the first call and the last.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import threading
import zlib
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

import pytest

import sifmake
from sifmake.builder.pull import PullRequest, pull
from sifmake.builder.run_cache import ImageToRun, find_or_build
from sifmake.cli.main import main
from sifmake.drivers.new_project import start_project
from sifmake.drivers.rebuild import rebuild
from sifmake.drivers.seeding import seed
from sifmake.errors import SifmakeError, describe_os_error
from sifmake.progress import Silent
from sifmake.project.configuration import Configuration
from sifmake.project.project import Project
from sifmake.project.stage_table import STAGE_NAMES
from sifmake.remote.settings import RemoteSettings
from sifmake.sif import DataType, open_sif
from sifmake.signing import sign_file
from sifmake.signing.keystore import development_key
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from sifmake.temporaries import MARK, TEMP_PREFIX, temporary_name
from support.faults import layers, sync_often, write_image
from support.images import Blobs, write_docker_archive
from support.injector import SOURCE, Fault, Injector, Site, sites_in_source
from support.packs import drop_residue
from support.signing import pem_pair
from support.signing import write_sif as write_small_sif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LONG = os.environ.get("SIFMAKE_RELIABILITY") == "long"
SIZE = 600_000
PROFILES = SOURCE.parent.parent / "profiles"
WRITING = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG]
NAMING = [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT]
CODES = {
    "fsync": WRITING,
    "fdatasync": WRITING,
    "write": WRITING,
    "pwrite": WRITING,
    "ftruncate": WRITING,
    "copy_file_range": [*WRITING, errno.EXDEV, errno.EBADF, errno.ETXTBSY, errno.EINVAL, errno.EOPNOTSUPP],
    "rename": [*NAMING, errno.EXDEV],
    "open": [*NAMING, errno.EMFILE, errno.ENFILE, errno.ENOMEM],
    "mkdir": NAMING,
    "link": [*NAMING, errno.EPERM, errno.EXDEV, errno.EMLINK],
    "unlink": [errno.EIO, errno.EACCES, errno.EROFS],
    "rmdir": [errno.EIO, errno.EACCES],
}
SCOPE = (
    "sifmake.files",
    "sifmake.temporaries",
    "sifmake.ranges",
    "sifmake.layers",
    "sifmake.assembly",
    "sifmake.store",
    "sifmake.sif",
    "sifmake.sources.sif_file",
    "sifmake.builder",
    "sifmake.drivers.doit_tasks",
    "sifmake.drivers.new_project",
    "sifmake.drivers.rebuild",
    "sifmake.drivers.seeding",
    "sifmake.project",
    "sifmake.remote",
    "sifmake.sources.layout_writer",
    "sifmake.stages",
)


class Quiet(SimpleHTTPRequestHandler):
    """A web server that says nothing."""

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class Scenario(NamedTuple):
    """Something that a user does.

    Attributes:
        run: Does it in a folder.
        targets: Files that it makes, relative to the folder.
        reads: Functions that read a file which the user named, so that its path, perhaps a relative one, says enough.
    """

    run: Callable[[Path], object]
    targets: tuple[str, ...] = ("images/a.sif",)
    reads: tuple[str, ...] = ()


class Sources:
    """What scenarios start from, made once."""

    def __init__(self, folder: Path) -> None:
        self.image = write_image(folder / "image", SIZE)
        blobs = Blobs()
        archive = folder / "image.tar.gz"
        write_docker_archive(archive, blobs, {"a:b": blobs.image(layers(SIZE))}, compression="gzip")
        self.archive = f"docker-archive:{archive}"
        self.keys = pem_pair(folder)
        self.small = write_small_sif(folder / "small.sif")
        self.finished = folder / "finished.sif"
        self.store = folder / "store"
        pull(PullRequest(self.image, self.finished), Silent(), Configuration(store=self.store))
        self.manifest = json.loads((folder / "image" / "index.json").read_bytes())["manifests"][0]["digest"]
        # What is loaded on first use is loaded now: reading a module is not a call that fails.
        sifmake.build(self.finished, folder / "box", sandbox=True, root=folder)

    def pull(self, folder: Path) -> None:
        pull(PullRequest(self.image, folder / "images" / "a.sif"), Silent(), Configuration(store=folder / "store"))

    def pull_signed(self, folder: Path) -> None:
        options = Configuration(store=folder / "store", key=str(self.keys.secret), trusted_keys=(self.keys.public,))
        pull(PullRequest(self.image, folder / "images" / "a.sif"), Silent(), options)

    def pull_archive(self, folder: Path) -> None:
        pull(PullRequest(self.archive, folder / "images" / "a.sif"), Silent(), Configuration(store=folder / "store"))

    def pull_again_as_zstd(self, folder: Path) -> None:
        self.pull(folder)
        request = PullRequest(self.image, folder / "images" / "b.sif", compression="zstd")
        pull(request, Silent(), Configuration(store=folder / "store"))

    def fetch(self, folder: Path) -> None:
        request = PullRequest(f"file:{self.finished}", folder / "images" / "a.sif")
        pull(request, Silent(), Configuration(store=folder / "store"))

    def build(self, folder: Path, uri: str = "", *, key: bool = False, stages: Sequence[str] = STAGE_NAMES) -> None:
        config = folder / "config"
        config.mkdir(exist_ok=True)
        options: dict[str, object] = {"store": {"path": str(folder / "store")}}
        if key:
            options |= {"key": str(self.keys.secret), "trusted-keys": [str(self.keys.public)]}
        (config / "config.yaml").write_text(json.dumps(options))
        (config / "images.yaml").write_text(json.dumps({"images": {"a": {"from": uri or self.image}}}))
        LockRefresher(Project(folder)).refresh("a")
        for some in (stages[:4], stages[4:]):
            with open_runner(Project(folder)) as runner:
                for stage in some:
                    runner.run(stage, "a")

    def build_signed(self, folder: Path) -> None:
        """Build, then sign again what is finished, as after a change of the trusted keys."""
        self.build(folder, key=True)
        with open_runner(Project(folder)) as runner:
            runner.run("sign", "a", force=True)
            runner.run("publish", "a")

    def build_definition(self, folder: Path) -> None:
        """Build a definition on a finished file, then a sandbox and a file of the sandbox."""
        os.environ["SIFMAKE_CACHE"] = str(folder / "store")
        definition = folder / "tool.def"
        definition.write_text(f"Bootstrap: localimage\nFrom: {self.finished}\n%files\n {self.small} /d/tool\n")
        built = sifmake.build(definition, folder / "images" / "a.sif", force=True, root=folder)
        sifmake.build(built, folder / "box", sandbox=True, force=True, root=folder)

    def build_finished(self, folder: Path) -> None:
        self.build(folder, f"file:{self.finished}")

    def run_it(self) -> Path:
        found = find_or_build(ImageToRun(self.image), Silent())
        found.close()
        return found.path

    def run_from_the_store(self, folder: Path) -> None:
        """As ``exec URI`` does, with a time stamp that use renews."""
        path = self.run_it()
        os.utime(path, (1, 1))
        self.run_it()
        (folder / "images" / "a.sif").write_bytes(path.read_bytes())

    def care_for_the_store(self, folder: Path) -> None:
        self.pull(folder)
        self.run_it()
        archive, other = folder / "images" / "store.tar", folder / "other"
        (folder / "linked").mkdir(exist_ok=True)
        if not other.is_symlink():
            other.symlink_to("linked")
        for store, *words in (
            ("store", "verify"),
            ("store", "gc", "--max-age", "0"),
            ("store", "export", "--force", str(archive)),
            ("other", "import", str(archive)),
            ("other", "gc", "--max-age", "0"),
            ("other", "clean", "--force"),
        ):
            os.environ["SIFMAKE_CACHE"] = str(folder / store)
            if status := main(["--debug", "-q", "cache", "--root", str(folder), *words]):
                raise SifmakeError(f"cache {words[0]} ends with {status}")
        assert other.is_dir()

    def export(self, folder: Path) -> None:
        """Export an image, then once more with packs that cannot give its layers back."""
        shutil.rmtree(folder / "store" / "packs", ignore_errors=True)
        sifmake.export(self.image, f"oci:{folder}/out:a", root=folder)
        for path in packs_in(folder / "store"):
            drop_residue(path)
        sifmake.export(self.image, f"oci:{folder}/out/again", root=folder)

    def pull_with_packs_of_others(self, folder: Path) -> None:
        """Pull where everybody can write to the packs, so that proven copies of them are used."""
        self.copy_store("packs", folder)
        for path in packs_in(folder / "store"):
            path.chmod(0o666)
        (folder / "store").chmod(0o755)
        self.pull(folder)

    def pull_with_packs_from_the_web(self, folder: Path) -> None:
        """Fetch packs before a build, as ``cache pull`` does, and one in the build."""
        self.copy_store("blobs", folder)
        with self.served("store") as uri:
            for _ in range(2):
                sifmake.RemoteStore(folder, uri).pull(self.manifest)
            packs_in(folder / "store")[0].unlink()
            options = Configuration(store=folder / "store", remotes=(RemoteSettings(uri),))
            pull(PullRequest(self.image, folder / "images" / "a.sif"), Silent(), options)

    def copy_store(self, kind: str, folder: Path) -> None:
        """Copy files of one kind into the store of a folder."""
        shutil.copytree(self.store / kind, folder / "store" / kind, dirs_exist_ok=True)

    def make_key(self, folder: Path) -> None:
        development_key(folder / "config")
        (folder / "images" / "a.sif").write_bytes(self.finished.read_bytes())

    def build_image_of_definition(self, folder: Path) -> None:
        """Build an image of a project from a folder and copied files."""
        (folder / "data").write_bytes(b"data" * 1000)
        (folder / "tree" / "etc").mkdir(parents=True, exist_ok=True)
        (folder / "tree" / "etc" / "motd").write_text("hi\n")
        (folder / "tool.def").write_text("Bootstrap: localimage\nFrom: ./tree\n\n%files\n    data /data\n")
        self.build(folder, "./tool.def")

    def build_on_an_image(self, folder: Path) -> None:
        """Build an image of a project on an image with layers."""
        if not (folder / "image").exists():
            shutil.copytree(self.image.removeprefix("oci:").partition(":")[0], folder / "image")
        (folder / "tool.def").write_text(f"Bootstrap: oci\nFrom: image:{self.image.rpartition(':')[2]}\n")
        self.build(folder, "./tool.def")

    def mend(self, folder: Path) -> None:
        """Build where everything was damaged after a build, with what killed runs left in the store."""
        self.build(folder, stages=STAGE_NAMES[: STAGE_NAMES.index("sign") + 1])
        for path in (*(folder / "results").rglob("signed.sif"), *(folder / "store" / "packs").rglob("*-gzip*")):
            data = bytearray(path.read_bytes())
            data[1 if "packs" in path.parts else len(data) // 3] ^= 1  # not in the residue, which builds do not read
            path.write_bytes(data)
        stale = folder / "store" / "tmp" / "old" / "older"
        stale.mkdir(parents=True, exist_ok=True)
        (stale / "file").touch()
        for there in (folder / "store" / "tmp", folder / "results" / "a"):
            killed = there / temporary_name("killed")
            killed.mkdir(0o700)
            (killed / MARK).touch()
        for path in (stale / "file", stale, stale.parent, folder / "store" / ".swept"):
            os.utime(path, (1, 1))
        self.build(folder)

    def run_a_damaged_one(self, folder: Path) -> None:
        path = self.run_it()
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        self.run_from_the_store(folder)

    def build_from_the_web(self, folder: Path) -> None:
        with self.served() as uri:
            self.build(folder, uri)

    def pull_from_the_web(self, folder: Path) -> None:
        with self.served() as uri:
            pull(PullRequest(uri, folder / "images" / "a.sif"), Silent(), Configuration(store=folder / "store"))

    @contextmanager
    def served(self, name: str = "finished.sif") -> Iterator[str]:
        """Serve the finished file and its store for a while; give the address of one of them."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(self.finished.parent)))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{name}"
        finally:
            server.shutdown()
            server.server_close()

    def start_and_rebuild(self, folder: Path) -> None:
        start_project(folder / "new")
        self.build(folder, stages=())
        result = rebuild(Project(folder), 1)
        if result is None or result.has_failed:
            raise SifmakeError("" if result is None else "; ".join(image.error for image in result.images))

    def sign(self, folder: Path) -> None:
        target = folder / "images" / "a.sif"
        shutil.copyfile(self.small, folder / "images" / "source.sif")
        sign_file(folder / "images" / "source.sif", target, self.keys.signer, {})

    def seed(self, folder: Path) -> None:
        self.build(folder)
        for path, _ in seed(Project(folder), "a", folder / "seeded"):
            path.read_bytes()


SCENARIOS = {
    "pull": Scenario(Sources.pull),
    "pull, signed": Scenario(Sources.pull_signed),
    "pull of an archive that is read once": Scenario(Sources.pull_archive),
    "pull with another codec": Scenario(Sources.pull_again_as_zstd, ("images/b.sif",)),
    "fetch": Scenario(Sources.fetch),
    "build": Scenario(Sources.build),
    "build, signed": Scenario(Sources.build_signed),
    "build of a definition": Scenario(
        Sources.build_definition, reads=("open_local_tree", "read_regular", "verify_file")
    ),
    "build of an image of a definition": Scenario(
        Sources.build_image_of_definition, reads=("HostFolder._open", "HostFolder._reopened", "open_local_tree")
    ),
    "build of an image on an image": Scenario(Sources.build_on_an_image),
    "build of a finished file": Scenario(Sources.build_finished),
    "exec URI": Scenario(Sources.run_from_the_store),
    "exec URI of a damaged file": Scenario(Sources.run_a_damaged_one),
    "build after damage": Scenario(Sources.mend),
    "build from the web": Scenario(Sources.build_from_the_web),
    "pull from the web": Scenario(Sources.pull_from_the_web),
    "new project and rebuild": Scenario(
        Sources.start_and_rebuild, ("images/a.sif", "new/sifmake.yaml", "new/dodo.py", "new/Snakefile")
    ),
    "cache": Scenario(Sources.care_for_the_store),
    "export": Scenario(Sources.export, ("out/index.json", "out/again/index.json")),
    "pull with packs of others": Scenario(Sources.pull_with_packs_of_others),
    "pull with packs from the web": Scenario(Sources.pull_with_packs_from_the_web),
    "sign": Scenario(Sources.sign),
    "key": Scenario(Sources.make_key),
    "seed": Scenario(Sources.seed, reads=("sha256_of",)),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return Sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture
def room(tmp_path, monkeypatch):
    """Return a function that runs a scenario in a new folder with some faults."""
    sync_often(monkeypatch, 100_000)
    monkeypatch.setattr("sifmake.assembly.patches.LEAST", 1)
    numbers = itertools.count()

    def make() -> Path:
        folder = tmp_path / str(next(numbers))
        (folder / "images").mkdir(parents=True)
        monkeypatch.setenv("SIFMAKE_CACHE", str(folder / "store"))
        monkeypatch.chdir(folder)
        return folder

    return make


def attempt(scenario: Scenario, sources: Sources, folder: Path, injector: Injector) -> BaseException | None:
    """Run a scenario with an injector; return the error that it ended with."""
    with injector.installed():
        try:
            scenario.run(sources, folder)
        except (OSError, SifmakeError) as error:
            return error
    return None


def state(folder: Path, scenario: Scenario) -> dict[str, object]:
    """Return what the targets hold; signatures may differ from one time to the next."""
    found: dict[str, object] = {}
    for name in scenario.targets:
        path = folder / name
        try:
            with open_sif(path) as sif:
                objects = [item for item in sif.objects if item.data_type != DataType.SIGNATURE]
                found[name] = {item.id: zlib.crc32(sif.read(item, 1 << 30)) for item in objects}
                found[name]["signed"] = len(sif.objects) > len(objects)
        except FileNotFoundError:
            found[name] = None
        except SifmakeError:
            found[name] = path.read_bytes()
    return found


def packs_in(store: Path) -> list[Path]:
    """Return the packs of a store."""
    return sorted(path for path in (store / "packs").glob("*/*") if not path.name.startswith("."))


def left_behind(folder: Path) -> list[str]:
    """Return temporary files; a folder that is listed stands for what is in it."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.name.startswith((TEMP_PREFIX, "tmp")) and path.name != "tmp"
    )


def each_code(reached: dict[Site, int]) -> list[Fault]:
    """Return every error at the first call and the last of each place."""
    return [
        Fault(site, code, nth)
        for site, count in sorted(reached.items())
        for code in CODES[site.call]
        for nth in sorted({0, count - 1})
    ]


def one_code(reached: dict[Site, int]) -> list[Fault]:
    """Return one error for each place, another for the next."""
    sites = enumerate(sorted(reached))
    return [Fault(site, CODES[site.call][number % len(CODES[site.call])]) for number, site in sites]


ROLES = {
    "store": "the store",
    "other": "the store",
    "results": "the folder for results",
    "images/a.sif": "the image file",
    "images/b.sif": "the image file",
    "seeded": "the folder for seeded files",
    "out": "the layout",
    "config/locks": "the lock",
}
"""What files are to the user, by where they are: errors of the operating system name path and role."""
WITHOUT_ROLE = frozenset({"sign", "key"})
"""Scenarios of functions that get the path of one file and write it."""


def unclear(error: BaseException | None, folder: Path, sources: Sources, *, with_role: bool = True) -> list[str]:
    """Return what is wrong with the words of an error: no path, a name that was made up, no role."""
    if error is None:
        return []
    text = describe_os_error(error) if isinstance(error, OSError) else str(error)
    if TEMP_PREFIX in text or "/proc/" in text:
        return ["names what nobody knows"]
    known = [str(folder), str(sources.finished.parent), str(SOURCE), str(PROFILES)]
    if not any(path in text for path in known):
        return ["names no file"]
    inside = text.partition(f"{folder}/")[2]
    role = next((role for head, role in ROLES.items() if inside.startswith(head)), "")
    told = role in text or not isinstance(error, OSError)
    return [] if told or not with_role else [f"does not say that it is of {role}"]


def check(
    scenario: Scenario, sources: Sources, folder: Path, faults: tuple[Fault, ...], good: dict[str, object]
) -> tuple[Injector, list[str]]:
    """Run a scenario with faults, then without; return the injector, and what was not right."""
    old = dict.fromkeys(scenario.targets)
    injector = Injector(*faults)
    error = attempt(scenario, sources, folder, injector)
    is_read = any(fault.site.function in scenario.reads for fault in faults)
    with_role = scenario not in (SCENARIOS[name] for name in WITHOUT_ROLE)
    bad = unclear(error, folder, sources, with_role=with_role)
    if is_read and TEMP_PREFIX not in str(error):
        bad = []
    for name, content in state(folder, scenario).items():
        if content != good[name] and not (error is not None and content == old[name]):
            bad.append(f"{name} is wrong")
    # What cannot be removed stays; removing a tree opens folders, too, and is not a reason for an error.
    removing = any(fault.site.call in ("unlink", "rmdir") for fault in faults) or error is None
    # What a scenario puts there as if a killed run had left it goes with a run that gets that far.
    if not removing and (left := [path for path in left_behind(folder) if f"{TEMP_PREFIX}killed-" not in path]):
        bad.append(f"leaves {left}")
    if again := attempt(scenario, sources, folder, Injector()):
        bad.append(f"the next run is stuck: {again}")
    elif state(folder, scenario) != good:
        bad.append("the next run is wrong")
    return injector, [f"{text} ({error!r}), when fails: {faults}" for text in bad]


class Trial:
    """Runs scenarios with faults.

    Attributes:
        reached: All sites that were reached; those where a fault was planned, only if one came true.
        passed: See :attr:`Injector.passed`.
        bad: What was not right.
        missed: Sites that a scenario reached, but not when a fault was planned there.
    """

    def __init__(self, sources: Sources, room: Callable[[], Path], faults_of: Callable[[dict[Site, int]], list[Fault]]):
        self.reached: set[Site] = set()
        self.passed: set[Site] = set()
        self.bad: list[str] = []
        self.missed: set[Site] = set()
        self._sources = sources
        self._room = room
        self._faults_of = faults_of

    def run(self, scenario: Scenario) -> None:
        """Run a scenario without faults, then fail all that no earlier scenario reached."""
        calm = Injector()
        folder = self._room()
        assert attempt(scenario, self._sources, folder, calm) is None
        good = state(folder, scenario)
        assert None not in good.values()
        assert not left_behind(folder)
        mine = {site: count for site, count in calm.reached.items() if site not in self.reached}
        true: set[Site] = set()
        self._take(calm)
        for fault in self._faults_of(mine):
            injector = self._check(scenario, (fault,), good)
            # Schemas are read once in a process.
            if fault in injector.failed or fault.site.function == "YamlFile.validate":
                true.add(fault.site)
            # What only errors lead to fails as well, after the error that leads there.
            behind = {site: 1 for site in injector.reached if site not in self.reached}
            self._take(injector)
            for other in self._faults_of(behind):
                self._check(scenario, (fault, other), good)
        # What threads meet by chance (one sweeps, another has a temporary folder) is left to another scenario.
        missed = mine.keys() - true
        self.missed |= missed
        self.reached -= missed

    def _check(self, scenario: Scenario, faults: tuple[Fault, ...], good: dict[str, object]) -> Injector:
        folder = self._room()
        injector, bad = check(scenario, self._sources, folder, faults, good)
        self.bad += bad
        shutil.rmtree(folder)  # a thousand of them would fill a file system in memory
        return injector

    def _take(self, injector: Injector) -> None:
        self.reached.update(injector.reached)
        self.passed.update(injector.passed)


NOT_HERE = {
    ("sifmake.builder.cache_exchange", "proves_itself"): "needs another user; tests/layers/test_pack_adoption.py",
    ("sifmake.layers.pack_adoption", "adopt_pack"): "copies by copy_some, which the packs of others reach",
    ("sifmake.builder.image_build", "_Maker._find_foreign"): "opens by PackFinder.open, which is reached",
    ("sifmake.builder.built_export", "OpenedBuild"): "opens bytes in memory; tests/api/test_exported_builds.py",
    ("sifmake.remote.pushing", "push_packs"): "opens by KeyedFiles.open; tests/remote/test_remote_packs.py",
    ("sifmake.remote.remote_packs", "RemotePacks._document"): "opens a connection; tests/builder/test_remote_steps.py",
    ("sifmake.drivers.doit_tasks", "DoitTasks.clean"): "removes what somebody asked to remove; tests/workflow",
    ("sifmake.drivers.doit_reporter", "Reporter"): "prints",
    ("sifmake.builder.host_sections", "HostSections.run_pre"): "only where it is allowed; test_definition_build.py",
    ("sifmake.builder.step_runner", "StepRunner._keep"): "needs a script that fails; test_definition_build.py",
    ("sifmake.builder.step_runner", "StepRunner.logged"): "needs a script that runs; test_definition_build.py",
    ("sifmake.builder.steps_check", "StepsCheck._write_lock"): "needs a script that runs; test_locked_steps.py",
    (
        "sifmake.builder.built_export",
        "OpenedBuild.give_back",
    ): "opens no file of ours; tests/api/test_exported_builds.py",
    ("sifmake.project.steps_lock", "write_steps_lock"): "the same; writes by write_atomic, which is reached",
    ("sifmake.stages.steps", "_forget_others"): "needs a script that runs; tests/stages/test_locks_of_steps.py",
    ("sifmake.store.step_files", "StepFiles.read"): "opens by KeyedFiles.open, which is reached",
    ("sifmake.builder.signature_policy", "_check_keys"): "reads keys only; tests/integration/test_runtime_signed.py",
    ("sifmake.builder.signature_policy", "open_verified"): "reads only; tests/integration/test_runtime_signed.py",
    ("sifmake.store.archive_input", "_copy"): "spools standard input; tests/cli/test_output_paths.py",
    ("sifmake.layers.pack_finder", "PackFinder.find"): "opens by PackFinder.open, which is reached",
    ("sifmake.store.keyed_files", "KeyedFiles.find"): "opens by KeyedFiles.open; tests/store/test_store.py",
    ("sifmake.builder.older_sifs", "_open"): "reads only what may be missing; tests/builder/test_older_sifs.py",
    ("sifmake.store.items", "Item.is_gone"): "looks at a lock only; tests/store/test_collect.py",
    ("sifmake.store.scratch", "_make"): "removes a folder that could not be marked; tests/store/test_left_over.py",
}
"""Functions without a scenario, and why."""


def test_every_place_fails_once_and_none_is_forgotten(sources, room):
    """In one test, so that what was reached is known at the end."""
    trial = Trial(sources, room, one_code)
    for scenario in SCENARIOS.values():
        trial.run(scenario)
    assert "\n".join([*trial.bad, *map(str, trial.missed - trial.reached)]) == ""
    direct, others = sites_in_source(*SCOPE)
    missing = (direct - trial.reached) | (others - trial.passed)
    told = {site for site in missing if any(site.module == m and site.function.startswith(f) for m, f in NOT_HERE)}
    assert "\n".join(" ".join(site) for site in sorted(missing - told)) == ""


@pytest.mark.skipif(not LONG, reason="takes minutes for each: SIFMAKE_RELIABILITY=long")
@pytest.mark.parametrize("name", SCENARIOS)
def test_whatever_fails_nothing_is_wrong_stuck_or_left(name, sources, room):
    trial = Trial(sources, room, each_code)
    trial.run(SCENARIOS[name])
    assert "\n".join(trial.bad) == ""
