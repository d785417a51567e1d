"""The files that contributors copy (docs/contributing/skeletons) work as they are."""

import doctest
import importlib.util
import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from gsu_jax import unlearn
from gsu_jax.data import parse_request

SKELETONS = Path(__file__).parents[1] / "docs" / "contributing" / "skeletons"
NAMES = sorted(path.stem for path in SKELETONS.glob("*.py"))


def load(name):
    spec = importlib.util.spec_from_file_location(name, SKELETONS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_a_skeleton_of_each_kind():
    assert {"method", "rule", "model", "data_source", "test_method"} <= set(NAMES)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("test_")])
def test_doctests_of_skeleton_run(name):
    assert doctest.testmod(load(name)).failed == 0


def test_skeletons_work_together():
    source = load("data_source").read_skeleton()
    model = load("model").skeleton(load("model").SkeletonConfig((8, 8, 1), width=4))
    split = parse_request("bar", source).split(source).train
    result = unlearn(
        model, model.init(jax.random.key(0)), split.forget.images, split.retain.images,
        method=load("method").Skeleton(), key=jax.random.key(1), batch_size=16,
    )  # fmt: skip
    assert jnp.isfinite(result.history["forget_loss"]).all()


def test_skeleton_of_a_rule_is_the_mean_with_the_projection():
    rule = load("rule").skeleton()
    u, r = jnp.array([-1.0, 1.0]), jnp.array([1.0, 0.0])
    updates, state = rule.update(u, rule.init(u), retain_grads=r)
    assert updates.tolist() == [-0.5, 1.0]
    assert state.cosine < 0


def test_skeleton_of_a_test_passes(monkeypatch):
    monkeypatch.setitem(sys.modules, "method", load("method"))
    namespace = runpy.run_path(str(SKELETONS / "test_method.py"))
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0]()
