"""The same models and the same steps in PyTorch, for `peers.py`: weights are those of JAX."""

import importlib.metadata
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchjd import aggregation, autojac

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Step = Callable[[torch.Tensor, torch.Tensor], None]


def tensor(array: Any) -> torch.Tensor:
    """A copy of an array of JAX or NumPy."""
    return torch.from_numpy(np.array(array))


class MLPVAE(nn.Module):
    """`gsu_jax.networks` with the Bernoulli likelihood."""

    def __init__(self, params: dict) -> None:
        super().__init__()
        self.encoder = _stack(_in_order(params["encoder"]["layers"]))
        self.decoder = _stack(_in_order(params["decoder"]["layers"]))

    def loss(self, images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The negative ELBO of images in [0, 1], a mean in nats."""
        flat = images.reshape(len(images), -1)
        z, kl = _sample(self.encoder(flat), noise)
        logits = self.decoder(z)
        each = functional.binary_cross_entropy_with_logits(logits, flat, reduction="none")
        return (each.sum(1) + kl).mean()


class ConvVAE(nn.Module):
    """`gsu_jax.networks` with the Gaussian likelihood of variance 0.02, images NCHW."""

    def __init__(self, params: dict) -> None:
        super().__init__()
        encoder, decoder = params["encoder"], params["decoder"]
        self.encoder = nn.ModuleList(map(_halve, _in_order(encoder["layers"])))
        self.last, self.first = _linear(encoder["last"]), _linear(decoder["first"])
        self.decoder = nn.ModuleList(map(_double, _in_order(decoder["layers"])))

    def loss(self, images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The negative ELBO of images in [0, 1], a mean in nats."""
        x = images
        for layer in self.encoder:
            x = functional.relu(layer(x))
        inner = x.permute(0, 2, 3, 1)  # the linear layers' weights are those of NHWC
        z, kl = _sample(self.last(inner.reshape(len(x), -1)), noise)
        x = self.first(z).reshape(inner.shape).permute(0, 3, 1, 2)
        for layer in self.decoder:
            x = layer(functional.relu(x))
        squares = (images - torch.sigmoid(x)) ** 2 / 0.02 + np.log(2 * np.pi * 0.02)
        return (0.5 * squares.flatten(1).sum(1) + kl).mean()


def ascent(model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    """One step of Adam up the forget loss."""

    def step(forget: torch.Tensor, retain: torch.Tensor) -> None:
        optimizer.zero_grad()
        (-model.loss(*_visited(model, forget))).backward()
        optimizer.step()

    return step


def surgery(model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
    """One step of Adam along u - (u.r / r.r) r, by two backward passes."""
    params = list(model.parameters())

    def step(forget: torch.Tensor, retain: torch.Tensor) -> None:
        u = torch.autograd.grad(-model.loss(*_visited(model, forget)), params)
        r = torch.autograd.grad(model.loss(*_visited(model, retain)), params)
        scale = _dot(u, r) / _dot(r, r)
        for param, a, b in zip(params, u, r, strict=True):
            param.grad = a - scale * b
        optimizer.step()

    return step


def by_torchjd(rule: str) -> Callable[[nn.Module, torch.optim.Optimizer], Step]:
    """One step of Adam along TorchJD's aggregate of both gradients, such as "PCGrad"."""

    def build(model: nn.Module, optimizer: torch.optim.Optimizer) -> Step:
        aggregator = getattr(aggregation, rule)()

        def step(forget: torch.Tensor, retain: torch.Tensor) -> None:
            optimizer.zero_grad()
            losses = [-model.loss(*_visited(model, forget)), model.loss(*_visited(model, retain))]
            autojac.backward(losses)
            autojac.jac_to_grad(model.parameters(), aggregator)
            optimizer.step()

        return step

    return build


def milliseconds(step: Callable[[], Any], steps: int) -> float:
    """Of one step, the mean of `steps`."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return 1e3 * (time.perf_counter() - start) / steps


def versions() -> dict[str, str]:
    """Of PyTorch and TorchJD."""
    return {name: importlib.metadata.version(name) for name in ("torch", "torchjd")}


def _visited(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # Images are stored as bytes in both libraries.
    latents = model.decoder[0].in_features
    return images / 255, torch.randn(len(images), latents)


def _sample(encoded: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, log_variance = encoded.chunk(2, -1)
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
    return mean + torch.exp(0.5 * log_variance) * noise, kl


def _dot(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> torch.Tensor:
    return sum(torch.dot(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True))


def _in_order(layers: dict) -> Iterable[dict]:
    return [layers[i] for i in sorted(layers, key=int)]


def _stack(layers: Iterable[dict]) -> nn.Sequential:
    first, *others = map(_linear, layers)
    return nn.Sequential(first, *(part for layer in others for part in (nn.ReLU(), layer)))


def _linear(layer: dict) -> nn.Linear:
    return _filled(nn.Linear(*layer["kernel"].shape), layer["kernel"].T, layer["bias"])


def _halve(layer: dict) -> nn.Conv2d:
    channels, features = layer["kernel"].shape[2:]
    kernel = layer["kernel"].transpose(3, 2, 0, 1)
    return _filled(nn.Conv2d(channels, features, 4, 2, 1), kernel, layer["bias"])


def _double(layer: dict) -> nn.ConvTranspose2d:
    channels, features = layer["kernel"].shape[2:]
    kernel = layer["kernel"].transpose(3, 2, 0, 1)
    return _filled(nn.ConvTranspose2d(features, channels, 4, 2, 1), kernel, layer["bias"])


def _filled(layer: Any, kernel: jax.Array, bias: jax.Array) -> Any:
    with torch.no_grad():
        layer.weight.copy_(tensor(kernel))
        layer.bias.copy_(tensor(bias))
    return layer
