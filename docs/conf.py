"""How the documentation is built: ``sphinx-build -W docs site``."""

from clever import __version__

project = "clever"
author = "the authors of clever"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
html_theme = "furo"
html_title = f"clever {__version__}"
exclude_patterns = ["site"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
napoleon_use_ivar = True
default_role = "code"
nitpicky = False
