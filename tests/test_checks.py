"""Checks name the argument, the constraint and the value that was got."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsu_jax.checks import (
    above,
    at_least,
    at_most,
    choice,
    import_extra,
    in_range,
    integer,
    listing,
    near,
    unknown,
)


def test_numbers_inside_the_range_pass():
    at_least(1, whole=1, real=2.5, numpy=np.int64(3), array=np.float32(1), on_device=jnp.ones(()))
    above(0, weight=1e-12)
    at_most(1, share=1.0)
    in_range(0, 1, dropout=0.0, momentum=0.999)
    integer(steps=3, size=np.int32(4))


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: at_least(1, steps=5, batch_size=0), "batch_size must be at least 1, got 0"),
        (lambda: above(0, weight=np.float64(0)), "weight must be above 0, got 0.0"),
        (lambda: at_most(1, share=1.5), "share must be at most 1, got 1.5"),
        (lambda: in_range(0, 1, dropout=1), "dropout must be in [0, 1), got 1"),
        (lambda: choice(("a", "b"), mode="c"), 'mode must be "a" or "b", got \'c\''),
        (
            lambda: choice(("a",), "a tree of labels", mode=1),
            'mode must be "a" or a tree of labels, got 1',
        ),
        (
            lambda: choice(("always", "conflict"), when="allways"),
            "when must be \"always\" or \"conflict\", got 'allways'. Did you mean 'always'?",
        ),
    ],
)
def test_a_value_outside_the_range_is_named(check, message):
    with pytest.raises(ValueError, match=r"must be") as error:
        check()
    assert str(error.value) == message


@pytest.mark.parametrize("check", [at_least, above, at_most])
def test_nan_is_outside_every_range(check):
    with pytest.raises(ValueError, match=r"weight.*got nan"):
        check(0, weight=float("nan"))
    with pytest.raises(ValueError, match=r"weight.*got nan"):
        in_range(0, 1, weight=np.nan)


@pytest.mark.parametrize("value", ["3", None, np.ones(2), 1j])
def test_what_is_not_one_number_is_a_type_error(value):
    with pytest.raises(TypeError, match="steps"):
        at_least(1, steps=value)


@pytest.mark.parametrize("value", [2.0, True, "3"])
def test_integer_refuses_floats_and_booleans(value):
    with pytest.raises(TypeError, match="steps"):
        integer(steps=value)


def test_traced_values_are_skipped():
    def checked(x):
        at_least(1, x=x)
        above(1, x=x)
        at_most(-1, x=x)
        in_range(2, 3, x=x)
        return x

    assert jax.eval_shape(checked, jnp.zeros(())).shape == ()


def test_a_misspelled_name_gets_a_suggestion_and_the_list():
    error = unknown("forget", "class", "brid", ["bird", "cat"])
    assert str(error) == "forget: unknown class 'brid'. Did you mean 'bird'? Known: bird, cat"
    assert near("Mael", ["Male"]) == " Did you mean 'Male'?"
    assert near("x", ["bird", "cat"]) == ""


def test_long_lists_are_cut():
    assert listing(str(k) for k in range(22)).endswith("19 and 2 more")
    assert listing([]) == "none"


def test_a_missing_extra_names_its_package_and_user():
    with pytest.raises(ImportError, match=r"^pictures needs pillow.*pip install"):
        import_extra("no_such_module", "pillow", "pictures")
