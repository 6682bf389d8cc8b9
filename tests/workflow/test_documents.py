"""The documents tell the truth: links lead somewhere, and the user guide's commands run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.docker_registry import MISSING, PASSWORD, USER, DockerRegistry, running
from support.images import Blobs, write_layout
from support.layers import file, folder, symlink, tar
from support.project import BIN, REPOSITORY, Folder
from support.squashfs_tools import needs_tools

GUIDE = REPOSITORY / "docs" / "from-the-user-guide.md"
TUTORIALS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs/tutorials").glob("*.md"))]
SAID = {
    "README": ["\n3.20", "publish:alpine_3.19", "unchanged 2"],
    "first-image": ["\n3.20", "\nhello\n", "signed by"],
    "first-project": ["images/base_3.19.sif", "\n3.20", "team: imaging", "Signing entity: builder"],
    "snakemake": ["\n3.20", "to use the images in this pipeline"],
    "scheduled-rebuilds": ["alpine_3.19: rebuilt", "alpine_3.20: unchanged"],
}
"""What a reader of each tutorial must have seen in the end."""
DOCUMENTS = [
    path
    for path in REPOSITORY.rglob("*.md")
    if not {".venv", "node_modules", ".pytest_cache", ".snakemake"} & set(path.relative_to(REPOSITORY).parts)
]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_relative_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


def test_every_topic_of_the_user_guide_has_a_command() -> None:
    sections = re.split(r"^## ", GUIDE.read_text(), flags=re.MULTILINE)[1:]
    assert len(sections) >= 11
    assert [section.partition("\n")[0] for section in sections if "sifmake " not in commands(section)] == []


def commands(text: str) -> str:
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))


def stand_in(text: str, public: DockerRegistry, private: DockerRegistry, digest: str) -> str:
    """Let loopback registries play the ones that the guide names, and a file what an engine saves."""
    text = text.replace("docker save app:1.0 |", "cat saved.tar |")
    for host in ("quay.io", "ghcr.io", "nvcr.io", "localhost:5000"):
        text = text.replace(f"//{host}/", f"//{public.host}/")
    text = text.replace("docker://alpine", f"docker://{public.host}/library/alpine").replace("sha256:DIGEST", digest)
    text = text.replace("registry.example.org", private.host)
    return text.replace("--username me", f"--username {USER}")


@pytest.mark.registry
@pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}")
@needs_tools("unsquashfs")
def test_the_user_guides_commands_run(tmp_path: Path) -> None:
    layout = REPOSITORY / "examples/hello/layout"
    project = Folder(tmp_path / "project", tmp_path / "home", environ={"HOME": str(tmp_path / "home")})
    project.config = {}
    project.images["hello"] = {"from": f"oci:{layout}:latest"}
    project.write()
    shutil.copy(REPOSITORY / "dodo.py", project.root)
    shutil.copytree(layout, project.root / "layout")
    for path in (project.root / "layout/index.json",):
        path.write_text(path.read_text().replace('"latest"', '"1.0"'))
    for target in ("oci-archive:archive.tar", "docker-archive:saved.tar:app:1.0"):
        command = ["skopeo", "copy", "--quiet", f"oci:{layout}:latest", target]
        subprocess.run(command, cwd=project.root, check=True)
    with (
        running(tmp_path / "public") as public,
        running(tmp_path / "private", auth="htpasswd") as private,
    ):
        for name in (
            "library/alpine:latest",
            "library/alpine:3.20",
            "org/app:1.0",
            "org/tool:2.0",
            "site/app:dev",
            "nvidia/cuda:12.4.0-base",
        ):
            public.push(f"oci:{layout}:latest", name, "--all")
        private.push(f"oci:{layout}:latest", "me/private:1.0", "--all")
        inspected = ["skopeo", "inspect", "--tls-verify=false", "--format={{.Digest}}"]
        inspected.append(f"docker://{public.host}/library/alpine:3.20")
        digest = subprocess.run(inspected, check=True, capture_output=True, text=True).stdout.strip()
        project.environ["PATH"] = f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"
        script = stand_in(commands(GUIDE.read_text()), public, private, digest)
        (project.root / "password.txt").write_text(f"{PASSWORD}\n")
        (project.root / "guide.sh").write_text(f"set -euxo pipefail\nexport SIFMAKE_PASSPHRASE=\n{script}")
        text = project.run("bash", "guide.sh")
    assert "Hello, world!" in text
    assert PASSWORD not in text


def alpine(place: Path, release: str) -> Path:
    """Write a layout with what the tutorials use of Alpine: a shell with its tools, and the release."""
    busybox = file("bin/busybox", Path(shutil.which("busybox") or "").read_bytes(), mode=0o755)
    links = [symlink(f"bin/{name}", "busybox") for name in ("sh", "cat", "echo")]
    layers = [tar(folder("bin/"), busybox, *links), tar(folder("etc/"), file("etc/alpine-release", release.encode()))]
    blobs = Blobs()
    image = blobs.image(layers, config={"Cmd": ["/bin/sh"], "Env": ["PATH=/usr/bin:/bin"]})
    return write_layout(place, blobs, {release: image})


@pytest.mark.registry
@pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}")
@needs_tools("bwrap", "squashfuse", "busybox", "git")
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_the_commands_of_a_tutorial_run(tmp_path: Path, path: Path) -> None:
    person = Folder(tmp_path / "work", tmp_path / "home", environ={"HOME": str(tmp_path / "home")})
    person.root.mkdir()
    person.environ["PATH"] = f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"
    with running(tmp_path / "registry") as registry:
        for release in ("3.19", "3.20"):
            layout = alpine(tmp_path / release, release)
            registry.push(f"oci:{layout}:{release}", f"library/alpine:{release}")
        script = commands(path.read_text()).replace("docker://alpine", f"docker://{registry.host}/library/alpine")
        (tmp_path / "tutorial.sh").write_text(f"set -euxo pipefail\nexport SIFMAKE_PASSPHRASE={PASSWORD}\n{script}")
        text = person.run("bash", str(tmp_path / "tutorial.sh"))
    assert [said for said in SAID[path.stem] if said not in text] == []
    assert PASSWORD not in text.replace(f"SIFMAKE_PASSPHRASE={PASSWORD}", "")


PRELUDE = """
sifmake init . && git init --quiet
printf 'images:\\n  app:\\n    from: docker://registry.example.org/app:1.0\\n' > config/images.yaml
doit pull_image
git add . && git -c user.name=me -c user.email=me@example.org commit --quiet -m first
cp images/app.sif tool.sif && cp images/app.sif old.sif
{update}
sifmake lock && doit pull_image
git add . && git -c user.name=me -c user.email=me@example.org commit --quiet -m second
openssl genpkey -algorithm ed25519 | openssl pkey -pubout -out colleague.pem
cp {password} password.txt
"""
"""Two versions of an image in a project that git keeps: what the how-tos start from."""
DONE = {
    "air-gapped": """
rm -r images results && export SIFMAKE_CACHE=$PWD/other
sifmake cache import images.tar && doit offline=1 pull_image
test "$(sifmake exec images/app.sif cat /etc/alpine-release)" = 3.20
""",
    "keys-and-signing": "sifmake key list | grep -q colleague",
    "private-registries": "test -s private_1.0.sif && ! sifmake registry list | grep registry.example.org",
    "rollback": """
test "$(sifmake exec images/app.sif cat /etc/alpine-release)" = 3.19
sed -n 's#^image: #docker://#p' config/locks/app.yaml > pinned
printf 'images:\\n  app:\\n    from: %s\\n' "$(cat pinned)" > config/images.yaml
sifmake lock && doit pull_image
test "$(sifmake exec images/app.sif cat /etc/alpine-release)" = 3.19
""",
}
"""What is true after the commands of each how-to."""


@pytest.mark.registry
@pytest.mark.skipif(bool(MISSING), reason=f"missing: {', '.join(MISSING)}")
@needs_tools("bwrap", "squashfuse", "busybox", "git", "openssl")
@pytest.mark.parametrize("name", DONE)
def test_the_commands_of_a_how_to_run(tmp_path: Path, name: str) -> None:
    person = Folder(tmp_path / "work", tmp_path / "home", environ={"HOME": str(tmp_path / "home")})
    person.root.mkdir()
    person.environ |= {"PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin", "REGISTRY_TOKEN": PASSWORD}
    (tmp_path / "password.txt").write_text(f"{PASSWORD}\n")
    with running(tmp_path / "registry") as public, running(tmp_path / "private", auth="htpasswd") as private:
        public.push(f"oci:{alpine(tmp_path / 'one', '3.19')}:3.19", "app:1.0")
        private.push(f"oci:{alpine(tmp_path / 'two', '3.20')}:3.20", "me/private:1.0")
        copy = (
            f"skopeo copy --quiet --dest-tls-verify=false oci:{tmp_path}/two:3.20 docker://registry.example.org/app:1.0"
        )
        page = commands((REPOSITORY / f"docs/howto/{name}.md").read_text()).replace("COMMIT", "HEAD~")
        script = PRELUDE.format(update=copy, password=tmp_path / "password.txt") + page + DONE[name]
        for text, host in (("registry.example.org/app", f"{public.host}/app"), ("registry.example.org", private.host)):
            script = script.replace(text, host)
        script = script.replace("--username me", f"--username {USER}").replace("USERNAME=me", f"USERNAME={USER}")
        (tmp_path / "how-to.sh").write_text(f"set -euo pipefail\nexport SIFMAKE_PASSPHRASE=long-enough\n{script}")
        text = person.run("bash", str(tmp_path / "how-to.sh"))
    assert PASSWORD not in text
