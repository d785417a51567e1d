"""Every name of gsu_jax that the README, docs, experiments and benchmarks use is public."""

import ast
import importlib
import pkgutil
import re
from functools import cache
from pathlib import Path

import pytest

import gsu_jax
from gsu_jax import checks

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if "notes" not in page.parts),
]
SCRIPTS = [
    *sorted((ROOT / "experiments").glob("*.py")),
    *sorted((ROOT / "benchmarks").glob("*.py")),
]
FENCE = re.compile(r"^```(?:python|\{code-cell\})[^\n]*\n(.*?)^```", re.M | re.S)
DOTTED = re.compile(r"\bgsu_jax((?:\.[A-Za-z_]\w*)+)")

PACKAGES = ["gsu_jax"] + [
    module.name
    for module in pkgutil.walk_packages(gsu_jax.__path__, "gsu_jax.")
    if module.ispkg
]  # fmt: skip


@cache
def public_names() -> dict[str, set[str]]:
    """Each package with the names in its `__all__`, and `checks`, a module without one."""
    names = {name: set(importlib.import_module(name).__all__) for name in PACKAGES}
    return names | {"gsu_jax.checks": {name for name in vars(checks) if not name.startswith("_")}}


def uses_in_code(source: str) -> set[tuple[str, str]]:
    """The (package, name) pairs that `from gsu_jax... import ...` lines ask for."""
    return {
        (node.module or "", alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gsu_jax"
        for alias in node.names
    }


def uses_in_prose(text: str) -> set[tuple[str, str]]:
    """The (package, name) pairs of `gsu_jax.x.y` anywhere in `text`, file names left out."""
    pairs = set()
    for match in DOTTED.finditer(text):
        parts = match[1].split(".")[1:]
        module = "gsu_jax"
        while len(parts) > 1 and f"{module}.{parts[0]}" in public_names():
            module = f"{module}.{parts.pop(0)}"
        pairs.add((module, parts[0]))
    return pairs


def missing(pairs: set[tuple[str, str]]) -> list[str]:
    """Those of `pairs` that no `__all__` and no package answers."""
    known = public_names()
    return sorted(
        f"{module}.{name}"
        for module, name in pairs
        if name not in known.get(module, set()) and f"{module}.{name}" not in known
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_in_all_exists(package):
    module = importlib.import_module(package)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_package_has_a_page_in_the_reference(package):
    page = (ROOT / "docs" / "reference" / f"{package}.md").read_text()
    assert f".. automodule:: {package}\n" in page
    assert f"\n{package}\n" in (ROOT / "docs" / "reference" / "index.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_uses_public_names(page):
    text = page.read_text()
    pairs = uses_in_prose(text)
    for block in FENCE.findall(text):
        pairs |= uses_in_code(block)
    assert missing(pairs) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_script_uses_public_names(script):
    source = script.read_text()
    assert missing(uses_in_code(source) | uses_in_prose(source)) == []


def test_top_level_name_is_in_the_index_of_the_reference():
    index = (ROOT / "docs" / "reference" / "index.md").read_text()
    listed = set(re.findall(r"^   [\w.]*\.(\w+)$", index, re.M)) | {"METHODS"}
    assert set(gsu_jax.__all__) <= listed


def test_private_and_unknown_names_are_missing():
    code = "from gsu_jax.data import load, nothing\nfrom gsu_jax.models._elbo import elbo_terms\n"
    assert missing(uses_in_code(code)) == [
        "gsu_jax.data.nothing",
        "gsu_jax.models._elbo.elbo_terms",
    ]
    text = "`gsu_jax.unlearn(...)`, gsu_jax.surgery.rules.pcgrad, `gsu_jax.trees` and gsu_jax.data."
    assert missing(uses_in_prose(text)) == ["gsu_jax.trees"]
