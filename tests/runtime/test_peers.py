"""Programs named apptainer and singularity that are sifmake itself are never executed as if they were peers."""

from __future__ import annotations

import os
import sys

import pytest

from sifmake.runtime.peers import find_peer, is_ourselves
from support.runtime import environment, run

CONSOLE_SCRIPT = "#!/opt/venv/bin/python\nimport sys\nfrom sifmake.cli.main import main\nsys.exit(main())\n"
OURSELVES = {
    "a console script": CONSOLE_SCRIPT,
    "the same of pip's for long paths": "#!/bin/sh\n'''exec' /x/python \"$0\" \"$@\"\n' '''\n" + CONSOLE_SCRIPT,
    "a wrapper": '#!/bin/sh\nexec sifmake "$@"\n',
    "a wrapper that forks": '#!/bin/bash\n# ours\nmodule load python\nsifmake "$@"\nexit $?\n',
    "by its path": '#!/bin/sh\nexec /opt/sifmake/bin/sifmake "$@"\n',
    "quoted": '#!/bin/sh\nexec "/opt/my tools/sifmake" "$@"\n',
    "as a module": '#!/bin/sh\nexec python3 -m sifmake "$@"\n',
    "without an environment": '#!/bin/sh\nexec env - PATH="$PATH" sifmake "$@"\n',
    "by a variable": '#!/bin/sh\nexec "${SIFMAKE}" "$@"\n',
}
OTHERS = {
    "a wrapper of apptainer": '#!/bin/sh\nmodule load apptainer\nexec /opt/apptainer/bin/apptainer "$@"\n',
    "a comment": '#!/bin/sh\n# sifmake is installed too\nexec /opt/apptainer "$@"\n',
    "another name": '#!/bin/sh\nexec /opt/sifmaker/run "$@"\n',
    "a program": "\x7fELF sifmake ",
}


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("text", OURSELVES.values(), ids=OURSELVES.keys())
def test_every_way_back_to_sifmake_is_seen(tmp_path, monkeypatch, text):
    own = program(tmp_path / "own/apptainer", text)
    (tmp_path / "links").mkdir()
    link = tmp_path / "links/apptainer"
    link.symlink_to(own)
    assert is_ourselves(str(own))
    assert is_ourselves(str(link))
    real = program(tmp_path / "real/apptainer", "#!/bin/sh\nexit 9\n")
    monkeypatch.setenv("PATH", f"{link.parent}:{own.parent}:{real.parent}")
    assert find_peer("apptainer") == str(real)


@pytest.mark.parametrize("text", OTHERS.values(), ids=OTHERS.keys())
def test_others_are_not_taken_for_sifmake(tmp_path, text):
    assert not is_ourselves(str(program(tmp_path / "apptainer", text)))


def test_what_cannot_be_read_is_not_taken_for_sifmake(tmp_path):
    assert not is_ourselves(str(tmp_path))
    assert not is_ourselves(str(tmp_path / "none"))


@pytest.mark.parametrize("name", ["apptainer", "singularity"])
def test_exec_behind_a_name_of_a_peer_ends(tmp_path, name):
    program(tmp_path / "bin" / name, f'#!/bin/sh\nexec "{sys.executable}" -m sifmake "$@"\n')
    (tmp_path / "x.sif").write_bytes(b"")
    env = environment(PATH=f"{tmp_path}/bin{os.pathsep}/usr/bin:/bin")
    done = run("exec", "x.sif", "true", env=env, cwd=tmp_path)
    assert "not a SIF file" in done.stderr.decode()
    done = run("exec", "--runtime", name, "x.sif", "true", env=env, cwd=tmp_path)
    assert f"what is on PATH as {name} is sifmake" in done.stderr.decode()
