"""What of the paper's theory holds, measured on small models of digits: see docs/theory.md.

Two minutes on two cores, no download. Prints the tables, and writes them to --out as theory.md.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax.flatten_util import ravel_pytree

from gsu_jax import project
from gsu_jax.curvature import (
    ComposedLoss,
    group_removal,
    hessian_product,
    influence_on_params,
    loss_change,
)
from gsu_jax.data import load
from gsu_jax.models import MLPVAEConfig, kl_to_standard_normal
from gsu_jax.networks import mlp_vae
from gsu_jax.surgery import measure

FORGET, PENALTY = 1, 1e-2
CG = {"tol": 1e-3, "maxiter": 300}
MODEL = mlp_vae(MLPVAEConfig(image_shape=(8, 8, 1), widths=(16,), latent_size=2))


def classifier_outputs(params, batch):
    """Logits of a linear classifier, and the parameters for their penalty."""
    return batch[0].reshape(len(batch[0]), -1) @ params["kernel"] + params["bias"], params


def cross_entropy(outputs, batch):
    """Its loss with labels `batch[1]`."""
    logits, params = outputs
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()
    return loss + PENALTY / 2 * optax.tree.norm(params, squared=True)


def vae_outputs(params, batch):
    """What the ELBO reads; `batch[1]` is the noise that draws z ~ q(z|x), fixed for each image."""
    mean, log_variance = MODEL.encode(params, batch[0])
    z = mean + jnp.exp(log_variance / 2) * batch[1]
    return MODEL.decode(params, z), mean, log_variance, params


def negative_elbo(outputs, batch):
    """The VAE's loss, with the penalty."""
    decoded, mean, log_variance, params = outputs
    loss = kl_to_standard_normal(mean, log_variance) - MODEL.log_likelihood(decoded, batch[0])
    return loss.mean() + PENALTY / 2 * optax.tree.norm(params, squared=True)


CLASSIFIER = ComposedLoss(classifier_outputs, cross_entropy)
VAE = ComposedLoss(vae_outputs, negative_elbo)


def rows(batch, index):
    """The examples of a batch at `index`."""
    return jax.tree.map(lambda leaf: leaf[index], batch)


@partial(jax.jit, static_argnames=("loss", "steps"))
def descend(loss, params, batch, *, rate, steps):
    """Adam on the whole batch, its rate falling to 0 along a cosine."""
    adam = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(carry, _):
        updates, state = adam.update(jax.grad(loss)(carry[0], batch), carry[1])
        return (optax.apply_updates(carry[0], updates), state), None

    return jax.lax.scan(step, (params, adam.init(params)), None, steps)[0][0]


value = jax.jit(lambda loss, params, batch: loss(params, batch), static_argnums=0)
slope = jax.jit(lambda loss, params, batch: jax.grad(loss)(params, batch), static_argnums=0)


def flat(tree):
    """A tree as one NumPy vector."""
    return np.asarray(ravel_pytree(tree)[0])


def leave_out_of_the_classifier(images, labels) -> Iterator[str]:
    """First and second order against the minimum without the group, in the convex model."""
    data = (images[:600], labels[:600])

    def newton(params, batch):
        return influence_on_params(CLASSIFIER, params, batch, batch).value

    zero = {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}

    def minimum(batch, params):
        for _ in range(8):
            params = optax.tree.add(params, newton(params, batch))
        return params

    theta = minimum(data, zero)
    yield "| images of 1 | p | first order | + eq. 8 | + third derivative | one Newton step |"
    yield "|---|---|---|---|---|---|"
    ones = np.flatnonzero(np.asarray(data[1]) == FORGET)
    for size in (1, 6, 20, len(ones)):
        group, rest = rows(data, ones[:size]), rows(data, np.delete(np.arange(600), ones[:size]))
        true = flat(minimum(rest, theta)) - flat(theta)
        basu, full = (
            group_removal(CLASSIFIER, theta, data, group, order=2, third_derivative=third)
            for third in (False, True)
        )
        found = map(flat, (basu.first, basu.change, full.change, newton(theta, rest)))
        errors = (f"{np.linalg.norm(f - true) / np.linalg.norm(true):.4f}" for f in found)
        yield f"| {size} | {size / 600:.3f} | {' | '.join(errors)} |"


def leave_out_of_the_vae(theta, data, targets) -> Iterator[str]:
    """Predicted against retrained changes of loss, next to theta and from another start."""
    groups = np.random.default_rng(0).permutation(len(data[0]))[: 6 * 8].reshape(6, 8)
    go_on = partial(descend, VAE, rate=1e-3, steps=800)
    anew = partial(descend, VAE, MODEL.init(jax.random.key(7)), rate=1e-2, steps=4000)

    @jax.jit
    def each(params, batch):
        return jax.vmap(lambda z: VAE(params, jax.tree.map(lambda leaf: leaf[None], z)))(batch)

    # Against going on with all the data, so that what training had left to do does not count.
    bases = go_on(theta, data), anew(data)
    actual = {"own": [[], []], "others": [[], []]}
    for out in groups:
        rest = rows(data, np.delete(np.arange(len(data[0])), out))
        for start, (params, base) in enumerate(
            zip((go_on(theta, rest), anew(rest)), bases, strict=True)
        ):
            own = rows(data, out)
            actual["own"][start].append(np.mean(each(params, own) - each(base, own)))
            actual["others"][start].append(each(params, targets) - each(base, targets))

    yield "| curvature | damping | own loss | others' loss | own, new start | others', new start |"
    yield "|---|---|---|---|---|---|"
    for curvature, damping in (
        ("gauss_newton", 1e-2),
        ("gauss_newton", 1e-1),
        ("gauss_newton", 1.0),
        ("hessian", 1.0),
    ):
        own, others, residual = [], [], 0.0
        for out in groups:
            found = group_removal(
                VAE, theta, data, rows(data, out), curvature=curvature, damping=damping, **CG
            )
            own.append(np.mean(loss_change(VAE, theta, found.change, rows(data, out))))
            others.append(np.asarray(loss_change(VAE, theta, found.change, targets)))
            residual = max(residual, float(found.residual))
        correlations = [
            np.corrcoef(np.ravel(predicted), np.ravel(actual[name][start]))[0, 1]
            for start in (0, 1)
            for name, predicted in (("own", own), ("others", others))
        ]
        mark = f"{damping:g}" + (f" (residual {residual:.0e})" if residual > 1e-3 else "")
        yield f"| {curvature} | {mark} | " + " | ".join(f"{c:.2f}" for c in correlations) + " |"
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

    yield "| step | cosine with r | eta | first order | + second | actual | backwards |"
    yield "|---|---|---|---|---|---|---|"
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
            line = f"{first:+.4f} | {first + eta**2 / 2 * bend:+.4f} | {there:+.4f} | {back:+.4f}"
            yield f"| {name} | {measure(unit, r).cosine:+.1e} | {eta} | {line} |"


def spectrum(theta, data):
    """The eigenvalues of the Hessian."""
    vector, unravel = ravel_pytree(theta)

    @jax.jit
    def matrix(vector):
        product = hessian_product(lambda v, batch: VAE(unravel(v), batch), vector, data)
        return jax.lax.map(product, jnp.eye(len(vector)), batch_size=64)

    return np.linalg.eigvalsh(np.asarray(matrix(vector), np.float64))


def eq_9(found):
    """The first order and eq. 8, in the paper's sign, each up to a factor."""
    return found.first, optax.tree.scale(-1.0, found.second)


def what_is_negligible(theta, data, forget, retain, top) -> Iterator[str]:
    """Over single retained images: the inner product against the influences it stands for."""
    some = rows(retain, slice(0, 64))
    g = slope(VAE, theta, forget)
    projected = project(g, slope(VAE, theta, some))
    inner = np.asarray(loss_change(VAE, theta, g, retain))
    yield "| damping / largest curvature | first order | eq. 8 | left after projecting |"
    yield "|---|---|---|---|"
    for share in (1e-5, 1e-3, 1e-1, 1.0, 10.0):
        options = {"curvature": "gauss_newton", "damping": share * top, **CG}
        found = group_removal(VAE, theta, data, forget, order=2, **options)
        weighed = influence_on_params(VAE, theta, data, some, **options).value
        left = optax.tree.vdot(weighed, projected) / optax.tree.vdot(weighed, g)
        terms = (loss_change(VAE, theta, term, retain) for term in eq_9(found))
        both = " | ".join(f"{np.corrcoef(inner, term)[0, 1]:+.2f}" for term in terms)
        yield f"| {share:g} | {both} | {left:+.2f} |"


def along_a_run(theta, data, forget, retain, top) -> Iterator[str]:
    """One epoch of surgery with Adam: the inner product, and the influences, as it goes."""
    adam = optax.adam(5e-4)
    params, state = theta, adam.init(theta)
    draw = np.random.default_rng(0)
    yield "| step | loss of D_f | of D_r | cosine g_f, g_r | g_f . g_r | first order | eq. 8 |"
    yield "|---|---|---|---|---|---|---|"
    start = None
    for step in range(41):
        if step % 10 == 0:
            g, r = slope(VAE, params, forget), slope(VAE, params, retain)
            options = {"curvature": "gauss_newton", "damping": 1e-3 * top, **CG}
            found = group_removal(VAE, params, data, forget, order=2, **options)
            terms = [float(optax.tree.vdot(term, r)) for term in (g, *eq_9(found))]
            start = start or terms
            losses = (float(value(VAE, params, batch)) for batch in (forget, retain))
            line = " | ".join(f"{x:.2f}" for x in (*losses, measure(g, r).cosine))
            ratios = " | ".join(
                f"{now / then:+.2f}" for now, then in zip(terms, start, strict=True)
            )
            yield f"| {step} | {line} | {ratios} |"
        some = (rows(b, draw.choice(len(b[0]), 32, replace=False)) for b in (forget, retain))
        g, r = (slope(VAE, params, batch) for batch in some)
        updates, state = adam.update(project(optax.tree.scale(-1.0, g), r), state)
        params = optax.apply_updates(params, updates)


def tables() -> Iterator[str]:
    """All tables, line by line."""
    source = load("digits")
    images, labels = map(jnp.asarray, (source.train.images, source.train.attributes["label"]))
    yield "### Leave-out retraining, convex: relative error of the predicted change\n"
    yield from leave_out_of_the_classifier(images, labels)

    images, labels = images[:400], labels[:400]
    noise = jax.random.normal(jax.random.key(1), (len(images), 2))
    data = (images, noise)
    forget, retain = (rows(data, np.asarray(labels == FORGET) == own) for own in (True, False))
    theta = descend(VAE, MODEL.init(jax.random.key(0)), data, rate=1e-2, steps=4000)
    eigenvalues = spectrum(theta, data)
    top = float(eigenvalues[-1])
    norms = (optax.tree.norm(slope(VAE, theta, batch)) for batch in (data, forget, retain))
    yield "\n### The small VAE where it was trained to\n"
    yield f"Gradient norms on all, forgotten, retained: {', '.join(f'{n:.3g}' for n in norms)}."
    conflict = measure(slope(VAE, theta, forget), slope(VAE, theta, retain))
    yield f"Cosine of g_f and g_r over the whole sets: {conflict.cosine:.4f}."
    below = f"{np.sum(eigenvalues < 0)} of {len(eigenvalues)} below 0"
    yield f"Eigenvalues of the Hessian: {eigenvalues[0]:.3g} to {top:.3g}, {below}."
    yield "\n### Leave-out retraining of the VAE: correlation of predicted and actual\n"
    yield from leave_out_of_the_vae(theta, data, rows(data, slice(100, 160)))
    yield "\n### One step, and the retained loss\n"
    yield from steps_of_theorem_2_2(theta, *(rows(b, slice(0, 32)) for b in (forget, retain)))
    yield "\n### Over retained images: correlation of the inner product with the influence\n"
    yield from what_is_negligible(theta, data, forget, retain, top)
    yield "\n### Along an epoch of surgery (the last three columns: over their start)\n"
    yield from along_a_run(theta, data, forget, retain, top)


def main(out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/theory")) -> None:
    """Prints the tables of docs/theory.md, and writes them to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "theory.md").open("w", encoding="utf-8") as file:
        for line in tables():
            print(line, flush=True)
            file.write(line + "\n")


if __name__ == "__main__":
    tyro.cli(main)
