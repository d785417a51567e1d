"""Penalized logistic regression as a loss, and its minimum, gradient and Hessian in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.curvature import ComposedLoss

PENALTY = 0.05
N = 60


def logits(params, batch):
    return batch["x"] @ params["w"] + params["b"], params


def loss_of(outputs, batch):
    z, params = outputs
    penalty = 0.5 * PENALTY * (jnp.sum(params["w"] ** 2) + params["b"] ** 2)
    return jnp.mean(jax.nn.softplus(-batch["y"] * z)) + penalty


LOSS = ComposedLoss(logits, loss_of)


def labeled():
    """`N` examples with three features and a label of -1 or 1."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(N, 3)) * [1.0, 2.0, 0.5]
    y = np.where(x @ [1.0, -1.0, 0.5] + draw.normal(size=N) > 0, 1.0, -1.0)
    return {"x": x, "y": y}


def take(batch, index):
    return jax.tree.map(lambda leaf: leaf[index], batch)


def tree(theta):
    """Parameters from a vector, in the order of the leaves."""
    return {"b": jnp.asarray(theta[0]), "w": jnp.asarray(theta[1:])}


# In NumPy, with a weight for each example; the weights sum to 1.


def even(batch):
    return np.full(len(batch["y"]), 1 / len(batch["y"]))


def gradient(theta, batch, weights):
    x = np.column_stack([np.ones(len(batch["y"])), batch["x"]])
    slope = -batch["y"] / (1 + np.exp(batch["y"] * (x @ theta)))
    return x.T @ (weights * slope) + PENALTY * theta


def hessian(theta, batch, weights):
    x = np.column_stack([np.ones(len(batch["y"])), batch["x"]])
    s = 1 / (1 + np.exp(-(x @ theta)))
    return x.T @ ((weights * s * (1 - s))[:, None] * x) + PENALTY * np.eye(4)


def minimum(batch, weights):
    theta = np.zeros(4)
    for _ in range(30):
        theta -= np.linalg.solve(hessian(theta, batch, weights), gradient(theta, batch, weights))
    assert np.abs(gradient(theta, batch, weights)).max() < 1e-13
    return theta
