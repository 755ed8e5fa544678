"""The documentation site: Sphinx over the pages of this repository as they are.

The source folder is the repository, so that a relative link of a page means the same file here and on a code host. Pages of
`docs/reference/api` are Markdown made from the source for readers on a code host; the site shows the same names by autodoc.

    contents.py      the navigation, from the lists of links in README.md and other pages that list pages
    api.py           pages by autodoc from `TASKS` of docs/reference/generate.py; links from types to their pages
    docstrings.py    a docstring of this repository as reStructuredText
    llms.py          llms.txt and llms-full.txt
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "reference"), str(ROOT)]

import api  # noqa: E402
import contents  # noqa: E402
import llms  # noqa: E402

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "factstore"
version = release = _PROJECT["version"]
author = _PROJECT["authors"][0]["name"]
project_copyright = author
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["*.md", "docs/**.md", "examples/README.md", "tests/README.md", "benchmarks/README.md"]
exclude_patterns = [".*", "build", "dist", "demo-out", "factstore", "overseer"]

# The anchors of headings are those of code hosts, so that links to headings work in both.
myst_heading_anchors = 4
smartquotes_action = "D"  # dashes only, which Sphinx writes as --

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
add_module_names = False
nitpicky = True
nitpick_ignore_regex = [
    # Types of other projects: a link needs their inventory, which would have to be downloaded.
    (r"py:.*", r"(django|hypothesis|numpy|pandas|polars|pyarrow|starlette)\..*"),
]

html_theme = "furo"
html_title = f"factstore {release}"
html_copy_source = False
html_show_sphinx = False
html_additional_pages = {"index": "index.html"}
templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["site.css"]
# Summaries of results are fetched, which browsers refuse for pages that are opened as files.
html_show_search_summary = False


def setup(app: Any) -> dict[str, Any]:
    for module in (contents, api, llms):
        module.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
