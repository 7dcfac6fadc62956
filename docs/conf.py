"""How the documentation is built: Sphinx, Markdown by MyST, the furo theme; every warning is an error."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "dataflows-sdk"
author = "The dataflows-sdk authors"
copyright = author
version = release = installed_version("dataflows-sdk")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "notebook_pages"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

html_theme = "furo"
html_title = "dataflows-sdk"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
add_module_names = False

# Links into our own packages must resolve; those into other projects would need the network while building.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!dataflows_(sdk|memory|integrations)).*"),
    # type variables, and classes behind a public function that stands on the page itself
    (r"py:.*", r"dataflows_sdk\.(engine\.definitions\.F|core\.codec_types\.C|core\.clock\.Clock)"),
    (r"py:.*", r"dataflows_sdk\.(nodes\.(registry|functions)\.F|noderuns\.StepRun)"),
    (r"py:.*", r"dataflows_sdk\.flow\.(declare\.\w+|inputs\.(Ref|Value))"),
    (r"py:.*", r"dataflows_sdk\.warehouse\.sources\.registry\.F"),
    (r"py:.*", r"dataflows_sdk\.store\.database\.Database"),
]
