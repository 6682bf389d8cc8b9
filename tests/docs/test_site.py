"""The documentation site is built without a network, and a link that leads nowhere is an error."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sifmake import __version__
from support.project import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

needs_mkdocs = pytest.mark.skipif(importlib.util.find_spec("material") is None, reason="mkdocs-material is missing")


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder / "out"]
    proxies = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # nothing listens there
    environ = {"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1", **proxies}
    return subprocess.run(
        command, cwd=folder / "sifmake", env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path) -> Path:
    """Return a folder with a copy of the repository; what is large and in no document is left out."""
    hidden = [path.name for path in REPOSITORY.iterdir() if path.name.startswith(".")]
    left_out = shutil.ignore_patterns(*hidden, "__pycache__", "golden", "images", "results", "site", "fuzz-faults")
    shutil.copytree(REPOSITORY, tmp_path / "sifmake", ignore=left_out)
    return tmp_path


@needs_mkdocs
def test_the_site_is_built_without_a_network(checkout) -> None:
    done = build(checkout)
    assert done.returncode == 0, done.stdout
    pages = {path.relative_to(checkout / "out").as_posix() for path in (checkout / "out").rglob("*.html")}
    assert {"index.html", "tutorials/first-image.html", "reference/formats.html", "glossary.html"} <= pages
    assert {"repository/SECURITY.html", "repository/config/index.html", "repository/doitw.html"} & pages
    fetched = re.findall(r'(?:src|href)="(https?://[^"]+)"', (checkout / "out/index.html").read_text())
    assert [url for url in fetched if not url.startswith("https://squidfunk.github.io")] == []


@needs_mkdocs
@pytest.mark.parametrize("link", ["nowhere.md", "../nowhere.py", "glossary.md#no-such-heading"])
def test_a_link_that_leads_nowhere_is_an_error(checkout, link) -> None:
    page = checkout / "sifmake/docs/index.md"
    page.write_text(f"{page.read_text()}\n[lost]({link})\n")
    done = build(checkout)
    assert done.returncode == 1
    assert link.removeprefix("../") in done.stdout


def test_the_citation_has_the_version() -> None:
    text = (REPOSITORY / "CITATION.cff").read_text()
    assert f"\nversion: {__version__}\n" in text
    date = re.search(r'^date-released: "(\d{4}-\d\d-\d\d)"$', text, flags=re.MULTILINE)
    assert date is not None
    assert f"## [{__version__}] - {date[1]}" in (REPOSITORY / "CHANGELOG.md").read_text()
