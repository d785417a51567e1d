"""What a decoder draws, against what the decoder of the trained model draws."""

import jax

from gsu_jax.models import GenerativeModel, Params, PerImage


def imitation_loss(
    model: GenerativeModel,
    params: Params,
    z: jax.Array,
    teacher: Params,
    teacher_z: jax.Array,
) -> PerImage:
    """The loss of a decoder that should draw at z what the teacher draws at z', for each latent.

        -log p(m | Dec(z)),   m the mean image of Dec*(z')

    Args:
        model: a model with `decode`, `log_likelihood` and `mean`.
        params: theta, which the loss trains.
        z: `[n, latent]`.
        teacher: theta*, the parameters of the trained model.
        teacher_z: z', `[n, latent]`.

    Returns:
        `[n]`, in nats.

    Example:
        >>> model = GenerativeModel(
        ...     init=None,
        ...     loss=None,
        ...     sample=None,
        ...     decode=lambda params, z: params * z,
        ...     log_likelihood=lambda decoded, images: -((decoded - images) ** 2).sum(-1),
        ...     mean=lambda decoded: decoded,
        ... )
        >>> z = jax.numpy.ones((2, 1))
        >>> imitation_loss(model, 3.0, z, 1.0, z).tolist()
        [4.0, 4.0]
    """
    target = model.mean(model.decode(teacher, teacher_z))
    return -model.log_likelihood(model.decode(params, z), target)
