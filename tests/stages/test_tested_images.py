"""`test:` in images.yaml: an image that fails it is not published, and the old file stays."""

import json
import os

import pytest

from sifmake.builder.image_test import ImageTest
from sifmake.errors import ConfigError, StepError
from sifmake.project.project import Project
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from support.building import needs_scripts
from support.corpus import CORPUS
from support.definition_projects import Definitions

STAGES = ("pull", "flatten", "sif", "sign", "verify", "publish")


@pytest.fixture
def project(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "sifmake.yaml").write_text(json.dumps({"store": {"path": str(tmp_path / "store")}}))
    return tmp_path


def build(project, **settings):
    """Build all stages of the image with these settings; return the stages that ran."""
    image = {"from": f"oci:{CORPUS / 'definition/base'}", "sign": False, **settings}
    (project / "config/images.yaml").write_text(json.dumps({"images": {"it": image}}))
    if error := LockRefresher(Project(project)).refresh("it").error:
        raise error
    with open_runner(Project(project)) as runner:
        return [stage for stage in STAGES if runner.run(stage, "it")]


@needs_scripts
def test_what_fails_its_test_is_not_published(project):
    target = project / "images/it.sif"
    with pytest.raises(StepError, match=r"^it: test: the test ended with exit status 3; the old file is kept"):
        build(project, test="exit 3")
    assert not target.exists()
    assert build(project, test="test -x /bin/busybox; ! test -e /root/.bashrc") == ["publish"]
    good = target.read_bytes()
    with pytest.raises(StepError):
        build(project, test="false; true")
    assert target.read_bytes() == good
    assert build(project)[-1:] in ([], ["publish"])


@needs_scripts
def test_another_test_runs_on_the_file_that_is_signed_already(project):
    (project / "sifmake.yaml").write_text(json.dumps({"store": {"path": str(project / "store")}, "key": "development"}))
    build(project, test="true", sign=True)
    good = (project / "images/it.sif").read_bytes()
    assert build(project, test="true; true", sign=True) == ["publish"]
    assert (project / "images/it.sif").read_bytes() == good


@needs_scripts
def test_an_image_without_a_test_has_the_lock_that_it_had(project):
    build(project)
    lock = (project / "config/locks/it.yaml").read_text()
    assert "test" not in lock.partition("build:")[2]
    build(project, test="true")
    assert '  test: "true"' in (project / "config/locks/it.yaml").read_text()


HAS_NETWORK = f'test "$(readlink /proc/self/ns/net)" = "{os.readlink("/proc/self/ns/net")}"'


@needs_scripts
def test_a_test_has_a_network_only_where_that_is_asked_for(project):
    with pytest.raises(StepError, match="exit status 1"):
        build(project, test=HAS_NETWORK)
    with pytest.raises(StepError, match="exit status 1"):
        build(project, test={"command": HAS_NETWORK, "network": "none"})
    assert build(project, test={"command": HAS_NETWORK, "network": "host"}) == ["publish"]
    assert "\n  test-network: host\n" in (project / "config/locks/it.yaml").read_text()
    assert build(project, test={"command": HAS_NETWORK, "network": "host"}) == []
    good = (project / "images/it.sif").read_bytes()
    with pytest.raises(StepError, match="exit status 1"):
        build(project, test={"command": HAS_NETWORK})
    assert (project / "images/it.sif").read_bytes() == good
    assert build(project) == ["publish"], "the file is the same, and nothing is tested"


@needs_scripts
def test_a_test_section_has_the_network_of_tests(tmp_path):
    made = Definitions(tmp_path / "p").with_busybox()
    made.define("tool", f"%test\n    {HAS_NETWORK}", sign=False)
    assert made.lock() == {"tool": "there was no lock"}
    with pytest.raises(StepError, match=r"%test: the test ended with exit status 1"):
        made.build("tool")
    made.declare("tool", "./tool.def", sign=False, test={"network": "host"})
    assert made.lock() == {"tool": "settings"}
    assert made.build("tool") == ["publish"]


@needs_scripts
def test_a_test_that_passed_is_not_repeated_for_the_same_file(project, monkeypatch):
    ran = []
    monkeypatch.setattr(ImageTest, "run_command", lambda self, text: ran.append((text, self.network)))
    for command in ("true", "true", "false", "true"):
        (project / "images/it.sif").unlink(missing_ok=True)
        assert "publish" in build(project, test=command)
    assert ran == [("true", False), ("false", False)]
    build(project, test={"command": "true", "network": "host"})
    assert ran[2:] == [("true", True)]


@pytest.mark.parametrize(
    ("test", "what"),
    [
        ({"network": "host"}, "'test' has no command"),
        ({"command": "true", "network": "some"}, "network"),
        ({"command": ""}, "command"),
        ({}, "test"),
        ({"commands": "true"}, "commands"),
        (["true"], "test"),
    ],
)
def test_what_is_not_a_test_is_refused(project, test, what):
    with pytest.raises(ConfigError, match=what):
        build(project, test=test)
