"""The environment that a program in the container sees, by the rules of Apptainer 1.5.

The image's ``/.singularity.d/env/*.sh`` start from an empty environment, so its values override the host's; values that
the user injects override both. Scripts that only set variables are evaluated here; others need the image's shell.
"""

from __future__ import annotations

import os

from sifmake.runtime.shell_subset import (
    LONGEST_SCRIPT,
    Allowance,
    NeedsShell,
    UnbalancedError,
    expand_quoted,
    is_name,
    source,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sifmake.runtime.container_paths import ContainerPaths
    from sifmake.runtime.request import Request

_ENV_FOLDER = "/.singularity.d/env"
_LIBRARIES = "/.singularity.d/libs"
_STANDARD_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_HOST_PATH_TAIL = "/bin:/usr/bin:/sbin:/usr/sbin:/usr/local/bin:/usr/local/sbin"
FIXED = frozenset({"UID", "EUID", "GID", "APPTAINER_NAME"})
_PREFIXES = ("SINGULARITYENV_", "APPTAINERENV_")
_OWN = ("APPTAINER", "SINGULARITY")
_NOT_FORWARDED = frozenset({"PATH", "HOME", "LD_LIBRARY_PATH", "PWD"})
_OCI_SCRIPT = "10-docker2singularity.sh"
_TOOL_SCRIPTS = frozenset({"01-base.sh", "94-appsbase.sh", "95-apps.sh", "99-base.sh", "99-runtimevars.sh"})
"""Scripts that have the same effect whichever tool wrote them; this module reproduces it."""


class Environment:
    """An environment, and what a shell has to do to complete it.

    Attributes:
        values: Names and values.
        rest: Scripts of the image, in order, that a shell must run; empty if the environment is complete.
        host: Host variables that apply only if the image does not set them (needed with ``rest``).
        injected: Values that the user sets, not evaluated yet (needed with ``rest``).
        warnings: Warnings for the user.
    """

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self.rest: list[str] = []
        self.host: dict[str, str] = {}
        self.injected: dict[str, str] = {}
        self.warnings: list[str] = []


def build(request: Request, view: ContainerPaths, host: Mapping[str, str], cwd: str, home: str) -> Environment:
    """Return the environment of a run.

    Args:
        request: The request.
        view: The container's files.
        host: The host's environment.
        cwd: The directory in which the program starts.
        home: The home directory in the container.
    """
    variables = _tool_variables(request, cwd)
    exported = set(variables)
    result = Environment({})
    result.host = {} if request.cleanenv else _forwarded(host, request.no_env)
    result.injected = _injected(request, host)
    names, scripts = _script_names(view), Scripts(view)
    before_base = [name for name in names if name < "99-base.sh"]
    for number, name in enumerate(before_base):
        try:
            refused = [] if name in _TOOL_SCRIPTS else scripts.run(name, variables, exported)
        except (NeedsShell, UnbalancedError):
            result.rest = [f"{_ENV_FOLDER}/{script}" for script in before_base[number:]]
            break
        result.warnings += [f"{item}: readonly variable" for item in refused]
        if name == _OCI_SCRIPT:
            variables["PATH"] = _with_standard_path(variables.get("PATH", ""))
    variables["PATH"] = variables.get("PATH") or ":".join(_STANDARD_PATH)
    variables["HOME"] = home
    variables.setdefault("SINGULARITY_NAME", variables["APPTAINER_NAME"])
    exported |= {"PATH", "HOME", "LD_LIBRARY_PATH", "SINGULARITY_NAME"}
    _own_variables(variables, exported)
    _set_prompt(variables, exported, view.read(f"{_ENV_FOLDER}/99-base.sh") or "")
    for name in names:
        if name > "99-base.sh" and name not in _TOOL_SCRIPTS:
            _run_late(name, scripts, variables, exported, result)
    result.values = {name: value for name, value in variables.items() if name in exported}
    if not result.rest:
        _finish(result, request)
    result.values["PWD"] = cwd
    result.values["HOME"] = home
    return result


class Scripts:
    """Runs environment scripts of an image; the limits on length apply to all of them and their values together."""

    def __init__(self, view: ContainerPaths) -> None:
        self.view = view
        self.left = LONGEST_SCRIPT
        self.allowance = Allowance()

    def run(self, name: str, variables: dict[str, str], exported: set[str]) -> list[str]:
        """Run a script and return the fixed names that it tried to set; raises the errors of :func:`source`."""
        text = self.view.read(f"{_ENV_FOLDER}/{name}", self.left + 1) or ""
        if len(text) > self.left:
            raise NeedsShell("long scripts")
        self.left -= len(text)
        return source(text, variables, exported, FIXED, self.allowance)


def _run_late(name: str, scripts: Scripts, variables: dict[str, str], exported: set[str], result: Environment) -> None:
    """Run a script of the image that comes after the scripts of the tools."""
    try:
        scripts.run(name, variables, exported)
    except (NeedsShell, UnbalancedError):
        result.rest.append(f"{_ENV_FOLDER}/{name}")


def _script_names(view: ContainerPaths) -> list[str]:
    """Return the names of the image's environment scripts in the order in which they run."""
    folder = view.resolve(_ENV_FOLDER)
    if not folder.host:
        return []
    try:
        return sorted(name for name in os.listdir(folder.host) if name.endswith(".sh"))
    except OSError:
        return []


def _tool_variables(request: Request, cwd: str) -> dict[str, str]:
    """Return the variables that tell programs that they run in a container, in both tools' spelling."""
    name = os.path.basename(request.sif)
    variables = {"APPTAINER_APPNAME": "", "APPTAINER_COMMAND": request.action, "APPTAINER_NAME": name}
    for prefix in _OWN:
        variables |= {
            f"{prefix}_BIND": ",".join(bind.target for bind in request.binds),
            f"{prefix}_CONTAINER": request.sif,
            f"{prefix}_ENVIRONMENT": f"{_ENV_FOLDER}/91-environment.sh",
        }
        if request.no_eval:
            variables[f"{prefix}_NO_EVAL"] = "1"
    return variables | {"PWD": cwd}


def _forwarded(host: Mapping[str, str], blocked: Sequence[str]) -> dict[str, str]:
    """Return the host's variables that programs in the container may see."""
    kept = {
        name: value
        for name, value in host.items()
        if is_name(name) and name not in _NOT_FORWARDED and not name.startswith(_OWN)
    }
    kept.setdefault("USER_PATH", f"{host['PATH']}:{_HOST_PATH_TAIL}" if host.get("PATH") else _HOST_PATH_TAIL)
    return {name: value for name, value in kept.items() if name not in blocked}


def _injected(request: Request, host: Mapping[str, str]) -> dict[str, str]:
    """Return what the user sets with ``SINGULARITYENV_``, ``APPTAINERENV_`` and ``--env``; the later ones win."""
    found: dict[str, str] = {}
    for prefix in _PREFIXES:
        found |= {name[len(prefix) :]: value for name, value in host.items() if name.startswith(prefix)}
    for item in request.env:
        name, _equals, value = item.partition("=")
        found[name] = value
    return {name: value for name, value in found.items() if is_name(name) and name != "HOME"}


def _with_standard_path(path: str) -> str:
    """Return a PATH with missing standard directories appended."""
    have = [part for part in path.split(":") if part] if path else []
    return ":".join([path] * bool(path) + [part for part in _STANDARD_PATH if part not in have])


def _own_variables(variables: dict[str, str], exported: set[str]) -> None:
    """Set values that no image can change: the end of the library path, and variables of the shell itself."""
    libraries = variables.get("LD_LIBRARY_PATH", "")
    variables["LD_LIBRARY_PATH"] = f"{libraries}:{_LIBRARIES}" if libraries else _LIBRARIES
    if "IFS" in exported:
        variables["IFS"] = " \t\n"
    if "RANDOM" in exported:
        variables["RANDOM"] = str(int.from_bytes(os.urandom(2), "little") & 0x7FFF)
    if "PPID" in exported:
        variables["PPID"] = str(os.getpid())


def _set_prompt(variables: dict[str, str], exported: set[str], script: str) -> None:
    """Set the prompt as 99-base.sh of the image does: always, or only if the image has none."""
    always = "Singularity> " in script
    if always or not variables.get("PS1"):
        variables["PS1"] = "Singularity> " if always else "Apptainer> "
    own = f'PS1="{variables["PS1"]}"'
    before = variables.get("PROMPT_COMMAND", "")
    restore = f'{before}; PROMPT_COMMAND="${{PROMPT_COMMAND%%; PROMPT_COMMAND=*}}"; {own}'
    variables["PROMPT_COMMAND"] = restore if before else f"{own}; unset PROMPT_COMMAND"
    exported |= {"PS1", "PROMPT_COMMAND"}


def _finish(result: Environment, request: Request) -> None:
    """Add the user's and the host's values; a variable that is empty in both image and host is left out."""
    values = result.values
    for name, value in result.host.items():
        if name not in values and name not in result.injected:
            values[name] = value
        elif values.get(name) == "":
            del values[name]
    for name, value in result.injected.items():
        _inject(values, name, value if request.no_eval else _evaluated(value, values, result))
    if request.cleanenv:
        values.setdefault("LANG", "C")


def _inject(values: dict[str, str], name: str, value: str) -> None:
    """Set one variable of the user; two special names change PATH instead."""
    if name == "PREPEND_PATH":
        values["PATH"] = f"{value}:{values['PATH']}"
    elif name == "APPEND_PATH":
        values["PATH"] = f"{values['PATH']}:{value}"
    else:
        values[name] = value


def _evaluated(value: str, values: Mapping[str, str], result: Environment) -> str:
    """Return a value evaluated as a shell does between double quotes."""
    try:
        return expand_quoted(value, values)
    except (NeedsShell, UnbalancedError):
        result.warnings.append(f"{value!r} is passed unchanged because only a shell could evaluate it")
        return value


def shell_lines(environment: Environment, request: Request) -> list[str]:
    """Return the shell commands to run before the program: the remaining scripts, then values of host and user."""
    lines = [f". {_quoted(script)}" for script in environment.rest]
    lines.append(f"export HOME={_quoted(environment.values['HOME'])}")
    lines += [f'[ -n "${{{name}+x}}" ] || export {name}={_quoted(value)}' for name, value in environment.host.items()]
    for name, value in environment.injected.items():
        text = _quoted(value) if request.no_eval else '"' + value.replace('"', '\\"') + '"'
        target, text = {
            "PREPEND_PATH": ("PATH", text + ':"$PATH"'),
            "APPEND_PATH": ("PATH", '"$PATH":' + text),
        }.get(name, (name, text))
        lines.append(f"export {target}={text}")
    if request.cleanenv:
        lines.append('[ -n "${LANG+x}" ] || export LANG=C')
    return lines


def _quoted(text: str) -> str:
    """Return a text as one word of a shell script."""
    return "'" + text.replace("'", "'\\''") + "'"
