"""Sphinx configuration: ``make docs`` builds this folder into docs/_build/html, warnings as errors."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels"), str(ROOT / "docs")]

from hitl_fast import __version__  # noqa: E402

project = "hitl_fast"
author = "The hitl_fast maintainers"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "docstrings"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "results/*"]
html_theme = "furo"
html_title = "hitl_fast"
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_extra_path = ["results"]
html_copy_source = False
html_show_sphinx = False
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["misc.highlighting_failure"]  # Pygments knows no Mermaid
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
