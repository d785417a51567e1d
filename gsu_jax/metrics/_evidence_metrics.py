"""What a row says of the decoder's evidence."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gsu_jax.data import Examples, number_of
from gsu_jax.metrics._evidence import DecoderEvidence, decoder_evidence
from gsu_jax.metrics._reference import Listed
from gsu_jax.models import GenerativeModel

EVIDENCE_METRICS = ("phi_retain", "phi_forget", "encoder_gap", "phi_flagged")
IMAGES = 128  # of each kind
SAMPLES, STEPS = 256, 200  # on MNIST within 0.2 nats of 8,192 draws and 1,000 steps
FEW = 10  # effective samples below which an image is flagged


def evidence_metrics(
    model: GenerativeModel,
    params: Any,
    examples: Examples,
    forgotten: np.ndarray,
    listed: Listed | None = None,
    *,
    images: int = IMAGES,
) -> dict[str, float | None]:
    """The means of `evidence_of_kinds`, which has the arguments.

    `phi_retain` and `phi_forget` are the mean phi of retained and of forgotten test images in nats;
    `encoder_gap` is the mean gap of the forgotten ones; `phi_flagged` is the share of all these
    images whose effective sample size is below 10.

    Returns:
        `EVIDENCE_METRICS`. None for a model without encode, decode or log_likelihood, for a kind
        without images, and for a mean that is not finite.
    """
    return evidence_means(
        evidence_of_kinds(model, params, examples, forgotten, listed, images=images)
    )


def evidence_of_kinds(
    model: GenerativeModel,
    params: Any,
    examples: Examples,
    forgotten: np.ndarray,
    listed: Listed | None = None,
    *,
    images: int = IMAGES,
) -> dict[str, DecoderEvidence]:
    """The `decoder_evidence` of some retained and some forgotten images.

    If single images are forgotten, the forgotten ones are the listed images, else test images. Of
    each kind at most `images` are taken, evenly spaced, with 256 draws and 200 steps. The key is a
    constant, so that all models of all seeds meet the same images and the same noise.

    Args:
        model: The generative model.
        params: Its parameters.
        examples: The test examples.
        forgotten: `[n]` bool, true for the test examples that show what is forgotten.
        listed: The single images to forget.
        images: Images of each kind; 0 measures nothing.

    Returns:
        "retain" and "forget", as far as there are such images. Empty for a model without encode,
        decode or log_likelihood.
    """
    if None in (model.encode, model.decode, model.log_likelihood) or not images:
        return {}
    kinds = {
        "retain": _some(examples, np.flatnonzero(~forgotten), images),
        "forget": _some(examples, np.flatnonzero(forgotten), images),
    }
    if listed is not None:
        every = np.arange(number_of(listed.examples))
        kinds["forget"] = _some(listed.examples, every, images)
    return {
        kind: decoder_evidence(model, params, some, jax.random.key(0), samples=SAMPLES, steps=STEPS)
        for kind, some in kinds.items()
        if some is not None
    }


def evidence_means(found: Mapping[str, DecoderEvidence]) -> dict[str, float | None]:
    """`EVIDENCE_METRICS` of what `evidence_of_kinds` found."""
    row: dict[str, float | None] = dict.fromkeys(EVIDENCE_METRICS)
    row |= {f"phi_{kind}": _finite_mean(each.phi) for kind, each in found.items()}
    if "forget" in found:
        row["encoder_gap"] = _finite_mean(found["forget"].encoder_gap)
    if found:
        flagged = [~(each.effective_samples >= FEW) for each in found.values()]
        row["phi_flagged"] = _finite_mean(np.concatenate(flagged))
    return row


def _some(examples: Examples, members: np.ndarray, most: int) -> Examples | None:
    if not len(members):
        return None
    places = np.linspace(0, len(members) - 1, min(most, len(members))).round().astype(int)
    return jax.tree.map(lambda x: x[members[places]], examples)


def _finite_mean(values: np.ndarray) -> float | None:
    mean = float(values.mean())
    return mean if np.isfinite(mean) else None
