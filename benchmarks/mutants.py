"""Mutates `gsu_jax/surgery` one operator at a time and counts the mutants that the tests kill.

    python benchmarks/mutants.py --list
    python benchmarks/mutants.py --file _cone.py
    python benchmarks/mutants.py --sample 150

A mutant is one file with one change: + for -, * for /, & for |, < for <=, == for !=, `and` for
`or`, a dropped `not` or minus, or another constant. Docstrings, annotations, error messages and
`strict=True` stay. Each mutant runs the tests of its module until one fails, in a fork of a process
that has imported JAX. The tests must pass without a mutation, or every mutant counts as killed.
`docs/notes/mutants.md` has the results.
"""

import argparse
import ast
import copy
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from equivalent_mutants import EQUIVALENT

ROOT = Path(__file__).parents[1]
PACKAGE = "gsu_jax/surgery"
TIMEOUT = 240  # seconds for a mutant
# Slow: large arrays, other devices and other libraries.
SKIPPED = "not million and not 100000 and not 10000 and not eight_devices and not nnx and not linen"

# The tests of each module, the quickest to fail first.
TESTS = {
    "_add_retain_gradient.py": "test_transforms test_contract",
    "_cone.py": "test_cone",
    "_conflict.py": "test_conflict test_norm_overflow test_span test_projection",
    "_gradients.py": "test_gradients test_modules",
    "_gramian.py": "test_gramian test_span",
    "_inner_products.py": "test_inner_products test_projection test_conflict",
    "_leaves.py": "test_projection test_transforms test_span",
    "_measure_conflict.py": "test_transforms test_contract",
    "_module_recipes.py": "test_modules",
    "_multi_steps.py": "test_multi_steps_errors test_multi_steps test_multi_steps_devices",
    "_pmean_gradients.py": "test_devices test_contract",
    "_project_conflicting.py": "test_transforms test_devices test_contract",
    "_projection.py": "test_projection test_cone test_transforms",
    "_retain_grads.py": "test_transforms test_chains test_devices test_contract",
    "_span.py": "test_span",
    "_tree_checks.py": "test_tree_checks test_modules test_projection",
    "rules/_barrier.py": "rules/test_barrier test_contract",
    "rules/_cagrad.py": "rules/test_cagrad test_contract",
    "rules/_combining.py": "rules/test_pcgrad test_contract",
    "rules/_gru.py": "rules/test_gru test_contract",
    "rules/_nash.py": "rules/test_nash test_contract",
    "rules/_pcgrad.py": "rules/test_pcgrad",
    "rules/_project_retain.py": "rules/test_project_retain",
    "rules/_projected_adam.py": "rules/test_projected_adam test_contract",
}

SWAPS = {
    ast.Add: ast.Sub,
    ast.Mult: ast.Div,
    ast.BitAnd: ast.BitOr,
    ast.Lt: ast.LtE,
    ast.Gt: ast.GtE,
    ast.Eq: ast.NotEq,
    ast.Is: ast.IsNot,
    ast.And: ast.Or,
}
SWAPS |= {new: old for old, new in SWAPS.items()} | {ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult}
SIGNS = {
    **{ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"},
    **{ast.BitAnd: "&", ast.BitOr: "|", ast.And: "and", ast.Or: "or"},
    **{ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="},
    **{ast.Is: "is", ast.IsNot: "is not", ast.Not: "not", ast.USub: "minus"},
}


class Mutant(NamedTuple):
    """One change to one file."""

    file: str
    line: int
    code: str
    change: str
    which: int
    source: str

    @property
    def is_equivalent(self) -> bool:
        """Whether `EQUIVALENT` lists it."""
        return any(
            (self.file, self.change) == (file, change)
            and part in self.code
            and which in (0, self.which)
            for file, part, change, which, _ in EQUIVALENT
        )


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The mutations of one node: a description, and the node in place of it."""
    new = copy.deepcopy(node)
    match node:
        case ast.BinOp() | ast.AugAssign() | ast.BoolOp() if type(node.op) in SWAPS:
            new.op = SWAPS[type(node.op)]()
            yield f"{SIGNS[type(node.op)]} -> {SIGNS[type(new.op)]}", new
        case ast.Compare():
            for i, operator in enumerate(node.ops):
                if type(operator) in SWAPS:
                    swapped = copy.deepcopy(node)
                    swapped.ops[i] = SWAPS[type(operator)]()
                    signs = SIGNS[type(operator)], SIGNS[type(swapped.ops[i])]
                    yield f"{signs[0]} -> {signs[1]}", swapped
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield f"{SIGNS[type(node.op)]} dropped", node.operand
        case ast.Constant(value=bool()):
            yield f"{node.value} -> {not node.value}", ast.Constant(not node.value)
        case ast.Constant(value=int()):
            yield f"{node.value} -> {node.value + 1}", ast.Constant(node.value + 1)
        case ast.Constant(value=float()):
            yield f"{node.value} -> {2 * node.value}", ast.Constant(2 * node.value)


def places(node: ast.AST, in_function: bool = False) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Every (parent, field, index) whose node may change."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        inside = in_function or isinstance(node, ast.FunctionDef)
        many = isinstance(value, list)
        for index, child in enumerate(value if many else [value]):
            # Error messages, `strict=True`, and unions of types outside functions stay.
            if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.JoinedStr):
                continue
            if isinstance(child, ast.keyword) and child.arg == "strict":
                continue
            union = isinstance(child, ast.BinOp) and isinstance(child.op, ast.BitOr)
            if inside or not union:
                yield node, field, index if many else None
            yield from places(child, inside)


def mutants(file: str) -> list[Mutant]:
    """All mutants of one file of the package."""
    text = (ROOT / PACKAGE / file).read_text()
    tree, lines, found = ast.parse(text), text.splitlines(), []
    for parent, field, index in places(tree):
        value = getattr(parent, field)
        node = value if index is None else value[index]
        for change, new in changes(node):
            line = node.lineno if hasattr(node, "lineno") else parent.lineno
            put(parent, field, index, new)
            source = ast.unparse(ast.fix_missing_locations(tree))
            which = 1 + sum((m.line, m.change) == (line, change) for m in found)
            found.append(Mutant(file, line, lines[line - 1].strip(), change, which, source))
            put(parent, field, index, node)
    return found


def put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def run_tests(folder: Path, tests: list[str]) -> bool:
    """Whether the tests pass on the package in `folder`, run in a fork; a timeout is a failure."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.path.insert(0, str(folder))
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            code = int(pytest.main([*OPTIONS, *tests]) != 0)
        finally:
            os._exit(code)
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


OPTIONS = ["-x", "-q", "-n", "0", "--assert=plain", "-k", SKIPPED, "-p", "no:cacheprovider"]


def prepare() -> None:
    """Imports what every fork needs, without starting a backend of JAX."""
    # Mutants compile once and run little.
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import warnings

    import flax.linen  # noqa: F401
    import hypothesis
    import jax
    import optax  # noqa: F401
    import scipy.optimize  # noqa: F401
    from flax import nnx  # noqa: F401

    warnings.filterwarnings("ignore", message="os.fork")
    cache = Path(tempfile.gettempdir()) / "gsu_jax_mutants"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A counterexample counts; its smallest form does not.
    hypothesis.settings.register_profile(
        "mutants", phases=[hypothesis.Phase.generate], database=None, derandomize=True
    )
    hypothesis.settings.load_profile("mutants")


def judge(chosen: list[Mutant]) -> list[Mutant]:
    """Runs the tests against each mutant and returns the survivors."""
    prepare()
    survivors, started = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "gsu_jax", Path(folder) / "gsu_jax")
        for number, mutant in enumerate(chosen, 1):
            tests = [f"tests/surgery/{name}.py" for name in TESTS[mutant.file].split()]
            place = Path(folder) / PACKAGE / mutant.file
            original = place.read_text()
            place.write_text(mutant.source)
            survived = run_tests(Path(folder), tests)
            place.write_text(original)
            if survived:
                survivors.append(mutant)
            verdict = "SURVIVED" if survived else "killed"
            seconds = time.monotonic() - started
            print(
                f"{number}/{len(chosen)} {seconds:.0f} s {verdict} {PACKAGE}/{mutant.file}:"
                f"{mutant.line}: {mutant.change}   {mutant.code}",
                flush=True,
            )
    return survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", choices=TESTS, help="one file; all by default")
    parser.add_argument("--sample", type=int, help="judge so many, drawn with a fixed seed")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    arguments = parser.parse_args()
    files = [arguments.file] if arguments.file else list(TESTS)
    everything = [mutant for file in files for mutant in mutants(file)]
    chosen = [mutant for mutant in everything if not mutant.is_equivalent]
    print(f"{len(everything)} mutants, {len(everything) - len(chosen)} known to be equivalent")
    if arguments.sample and arguments.sample < len(chosen):
        chosen = random.Random(0).sample(chosen, arguments.sample)
    if arguments.list:
        for mutant in chosen:
            print(f"{PACKAGE}/{mutant.file}:{mutant.line}: {mutant.change}   {mutant.code}")
        return
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    survivors = judge(chosen)
    killed = len(chosen) - len(survivors)
    print(f"killed {killed} of {len(chosen)} ({killed / max(len(chosen), 1):.1%})")


if __name__ == "__main__":
    main()
