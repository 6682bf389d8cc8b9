"""The recorded runs of the golden images as commands, and what each must give: one list for all who compare."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from support import golden

if TYPE_CHECKING:
    from collections.abc import Iterator

COMBINATION = "A-sif in A"
INJECTED = {"INJ": "v $HOME `echo x`", "TZ": "inj", "PATH": "/inj:$PATH", "SP": "inj sp"}

NOTHING_TO_RUN = "neither Entrypoint nor Cmd: the peers print the shell's variables with status 0, we refuse"
DIFFERENCES: dict[tuple[str, str, str], str] = {
    ("*", "nothing-to-run", "*"): NOTHING_TO_RUN,
    ("cmd-dash", "run []", "exit"): "Cmd -v is a missing program for us; the peers' shell takes it as an option of set",
    ("cmd-dash", "run --cwd /tmp []", "exit"): "likewise",
    (
        "env-names",
        "*",
        "env DUP",
    ): "of two values in Env the last counts, as in Docker and runc; the peers take the first",
    ("env-readonly", "env rich", "env EUID"): "the host's EUID comes through as its UID and GID do; A and S disagree",
    ("env-readonly", "env rich, injected with --env", "env EUID"): "likewise",
}
"""(image, run, what) with ``*`` for all: why we are not as Apptainer; each was reviewed."""


class Run(NamedTuple):
    """One recorded run: ``sifmake ACTION OPTIONS SIF ARGUMENTS`` in a host environment, and its record."""

    label: str
    action: str
    options: list[str]
    arguments: list[str]
    host: dict[str, str]
    want: dict[str, Any]


def runs(name: str, home: str) -> Iterator[Run]:
    """Give the runs of an image that Apptainer did with its own SIF, for a user with that home."""
    recorded = golden.record(name)["run"]
    cases = recorded.get("env cases: host variables", {})
    show = "/show" if name.startswith("scratch") else "/bin/show"
    for label, records in recorded.items():
        want = (
            next((item for item in records if COMBINATION in item.get("combos", ())), None)
            if isinstance(records, list)
            else None
        )
        if want is None:
            continue
        host = {"PATH": "/usr/bin:/bin", "HOME": home, "X_HOST": "hostval"}
        if label.startswith("env rich"):
            host = {**cases["rich"], "HOME": home}
        action, options, arguments = words_of(label, show, host)
        yield Run(label, action, options, arguments, host, with_home(want, home))


def words_of(label: str, show: str, host: dict[str, str]) -> tuple[str, list[str], list[str]]:
    """Return action, options and arguments of a run; adds what the label says to the host's environment."""
    if label == "exec show":
        return "exec", [], [show, "x y", "$HOME", ""]
    if label in ("run", "test"):
        return label, [], []
    if label.startswith("exec IMG env"):
        return "exec", [], ["env", "-u", "XX", show]
    if label.startswith("run "):
        head, _, tail = label[4:].partition("[")
        return "run", head.split(), json.loads("[" + tail)
    options = [option for option in ("--cleanenv", "--no-eval", "--compat") if option in label]
    if "--env" in label:
        options = ["--env", "INJ=a$HOME b,TZ=flag"]
    names = ("INJ", "PATH") if "the same way" in label else tuple(INJECTED) if "injected with (" in label else ()
    host.update({f"APPTAINERENV_{name}": INJECTED[name] for name in names})
    return "exec", options, [show]


def with_home(value: Any, home: str) -> Any:
    """Return a record as if the user's home were another than root's."""
    return json.loads(json.dumps(value).replace("/root", home)) if home != "/root" else value


def differences(name: str, run: Run, got: dict[str, Any]) -> list[str]:
    """Return what differs from the record and is in no table: ``exit``, ``argv``, ``cwd``, ``umask``, ``env NAME``."""
    want = dict(run.want)
    if run.action == "run" and "PPID=" in want.get("stdout", ""):
        return [] if got["exit"] != 0 else [f"{run.label}: exit {got['exit']} ({NOTHING_TO_RUN})"]
    found = [key for key in ("exit", "argv", "cwd", "umask") if key in want and key in got and want[key] != got[key]]
    if "env" in want:
        env, wanted = got.get("env", {}), want["env"]
        found += [f"env {key}" for key in sorted(env.keys() | wanted.keys()) if env.get(key) != wanted.get(key)]
    return [
        f"{run.label}: {key}: want {show_fact(want, key)}, got {show_fact(got, key)}"
        for key in found
        if not reviewed(name, run.label, key)
    ]


def show_fact(record: dict[str, Any], key: str) -> Any:
    """Return one fact of a record for a message."""
    return record.get("env", {}).get(key[4:]) if key.startswith("env ") else record.get(key)


def reviewed(name: str, label: str, key: str) -> bool:
    """Whether the table lists a difference."""
    return any((image, run, key) in DIFFERENCES for image in (name, "*") for run in (label, "*"))


def numbers_marked(env: dict[str, str]) -> dict[str, str]:
    """Return an environment with numbers that vary marked as in the records."""
    return {key: "<NUMBER>" if key in ("PPID", "RANDOM") and value.isdigit() else value for key, value in env.items()}
