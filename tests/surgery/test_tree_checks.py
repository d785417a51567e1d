"""Errors name the leaf at fault."""

import jax
import jax.numpy as jnp
import pytest

from gsu_jax.surgery import check_floating, measure, project, project_cone, project_subspace
from gsu_jax.surgery._tree_checks import check_gradients, leaf_paths

ONES = {"decoder": {"bias": jnp.float32(1), "kernel": jnp.float32(2)}}


def gradients(**leaves):
    return {name: jnp.ones(shape) for name, shape in leaves.items()}


@pytest.mark.parametrize("function", [project, measure, project_subspace, project_cone])
def test_missing_leaf_is_named(function):
    with pytest.raises(ValueError, match="no leaf decoder/kernel"):
        function(ONES, {"decoder": {"bias": jnp.ones(1)}})


def test_additional_leaf_is_named():
    with pytest.raises(ValueError, match="leaf decoder/kernel"):
        project({"decoder": {"bias": jnp.float32(1)}}, ONES)


def test_other_containers_are_refused():
    with pytest.raises(ValueError, match="containers"):
        project([jnp.ones(2)], (jnp.ones(2),))


@pytest.mark.parametrize("function", [project, measure, project_subspace, project_cone])
@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_gradients_is_to_be_stacked(function, kind):
    for updates in (gradients(a=3, b=()), jnp.ones(2), [jnp.ones(2), jnp.ones(3)]):
        with pytest.raises(ValueError, match=rf"{kind.__name__} of 3 .*axis of k.*jnp\.stack"):
            function(updates, kind([updates] * 3))


def test_a_list_of_something_else_is_not_to_be_stacked():
    for wrong in ([], [jnp.ones(3)], [gradients(a=3), gradients(b=3)]):
        with pytest.raises(ValueError, match="same loss and the same parameters"):
            project(gradients(a=3), wrong)


def test_other_shape_is_named():
    with pytest.raises(ValueError, match=r"leaf a/0 .*\(2, 3\).*\(3, 2\) in retain_grads"):
        project({"a": [jnp.ones((2, 3))]}, {"a": [jnp.ones((3, 2))]})


def test_leaves_that_are_stacked_in_part_are_named():
    with pytest.raises(ValueError, match=r"leaf b .*\(2,\).*\(5, 2\)"):
        project(gradients(a=3, b=2), gradients(a=3, b=(5, 2)))


@pytest.mark.parametrize("function", [project, project_subspace, project_cone])
def test_stacked_leaves_of_different_lengths_are_named(function):
    with pytest.raises(ValueError, match=r"leaf b .*\(2,\).*\(4, 2\).*\(k, \*\(2,\)\)"):
        function(gradients(a=3, b=2), gradients(a=(5, 3), b=(4, 2)))


def test_empty_set_is_refused():
    with pytest.raises(ValueError, match="k >= 1"):
        project_subspace(jnp.ones(3), jnp.ones((0, 3)))


@pytest.mark.parametrize("function", [project_subspace, project_cone])
def test_single_gradient_is_no_set(function):
    with pytest.raises(ValueError, match=r"leaf \(root\) .*\(3,\) in retain_grads"):
        function(jnp.ones(3), jnp.ones(3))


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64"])
def test_leaf_that_is_not_floating_is_named(dtype):
    wrong, right = {"step": jnp.ones(3, dtype)}, {"step": jnp.ones(3)}
    with pytest.raises(TypeError, match=f"updates .*step .*{dtype}"):
        project(wrong, right)
    with pytest.raises(TypeError, match=f"retain_grads .*step .*{dtype}"):
        project(right, wrong)
    with pytest.raises(TypeError, match=f"params .*step .*{dtype}"):
        check_floating(wrong, "params")


def test_python_numbers_are_floating_leaves():
    check_floating({"scale": 1.0}, "params")
    with pytest.raises(TypeError, match=r"params .*step .*int32"):
        check_floating({"step": 1}, "params")


@pytest.mark.parametrize("leaf", [jnp.tanh, "name", object()])
def test_leaf_that_is_no_array_is_named(leaf):
    kind = type(leaf).__name__
    with pytest.raises(TypeError, match=f"params .*leaf act of type {kind}"):
        check_floating({"act": leaf}, "params")


def test_random_key_is_no_floating_leaf():
    with pytest.raises(TypeError, match=r"params .*key .*key<fry>"):
        check_floating({"key": jax.random.key(0)}, "params")


def test_check_tells_a_set_from_a_single_gradient():
    assert check_gradients(gradients(a=3, b=()), gradients(a=(5, 3), b=(5,)))
    assert not check_gradients(gradients(a=3, b=()), gradients(a=3, b=()))
    assert not check_gradients({}, {})


def test_path_of_a_bare_array():
    assert leaf_paths(jnp.ones(1)) == ["(root)"]
