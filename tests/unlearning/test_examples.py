"""Examples that are not images: pytrees with one leading axis go through `unlearn` unopened."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_trees_close, assert_trees_equal
from linear_autoencoder import MODEL, images

from gsu_jax import GenerativeModel, unlearn
from gsu_jax.data import check_examples, concatenate, scale_examples

KEY = jax.random.key(1)
FORGET, RETAIN = images(1, 6, offset=0.5), images(2, 9)
LABELED = GenerativeModel(
    MODEL.init,
    lambda params, batch, key: MODEL.loss(params, batch["x"][0], key) + 0 * batch["label"].sum(),
    None,
)


def run(model, forget, retain, method):
    params = MODEL.init(jax.random.key(0))
    return unlearn(
        model, params, forget, retain, method=method, key=KEY, batch_size=2, retain_batch_size=3
    )


def labeled(x):
    return {"x": (x,), "label": np.arange(len(x))}


@pytest.mark.parametrize("method", ["fine_tune", "gradient_surgery", "synaptic_dampening", "uno"])
def test_a_method_does_with_labeled_images_what_it_does_with_images(method):
    bare = run(MODEL, FORGET, RETAIN, method)
    tree = run(LABELED, labeled(FORGET), labeled(RETAIN), method)
    assert_trees_close(tree.params, bare.params)


@pytest.mark.parametrize("method", ["vdu", "gradient_surgery"])
def test_a_model_sees_the_labels_of_its_images(method):
    """An example is a number, and so is its label; another label would make the loss infinite."""

    def loss(params, batch, key):
        wrong = (batch["x"][:, 0] != batch["label"]).any()
        return jnp.square(params).sum() + jnp.where(wrong, jnp.inf, 0.0)

    numbers = np.arange(20, dtype=np.float32) * 3 - 40
    sets = [{"x": some[:, None], "label": some} for some in (numbers[:7], numbers[7:])]
    model = GenerativeModel(lambda key: jnp.ones(3), loss, None)
    result = unlearn(model, jnp.ones(3), *sets, method=method, key=KEY, batch_size=2)
    assert np.isfinite(result.history["forget_loss"]).all()


def test_uint8_images_in_a_dict_are_scaled_and_other_leaves_are_not():
    seen = []

    def loss(params, batch, key):
        seen.append(jax.tree.map(lambda x: x.dtype, batch))
        return params * batch["image"].mean()

    model = GenerativeModel(lambda key: jnp.ones(()), loss, None)
    examples = {
        "image": np.full((4, 2, 2, 1), 255, np.uint8),
        "label": np.arange(4, dtype=np.uint8),
    }
    other = {"image": np.zeros((4, 2, 2, 1), np.uint8), "label": np.arange(4, dtype=np.uint8)}
    result = unlearn(
        model, jnp.ones(()), examples, other, method="gradient_ascent", key=KEY, batch_size=1
    )
    assert seen[-1] == {"image": jnp.float32, "label": jnp.uint8}
    np.testing.assert_allclose(result.history["forget_loss"][0], 1.0)


def test_latents_of_any_range_and_rank_are_taken():
    latents = {"latent": np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)}
    model = GenerativeModel(
        lambda key: jnp.zeros(5), lambda p, b, key: jnp.square(b["latent"] - p).mean(), None
    )
    retain = jax.tree.map(lambda x: x + 1, latents)
    result = unlearn(
        model, jnp.zeros(5), latents, retain, method="gradient_surgery", key=KEY, batch_size=1
    )
    assert np.isfinite(result.params).all()


@pytest.mark.parametrize(
    ("forget", "error", "message"),
    [
        ({"x": FORGET, "label": np.arange(5)}, ValueError, r"forget.*leading axis.*\(5,\)"),
        ({"x": FORGET, "label": 3}, ValueError, "forget.*leading axis"),
        ({}, ValueError, "forget.*leading axis"),
        ({"x": FORGET[:0], "label": np.arange(0)}, ValueError, "forget is empty"),
        ({"x": FORGET, "label": np.array(list("abcdef"))}, TypeError, "forget.*<U1"),
        ({"x": FORGET}, ValueError, "forget and retain"),
        (FORGET, ValueError, "forget and retain"),
    ],
)
def test_bad_examples_are_named(forget, error, message):
    retain = {"x": RETAIN, "label": np.arange(9)}
    with pytest.raises(error, match=message):
        run(LABELED, forget, retain, "gradient_ascent")


def test_a_method_of_images_refuses_other_examples_and_names_those_that_fit():
    latent = {"encode": len, "decode": len, "log_likelihood": len, "mean": len}
    model = GenerativeModel(MODEL.init, LABELED.loss, None, **latent)
    with pytest.raises(ValueError, match=r"redirect_surgery.*dict.*gradient_surgery"):
        run(model, labeled(FORGET), labeled(RETAIN), "redirect_surgery")


def test_sets_of_trees_are_joined_leaf_by_leaf():
    forget = {"image": np.full((2, 1, 1, 1), 255, np.uint8), "label": np.int32([3, 4])}
    retain = {"image": np.full((3, 1, 1, 1), 0.5, np.float32), "label": np.int64([5, 6, 7])}
    sets = concatenate(forget, retain)
    np.testing.assert_array_equal(sets.images["label"], [3, 4, 5, 6, 7])
    np.testing.assert_array_equal(sets.images["image"].ravel(), [1, 1, 0.5, 0.5, 0.5])
    taken = sets.retain.take(jnp.array([0, 2]))
    np.testing.assert_array_equal(taken["label"], [5, 7])


def test_a_list_of_images_is_an_array_of_images():
    assert_trees_equal(check_examples(list(FORGET), "forget"), np.stack(list(FORGET)))
    assert_trees_equal(scale_examples(FORGET), jnp.asarray(FORGET))


@pytest.mark.parametrize(
    "batches",
    [[RETAIN[:4], RETAIN[4:8]], [labeled(RETAIN[:4]), labeled(RETAIN[4:])], [(RETAIN[:4],)]],
    ids=["arrays", "dicts", "tuples"],
)
def test_a_list_of_batches_is_refused_with_what_to_give(batches):
    with pytest.raises(ValueError, match=rf"retain must.*list of {len(batches)} .*iter\(batches\)"):
        run(MODEL, FORGET, batches, "gradient_surgery")


@pytest.mark.parametrize("shape", [(5,), (5, 10), (5, 7, 10), (5, 2, 2, 2, 2)])
def test_an_array_that_is_no_image_is_refused_with_the_pytree_to_give(shape):
    with pytest.raises(
        ValueError, match=r"forget must be images.*got shape .*\{'latents': array\}"
    ):
        run(MODEL, np.zeros(shape, np.float32), RETAIN, "gradient_surgery")


def test_a_list_of_images_of_two_shapes_names_both():
    with pytest.raises(ValueError, match=r"retain: .*\(2, 2, 1\) and \(3, 2, 1\)"):
        check_examples([np.zeros((2, 2, 1)), np.zeros((3, 2, 1))], "retain")
