"""What is public, and that importing it costs nothing and does nothing."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pkgutil
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import sifmake
from sifmake import errors
from sifmake.cli.command_table import read_commands
from support.project import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

FUNCTION_OF = {
    "pull": "pull",
    "lock": "lock",
    "stage": "run_stage",
    "sign": "sign",
    "verify": "verify",
    "inspect": "inspect",
    "diff": "diff",
    "lint": "lint",
    "run": "execute",
    "exec": "execute",
    "shell": "execute",
    "test": "execute",
    "sif list": "open_sif",
    "sif info": "open_sif",
    "sif header": "open_sif",
    "sif dump": "open_sif",
    "sif digest": "digest",
    "key newpair": "Keyring.new_pair",
    "key list": "Keyring.trusted_keys",
    "key import": "Keyring.import_file",
    "key export": "Keyring.export",
    "key remove": "Keyring.remove",
    "registry login": "login",
    "registry logout": "logout",
    "registry list": "logins",
    "cache list": "Cache.files",
    "cache verify": "Cache.verify",
    "cache gc": "Cache.collect",
    "cache clean": "Cache.clean",
    "cache export": "Cache.export_archive",
    "cache import": "Cache.import_archive",
    "cache push": "RemoteStore.push",
    "cache pull": "RemoteStore.pull",
    "init": "start_project",
    "rebuild": "rebuild",
    "seed": "seed",
    "push": "push",
    "export": "export",
    "build": "build",
    "run-help": "inspect",
    "shim": "write_shims",
}
"""What the library calls what a command does."""
OF_THE_LINE_ALONE = {"completion", "help", "version"}
"""Commands about the command line itself."""
PAST_THE_API = {"run", "exec", "shell", "test", "stage"}
"""Commands that start so fast because they go past the API; they call what it calls."""
OF_ANOTHER = {"run-help": "inspect_command"}
"""Commands that are another one in other words."""


def commands() -> dict[str, str]:
    """Return the first word of each command that does something, by its words."""
    leaves = [command for top in read_commands() for command in top.walk() if not command.subcommands]
    return {command.name: command.name.split()[0] for command in leaves}


def test_every_command_has_its_function() -> None:
    assert (set(commands()) | {"run-help"}) - OF_THE_LINE_ALONE == set(FUNCTION_OF)
    for path in FUNCTION_OF.values():
        value: object = sifmake
        for name in path.split("."):
            value = getattr(value, name)
        assert callable(value)
        assert path.split(".")[0] in sifmake.__all__


@pytest.mark.parametrize("name", sorted(set(FUNCTION_OF) - PAST_THE_API))
def test_a_command_calls_its_function(name: str) -> None:
    module = name.split(maxsplit=1)[0].replace("-", "_")
    source = (REPOSITORY / f"src/sifmake/cli/{module}_command.py").read_text()
    if name in OF_ANOTHER:
        assert OF_ANOTHER[name] in source
        return
    home, _, method = FUNCTION_OF[name].rpartition(".")
    assert re.search(rf"[. (\[]{method}\(", source)
    assert re.search(rf"from sifmake\.api\.\w+ import .*\b{home or method}\b", source)


def test_no_public_name_is_that_of_a_module() -> None:
    rooms = {module.name for module in pkgutil.iter_modules(sifmake.__path__)}
    assert rooms & set(sifmake.__all__) == set()


def test_what_is_listed_is_there_and_nothing_else() -> None:
    assert sifmake.__all__ == sorted(sifmake.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    assert {name for names in sifmake._HOMES.values() for name in names} == set(sifmake.__all__)
    assert set(sifmake.__all__) <= set(dir(sifmake))
    assert sifmake.errors is errors
    for name in sifmake.__all__:
        assert getattr(sifmake, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'pulll'"):
        _ = sifmake.pulll  # type: ignore[attr-defined]


def test_all_that_the_api_defines_is_listed() -> None:
    listed = {getattr(sifmake, name) for name in sifmake.__all__ if name != "STAGES"}
    own = {"as_path", "as_names", "host_of", "output_file", "registry_credentials", "resolved_folders"}
    for info in pkgutil.iter_modules([str(REPOSITORY / "src/sifmake/api")]):
        module = __import__(f"sifmake.api.{info.name}", fromlist=["_"])
        for name, value in vars(module).items():
            if getattr(value, "__module__", "") == module.__name__ and not name.startswith("_"):
                assert value in listed or name in own, f"{module.__name__}.{name}"


def public() -> list[tuple[str, object]]:
    """Return functions, classes and their public members by dotted name."""
    found: list[tuple[str, object]] = []
    for name in sifmake.__all__:
        value = getattr(sifmake, name)
        found.append((name, value))
        if inspect.isclass(value) and value.__module__.startswith("sifmake."):
            members = [(key, item) for key, item in vars(value).items() if not key.startswith("_")]
            found += [(f"{name}.{key}", item) for key, item in members if callable(item) or isinstance(item, property)]
    return [(name, value) for name, value in found if callable(value) or isinstance(value, property)]


@pytest.mark.parametrize(("name", "value"), public())
def test_every_public_name_says_what_it_is(name: str, value: object) -> None:
    text = inspect.getdoc(value) or ""
    assert text, name
    if inspect.isfunction(value) and name in sifmake.__all__:
        for parameter in inspect.signature(value).parameters:
            assert f"    {parameter}: " in text, f"{name} does not explain {parameter}"


def test_results_are_frozen() -> None:
    results = [value for name, value in public() if dataclasses.is_dataclass(value)]
    assert len(results) > 15
    assert [value for value in results if not value.__dataclass_params__.frozen] == []


ALL_ERRORS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]


@pytest.mark.parametrize("kind", ALL_ERRORS)
def test_errors_pass_from_process_to_process(kind: type[errors.SifmakeError]) -> None:
    error = kind("what", where="where", hint="hint").within("outer")
    again = copy.copy(error)  # as pickle does it
    assert (type(again), str(again), again.exit_code) == (kind, "outer: where: what; hint", error.exit_code)


def test_importing_costs_nothing() -> None:
    script = "import sys; import sifmake; print(*sorted(m for m in sys.modules if m.startswith('sifmake')))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == ["sifmake"]
    script = "import sys; before = set(sys.modules); import sifmake; print(len(set(sys.modules) - before))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "1\n"


USER = """
from pathlib import Path
from typing import assert_type

import sifmake


class Lines(sifmake.Silent):
    def info(self, message: str) -> None:
        print(message)


def build(progress: sifmake.Progress) -> Path:
    sif = sifmake.pull("docker://alpine:3.20", "alpine.sif", compression="zstd", progress=progress)
    assert_type(sif, sifmake.SifFile)
    assert_type(sifmake.verify(sif).signers, tuple[sifmake.SignerCheck, ...])
    assert_type(sifmake.inspect(sif).labels, dict[str, str])
    assert_type(sifmake.lock(), tuple[sifmake.LockOutcome, ...])
    assert_type(sifmake.Cache().files(), tuple[sifmake.CachedFile, ...])
    try:
        sifmake.execute(sif, ["true"], check=True, capture_output=True)
    except sifmake.errors.UsageError as error:
        print(error.hint)
    with sifmake.open_sif(sif) as opened:
        assert_type(opened, sifmake.Sif)
    return sif.path


build(Lines())
"""
WRONG = """
import sifmake

sifmake.pull(1)
sifmake.pull("a", compression=6)
sifmake.pulll("a")
"""


def test_mypy_knows_the_api(tmp_path: Path) -> None:
    """A user's script is checked strictly, and mistakes in it are found."""
    (tmp_path / "good.py").write_text(USER)
    (tmp_path / "wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "--config-file="]
    done = subprocess.run(
        [*command, "good.py", "wrong.py"], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=160
    )
    assert "good.py" not in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("wrong.py:") == 3, done.stdout + done.stderr
    assert 'has no attribute "pulll"' in done.stdout


def test_the_reference_has_every_public_name() -> None:
    page = (REPOSITORY / "docs/reference/api.md").read_text()
    headings = {line.lstrip("# ") for line in page.splitlines() if line.startswith(("### ", "#### "))}
    methods = {name for name, value in public() if "." in name and inspect.isfunction(value)}
    assert headings == set(sifmake.__all__) | methods
