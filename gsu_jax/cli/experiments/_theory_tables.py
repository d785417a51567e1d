"""The tables of `theory`, line by line."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from gsu_jax.cli.experiments._theory_models import CLASSIFIER, VAE, vae
from gsu_jax.curvature import (
    group_removal,
    hessian_product,
    influence_on_params,
    loss_change,
)
from gsu_jax.surgery import measure, project

FORGET = 1
CG = {"tol": 1e-3, "maxiter": 300}


def table_row(*cells) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def header(names: str) -> str:
    """The first two lines of a Markdown table whose columns are "one | two"."""
    return f"| {names} |\n|{'---|' * (names.count('|') + 1)}"


def take(batch, index):
    """The examples of a batch at `index`."""
    return jax.tree.map(lambda leaf: leaf[index], batch)


def flat(tree) -> np.ndarray:
    """A tree as one NumPy vector."""
    return np.asarray(ravel_pytree(tree)[0])


def correlation(a, b) -> float:
    """The correlation of two sets of numbers."""
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


@partial(jax.jit, static_argnames=("loss", "steps"))
def descend(loss, params, batch, *, rate, steps):
    """Returns `params` after Adam on the whole batch, whose rate falls to 0 along a cosine."""
    adam = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(carry, _):
        updates, state = adam.update(jax.grad(loss)(carry[0], batch), carry[1])
        return (optax.apply_updates(carry[0], updates), state), None

    return jax.lax.scan(step, (params, adam.init(params)), None, steps)[0][0]


value = jax.jit(lambda loss, params, batch: loss(params, batch), static_argnums=0)
slope = jax.jit(lambda loss, params, batch: jax.grad(loss)(params, batch), static_argnums=0)


# The tables, line by line


def leave_out_of_the_classifier(images, labels) -> Iterator[str]:
    """First and second order compared with the minimum without the group, in the convex model."""
    data = (images[:600], labels[:600])

    def newton(params, batch):
        return influence_on_params(CLASSIFIER, params, batch, batch).value

    zero = {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}

    def minimum(batch, params):
        for _ in range(8):
            params = optax.tree.add(params, newton(params, batch))
        return params

    theta = minimum(data, zero)
    yield header("images of 1 | p | first order | + eq. 8 | + third derivative | one Newton step")
    ones = np.flatnonzero(np.asarray(data[1]) == FORGET)
    for size in (1, 6, 20, len(ones)):
        group, rest = take(data, ones[:size]), take(data, np.delete(np.arange(600), ones[:size]))
        true = flat(minimum(rest, theta)) - flat(theta)
        basu, full = (
            group_removal(CLASSIFIER, theta, data, group, order=2, third_derivative=third)
            for third in (False, True)
        )
        found = map(flat, (basu.first, basu.change, full.change, newton(theta, rest)))
        errors = (f"{np.linalg.norm(f - true) / np.linalg.norm(true):.4f}" for f in found)
        yield table_row(size, f"{size / 600:.3f}", *errors)


def changes_by_retraining(theta, data, targets, groups) -> dict[str, list[list]]:
    """Returns the changes of a group's own loss and of the targets' losses without the group.

    Each has a list for training on from theta, and one for training from another start. The base
    was trained alike with all the data, so that what training had left to do does not count.
    """
    go_on = partial(descend, VAE, rate=1e-3, steps=800)
    anew = partial(descend, VAE, vae().init(jax.random.key(7)), rate=1e-2, steps=4000)

    @jax.jit
    def each(params, batch):
        return jax.vmap(lambda z: VAE(params, jax.tree.map(lambda leaf: leaf[None], z)))(batch)

    bases = go_on(theta, data), anew(data)
    changes = {"own": [[], []], "others": [[], []]}
    for group in groups:
        own, rest = take(data, group), take(data, np.delete(np.arange(len(data[0])), group))
        for start, params in enumerate((go_on(theta, rest), anew(rest))):
            base = bases[start]
            changes["own"][start].append(np.mean(each(params, own) - each(base, own)))
            changes["others"][start].append(each(params, targets) - each(base, targets))
    return changes


def leave_out_of_the_vae(theta, data, targets) -> Iterator[str]:
    """Correlation of predicted and retrained changes of loss, near theta and from a new start."""
    groups = np.random.default_rng(0).permutation(len(data[0]))[: 6 * 8].reshape(6, 8)
    actual = changes_by_retraining(theta, data, targets, groups)
    yield header(
        "curvature | damping | own loss | others' loss | own, new start | others', new start"
    )
    settings = (("gauss_newton", 1e-2), ("gauss_newton", 0.1), ("gauss_newton", 1), ("hessian", 1))
    for curvature, damping in settings:
        own, others, residual = [], [], 0.0
        options = {"curvature": curvature, "damping": damping, **CG}
        for group in (take(data, index) for index in groups):
            found = group_removal(VAE, theta, data, group, **options)
            own.append(np.mean(loss_change(VAE, theta, found.change, group)))
            others.append(np.asarray(loss_change(VAE, theta, found.change, targets)))
            residual = max(residual, float(found.residual))
        correlations = [
            correlation(predicted, actual[name][start])
            for start in (0, 1)
            for name, predicted in (("own", own), ("others", others))
        ]
        mark = f"{damping:g}" + (f" (residual {residual:.0e})" if residual > 1e-3 else "")
        yield table_row(curvature, mark, *(f"{c:.2f}" for c in correlations))
    yield ""
    scales = (f"{np.std(actual[name][start]):.3f}" for start in (0, 1) for name in actual)
    yield f"Deviation of the actual changes (nats), in this order: {', '.join(scales)}."


def steps_of_theorem_2_2(theta, forget, retain) -> Iterator[str]:
    """The retained loss after one step of each kind, of unit length times eta."""
    ascent = optax.tree.scale(-1.0, slope(VAE, theta, forget))
    r = slope(VAE, theta, retain)
    adam = optax.scale_by_adam()

    def by_adam(updates):
        return adam.update(updates, adam.init(updates))[0]

    yield header("step | cosine with r | eta | first order | + second | actual | backwards")
    base = float(value(VAE, theta, retain))
    for name, step in (
        ("ascent", ascent),
        ("projected", project(ascent, r)),
        ("projected, then Adam", by_adam(project(ascent, r))),
        ("Adam, then projected", project(by_adam(ascent), r)),
    ):
        unit = optax.tree.scale(1 / optax.tree.norm(step), step)
        bend = float(optax.tree.vdot(unit, hessian_product(VAE, theta, retain)(unit)))
        for eta in (0.1, 0.01, 0.001):
            there, back = (
                value(VAE, optax.tree.add_scale(theta, -sign * eta, unit), retain) - base
                for sign in (1, -1)
            )
            first = -eta * float(optax.tree.vdot(unit, r))
            changes = (first, first + eta**2 / 2 * bend, there, back)
            cosine = f"{measure(unit, r).cosine:+.1e}"
            yield table_row(name, cosine, eta, *(f"{change:+.4f}" for change in changes))


def spectrum(theta, data):
    """Returns the eigenvalues of the Hessian."""
    vector, unravel = ravel_pytree(theta)

    @jax.jit
    def matrix(vector):
        product = hessian_product(lambda v, batch: VAE(unravel(v), batch), vector, data)
        return jax.lax.map(product, jnp.eye(len(vector)), batch_size=64)

    return np.linalg.eigvalsh(np.asarray(matrix(vector), np.float64))


def eq_9(found):
    """Returns the first order and eq. 8, in the paper's sign, each up to a factor."""
    return found.first, optax.tree.scale(-1.0, found.second)


def what_is_negligible(theta, data, forget, retain, top) -> Iterator[str]:
    """Over single retained images: the inner product and the influences it stands for."""
    some = take(retain, slice(0, 64))
    g = slope(VAE, theta, forget)
    projected = project(g, slope(VAE, theta, some))
    inner = np.asarray(loss_change(VAE, theta, g, retain))
    yield header("damping / largest curvature | first order | eq. 8 | left after projecting")
    for share in (1e-5, 1e-3, 1e-1, 1.0, 10.0):
        options = {"curvature": "gauss_newton", "damping": share * top, **CG}
        found = group_removal(VAE, theta, data, forget, order=2, **options)
        weighed = influence_on_params(VAE, theta, data, some, **options).value
        left = optax.tree.vdot(weighed, projected) / optax.tree.vdot(weighed, g)
        terms = (loss_change(VAE, theta, term, retain) for term in eq_9(found))
        numbers = (*(correlation(inner, term) for term in terms), left)
        yield table_row(f"{share:g}", *(f"{number:+.2f}" for number in numbers))


def along_a_run(theta, data, forget, retain, top) -> Iterator[str]:
    """One epoch of surgery with Adam: the inner product and the influences along it."""
    adam = optax.adam(5e-4)
    params, state = theta, adam.init(theta)
    draw = np.random.default_rng(0)
    yield header("step | loss of D_f | of D_r | cosine g_f, g_r | g_f . g_r | first order | eq. 8")
    start = None
    for step in range(41):
        if step % 10 == 0:
            g, r = slope(VAE, params, forget), slope(VAE, params, retain)
            options = {"curvature": "gauss_newton", "damping": 1e-3 * top, **CG}
            found = group_removal(VAE, params, data, forget, order=2, **options)
            terms = [float(optax.tree.vdot(term, r)) for term in (g, *eq_9(found))]
            start = start or terms
            losses = (float(value(VAE, params, batch)) for batch in (forget, retain))
            numbers = (f"{x:.2f}" for x in (*losses, measure(g, r).cosine))
            ratios = (f"{now / then:+.2f}" for now, then in zip(terms, start, strict=True))
            yield table_row(step, *numbers, *ratios)
        some = (take(b, draw.choice(len(b[0]), 32, replace=False)) for b in (forget, retain))
        g, r = (slope(VAE, params, batch) for batch in some)
        updates, state = adam.update(project(optax.tree.scale(-1.0, g), r), state)
        params = optax.apply_updates(params, updates)
