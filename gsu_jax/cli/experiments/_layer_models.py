"""The models of `layers.py`: two VAEs and a diffusion model of 8x8 digits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsu_jax.cli.experiments import diffusion
from gsu_jax.data import ForgetRetainSets, Source, concatenate, parse_request, scale_images
from gsu_jax.models import ConvVAEConfig, GenerativeModel, MLPVAEConfig
from gsu_jax.runtime import stage
from gsu_jax.study import Recipe

SHAPE = (8, 8, 1)
CONFIGS: dict[str, tuple[Any, Recipe]] = {
    "mlp_vae": (
        MLPVAEConfig(SHAPE, widths=(256, 256), latent_size=16),
        Recipe(epochs=140, batch_size=64),
    ),
    "conv_vae": (
        ConvVAEConfig(SHAPE, widths=(16, 32), latent_size=16),
        Recipe(epochs=140, batch_size=64),
    ),
    "diffusion": (diffusion.DIGITS.model, diffusion.DIGITS.pretraining),
}
BOUND_DRAWS = 8


class Trained(NamedTuple):
    """A model with the parameters of several seeds.

    Attributes:
        name: of `CONFIGS`.
        model: the model.
        params: the leaves have a leading axis of seeds.
    """

    name: str
    model: GenerativeModel
    params: Any

    @property
    def has_noise_levels(self) -> bool:
        """Whether the model is a diffusion model."""
        return self.model.denoise is not None

    @property
    def seeds(self) -> int:
        """The number of trained models."""
        return len(jax.tree.leaves(self.params)[0])


def trained(name: str, source: Source, seeds: int, study: Path | None) -> Trained:
    """The model, trained on all images; or as a study has it, if one is given."""
    from gsu_jax.networks import generator  # Flax takes seconds that --help should not
    from gsu_jax.study import load, start_training, train_epoch

    config, recipe = CONFIGS[name]
    model = generator(config)
    if study is not None and model.denoise is not None:
        found = [load(study, "before", seed).params for seed in range(seeds)]
        return Trained(name, model, jax.tree.map(lambda *leaves: jnp.stack(leaves), *found))
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    state = start_training(model.init, recipe, keys)
    with stage(f"train {name}", recipe.epochs) as advance:
        for _ in range(recipe.epochs):
            state, losses = train_epoch(model.loss, recipe, state, source.train.images, keys)
            advance(1, f"loss {float(losses.mean()):.4g}")
    return Trained(name, model, state.params)


def sets_of(source: Source, digit: str) -> ForgetRetainSets:
    """The images to forget and to retain, in one array of one shape whatever the digit."""
    split = parse_request(digit, source).split(source).train
    return concatenate(split.forget.images, split.retain.images)


class Measures(NamedTuple):
    """What a model does after it has unlearned.

    Attributes:
        share: of its samples that show the digit.
        retained: the bound of retained test images in nats, its mean.
        forgotten: as `retained`, of the forgotten ones.
    """

    share: np.ndarray
    retained: np.ndarray
    forgotten: np.ndarray


def measurer(made: Trained, source: Source, digit: str, samples: int) -> Callable[[Any], Measures]:
    """A function of parameters with one leading axis of models, which all see the same noise.

    A support vector machine says what a sample shows. It takes no part in unlearning.
    """
    from sklearn.svm import SVC

    train, test = source.train, source.test
    judge = SVC().fit(_flat(scale_images(train.images)), train.attributes["label"])
    keys = jax.random.split(jax.random.key(7), BOUND_DRAWS + 1)
    ours = test.attributes["label"] == int(digit)
    kept, forgotten = (scale_images(jnp.asarray(test.images[own])) for own in (~ours, ours))

    def bound(params: Any, images: jax.Array) -> jax.Array:
        def once(key: jax.Array) -> jax.Array:
            if made.model.elbo is None:
                return made.model.loss(params, images, key)
            return -made.model.elbo(params, images, key).mean()

        return jax.lax.map(once, keys[1:]).mean()

    @jax.jit
    def one(every: Any, member: jax.Array) -> tuple[jax.Array, ...]:
        params = jax.tree.map(lambda leaf: leaf[member], every)
        drawn = made.model.sample(params, keys[0], samples)
        return drawn, bound(params, kept), bound(params, forgotten)

    def measure(params: Any) -> Measures:
        found = []
        for member in range(len(jax.tree.leaves(params)[0])):
            drawn, *bounds = one(params, jnp.asarray(member))
            shown = judge.predict(np.nan_to_num(_flat(drawn)))
            found.append([np.mean(shown == int(digit)), *map(float, bounds)])
        return Measures(*np.asarray(found).T)

    return measure


def _flat(images: Any) -> np.ndarray:
    return np.asarray(images, np.float32).reshape(len(images), -1)
