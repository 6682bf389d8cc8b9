"""`test:` in images.yaml: an image that fails it is not published, and the old file stays."""

import json

import pytest

from sifmake.errors import StepError
from sifmake.project.project import Project
from sifmake.stages.lock_refresh import LockRefresher
from sifmake.stages.runner import open_runner
from support.building import needs_scripts
from support.corpus import CORPUS

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
    LockRefresher(Project(project)).refresh("it")
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
