"""Sphinx: `uv run --group docs sphinx-build -W docs docs/_build`."""

import importlib.metadata

project = "movseg_jax"
author = "The movseg_jax authors"
copyright = "the movseg_jax authors"
metadata = importlib.metadata.metadata("movseg_jax")
version = release = metadata["Version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "movseg_jax"
html_static_path: list[str] = []
for address in metadata.get_all("Project-URL") or []:
    name, _, url = address.partition(", ")
    if name == "Repository":  # Each page gets a link to its source.
        html_theme_options = {
            "source_repository": url,
            "source_branch": "main",
            "source_directory": "docs/",
        }

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
# Shapes such as `Float32[np.ndarray, "h w 3"]` stay as they are written.
autodoc_type_aliases: dict[str, str] = {}
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autosummary_generate = False
# Links to files of the repository, which lie outside of this folder.
suppress_warnings = ["myst.xref_missing"]
napoleon_use_ivar = True
