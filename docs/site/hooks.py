"""Give MkDocs the pages that no file of `docs/` holds, and lead links that leave the site to the repository."""

import re
import sys
from itertools import chain
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import pages  # beside this file, which MkDocs runs by its path

ROOT = Path(__file__).parents[2]
COPIED = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "skill.md": "SKILL.md"}


def on_config(config: Any) -> Any:
    """Fill the parts of the navigation that follow from the code and from folders."""
    notebooks = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
    filled = {"Techniques": pages.navigation(), "Notebooks": [f"notebooks/{path.stem}.md" for path in notebooks]}
    # A page that somebody adds is in the navigation without being named there, at the end of its part.
    listed = set(re.findall(r"[\w/.-]+\.md", str(config.nav)))
    unlisted = {"How to": _unlisted("*.md", listed | {"methods.md"}), "Evidence": _unlisted("studies/*.md", listed)}
    parts = list(chain.from_iterable(entry.items() for entry in config.nav))
    config.nav = [{title: filled.get(title, [*part, *unlisted.get(title, [])])} for title, part in parts]
    return config


def _unlisted(pattern: str, listed: set[str]) -> list[str]:
    """Return the pages of `docs/` that a pattern names and nothing lists."""
    docs = ROOT / "docs"
    paths = [path.relative_to(docs).as_posix() for path in sorted(docs.glob(pattern))]
    return [path for path in paths if path not in listed]


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages; a notebook's page takes the place of its file."""
    made = pages.generated()
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        files.remove(files.get_file_from_path(f"notebooks/{path.name}"))
        made[f"notebooks/{path.stem}.md"] = pages.notebook(path)
    for page, source in COPIED.items():
        made[page] = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Lead a link to a file outside of `docs/` to the repository."""
    # The list of techniques links to a page for each; that of the repository has them in one table.
    if page.file.src_uri == "methods.md":
        return re.sub(r"\]\((?!\.\./)", "](techniques/", pages.index()).replace("](../", "](")
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def led(match: re.Match[str]) -> str:
        address, _, anchor = match[1].partition("#")
        target = (folder / address).resolve()
        if (
            not address
            or re.match(r"[a-z]+:", address)
            or (target.is_relative_to(ROOT / "docs") and not target.is_dir())
        ):
            return match[0]
        if not target.exists():  # Left as it is, so that the build says where.
            return match[0]
        return f"]({pages.SOURCE}/{target.relative_to(ROOT).as_posix()}{'#' + anchor if anchor else ''})"

    return re.sub(r"\]\(([^)\s]+)\)", led, markdown)
