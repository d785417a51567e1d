"""Every Python example of the README and of docs/ runs, in order, one namespace per file."""

import doctest
import re
from pathlib import Path

import pytest

import gsu_jax.surgery

ROOT = Path(__file__).parents[1]
PAGES = [
    page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if page.exists()
]
FENCE = re.compile(r"^```python[ \t]*(?P<options>[^\n]*)\n(?P<code>.*?)^```[ \t]*$", re.M | re.S)


def examples(text):
    """The code of each example with the line it begins on; those marked `no-run` left out."""
    for match in FENCE.finditer(text):
        if "no-run" not in match["options"].split():
            yield text[: match.start("code")].count("\n"), match["code"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, code in examples(page.read_text()):
        # Blank lines in front, so that a traceback gives the line of the page.
        exec(compile("\n" * line + code, str(page), "exec"), namespace)


def test_examples_are_found_in_order_and_no_run_is_left_out():
    text = "a\n```python\nx = 1\n```\n```python no-run\nx = 2\n```\n```bash\nls\n```\n"
    text += "```python\nx = 3\n```\n"
    assert list(examples(text)) == [(2, "x = 1\n"), (11, "x = 3\n")]


def test_the_page_on_transforms_has_examples():
    assert len(list(examples((ROOT / "docs" / "transform.md").read_text()))) > 5


def test_the_example_in_the_docstring_of_the_transform_runs():
    found = doctest.testmod(gsu_jax.surgery)
    assert found.attempted > 0
    assert found.failed == 0
