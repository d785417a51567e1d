"""How long does PyTorch take? The same steps on the same networks, beside those of gsu_jax.

Steps of ascent and of surgery on the MLP VAE: in JAX as `unlearn` runs them, in PyTorch by hand and
by TorchJD; then one gradient of the convolutional VAE. Weights are copied over, and losses and
gradients are compared with PyTorch's in float64 before anything is timed. Needs
`pip install 'gsu-jax[bench]'`.
"""

import copy
import importlib.util
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import paired
import step
import tyro

from gsu_jax.models import GenerativeModel
from gsu_jax.networks import conv_vae, mlp_vae
from gsu_jax.runtime import Compiled, scan_steps

SURGERY, CONVOLUTIONS = "JAX, gradient_surgery", "JAX, conv VAE gradient"
# A thread of OpenMP's waits for more work by spinning, on a core that the next kind needs.
PAUSE = 0.02
# Where a sum before a ReLU is 0 but for rounding, one program takes the one side and another the
# other, so that gradients behind it differ by more than a rounding: the conv VAE's in float32 lie
# 1.2e-4 from those in float64 (in the norm of a layer; 5e-4 of its largest value), its loss 3e-9.
# Another padding, layout or constant changes the loss, or a layer by percents.
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-3
WORSE = 10  # times PyTorch's own distance in float32, if that is more


@dataclass(frozen=True)
class Arguments:
    """What is measured, and how often."""

    rounds: int = 30
    """Times that each kind is timed."""
    steps: int = 3
    """Steps in one timed call."""
    batch_size: int = 128
    """Images of each set in a step on the MLP VAE; the convolutional one has half as many."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("benchmarks/results/peers.json")
    """The JSON file to write."""

    def __post_init__(self) -> None:
        paired.check_counts(self, "rounds", "steps", "batch_size")


def main(arguments: Arguments) -> None:
    missing = [name for name in ("torch", "torchjd") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"peers needs {' and '.join(missing)}: pip install 'gsu-jax[bench]', or leave it out."
        )
    paired.prepare(arguments.out)
    import in_pytorch  # only here, for it cannot be imported without torch

    in_pytorch.torch.set_num_threads(cores())
    linear, convolutional = steps_on_mlp(arguments), gradients_of_conv(arguments)
    before = paired.load()
    rows = []
    for kinds, base in ((linear, SURGERY), (convolutional, CONVOLUTIONS)):
        rounds = paired.time_rounds(kinds, arguments.rounds)
        rows += [row(name, base, rounds) for name in kinds]
    print(table(rows))
    models = f"MLP VAE and conv VAE, float32, {in_pytorch.versions()}"
    paired.write(arguments, "peers", models, rows, before)


def cores() -> int:
    """Those that this process may run on: XLA takes as many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def steps_on_mlp(arguments: Arguments) -> dict[str, Callable[[], float]]:
    """A clock for each kind of step on the MLP VAE."""
    import in_pytorch as peer

    model = mlp_vae()
    params = jax.jit(model.init)(jax.random.key(0))
    images = random_images((arguments.batch_size, 28, 28, 1))
    check_same("MLP VAE", model, params, images, peer.MLPVAE(numpy(params)), peer.tensor(images))
    clocks = {}
    for name in ("gradient_ascent", "gradient_surgery"):
        sizes = (28, 28, 1), arguments.batch_size, arguments.steps
        timed = step.compiled(model, step.KINDS[name], *sizes)
        clocks[f"JAX, {name}"] = partial(timed.milliseconds, arguments.steps)
    kinds = {
        "PyTorch, ascent by hand": peer.ascent,
        "PyTorch, surgery by hand": peer.surgery,
        "TorchJD, PCGrad": peer.by_torchjd("PCGrad"),
        "TorchJD, UPGrad": peer.by_torchjd("UPGrad"),
    }
    forget, retain = peer.tensor(random_images((2, arguments.batch_size, 28, 28, 1)))
    for (name, build), fused in product(kinds.items(), (False, True)):
        network = peer.MLPVAE(numpy(params))
        # As it comes, and as it is fastest on a CPU.
        adam = peer.torch.optim.Adam(network.parameters(), lr=step.TINY, fused=fused)
        one = partial(build(network, adam), forget, retain)
        clocks[name + ", fused Adam" * fused] = partial(peer.milliseconds, one, arguments.steps)
    return {name: rested(clock) for name, clock in clocks.items()}


def gradients_of_conv(arguments: Arguments) -> dict[str, Callable[[], float]]:
    """A clock for each way to the gradient of the convolutional VAE."""
    import in_pytorch as peer

    model = conv_vae()
    params = jax.jit(model.init)(jax.random.key(0))
    images = random_images((max(arguments.batch_size // 2, 1), 64, 64, 3))
    nchw = peer.tensor(images).permute(0, 3, 1, 2)
    network = peer.ConvVAE(numpy(params))
    check_same("conv VAE", model, params, images, network, nchw)
    noise = peer.torch.randn(len(images), 128)
    floats = nchw / 255
    last = peer.ConvVAE(numpy(params)).to(memory_format=peer.torch.channels_last)
    formats = {
        "PyTorch, NCHW": (network, floats.contiguous()),
        "PyTorch, channels last": (last, floats.to(memory_format=peer.torch.channels_last)),
    }

    def descend(params: Any, key: jax.Array, images: jax.Array) -> tuple[Any, jax.Array]:
        loss, grads = jax.value_and_grad(model.loss)(params, images, key)
        return jax.tree.map(lambda p, g: p - step.TINY * g, params, grads), loss

    keys = jax.random.split(jax.random.key(0), arguments.steps)
    call = (params, keys, jnp.asarray(images / np.float32(255)))
    program = Compiled(scan_steps(descend))
    program.compile(*call)
    compiled = step.Timed(0, 0, 0.0, program, call)
    clocks = {CONVOLUTIONS: partial(compiled.milliseconds, arguments.steps)}
    for name, (net, pixels) in formats.items():
        parameters = list(net.parameters())

        def gradient(net=net, pixels=pixels, parameters=parameters) -> None:
            peer.torch.autograd.grad(net.loss(pixels, noise), parameters)

        clocks[name] = partial(peer.milliseconds, gradient, arguments.steps)
    return {name: rested(clock) for name, clock in clocks.items()}


def random_images(shape: tuple[int, ...]) -> np.ndarray:
    """Bytes, for both libraries."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def numpy(params: Any) -> Any:
    return jax.tree.map(np.asarray, params)


def check_same(
    name: str, model: GenerativeModel, params: Any, images: np.ndarray, network: Any, pixels: Any
) -> None:
    """Raises ValueError unless both give the same loss and gradients by the same noise.

    The truth is PyTorch's in float64. Another order of the sums, as on another processor, may bring
    JAX no further from it than PyTorch in float32, up to a factor.
    """
    import in_pytorch as peer

    key = jax.random.key(1)
    with jax.default_matmul_precision("highest"):  # on an accelerator, no TF32 or bfloat16
        loss, grads = jax.jit(jax.value_and_grad(model.loss))(params, images, key)
    latents = jax.eval_shape(model.encode, params, images)[0].shape
    noise = peer.tensor(jax.random.normal(key, latents))
    floats = pixels / 255
    network64 = copy.deepcopy(network).double()
    true_loss, true_grads = loss_and_grads(network64, floats.double(), noise.double())
    _, their_grads = loss_and_grads(network, floats, noise)
    in_their_layout = type(network)(numpy(grads)).parameters()
    our_grads = [parameter.detach().numpy() for parameter in in_their_layout]
    error = abs(float(loss) - true_loss) / abs(true_loss)
    if not error <= LOSS_TOLERANCE:
        raise ValueError(
            f"the {name} of PyTorch is another one: its loss in float64 is {true_loss:.8g}, that "
            f"of JAX {float(loss):.8g}, {error:.1e} apart, more than {LOSS_TOLERANCE:g}."
        )
    for true, theirs, ours in zip(true_grads, their_grads, our_grads, strict=True):
        allowed = max(GRADIENT_TOLERANCE, WORSE * relative_error(theirs, true))
        if not relative_error(ours, true) <= allowed:
            raise ValueError(
                f"the {name} of PyTorch is another one: a gradient of shape {true.shape} differs "
                f"by {relative_error(ours, true):.1e} of its norm from that in float64, more than "
                f"{allowed:.1e}; PyTorch's in float32 by {relative_error(theirs, true):.1e}."
            )


def loss_and_grads(network: Any, pixels: Any, noise: Any) -> tuple[float, list[np.ndarray]]:
    """The loss of a network of PyTorch and its gradients, one for each parameter."""
    import in_pytorch as peer

    loss = network.loss(pixels, noise)
    grads = peer.torch.autograd.grad(loss, list(network.parameters()))
    return loss.item(), [grad.numpy() for grad in grads]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The norm of the deviation over the norm of what is expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def rested(clock: Callable[[], float]) -> Callable[[], float]:
    """The clock, started when the threads of the kind before it have gone to sleep."""

    def after_a_pause() -> float:
        time.sleep(PAUSE)
        return clock()

    return after_a_pause


def row(name: str, base: str, rounds: list[paired.Round]) -> dict[str, Any]:
    """What the table and the JSON say of one kind."""
    return {
        "kind": name,
        "milliseconds": paired.spread([one[name] for one in rounds]),
        "ratio": paired.ratios(rounds, name, base=base),
        "base": base,
        "rounds": [one[name] for one in rounds],
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [("step or gradient", "ms", "(min .. max)", "x JAX", "(min .. max)")]
    for one in rows:
        spreads = (*paired.with_range(one["milliseconds"]), *paired.with_range(one["ratio"]))
        lines.append((one["kind"], *spreads))
    return paired.aligned(lines)


if __name__ == "__main__":
    paired.command_line(main, Arguments, __doc__)
