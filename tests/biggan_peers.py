"""The generators and discriminators of BigGAN-PyTorch in plain PyTorch, with that program's names for their tensors.

Written from its documented structure, for checkpoints of random weights and statistics: what ours is compared with.
"""

import pytest

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional

UP = {32: (4, 4, 4, 4), 64: (16, 16, 8, 4, 2), 128: (16, 16, 8, 4, 2, 1), 256: (16, 16, 8, 8, 4, 2, 1)}
UP[512] = (16, 16, 8, 8, 4, 2, 1, 1)
DOWN = {32: (4, 4, 4, 4), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16), 256: (1, 2, 4, 8, 8, 16, 16)}
DOWN[512] = (1, 1, 2, 4, 8, 8, 16, 16)
DEEP = {32: (4, 4, 4, 4), 64: (1, 2, 4, 8, 16), 128: (1, 2, 4, 8, 16, 16), 256: (1, 2, 4, 8, 8, 16, 16)}
"""Relative widths: of the map and the stages up; of those down; of the deep discriminator's first map and stages."""


class Normed(nn.Module):
    """A dense layer, or a convolution of a size, over its norm by a step of the power iteration from u0."""

    def __init__(self, inputs, outputs, size=0, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *(size,) * 2 * bool(size)))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.register_buffer("u0", torch.empty(1, outputs))
        self.register_buffer("sv0", torch.ones(1))

    def normed(self):
        matrix = self.weight.flatten(1)
        v = functional.normalize(self.u0 @ matrix)
        u = functional.normalize(v @ matrix.T)
        return self.weight / (v @ matrix.T @ u.T).squeeze()

    def forward(self, x):
        if self.weight.dim() == 2:
            return functional.linear(x, self.normed(), self.bias)
        return functional.conv2d(x, self.normed(), self.bias, padding=self.weight.shape[-1] // 2)


class Statistics(nn.Module):
    """Where a norm keeps its statistics: "own", "inner" (sums of so many, here) or "synchronized"."""

    def __init__(self, channels, place):
        super().__init__()
        self.place, holder = place, self
        if place != "own":
            holder = self.bn = nn.Module()
        names = ("running_mean", "running_var") if place == "synchronized" else ("stored_mean", "stored_var")
        for name in names:
            holder.register_buffer(name, torch.empty(channels))
        if place == "inner":
            holder.register_buffer("accumulation_counter", torch.empty(1))
        if place == "synchronized":
            holder.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.int64))

    def standardized(self, x):
        holder = self if self.place == "own" else self.bn
        terms = holder.accumulation_counter if self.place == "inner" else 1
        mean, variance = (value / terms for name, value in holder.named_buffers() if name.endswith(("mean", "var")))
        return functional.batch_norm(x, mean, variance, eps=1e-5)


class Conditional(Statistics):
    def __init__(self, channels, told, place):
        super().__init__(channels, place)
        self.gain, self.bias = (Normed(told, channels, bias=False) for _ in range(2))

    def forward(self, x, y):
        gain, shift = ((layer(y)[:, :, None, None]) for layer in (self.gain, self.bias))
        return self.standardized(x) * (1 + gain) + shift


class Last(Statistics):
    def __init__(self, channels, place):
        super().__init__(channels, place)
        self.gain, self.bias = (nn.Parameter(torch.empty(channels)) for _ in range(2))

    def forward(self, x):
        return self.standardized(x) * self.gain[:, None, None] + self.bias[:, None, None]


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.theta, self.phi = (Normed(channels, channels // 8, 1, False) for _ in range(2))
        self.g, self.o = Normed(channels, channels // 2, 1, False), Normed(channels // 2, channels, 1, False)
        self.gamma = nn.Parameter(torch.tensor(0.0))

    def forward(self, x, y=None):
        queries, keys, values = self.theta(x), *(functional.max_pool2d(layer(x), 2) for layer in (self.phi, self.g))
        weights = torch.softmax(queries.flatten(2).transpose(1, 2) @ keys.flatten(2), -1)
        o = (values.flatten(2) @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.gamma * self.o(o)


class Up(nn.Module):
    """Of BigGAN: two convolutions; deep: four with a bottleneck."""

    def __init__(self, inputs, outputs, told, place, deep, doubles):
        super().__init__()
        self.doubles, self.deep, self.outputs, inner = doubles, deep, outputs, inputs // 4
        widths = (inputs, inner, inner, inner, outputs) if deep else (inputs, outputs, outputs)
        sizes = (1, 3, 3, 1) if deep else (3, 3)
        for number, size in enumerate(sizes, 1):
            setattr(self, f"conv{number}", Normed(widths[number - 1], widths[number], size))
            setattr(self, f"bn{number}", Conditional(widths[number - 1], told, place))
        if not deep:
            self.conv_sc = Normed(inputs, outputs, 1)
        self.count, self.where = len(sizes), 2 if deep else 1

    def forward(self, x, y):
        h, larger = x, lambda map: functional.interpolate(map, scale_factor=2) if self.doubles else map
        for number in range(1, self.count + 1):
            h = functional.relu(getattr(self, f"bn{number}")(h, y))
            h = getattr(self, f"conv{number}")(larger(h) if number == self.where else h)
        return h + (larger(x[:, : self.outputs]) if self.deep else self.conv_sc(larger(x)))


class Generator(nn.Module):
    def __init__(self, side, width, piece, shared, classes, attention=0, place="own", deep=False, filters=3):
        super().__init__()
        self.piece, self.deep, self.blocks = piece, deep, nn.ModuleList()
        wide = [width * relative for relative in UP[side]]
        self.shared = nn.Embedding(classes, shared)
        self.linear = Normed(shared + piece if deep else piece, 16 * wide[0])
        for level, (inputs, outputs) in enumerate(zip(wide, wide[1:], strict=False)):
            if deep:
                self.blocks.append(nn.ModuleList([Up(inputs, inputs, shared + piece, place, True, False)]))
            self.blocks.append(nn.ModuleList([Up(inputs, outputs, shared + piece, place, deep, True)]))
            if 8 * 2**level == attention:
                self.blocks[-1].append(Attention(outputs))
        self.output_layer = nn.Sequential(Last(wide[-1], place), nn.ReLU(), Normed(wide[-1], filters, 3))

    def forward(self, z, labels):
        y, pieces = self.shared(labels), z.split(self.piece, 1)
        told = (
            [torch.cat([z, y], 1)] * len(self.blocks) if self.deep else [torch.cat([y, each], 1) for each in pieces[1:]]
        )
        h = self.linear(told[0] if self.deep else pieces[0]).unflatten(1, (-1, 4, 4))
        for stage, each in zip(self.blocks, told, strict=True):
            for layer in stage:
                h = layer(h, each)
        return torch.tanh(self.output_layer(h)[:, :3])


class Down(nn.Module):
    def __init__(self, inputs, outputs, deep, halves, first):
        super().__init__()
        self.halves, self.first, self.deep, inner = halves, first, deep, outputs // 4
        widths = (inputs, inner, inner, inner, outputs) if deep else (inputs, outputs, outputs)
        sizes = (1, 3, 3, 1) if deep else (3, 3)
        for number, size in enumerate(sizes, 1):
            setattr(self, f"conv{number}", Normed(widths[number - 1], widths[number], size))
        self.count, self.conv_sc = len(sizes), None
        if inputs != outputs or (halves and not deep):
            self.conv_sc = Normed(inputs, outputs - inputs if deep else outputs, 1)

    def forward(self, x):
        h, smaller = x, lambda map: functional.avg_pool2d(map, 2) if self.halves else map
        for number in range(1, self.count + 1):
            h = h if self.first and number == 1 else functional.relu(h)
            h = smaller(h) if self.deep and number == self.count else h
            h = getattr(self, f"conv{number}")(h)
        x = smaller(x)
        if self.conv_sc is not None:
            x = torch.cat([x, self.conv_sc(x)], 1) if self.deep else self.conv_sc(x)
        return x + (h if self.deep else smaller(h))


class Discriminator(nn.Module):
    def __init__(self, side, width, classes, attention=0, deep=False):
        super().__init__()
        wide = [width * relative for relative in (DEEP if deep else DOWN)[side]]
        wide = wide if deep else [3, *wide]
        halvings = 2 if side == 32 else len(UP[side]) - 1
        self.input_conv, self.blocks = Normed(3, wide[0], 3) if deep else None, nn.ModuleList()
        for level, (inputs, outputs) in enumerate(zip(wide, wide[1:], strict=False)):
            stage = [Down(inputs, outputs, deep, level < halvings, level == 0 and not deep)]
            stage += [Down(outputs, outputs, True, False, False)] if deep else []
            stage += [Attention(outputs)] if attention and side // 2 ** (level + 1) == attention else []
            self.blocks.append(nn.ModuleList(stage))
        self.linear, self.embed = Normed(wide[-1], 1), Normed(wide[-1], classes, bias=False)

    def forward(self, x, labels):
        h = x if self.input_conv is None else self.input_conv(x)
        for stage in self.blocks:
            for layer in stage:
                h = layer(h)
        h = functional.relu(h).sum((2, 3))
        return self.linear(h)[:, 0] + (self.embed.normed()[labels] * h).sum(1)


def randomized(module, seed):
    """The module with random weights, gains about 1, and statistics that are possible ones."""
    draw = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        tensor.copy_(torch.randn(tensor.shape, generator=draw) * 0.3)
        if name.endswith("var"):
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=draw))
        elif name.endswith("counter"):
            tensor.fill_(3.0)
        elif name.endswith(("gamma", "output_layer.0.gain", "generator.bn.weight")):
            tensor.add_(1)
    return module.eval()
