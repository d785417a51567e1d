"""Sphinx builds the site: `sphinx-build -W --keep-going docs build/docs`."""

import inspect
import re

import gsu_jax

project = "gsu_jax"
author = "The gsu_jax developers"
copyright = author
release = version = gsu_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["contributing/skeletons/*"]

# Pages: Markdown with $mathematics$; every heading of three levels is a link target.
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

# Notebooks: those of gallery/ run at every build, and an error in a cell ends it.
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# Docstrings: Google style; names in single backticks are code.
default_role = "code"
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
napoleon_custom_sections = [("Attributes", "params_style")]
autodoc_default_options = {"members": True, "undoc-members": True, "no-value": True}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
add_module_names = False
autosummary_generate = False

html_theme = "furo"
html_title = "gsu_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}

linkcheck_timeout = 20
linkcheck_retries = 2


def skip_fields(app, what, name, member, skip, options):
    """Leaves out the fields of a class: its docstring says what they hold."""
    function = inspect.isroutine(member) or isinstance(member, property)
    return skip if what != "class" or function else True


def show_formulas(app, what, name, member, options, lines):
    """Makes reStructuredText of docstrings whose formulas are plain text.

    An indented block below a paragraph is shown as it is, and so are the bars of |x|.
    """
    verbatim, example, previous, shown = None, False, "", []
    for number, line in enumerate(lines):
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if not text:
            example = False
        elif verbatim is None or indent <= verbatim:
            example = example or text.startswith(">>>")
            below = number > 0 and not lines[number - 1].strip() and previous
            if below and indent == 4 and not previous.startswith((" ", "-", "..")):
                shown += ["::", ""]
                verbatim = 0
            else:
                verbatim = indent if text.startswith("..") or text.endswith("::") else None
                if verbatim is None and not example:
                    parts = re.split("(`[^`]*`)", line)
                    escaped = (p if p[:1] == "`" else p.replace("|", r"\|") for p in parts)
                    line = "".join(escaped)
        previous = line or previous
        shown.append(line)
    lines[:] = shown


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", show_formulas, priority=400)  # before napoleon
