"""BigGAN's networks in plain PyTorch, of the blocks of `torch_networks.py`: the peers of `throughput_biggan.py`."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch_networks import DownBlock, SelfAttention, ToMap, UpBlock, normed

from vaegan_jax.networks.biggan import Plan, plan


class Generator(nn.Module):
    """z (n, d), classes (n, k), one-hot -> images (n, c, h, w) before tanh."""

    def __init__(self, shape, width: int, sizes: tuple[int, int], classes: int, built: Plan, attention: int):
        super().__init__()
        latent_size, shared_size = sizes
        self.piece = latent_size // len(built.up)
        channels, blocks = built.up[0] * width, []
        self.shared = nn.Linear(classes, shared_size, bias=False)
        self.enter = normed(ToMap(self.piece, channels, built.path[0]), True)
        for relative, (height, _) in zip(built.up[1:], built.path[1:], strict=True):
            blocks.append(UpBlock(channels, relative * width, shared_size + self.piece, True, idle_biases=True))
            channels = relative * width
            blocks += [SelfAttention(channels, True, pooled=True)] if height == attention else []
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.leave = normed(nn.Conv2d(channels, shape[-1], 3, padding=1), True)

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        first, *pieces = z.split(self.piece, 1)
        shared, x = self.shared(labels), self.enter(first)
        for block in self.blocks:
            x = block(x, torch.cat([shared, pieces.pop(0)], 1)) if isinstance(block, UpBlock) else block(x)
        return self.leave(functional.relu(self.norm(x)))


class Discriminator(nn.Module):
    """Images (n, c, h, w), classes (n, k), one-hot -> scores (n, 1)."""

    def __init__(self, shape, width: int, classes: int, built: Plan, attention: int):
        super().__init__()
        channels, side, blocks = shape[-1], shape[0], []
        for place, relative in enumerate((*built.down, *built.level)):
            halves, features = place < len(built.down), relative * width
            blocks.append(DownBlock(channels, features, halves, place == 0, True, features))
            channels, side = features, side // 2 if halves else side
            blocks += [SelfAttention(channels, True, pooled=True)] if halves and side == attention else []
        self.body = nn.Sequential(*blocks, nn.ReLU())
        score, projection = nn.Linear(channels, 1), nn.Linear(classes, channels, bias=False)
        self.head = nn.ModuleDict({"score": normed(score, True), "projection": normed(projection, True)})

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        features = self.body(images).float().sum((2, 3))
        return self.head["score"](features) + (self.head["projection"](labels) * features).sum(1, keepdim=True)


def networks(config: Any, spec: Any) -> dict[str, nn.Module]:
    """The generator and the discriminator of a `models.biggan.Config` for data of a `DataSpec`."""
    shape, built = spec.image_shape, plan(spec.image_shape)
    attention, classes = built.attention(config.attention), spec.classes
    sizes = config.latent_size, config.shared_size
    return {
        "generator": Generator(shape, config.width, sizes, classes, built, attention),
        "discriminator": Discriminator(shape, config.width, classes, built, attention),
    }
