"""Each package imports only from the packages below it, and only their public names."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "gsu_jax"

BELOW = {
    "checks": "",
    "surgery": "checks",
    "runtime": "checks",
    "storage": "runtime checks",
    "data": "checks",
    "models": "data checks",
    "networks": "models data checks",
    "curvature": "surgery models data checks",
    "metrics": "models data runtime checks",
    "methods": "surgery curvature models data runtime checks",
    "report": "metrics storage checks",
    "unlearning": "methods models data runtime checks",
    "audit": "metrics models data runtime checks",
    "study": "unlearning methods networks models metrics report storage data runtime checks",
    "removal": "audit unlearning methods networks models metrics report storage data runtime "
    "checks",
    "cli": "study removal audit unlearning networks report methods curvature surgery models "
    "storage data runtime checks",
    "__main__": "cli",
    "__init__": "surgery models methods unlearning",
}
LONGEST_FILE = 300


def module_name(file: Path) -> str:
    """The dotted name of `file`, a package's `__init__.py` under the name of the package."""
    parts = file.relative_to(HOUSE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(HOUSE.rglob("*.py"))}


def imported_modules(source: str) -> set[str]:
    """The modules of gsu_jax that `source` imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
    return {name for name in found if name.split(".")[0] == "gsu_jax"}


def package(module: str) -> str:
    """The step of the stair on which `module` stands."""
    return module.split(".")[1] if "." in module else "__init__"


IMPORTS = {name: imported_modules(file.read_text()) for name, file in MODULES.items()}


def test_every_package_has_its_step():
    assert {package(module) for module in MODULES} == set(BELOW)


@pytest.mark.parametrize("step", BELOW)
def test_package_imports_only_from_packages_below_it(step):
    allowed = {step, *BELOW[step].split()}
    upward = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        for target in sorted(targets)
        if package(module) == step and package(target) not in allowed
    ]
    assert not upward


def test_no_package_imports_a_private_file_of_another():
    reached = {
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        for target in targets
        if package(module) != package(target)
        and any(part.startswith("_") for part in target.split("."))
    }
    assert not reached


def test_modules_import_each_other_in_no_circle():
    try:
        order = list(TopologicalSorter(IMPORTS).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert set(order) >= set(MODULES)


def test_imports_inside_functions_are_seen():
    source = "import jax\ndef f():\n    from gsu_jax.data import load\n    import gsu_jax.models\n"
    assert imported_modules(source) == {"gsu_jax.data", "gsu_jax.models"}


def test_root_holds_at_most_eighteen_packages_and_modules():
    packages = [file.parent for file in HOUSE.glob("*/__init__.py")]
    assert len(packages) + len(list(HOUSE.glob("*.py"))) <= 18


def test_no_file_is_longer_than_three_hundred_lines():
    files = [*MODULES.values(), *sorted((ROOT / "tests").rglob("*.py"))]
    long = {
        file.relative_to(ROOT).as_posix()
        for file in files
        if len(file.read_text().splitlines()) > LONGEST_FILE
    }
    assert long == set()
