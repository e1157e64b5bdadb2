"""The networks and training steps of `throughput.py` in plain, eager PyTorch: what the library is timed beside.

They are written as PyTorch's own examples are, and have the library's layers, losses, Adam and order of play, so that
both do the same work: `load` copies the library's weights, and `throughput.py` stops where the outputs then differ.
`tuned` turns on what PyTorch offers by a flag: the fused Adam, and images in the channels-last format.
"""

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vaegan_jax.models import gan, vae
from vaegan_jax.networks.dcgan import sides

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """The accelerator's name, or "cpu"."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def wait() -> None:
    """Returns when the device has done all it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def dense(sizes: list[int]) -> nn.Sequential:
    """Dense layers with ReLUs between them."""
    layers = [layer for pair in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def discriminator(shape: tuple[int, int, int], width: int) -> nn.Sequential:
    """DCGAN's discriminator: images (n, c, h, w) -> logits (n, 1)."""
    path, channels, layers = sides(shape), shape[-1], []
    for level in range(len(path) - 1):
        layers.append(nn.Conv2d(channels, width * 2**level, 4, 2, 1, bias=level == 0))
        layers += [nn.BatchNorm2d(width * 2**level)] * (level > 0) + [nn.LeakyReLU(0.2)]
        channels = width * 2**level
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * path[-1][0] * path[-1][1], 1))


def generator(shape: tuple[int, int, int], width: int, latent_size: int) -> nn.Sequential:
    """DCGAN's generator: z (n, d) -> images (n, c, h, w) before tanh."""
    *larger, (height, width_of_map) = sides(shape)
    channels = width * 2 ** (len(larger) - 1)
    layers = [nn.Linear(latent_size, channels * height * width_of_map)]
    layers += [nn.Unflatten(1, (channels, height, width_of_map)), nn.BatchNorm2d(channels), nn.ReLU()]
    for level in reversed(range(len(larger) - 1)):
        layers += [nn.ConvTranspose2d(channels, width * 2**level, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(width * 2**level), nn.ReLU()]
        channels = width * 2**level
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels, shape[-1], 4, 2, 1))


class Peer:
    """A training step over images that live on the device, in shuffled batches."""

    def __init__(self, images: np.ndarray, batch_size: int, tuned: bool):
        layout = torch.channels_last if tuned else torch.contiguous_format
        floats = torch.tensor(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
        self.images, self.batch_size, self.layout, self.tuned = floats.to(DEVICE), batch_size, layout, tuned
        self.order, self.at = torch.randperm(len(images)), 0

    def batch(self) -> torch.Tensor:
        """The next images, (n, c, h, w)."""
        if self.at + self.batch_size > len(self.order):
            self.order, self.at = torch.randperm(len(self.order)), 0
        rows = self.order[self.at : self.at + self.batch_size]
        self.at += self.batch_size
        return self.images[rows].contiguous(memory_format=self.layout)

    def adam(self, network: nn.Module, config) -> torch.optim.Adam:
        fused = {"fused": True} if self.tuned else {}
        betas = (config.b1, config.b2)
        return torch.optim.Adam(network.parameters(), config.learning_rate, betas, config.epsilon, **fused)


class VAE(Peer):
    """The Bernoulli VAE of dense layers; one move, "vae"."""

    def __init__(self, config: vae.Config, shape, images: np.ndarray, batch_size: int, tuned: bool):
        super().__init__(images, batch_size, tuned)
        pixels = int(np.prod(shape))
        self.networks = nn.ModuleDict(
            {
                "encoder": nn.Sequential(nn.Flatten(), *dense([pixels, *config.hidden_sizes, 2 * config.latent_size])),
                "decoder": dense([config.latent_size, *config.hidden_sizes[::-1], pixels]),
            }
        ).to(DEVICE)
        self.optimizer = self.adam(self.networks, config.optimizer)
        self.moves = {"vae": self.vae}

    def vae(self) -> torch.Tensor:
        pixels = (self.batch() + 1) / 2
        mean, log_variance = self.networks["encoder"](pixels).chunk(2, dim=1)
        z = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
        logits, target = self.networks["decoder"](z), pixels.flatten(1)
        reconstruction = functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        loss = (reconstruction + kl) / len(pixels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class GAN(Peer):
    """The DCGAN: the discriminator's move, then the generator's on fresh latents, and the generator's average."""

    def __init__(self, config: gan.Config, shape, images: np.ndarray, batch_size: int, tuned: bool, keep: float):
        super().__init__(images, batch_size, tuned)
        made = {
            "generator": generator(shape, config.width, config.latent_size),
            "discriminator": discriminator(shape, config.width),
        }
        self.networks = nn.ModuleDict(made).to(DEVICE).to(memory_format=self.layout)
        self.latent_size = config.latent_size
        self.optimizers = {
            name: self.adam(network, getattr(config, f"{name}_optimizer")) for name, network in self.networks.items()
        }
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(keep)
        self.average = torch.optim.swa_utils.AveragedModel(self.networks["generator"], multi_avg_fn=average)
        self.moves = {"discriminator": self.discriminator, "generator": self.generator}

    def fake(self) -> torch.Tensor:
        z = torch.randn(self.batch_size, self.latent_size, device=DEVICE)
        return torch.tanh(self.networks["generator"](z))

    def discriminator(self) -> torch.Tensor:
        score = self.networks["discriminator"].requires_grad_(True)
        with torch.no_grad():
            fake = self.fake()
        loss = functional.softplus(-score(self.batch())).mean() + functional.softplus(score(fake)).mean()
        return self.descend("discriminator", loss)

    def generator(self) -> torch.Tensor:
        score = self.networks["discriminator"].requires_grad_(False)  # its own gradients are not wanted here
        loss = self.descend("generator", functional.softplus(-score(self.fake())).mean())
        self.average.update_parameters(self.networks["generator"])
        return loss

    def descend(self, player: str, loss: torch.Tensor) -> torch.Tensor:
        self.optimizers[player].zero_grad()
        loss.backward()
        self.optimizers[player].step()
        return loss.detach()


def load(module: nn.Module, params: dict, map_shape: tuple[int, int] | None) -> None:
    """Copies a network's weights of ours into its peer; `map_shape` is the (h, w) of a DCGAN's smallest map."""
    taken = {}
    for layer in (layer for layer in module.modules() if next(layer.parameters(recurse=False), None) is not None):
        kind = {nn.Linear: "Dense", nn.Conv2d: "Convolution", nn.ConvTranspose2d: "TransposedConvolution"}
        kind = kind.get(type(layer), "BatchNorm")
        number = taken[kind] = taken.get(kind, -1) + 1
        ours = jax.tree.map(np.asarray, params[f"{kind}_{number}"])
        weight = ours["scale"] if kind == "BatchNorm" else ours["kernel"]
        if weight.ndim == 4:  # (k, k, in, out), or (k, k, out, in) of a transposed one
            weight = weight.transpose(3, 2, 0, 1)
        elif kind == "Dense":
            weight = weight.T if map_shape is None else _channels_first(weight.T, map_shape)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weight))
            if layer.bias is not None:
                bias = ours["bias"]
                spread = kind == "Dense" and map_shape and len(bias) > 1
                bias = _channels_first(bias[:, None], map_shape)[:, 0] if spread else bias
                layer.bias.copy_(torch.tensor(bias))


def _channels_first(weight: np.ndarray, map_shape: tuple[int, int]) -> np.ndarray:
    """(out, in) with a flattened (h, w, c) map on the longer side, as a DCGAN has -> with (c, h, w)."""
    if weight.shape[0] == 1:
        return weight.reshape(1, *map_shape, -1).transpose(0, 3, 1, 2).reshape(1, -1)
    return weight.reshape(*map_shape, -1, weight.shape[1]).transpose(2, 0, 1, 3).reshape(-1, weight.shape[1])
