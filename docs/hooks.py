"""Give the site the files of the repository that its pages link to.

Links in documents are relative paths, so that they work on GitHub and in an editor. The site has only ``docs/``; each
file elsewhere that a page links to becomes a page below ``repository/``, and the links are changed to it.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from posixpath import relpath
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ELSEWHERE = "repository/"
_FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?![a-z+]+:|#)([^)#\s]+)")
_LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".sh": "sh", ".py": "python", ".toml": "toml", ".txt": "text"}
_log = logging.getLogger("mkdocs.hooks")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of ``docs/`` that pages link to, and those that these link to."""
    waiting = [ROOT / "docs" / file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        page = waiting.pop()
        for target in _targets(page):
            if target not in seen:
                seen.add(target)
                if not target.is_relative_to(ROOT / "docs"):
                    files.append(_file(target, config))
                if target.suffix == ".md":
                    waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Change links to repository paths into links between pages of the site."""
    here = page.file.src_uri
    path = ROOT / here.removeprefix(ELSEWHERE) if here.startswith(ELSEWHERE) else ROOT / "docs" / here

    def changed(match: re.Match[str]) -> str:
        target = _followed(path, match[1])
        return relpath(_place(target), str(Path(here).parent)) if target else match[1]

    parts = _FENCE.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(changed, part) for number, part in enumerate(parts))


def _targets(page: Path) -> Iterator[Path]:
    """Yield the files that a document links to; a link that leads nowhere is a warning, and so an error."""
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        target = _followed(page, link)
        if target is None:
            _log.warning("%s: the link %s leads to no file of the repository", page.relative_to(ROOT), link)
        else:
            yield target


def _followed(page: Path, link: str) -> Path | None:
    """Return the file that a link leads to; of a folder its README."""
    target = (page.parent / link).resolve()
    target = target / "README.md" if target.is_dir() else target
    return target if target.is_file() and target.is_relative_to(ROOT) else None


def _place(target: Path) -> str:
    """Return the path of a file's page in the site."""
    path = target.relative_to(ROOT).as_posix()
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{ELSEWHERE}{path}" if path.endswith(".md") else f"{ELSEWHERE}{path}.md"


def _file(target: Path, config: MkDocsConfig) -> File:
    """Return the page of a file: Markdown as it is, everything else as a block of code."""
    if target.suffix == ".md":
        return File.generated(config, _place(target), abs_src_path=str(target))
    path = target.relative_to(ROOT).as_posix()
    language = _LANGUAGES.get(target.suffix, "text")
    return File.generated(config, _place(target), content=f"# {path}\n\n````{language}\n{target.read_text()}\n````\n")
