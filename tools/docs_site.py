"""What `make docs` does besides what MkDocs does: pages and pictures that are made of other things in the repository.

- `reference/wire.md` is made of the proto files.
- The changelog and the contributors' page stand at the root, where people look for them, and are pages here, too.
- The plots of the benchmark stay beside the figures that they were made of.

MkDocs calls the functions by their names (see `hooks` in mkdocs.yml).
"""

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tools.proto_reference import reference

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = {"changelog.md": "CHANGELOG.md", "hacking.md": "HACKING.md"}
"""Pages of the site, and where they stand."""

_PLOT: Final = re.compile(r"\.\./bench/results/(?P<name>[\w-]+\.png)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is not in docs/."""
    files.append(File.generated(config, "reference/wire.md", content=reference()))
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    pages = "\n".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    for name in sorted(set(_PLOT.findall(pages))):
        files.append(File.generated(config, f"plots/{name}", abs_src_path=str(ROOT / "bench" / "results" / name)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The text of a page, with its plots where they are on the site."""
    return _PLOT.sub(r"plots/\g<name>", markdown)
