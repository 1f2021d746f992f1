"""How Sphinx builds these documents: ``tox -e docs``.

Warnings are errors, so a link that leads nowhere ends the build.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "extensions"))

import uring

project = "uring"
version = release = uring.__version__
copyright = "the authors of uring"  # noqa: A001  (Sphinx wants it so)

extensions = ["myst_parser", "sphinx.ext.autodoc", "httpreference"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["extensions", "pictures/*.py"]

myst_heading_anchors = 4
smartquotes = False  # --advertise is an option, not a dash
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": False}

html_theme = "furo"
html_title = f"uring {release}"
html_show_sphinx = False

# The builder "linkcheck" asks the network; see ``tox -e docs-external``.
linkcheck_timeout = 20
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost)[:/].*"]
