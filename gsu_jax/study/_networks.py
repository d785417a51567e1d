"""The networks of a study: built from shipped configs, or the user's own and checked."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import jax
import jax.numpy as jnp

from gsu_jax.checks import listing
from gsu_jax.data import Source
from gsu_jax.models import Classifier, GenerativeModel
from gsu_jax.study._config import StudyConfig, is_own


def fit_to_data(config: StudyConfig, source: Source, attribute: str) -> StudyConfig:
    """Returns the config with the data's image shape, channels and classes in shipped networks."""
    if not is_own(config.model):
        config = replace(config, model=replace(config.model, image_shape=source.image_shape))
    for name in ("judge", "second_judge"):
        judge = getattr(config, name)
        if judge is not None and not is_own(judge):
            config = replace(config, **{name: _fitted(judge, source, attribute)})
    return config


def _fitted(judge: Any, source: Source, attribute: str) -> Any:
    """Returns a shipped judge's config with the sizes of the data, as far as it has them."""
    sizes = {
        "classes": len(source.classes[attribute]),
        "channels": source.image_shape[-1],
        "image_shape": source.image_shape,
    }
    known = {field.name for field in fields(judge)}
    return replace(judge, **{name: size for name, size in sizes.items() if name in known})


def build_model(config: StudyConfig, source: Source) -> GenerativeModel:
    """Returns the generative model of a study.

    Raises:
        ValueError: the user's model draws images of another shape than the data, or its examples
            are not images alone.
    """
    model = config.model
    if not is_own(model):
        # Flax takes seconds to import, which a script's --help should not wait for.
        from gsu_jax import networks

        return networks.generator(model)
    params, key = jax.eval_shape(model.init, jax.random.key(0)), jax.random.key(0)
    drawn = jax.eval_shape(lambda params: model.sample(params, key, 2), params).shape
    if drawn != (2, *source.image_shape):
        raise ValueError(
            f"model must draw images like those of the data, [n, {_sizes(source.image_shape)}]: "
            f"sample(params, key, 2) gives {list(drawn)}; change the model {model.name!r}, or load "
            "the images with another image_size"
        )
    images = jax.ShapeDtypeStruct((2, *source.image_shape), jnp.float32)
    try:
        jax.eval_shape(model.loss, params, images, key)
    except Exception as error:
        raise ValueError(
            f"the model {model.name!r} cannot take images alone, as a study gives them: {error}. "
            "Use unlearn and evaluate for other examples, such as images with labels"
        ) from error
    return model


def fit_of(config: StudyConfig) -> Callable[[Any, Any], Any] | None:
    """Returns what gives a fresh generator of a study something of its images; None if nothing."""
    if getattr(config.model, "basis", None) != "principal":
        return None
    from gsu_jax import networks

    return networks.use_principal_components


def build_judge(judge: Any, source: Source, attribute: str, argument: str) -> Classifier:
    """Returns a judge of a study: a shipped one by its config, or the user's own.

    Args:
        judge: the config or the classifier.
        source: the images.
        attribute: what it tells apart.
        argument: "judge" or "second_judge".

    Raises:
        ValueError: the user's judge has another number of classes than the data.
    """
    classes = source.classes[attribute]
    if not is_own(judge):
        from gsu_jax import networks

        return networks.classifier(judge)
    params = jax.eval_shape(judge.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, *source.image_shape), jnp.float32)
    logits = jax.eval_shape(judge.apply, params, images).logits.shape
    if logits != (2, len(classes)):
        raise ValueError(
            f"{argument} must give logits [n, {len(classes)}], one for each class of {attribute!r} "
            f"({listing(classes)}), got {list(logits)} for 2 images; change the judge "
            f"{judge.name!r}"
        )
    return judge


def _sizes(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
