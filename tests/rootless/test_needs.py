"""Messages when no script can run as root, and when there is no room."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from sifmake.rootless.errors import RootlessError
from sifmake.rootless.modes import Choice
from sifmake.rootless.needs import explain_refusal
from sifmake.rootless.request import Mode
from support.runtime import environment


@pytest.mark.parametrize(("name", "value", "said"), [
    ("user/max_user_namespaces", 0, "sysctl -w user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", 0, "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("kernel/apparmor_restrict_unprivileged_userns", 1, "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
    ("user/max_user_namespaces", 100, "if this is a container"),
    ("user/max_user_namespaces", "odd", "if this is a container"),
])  # fmt: skip
def test_the_line_that_helps_is_said(tmp_path, name, value, said):
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"{value}\n")
    assert said in explain_refusal(tmp_path)


PROGRAM = "from pathlib import Path; from sifmake.rootless.modes import choose_mode; choose_mode(Path())"
FORBID = 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all -- "$@"'
"""Shell text: run "$@" where the limit of user namespaces is 0, in a namespace that has limits of its own."""


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not on this machine")
def test_where_namespaces_are_forbidden_it_is_said(tmp_path):
    words = ["unshare", "-Ur", "sh", "-c", FORBID, "sh", sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("this machine itself forbids user namespaces")
    assert done.stderr.splitlines()[-1] == (
        "sifmake.rootless.errors.RootlessError: scripts cannot run as root here: user namespaces are not allowed here: "
        "No space left on device; ask an administrator to run `sysctl -w user.max_user_namespaces=15000`"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_tree_that_is_copied_needs_twice_the_room(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    laid_over, copied = Choice(Mode.SINGLE, overlay=True), Choice(Mode.SINGLE, overlay=False)
    laid_over.check_room(tmp_path, free // 2)
    for choice, size in ((copied, free // 2), (laid_over, free)):
        with pytest.raises(RootlessError, match="MiB are needed to run scripts"):
            choice.check_room(tmp_path, size)
