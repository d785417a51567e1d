"""Redirect a diffusion model: teach it the denoiser of the retained images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsu_jax.checks import above, at_least, choice, finite, is_traced, whole
from gsu_jax.data import Count, ImageSet
from gsu_jax.methods._method import Method, StepGradients
from gsu_jax.methods.ingredients import (
    Certificate,
    Guide,
    KernelGuide,
    MaskedBatch,
    NoiseGuide,
    certify,
    check_window,
    kernel_guide,
    masked_mean,
    retained_denoiser,
    train_noise_guide,
)
from gsu_jax.models import Params, PerImage
from gsu_jax.models.diffusion import add_noise, to_data
from gsu_jax.surgery import add_retain_gradient, forget_retain_grads, project_conflicting

HELD_OUT = 8  # one of so many retained images certifies the guide
# Of kernels, in deviations of a coordinate; the best on held-out images is taken.
BANDWIDTHS = (0.2, 0.35, 0.55, 0.9)
LITTLE = 0.1  # a guide that gains a smaller share is reported


class Prepared(NamedTuple):
    """What is computed once from the data.

    Attributes:
        teacher: theta*, the trained parameters.
        guide: h.
        certificate: k, and where noise hides what is forgotten.
        certified: The nats that the guide gains on retained images, as a share of -log(1 - pi).
    """

    teacher: Params
    guide: NoiseGuide | KernelGuide
    certificate: Certificate
    certified: jax.Array


@dataclass(frozen=True)
class RedirectDiffusion(Method):
    """Teaches a diffusion model the denoiser that it would have without the forgotten images.

    Let c(z, gamma) = sigmoid(h) be the probability that a noisy image z is a forgotten one. With
    x* the denoiser of the trained model, that of the retained images is

        x_r = x* - (sigma^2 / alpha) c grad h

    clipped to [-1, 1]. The forget loss is a mean over forgotten images f and one over retained
    images r, with noise:

        l(theta) = E_f d + w E_r d,    d = (1 - c) 1/2 e^-gamma |x^(z, gamma) - x_r(z, gamma)|^2

    w is `hold_weight`. The weight 1 - c is near 0 where no sample should come. With an exact guide
    and no margin the minimizer is that of the training loss of retained images, so at the end the
    two do not conflict.

    Kernels around the images of both sets, the guide, give h at once; the certificate chooses their
    width. Or a small network learns h from both sets and from the teacher's errors. On retained
    images that it has not seen, a certificate measures in each bin of gamma whether the guide
    lowers the denoising loss, and scales its correction; where it does not, x_r is x*. An exact
    guide lowers it by -log(1 - pi) nats in all, with pi the share of the forgotten images; the
    history has the share of these as "certified".

    Noise levels are drawn where c is undecided: there the share of a class among the samples is
    settled. The judge takes no part.

    On conflict the gradient is projected off the retain gradient r, the gradient of the training
    loss on retained images; then lambda r is added, and Adam takes the step.

    Attributes:
        learning_rate: at the start; it falls to 0 along a cosine.
        batch_size, retain_batch_size, label: as in `Method`.
        window: the least and the largest gamma that the guide sees. The model must be trained at
            these levels.
        guide: "kernel", or a trained "network".
        guide_steps: of the training of the network.
        guide_width: units of each of its two hidden layers.
        guide_coordinates: principal coordinates of an image that it sees.
        score_weight: of the term of the network's loss that makes its gradient right.
        fitted_images: the largest number of images of each set that the guide is made from.
        margin: added to its log odds. At 0 the target is the denoiser of the retained images; a
            larger one draws less of what is forgotten, and of images that resemble it.
        draws: noise levels for each image in a step.
        hold_weight: of the forget loss at retained images.
        retain_weight: lambda. The noise of r hides the target where it is large.
        least_steps: the batch size shrinks until a run has this many steps.
        when: project on "conflict" or "always".

    Raises:
        ValueError: a setting is outside its range or its choices.

    Example:
        >>> method = RedirectDiffusion()
        >>> method.default_batch_size(images=6742, epochs=1), method.default_batch_size(200, 1)
        (67, 2)
    """

    name: ClassVar[str] = "redirect_diffusion"
    needs: ClassVar[tuple[str, ...]] = ("denoise",)
    added: ClassVar[tuple[str, ...]] = ("guide",)

    learning_rate: float = 2e-3
    retain_batch_size: int | None = 128
    window: tuple[float, float] = (-4.0, 7.0)
    guide_steps: int = 300
    guide_width: int = 64
    guide_coordinates: int = 32
    score_weight: float = 1.0
    fitted_images: int = 8192
    margin: float = 2.0
    draws: int = 2
    hold_weight: float = 1.0
    retain_weight: float = 0.1
    least_steps: int = 100
    when: Literal["always", "conflict"] = "conflict"
    guide: Literal["kernel", "network"] = "kernel"

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", check_window(self.window))
        at_least(0, score_weight=self.score_weight, hold_weight=self.hold_weight)
        above(0, retain_weight=self.retain_weight)
        finite(margin=self.margin)
        whole(1, guide_steps=self.guide_steps, guide_width=self.guide_width)
        whole(1, guide_coordinates=self.guide_coordinates)
        whole(1, draws=self.draws, least_steps=self.least_steps)
        whole(HELD_OUT, fitted_images=self.fitted_images)
        choice(("always", "conflict"), when=self.when)
        choice(("network", "kernel"), guide=self.guide)

    def prepare(self, model, params, forget, retain, key) -> Prepared:
        """Makes the guide and certifies it."""
        forget_key, retain_key, guide_key, certificate_key = jax.random.split(key, 4)
        odds = forget.count / retain.count
        forget = forget.draw(forget_key, self.fitted_images)
        drawn = retain.draw(retain_key, self.fitted_images)
        held = jnp.maximum(drawn.count // HELD_OUT, 1)
        held_out = ImageSet(drawn.images, 0, held)
        # With a single retained image, it is in both.
        seen = ImageSet(drawn.images, held % drawn.count, jnp.maximum(drawn.count - held, 1))

        def teacher(z: jax.Array, gamma: jax.Array) -> jax.Array:
            return model.denoise(params, z, gamma)

        def certified_by(guide: Guide) -> Certificate:
            sets = forget, held_out, odds
            return certify(teacher, guide, *sets, certificate_key, window=self.window)

        if self.guide == "network":
            guide = train_noise_guide(
                teacher, forget, seen, odds, guide_key, window=self.window,
                steps=self.guide_steps, width=self.guide_width, seen=self.guide_coordinates,
                pool=self.fitted_images, score_weight=self.score_weight,
            )  # fmt: skip
            certificate = certified_by(guide)
        else:
            guide, certificate = self.best_kernels(forget, seen, odds, guide_key, certified_by)
        certified = certificate.gain / jnp.log1p(odds)  # log(1 + n_f / n_r) = -log(1 - pi)
        return Prepared(params, guide.harder(self.margin), certificate, certified)

    def best_kernels(
        self, forget, retain, odds, key, certified_by: Callable[[Guide], Certificate]
    ) -> tuple[KernelGuide, Certificate]:
        """Returns the kernels of the width that gains most, and their certificate."""
        guide = kernel_guide(forget, retain, odds, key, bandwidth=1.0, seen=self.guide_coordinates)
        widths = jnp.asarray(BANDWIDTHS) * jnp.sqrt(jnp.square(guide.retain).mean())
        found = jax.lax.map(lambda tau: certified_by(guide._replace(bandwidth=tau)), widths)
        best = jnp.argmax(jax.vmap(lambda certificate: certificate.gain)(found))
        return guide._replace(bandwidth=widths[best]), jax.tree.map(lambda x: x[best], found)

    def gradients(self, model, prepared: Prepared, params, batch, key) -> StepGradients:
        """Returns the gradients of the forget loss and of the training loss of retained images."""
        teacher, guide, certificate, certified = prepared

        def denoise_teacher(z: jax.Array, gamma: jax.Array) -> jax.Array:
            return model.denoise(teacher, z, gamma)

        target = retained_denoiser(denoise_teacher, guide, certificate)

        def forget_loss(params: Params, batch_: MaskedBatch, key: jax.Array) -> jax.Array:
            forget_key, retain_key = jax.random.split(key)
            loss = masked_mean(distance(params, batch_.images, forget_key), batch_.mask)
            if is_traced(self.hold_weight) or self.hold_weight:
                loss += self.hold_weight * distance(params, batch.retain, retain_key).mean()
            return loss

        def distance(params: Params, images: jax.Array, key: jax.Array) -> PerImage:
            level_key, noise_key = jax.random.split(key)
            x = jnp.repeat(to_data(images), self.draws, axis=0)
            gamma = certificate.draw(level_key, len(x))
            z = add_noise(x, gamma, jax.random.normal(noise_key, x.shape))
            wanted = jnp.clip(jax.lax.stop_gradient(target(z, gamma)), -1.0, 1.0)
            error = (model.denoise(params, z, gamma) - wanted).reshape(len(x), -1)
            weights = jax.lax.stop_gradient(jax.nn.sigmoid(-guide(z, gamma)))  # 1 - c
            values = 0.5 * weights * jnp.exp(-gamma) * jnp.square(error).sum(-1)
            return values.reshape(len(images), self.draws).mean(-1)

        grads = forget_retain_grads(
            model.loss, params, batch.visited, batch.retain, key, forget_loss=forget_loss
        )
        step = StepGradients.of(grads.forget, grads)
        return step._replace(metrics=step.metrics | {"certified": certified})

    def shortfall(self, history: Mapping[str, np.ndarray]) -> str:
        """Says if the guide gains little of what an exact one would."""
        certified = history.get("certified")
        if certified is None or not len(certified) or certified[-1] >= LITTLE:
            return ""
        return (
            "on retained images that it has not seen, the guide gains "
            f"{float(certified[-1]):.0%} of what an exact one would, so the target is close to the "
            "trained model, and what changes comes from the retain gradient. Give another window= "
            "or guide=, or forget more images at once"
        )

    def default_batch_size(self, images: int, epochs: int) -> int:
        """`batch_size`, or less so that a run over a small set has `least_steps` steps."""
        return max(1, min(self.batch_size, images * epochs // self.least_steps))

    def optimizer(self, steps) -> optax.GradientTransformation:
        """Adam with a cosine schedule over the run."""

        def rate(step: Count) -> jax.Array:
            return self.learning_rate / 2 * (1.0 + jnp.cos(jnp.pi * step / steps))

        return optax.adam(rate)

    def transform(self, optimizer, params, steps) -> optax.GradientTransformationExtraArgs:
        """Surgery, the weighted retain gradient, the optimizer."""
        return optax.chain(
            project_conflicting(when=self.when), add_retain_gradient(self.retain_weight), optimizer
        )
