"""The class-conditional VAE: its formula, and forgetting by a label."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from gsu_jax import GradientSurgery, unlearn
from gsu_jax.metrics import negative_elbo
from gsu_jax.models import ConditionalVAEConfig
from gsu_jax.networks import conditional_vae, sample_class

CONFIG = ConditionalVAEConfig((4, 4, 1), (12,), 3, classes=3, beta=0.5)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
BATCH = {"image": RNG.random((6, 4, 4, 1)).astype(np.float32), "label": np.arange(6) % 3}


@pytest.fixture(scope="module")
def params():
    return jax.jit(conditional_vae(CONFIG).init)(jax.random.key(1))


def forward(layers, x):
    """Linear layers with ReLU between them, in NumPy."""
    for number, layer in sorted(layers["layers"].items()):
        x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])
        x = x if number == max(layers["layers"]) else np.maximum(x, 0)
    return x


def test_bound_is_that_of_the_formula(params):
    """Both stacks see [x or z, one-hot y]; the noise of z is that of the key."""
    y, x = np.eye(3)[BATCH["label"]], BATCH["image"].reshape(6, -1)
    mean, log_variance = np.split(forward(params["encoder"], np.hstack([x, y])), 2, axis=-1)
    noise = jax.random.normal(KEY, mean.shape)
    z = mean + np.exp(log_variance / 2) * noise
    logits = forward(params["decoder"], np.hstack([z, y]))
    likelihood = (x * logits - np.logaddexp(0, logits)).sum(-1)
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(-1)
    model = conditional_vae(CONFIG)
    np.testing.assert_allclose(model.elbo(params, BATCH, KEY), likelihood - kl, rtol=1e-4)
    expected = (0.5 * kl - likelihood).mean()
    np.testing.assert_allclose(model.loss(params, BATCH, KEY), expected, rtol=1e-4)


def test_samples_depend_on_their_labels_alone(params):
    labels = jnp.array([0, 1, 1])
    drawn = sample_class(CONFIG, params, KEY, labels)
    assert drawn.shape == (3, 4, 4, 1)
    other = sample_class(CONFIG, params, KEY, jnp.array([0, 1, 2]))
    np.testing.assert_array_equal(drawn[:2], other[:2])
    assert np.abs(drawn[2] - other[2]).max() > 1e-3
    drawn = conditional_vae(CONFIG).sample(params, KEY, 5)
    assert drawn.shape == (5, 4, 4, 1)
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_negative_elbo_is_minus_the_bound_of_each_example(params):
    model = conditional_vae(CONFIG)
    found = negative_elbo(model, params, BATCH, KEY, samples=400, batch_size=4)
    bounds = [model.elbo(params, BATCH, key) for key in jax.random.split(KEY, 400)]
    np.testing.assert_allclose(found, -np.mean(bounds, 0), atol=0.2)


@pytest.mark.parametrize("bad", [BATCH["image"], {"image": BATCH["image"]}])
def test_examples_without_labels_are_refused(params, bad):
    with pytest.raises(ValueError, match=r"'image'.*'label'.*got"):
        conditional_vae(CONFIG).loss(params, bad, KEY)


@pytest.mark.long
def test_surgery_forgets_a_class_by_its_label_and_keeps_the_others():
    images, labels = load_digits(return_X_y=True)
    images, labels = np.uint8(images.reshape(-1, 8, 8, 1) * 15.9), np.int32(labels)
    keep = labels < 3
    examples = {"image": images[keep], "label": labels[keep]}
    config = ConditionalVAEConfig((8, 8, 1), (64,), 4, classes=3)
    model = conditional_vae(config)
    floats = {"image": np.float32(examples["image"]) / 255, "label": examples["label"]}

    @jax.jit
    def train(key):
        optimizer = optax.adam(3e-3)
        params = model.init(key)

        def step(carry, key):
            params, state = carry
            grads = jax.grad(model.loss)(params, floats, key)
            updates, state = optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, 150))[0]

    params = train(KEY)[0]

    def split(mask):
        return jax.tree.map(lambda x: x[mask], examples)

    forget, retain = split(examples["label"] == 1), split(examples["label"] != 1)
    result = unlearn(
        model, params, forget, retain, method=GradientSurgery(learning_rate=1e-3), key=KEY,
        batch_size=16, epochs=2,
    )  # fmt: skip

    def nelbo(params, some):
        return negative_elbo(model, params, some, KEY).mean()

    assert nelbo(result.params, forget) > 1.5 * nelbo(params, forget)
    assert nelbo(result.params, retain) < 1.15 * nelbo(params, retain)
