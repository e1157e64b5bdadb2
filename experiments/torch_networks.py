"""The networks of `torch_peers.py` in plain PyTorch: dense, DCGAN's, and residual ones with all that SAGAN has.

Layers are registered in the order in which the library makes them, so that `load` finds the weights of each by its kind
and number; layers that have a name there have the same here. Spectral normalization is the library's (and PyTorch's):
one power iteration for each move, by `parametrize.cached`, from which both D(real) and D(fake) take their weight.
"""

from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize

from vaegan_jax.networks.dcgan import sides
from vaegan_jax.networks.resnet import plan


class Spectral(nn.Module):
    """weight / sigma. The vector u moves only where the weight learns: in moves of the network's owner."""

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        self.register_buffer("u", functional.normalize(torch.randn(len(weight)), dim=0))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            with torch.no_grad():
                v = functional.normalize(torch.mv(matrix.t(), self.u), dim=0)
                u = functional.normalize(torch.mv(matrix, v), dim=0)
            if torch.is_grad_enabled() and weight.requires_grad:
                self.u.copy_(u)
            return weight / torch.dot(u, torch.mv(matrix, v))


def normed(layer: nn.Module, spectral: bool) -> nn.Module:
    """The layer, with its weight under spectral normalization if asked for."""
    return parametrize.register_parametrization(layer, "weight", Spectral(layer.weight)) if spectral else layer


class ToMap(nn.Linear):
    """A dense layer to the smallest map, whose units are (channels, height, width), the library's (h, w, c)."""

    def __init__(self, inputs: int, channels: int, map_shape: tuple[int, int]):
        super().__init__(inputs, channels * map_shape[0] * map_shape[1])
        self.map_shape = map_shape

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return super().forward(z).unflatten(1, (-1, *self.map_shape))


class FromMap(nn.Linear):
    """A dense layer of one unit on the smallest map."""

    def __init__(self, channels: int, map_shape: tuple[int, int]):
        super().__init__(channels * map_shape[0] * map_shape[1], 1)
        self.map_shape = map_shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(1))


def dense(sizes: list[int]) -> nn.Sequential:
    """Dense layers with ReLUs between them."""
    layers = [layer for pair in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class Plain(nn.Sequential):
    """A network that is told no classes."""

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        return super().forward(x)


def dcgan_discriminator(shape: tuple[int, int, int], width: int, norm: str) -> nn.Sequential:
    """DCGAN's discriminator: images (n, c, h, w) -> scores (n, 1). `norm` is "batch" or "layer"."""
    path, channels, layers = sides(shape), shape[-1], []
    for level in range(len(path) - 1):
        features = width * 2**level
        layers.append(nn.Conv2d(channels, features, 4, 2, 1, bias=level == 0))
        if level > 0:
            layers.append(nn.BatchNorm2d(features) if norm == "batch" else nn.GroupNorm(1, features))
        layers.append(nn.LeakyReLU(0.2))
        channels = features
    head = nn.Sequential(OrderedDict(score=FromMap(channels, path[-1])))
    return Plain(OrderedDict(body=nn.Sequential(*layers), head=head))


def dcgan_generator(shape: tuple[int, int, int], width: int, latent_size: int) -> nn.Sequential:
    """DCGAN's generator: z (n, d) -> images (n, c, h, w) before tanh."""
    *larger, smallest = sides(shape)
    channels = width * 2 ** (len(larger) - 1)
    layers = [ToMap(latent_size, channels, smallest), nn.BatchNorm2d(channels), nn.ReLU()]
    for level in reversed(range(len(larger) - 1)):
        layers += [nn.ConvTranspose2d(channels, width * 2**level, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(width * 2**level), nn.ReLU()]
        channels = width * 2**level
    return Plain(*layers, nn.ConvTranspose2d(channels, shape[-1], 4, 2, 1))


class ClassNorm(nn.Module):
    """Batch norm with gain 1 + y S and shift y B of the classes y (n, k), one-hot."""

    def __init__(self, channels: int, classes: int, spectral: bool):
        super().__init__()
        self.plain = nn.BatchNorm2d(channels, affine=False)
        self.scale = normed(nn.Linear(classes, channels, bias=False), spectral)
        self.bias = normed(nn.Linear(classes, channels, bias=False), spectral)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        gain, shift = (part(labels)[:, :, None, None] for part in (self.scale, self.bias))
        return torch.addcmul(shift, self.plain(x), 1 + gain)


class SelfAttention(nn.Module):
    """y = x + gamma o, o_j = sum_i softmax_i(f(x_i) . g(x_j)) h(x_i); BigGAN's, `pooled`, has 2 x 2 keys and values."""

    def __init__(self, channels: int, spectral: bool, pooled: bool = False):
        super().__init__()
        wide = channels // 2 if pooled else channels
        made = [nn.Conv2d(channels, width, 1, bias=False) for width in (channels // 8, channels // 8, wide)]
        self.f, self.g, self.h = (normed(layer, spectral) for layer in made)
        self.output = normed(nn.Conv2d(wide, channels, 1, bias=False), spectral) if pooled else nn.Identity()
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keys, values = (self.pool(layer(x)).flatten(2) for layer in (self.f, self.h))
        queries = self.g(x).flatten(2)
        weights = torch.softmax(torch.bmm(queries.transpose(1, 2), keys), dim=2)
        o = torch.bmm(values, weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.output(o)


class UpBlock(nn.Module):
    """Norm, ReLU, doubling, 3 x 3, norm, ReLU, 3 x 3; plus 1 x 1, doubling, which comes last as it is cheaper so."""

    def __init__(self, channels: int, features: int, classes: int, spectral: bool, idle_biases: bool = False):
        super().__init__()
        norm = lambda width: ClassNorm(width, classes, spectral) if classes else nn.BatchNorm2d(width)  # noqa: E731
        self.first = norm(channels)
        self.wide = normed(nn.Conv2d(channels, features, 3, padding=1, bias=idle_biases), spectral)
        self.second = norm(features)
        self.last = normed(nn.Conv2d(features, features, 3, padding=1), spectral)
        self.short = normed(nn.Conv2d(channels, features, 1), spectral)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        told = () if labels is None else (labels,)
        y = functional.interpolate(functional.relu(self.first(x, *told)), scale_factor=2)
        y = self.last(functional.relu(self.second(self.wide(y), *told)))
        return y + functional.interpolate(self.short(x), scale_factor=2)


class DownBlock(nn.Module):
    """ReLU, 3 x 3, ReLU, 3 x 3, halving; plus halving, 1 x 1. In the first block the image meets no ReLU."""

    def __init__(self, channels: int, features: int, down: bool, first: bool, spectral: bool, hidden: int = 0):
        super().__init__()
        hidden = hidden or (features if first else channels)
        self.wide = normed(nn.Conv2d(channels, hidden, 3, padding=1), spectral)
        self.last = normed(nn.Conv2d(hidden, features, 3, padding=1), spectral)
        learned = down or channels != features
        self.short = normed(nn.Conv2d(channels, features, 1), spectral) if learned else nn.Identity()
        self.enter = nn.Identity() if first else nn.ReLU()
        self.pool = nn.AvgPool2d(2) if down else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.last(functional.relu(self.wide(self.enter(x))))) + self.short(self.pool(x))


class ResidualGenerator(nn.Module):
    """z (n, d), classes (n, k) or None -> images (n, c, h, w) before tanh."""

    def __init__(self, shape, width: int, latent_size: int, classes: int, attention: int, spectral: bool):
        super().__init__()
        path, (first, *widths), _ = plan(shape)
        channels, blocks = first * width, []
        self.enter = normed(ToMap(latent_size, channels, path[0]), spectral)
        for relative, (height, _) in zip(widths, path[1:], strict=True):
            blocks.append(UpBlock(channels, relative * width, classes, spectral))
            channels = relative * width
            blocks += [SelfAttention(channels, spectral)] if height == attention else []
        self.blocks = nn.Sequential(*blocks)
        leave = normed(nn.Conv2d(channels, shape[-1], 3, padding=1), spectral)
        self.leave = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), leave)

    def forward(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        x = self.enter(z)
        for block in self.blocks:
            x = block(x, labels) if isinstance(block, UpBlock) else block(x)
        return self.leave(x)


class ResidualDiscriminator(nn.Module):
    """Images (n, c, h, w), classes (n, k) or None -> scores (n, 1); with classes, by a projection."""

    def __init__(self, shape, width: int, classes: int, attention: int, spectral: bool):
        super().__init__()
        _, _, (down, level) = plan(shape)
        channels, side, blocks = shape[-1], shape[0], []
        for place, relative in enumerate((*down, *level)):
            halves = place < len(down)
            blocks.append(DownBlock(channels, relative * width, halves, place == 0, spectral))
            channels, side = relative * width, side // 2 if halves else side
            blocks += [SelfAttention(channels, spectral)] if halves and side == attention else []
        self.body, self.sums = nn.Sequential(*blocks, nn.ReLU()), spectral
        head = OrderedDict(score=normed(nn.Linear(channels, 1), spectral))
        if classes:
            head["projection"] = normed(nn.Linear(classes, channels, bias=False), spectral)
        self.head = nn.ModuleDict(head)

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        maps = self.body(images)
        features = maps.sum((2, 3)) if self.sums else maps.mean((2, 3))
        score = self.head["score"](features)
        return score if labels is None else score + (self.head["projection"](labels) * features).sum(1, keepdim=True)


KINDS = {
    nn.Linear: "Dense",
    nn.Conv2d: "Convolution",
    nn.ConvTranspose2d: "TransposedConvolution",
    nn.BatchNorm2d: "BatchNorm",
    nn.GroupNorm: "LayerNorm",
    ClassNorm: "BatchNorm",
    SelfAttention: "SelfAttention",
    UpBlock: "UpBlock",
    DownBlock: "DownBlock",
}
"""What the library calls them."""


@torch.no_grad()
def load(module: nn.Module, params: dict, vectors: dict, taken: Counter | None = None) -> None:
    """Copies a network's weights and spectral vectors of ours into its peer."""
    taken = Counter() if taken is None else taken
    for name, child in module.named_children():
        kind = next((KINDS[kind] for kind in KINDS if isinstance(child, kind)), None)
        if kind and name not in params:
            name, taken[kind] = f"{kind}_{taken[kind]}", taken[kind] + 1
        if name not in params:  # a sequence, or nothing that has weights; the plain norm in a norm of classes
            load(child, params, vectors, taken)
        elif set(params[name]) & {"kernel", "scale"} and not isinstance(child, ClassNorm):
            _copy(child, params[name], vectors.get(name, {}))
        else:
            load(child, params[name], vectors.get(name, {}))
    if isinstance(module, SelfAttention):
        module.gamma.copy_(torch.tensor(np.asarray(params["gamma"])))


def _copy(layer: nn.Module, ours: dict[str, Any], vectors: dict[str, Any]) -> None:
    ours = {name: np.asarray(leaf) for name, leaf in ours.items()}
    weight = ours.get("kernel", ours.get("scale"))
    map_shape = getattr(layer, "map_shape", None)
    if weight.ndim == 4:  # (k, k, in, out), or (k, k, out, in) of a transposed one
        weight = weight.transpose(3, 2, 0, 1)
    elif weight.ndim == 2:
        weight = weight.T
    if map_shape and isinstance(layer, ToMap):
        ours["bias"], weight = (_channels_first(leaf, map_shape) for leaf in (ours["bias"], weight))
    elif map_shape:
        weight = _channels_first(weight.T, map_shape).T
    if parametrize.is_parametrized(layer):
        u = np.asarray(vectors["u"])
        u = _channels_first(u, map_shape) if isinstance(layer, ToMap) else u
        layer.parametrizations.weight[0].u.copy_(torch.tensor(u))
        layer.parametrizations.weight.original.copy_(torch.tensor(weight))
    else:
        layer.weight.copy_(torch.tensor(weight))
    if layer.bias is not None:
        layer.bias.copy_(torch.tensor(ours["bias"]))


def _channels_first(rows: np.ndarray, map_shape: tuple[int, int]) -> np.ndarray:
    """Rows that count (h, w, c) -> rows that count (c, h, w)."""
    return np.moveaxis(rows.reshape(*map_shape, -1, *rows.shape[1:]), 2, 0).reshape(rows.shape)
