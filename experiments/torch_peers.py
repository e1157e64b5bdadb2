"""The training steps of `throughput.py` in plain, eager PyTorch: what the library is timed beside.

They are written as PyTorch's own examples are, and have the library's losses, Adam and order of play on the networks of
`torch_networks.py`, so that both do the same work; `torch_checks.py` stops where results differ. `tuned` turns on what
PyTorch offers by a flag: the fused Adam, and images in the channels-last format. A precision of bfloat16 is autocast.
"""

import numpy as np
import torch
import torch_biggan
import torch_networks
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from vaegan_jax.models import gan, name_of
from vaegan_jax.training.experiment import Experiment

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CONDITIONS = (("none", "input"), ("none", "norm"), ("projection", "norm"))
"""Of the residual networks: what classes are to the discriminator, and where the generator is told them."""


def device_name() -> str:
    """The accelerator's name, or "cpu"."""
    return torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"


def wait() -> None:
    """Returns when the device has done all it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class Peer:
    """A training step over images, and classes if the model is told any, that live on the device, shuffled."""

    def __init__(self, experiment: Experiment, arrays: dict[str, np.ndarray], tuned: bool):
        self.layout = torch.channels_last if tuned else torch.contiguous_format
        floats = torch.tensor(arrays["image"].astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2).contiguous()
        self.images, self.batch_size, self.tuned = floats.to(DEVICE), experiment.config.batch_size, tuned
        model = experiment.config.model
        classes = experiment.spec.classes if getattr(model, "condition", "none") != "none" else 0
        labels = torch.tensor(arrays["label"].astype(np.int64)).to(DEVICE)
        self.labels = functional.one_hot(labels, classes).float() if classes else None
        self.order, self.at = torch.randperm(len(floats)), 0
        self.schedule = [player for movers in experiment.schedule for player in movers]

    def batch(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The next images, (n, c, h, w), and their classes (n, k)."""
        if self.at + self.batch_size > len(self.order):
            self.order, self.at = torch.randperm(len(self.order)), 0
        rows = self.order[self.at : self.at + self.batch_size]
        self.at += self.batch_size
        images = self.images[rows].contiguous(memory_format=self.layout)
        return images, None if self.labels is None else self.labels[rows]

    def adam(self, network: nn.Module, config) -> torch.optim.Adam:
        fused = {"fused": True} if self.tuned else {}
        betas = (config.b1, config.b2)
        return torch.optim.Adam(network.parameters(), config.learning_rate, betas, config.epsilon, **fused)

    def round(self) -> torch.Tensor:
        """All moves of a round, in turn; the last one's loss."""
        return [self.move(player) for player in self.schedule][-1]


class VAE(Peer):
    """The Bernoulli VAE of dense layers; one move, "vae"."""

    def __init__(self, experiment: Experiment, arrays: dict[str, np.ndarray], tuned: bool):
        super().__init__(experiment, arrays, tuned)
        config, pixels, dense = experiment.config.model, int(np.prod(experiment.spec.image_shape)), torch_networks.dense
        self.networks = nn.ModuleDict(
            {
                "encoder": nn.Sequential(nn.Flatten(), *dense([pixels, *config.hidden_sizes, 2 * config.latent_size])),
                "decoder": dense([config.latent_size, *config.hidden_sizes[::-1], pixels]),
            }
        ).to(DEVICE)
        self.optimizer = self.adam(self.networks, config.optimizer)

    def move(self, player: str) -> torch.Tensor:
        pixels = (self.batch()[0] + 1) / 2
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
    """The discriminator's moves, then the generator's on fresh latents, and the generator's average."""

    def __init__(self, experiment: Experiment, arrays: dict[str, np.ndarray], tuned: bool):
        super().__init__(experiment, arrays, tuned)
        self.config = config = experiment.config.model
        self.half = config.precision == "bfloat16"
        self.networks = nn.ModuleDict(networks(config, experiment.spec)).to(DEVICE).to(memory_format=self.layout)
        self.optimizers = {
            name: self.adam(network, getattr(config, f"{name}_optimizer")) for name, network in self.networks.items()
        }
        keep = 0.5 ** (experiment.images_per_round / (1000 * experiment.config.training.ema_halflife_kimg))
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(keep)
        self.average = torch.optim.swa_utils.AveragedModel(self.networks["generator"], multi_avg_fn=average)

    def fake(self, z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return torch.tanh(self.networks["generator"](z, labels))

    def discriminator(self, images, labels, z, alpha) -> torch.Tensor:
        """Its loss for latents z (n, d) and shares alpha (n,) of the real images in the interpolates."""
        score = self.networks["discriminator"].requires_grad_(True)
        with torch.no_grad():
            fake = self.fake(z, labels)
        on_real, on_fake = score(images, labels), score(fake, labels)
        if self.config.value == "hinge":
            loss = functional.relu(1 - on_real).mean() + functional.relu(1 + on_fake).mean()
        elif self.config.value == "wasserstein":
            loss = on_fake.mean() - on_real.mean()
        else:
            loss = functional.softplus(-on_real).mean() + functional.softplus(on_fake).mean()
        if self.config.penalty == "gradient":
            between = torch.lerp(fake, images, alpha[:, None, None, None]).requires_grad_()
            (slope,) = torch.autograd.grad(score(between, labels).sum(), between, create_graph=True)
            loss = loss + self.config.penalty_weight * (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return loss

    def generator(self, labels, z) -> torch.Tensor:
        score = self.networks["discriminator"].requires_grad_(False)  # its own gradients are not wanted here
        on_fake = score(self.fake(z, labels), labels)
        return (
            -on_fake.mean() if self.config.value in ("hinge", "wasserstein") else functional.softplus(-on_fake).mean()
        )

    def move(self, player: str) -> torch.Tensor:
        images, labels = self.batch()
        z = torch.randn(self.batch_size, self.config.latent_size, device=DEVICE)
        with parametrize.cached(), torch.autocast(DEVICE, torch.bfloat16, enabled=self.half):
            if player == "discriminator":
                loss = self.discriminator(images, labels, z, torch.rand(self.batch_size, device=DEVICE))
            else:
                loss = self.generator(labels, z)
        self.optimizers[player].zero_grad()
        loss.backward()
        self.optimizers[player].step()
        if player == "generator":
            self.average.update_parameters(self.networks["generator"])
        return loss.detach()


def networks(config: gan.Config, spec) -> dict[str, nn.Module]:
    """The generator and the discriminator of a configuration; SystemExit for one that nobody has written."""
    shape, width = spec.image_shape, config.width
    if config.network == "dcgan" and (config.spectral, config.condition, config.attention) == ("none", "none", 0):
        norm = "batch" if config.discriminator_norm == "auto" else config.discriminator_norm
        generator = torch_networks.dcgan_generator(shape, width, config.latent_size)
        return {
            "generator": generator,
            "discriminator": torch_networks.dcgan_discriminator(shape, width, norm),
        }
    if config.network == "biggan":
        return torch_biggan.networks(config, spec)
    if config.network != "resnet" or (config.condition, config.condition_place) not in CONDITIONS:
        raise SystemExit(f"throughput: PyTorch has no peer of {name_of(config)} with these options")
    attention = shape[0] // 2 if config.attention == -1 else config.attention
    classes, spectral = spec.classes if config.condition != "none" else 0, config.spectral
    residual = torch_networks.ResidualGenerator, torch_networks.ResidualDiscriminator
    return {
        "generator": residual[0](shape, width, config.latent_size, classes, attention, spectral == "both"),
        "discriminator": residual[1](shape, width, classes, attention, spectral != "none"),
    }
