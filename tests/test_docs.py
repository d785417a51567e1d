"""Every example of README.md, docs/ and the docstrings runs, and every link leads to a file."""

import doctest
import importlib
import io
import os
import pkgutil
import re
import subprocess
import sys
from collections import defaultdict
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import gsu_jax

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
GALLERY = sorted(set((ROOT / "docs" / "gallery").glob("*.md")) - {ROOT / "docs/gallery/index.md"})
FENCE = re.compile(
    r"^```(?P<kind>python|sh)[ \t]*(?P<options>[^\n]*)\n(?P<code>.*?)^```[ \t]*$", re.M | re.S
)
BLOCK = re.compile(r"^(`{3,})[^\n]*\n.*?^\1[ \t]*$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)")
PRINTED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

MODULES = defaultdict(list)
for found in pkgutil.walk_packages(gsu_jax.__path__, "gsu_jax."):
    MODULES[found.name.split(".")[1]].append(found.name)
MODULES.pop("__main__")


def examples(text):
    """The code of each example with the line it begins on.

    Python runs unless it is marked `no-run`, a shell's commands only if they are marked `run`.
    """
    for match in FENCE.finditer(text):
        line, options = text[: match.start("code")].count("\n"), match["options"].split()
        if match["kind"] == "python" and "no-run" not in options:
            yield line, match["code"]
        if match["kind"] == "sh" and "run" in options:
            yield line, f"run_in_shell({match['code']!r})\n"


GSU_JAX = 'gsu-jax() { python -m gsu_jax "$@"; }\n'


def run_in_shell(commands):
    """Runs what a user types; ends at the first command that fails."""
    said = subprocess.run(
        ["bash", "-ec", f'python() {{ "{sys.executable}" "$@"; }}\n{GSU_JAX}{commands}'],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert said.returncode == 0, said.stdout + said.stderr


MARKS = {
    **dict.fromkeys(("studies.md", "unlearn.md", "answer_a_request.md"), pytest.mark.slow),
    **dict.fromkeys(("diffusion.md", "your_model.md", "layer_conflicts.md"), pytest.mark.long),
    **dict.fromkeys(("optax_recipes.md", "removal_request.md", "transform.md"), pytest.mark.long),
}


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=MARKS.get(p.name, ())) for p in PAGES],
    ids=lambda page: page.relative_to(ROOT).as_posix(),
)
def test_examples_of_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__", "run_in_shell": run_in_shell}
    for line, code in examples(page.read_text()):
        # Blank lines in front, so that a traceback gives the line of the page.
        exec(compile("\n" * line + code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_page_lead_to_files(page):
    links = LINK.findall(BLOCK.sub("", page.read_text()))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize(
    "package",
    [
        pytest.param(m, marks=pytest.mark.long) if m in ("methods", "networks") else m
        for m in MODULES
    ],
)
def test_doctests_of_package_run(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed, failed = io.StringIO(), 0
    with redirect_stdout(printed):
        for name in MODULES[package]:
            failed += doctest.testmod(importlib.import_module(name), optionflags=PRINTED).failed
    assert failed == 0, printed.getvalue()


NEEDS = re.compile(r"^\| needs \| (.*?) \|$", re.M)


@pytest.mark.parametrize("name", gsu_jax.METHODS)
def test_page_of_method_names_what_the_method_needs(name):
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
    named = set(re.findall(r"`(\w+)`", NEEDS.search(page)[1]))
    method = gsu_jax.METHODS[name]
    assert named - {"init", "loss", "sample"} == {*method.needs, *method.instead}


@pytest.mark.parametrize("page", GALLERY, ids=lambda page: page.name)
def test_page_of_gallery_is_a_notebook(page):
    _, header, text = page.read_text().split("---\n", 2)
    assert "format_name: myst" in header
    assert "name: python3" in header
    assert "{code-cell}" in text
    assert "```python" not in text


def test_gallery_lists_its_pages():
    index = (ROOT / "docs" / "gallery" / "index.md").read_text()
    assert [page.name for page in GALLERY if f"({page.name})" not in index] == []


def test_examples_are_found_in_order_without_no_run():
    text = "a\n```python\nx = 1\n```\n```python no-run\nx = 2\n```\n```bash\nls\n```\n"
    text += "```python\nx = 3\n```\n```sh run\nls -l\n```\n```sh\nls\n```\n"
    assert list(examples(text)) == [
        (2, "x = 1\n"),
        (11, "x = 3\n"),
        (14, "run_in_shell('ls -l\\n')\n"),
    ]


def test_pages_and_modules_have_examples():
    assert len(list(examples((ROOT / "README.md").read_text()))) >= 1
    assert doctest.testmod(gsu_jax.surgery._project_conflicting).attempted > 0
