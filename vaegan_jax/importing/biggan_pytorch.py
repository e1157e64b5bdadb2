"""BigGAN and BigGAN-deep as the authors' PyTorch program stores them (ajbrock/BigGAN-PyTorch).

A folder holds G.pth, G_ema.pth, D.pth and state_dict.pth, or each with a suffix such as _best0; G.pth or G_ema.pth
alone will do. Of its options those of the papers are known: a shared embedding, hierarchical latents, spectral norm,
and batch norms whose statistics lie in them (stored_mean), in a norm of their own or in a synchronized one
(running_mean).

Spectral norm there takes a step of the power iteration in evaluation too: from u, v = W'u / |W'u| and u = W v / |W v|,
and keeps neither; these two vectors are what gives our networks the same norm.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from vaegan_jax.errors import UserError, check
from vaegan_jax.evaluation import pickles
from vaegan_jax.importing.found import Found, attention_of, halflife_kimg, spec_of
from vaegan_jax.importing.layers import Layers
from vaegan_jax.importing.tensors import Tensors, read
from vaegan_jax.models import biggan, biggan_deep
from vaegan_jax.networks.biggan import plan

MARK, JUDGE = "output_layer.2.weight", "embed.weight"
"""Tensors by which generators and discriminators are known."""
NAME = re.compile(r"(G_ema|G)(_.*)?\.pth")
ATTENTION = {"f": "phi", "g": "theta", "h": "g", "output": "o"}
STATISTICS = (("stored_mean", "stored_var"), ("bn.stored_mean", "bn.stored_var"), ("bn.running_mean", "bn.running_var"))
"""What the statistics of a norm are called: its own, of its norm, or of its synchronized norm."""
KNOWN = {
    "G_nl": ("relu", "inplace_relu"),
    "D_nl": ("relu", "inplace_relu"),
    "norm_style": ("bn",),
    "G_param": ("SN",),
    "D_param": ("SN",),
    "D_wide": (True,),
}
"""Options that tensors do not tell, and their values that our networks have."""
EPSILON = 1e-5
"""Of the batch norms by default, and of the last one always."""
DECAY, BATCH = 0.9999, 2048
"""By default, and of the program's scripts for 128 pixels."""


def files(path: Path) -> dict[str, Path] | None:
    """The files of a checkpoint by "G", "G_ema", "D" and "state_dict"; None where no generator is among them.

    A file of a usual name brings those beside it with the same suffix, another one is the generator alone.
    """
    if path.is_file() and not (named := NAME.fullmatch(path.name)):
        return {"G": path}
    folder, suffix = (path.parent, named.group(2) or "") if path.is_file() else (path, "")
    paths = {name: folder / f"{name}{suffix}.pth" for name in ("G", "G_ema", "D", "state_dict")}
    paths = {name: each for name, each in paths.items() if each.is_file()}
    return paths if "G" in paths or "G_ema" in paths else None


def found(tensors: Tensors, paths: dict[str, Path]) -> Found:
    """The networks and their settings; `tensors` are those of the first generator.

    UserError for what is missing, of another shape, or made with options that our networks do not have.
    """
    iterations, options = _settings(paths.get("state_dict"))
    judge = read(paths["D"]) if "D" in paths else None
    model, spec = _config(tensors, judge, options)
    networks = (biggan_deep if isinstance(model, biggan_deep.Config) else biggan).networks(model, spec)
    made = {"generator": _generator(tensors, networks["generator"], model)}
    if judge is not None:
        made["discriminator"] = _discriminator(judge, networks["discriminator"], model)
    averages = {}
    if "G_ema" in paths:
        averaged = (
            made["generator"] if "G" not in paths else _generator(read(paths["G_ema"]), networks["generator"], model)
        )
        averages["generator"] = averaged[0]
    decay, batch = options.get("ema_decay", DECAY), options.get("batch_size", BATCH)
    images = batch * options.get("num_D_accumulations", 1) * options.get("num_D_steps", model.discriminator_moves)
    notes = ()
    if options.get("BN_eps", EPSILON) != EPSILON:
        notes = (f"the last batch norm there has epsilon {EPSILON:g}, here {model.norm_epsilon:g} as all others",)
    return Found(
        "BigGAN-PyTorch",
        model,
        spec,
        {name: params for name, (params, _) in made.items()},
        {name: stats for name, (_, stats) in made.items()},
        averages,
        halflife_kimg(decay if 0 < decay < 1 else DECAY, max(images, 1)) if averages else 0.0,
        iterations,
        notes,
    )


def _config(tensors: Tensors, judge: Tensors | None, options: dict[str, Any]) -> tuple[biggan.Config, Any]:
    classes, shared = tensors.shape("shared.weight")
    deep = "blocks.0.0.conv4.weight" in tensors
    blocks = len(tensors.indices(r"blocks\.(\d+)\.0\.conv1\.weight")) // (2 if deep else 1)
    side = 4 * 2**blocks
    check(side in (32, 64, 128, 256, 512), f"{tensors.path} has {blocks} stages, which are of no BigGAN")
    built, inputs = plan((side, side, 3)), tensors.shape("linear.weight")[1]
    filters, channels = tensors.shape(MARK)[:2]
    check(channels % built.up[-1] == 0, f"{tensors.path}: {channels} channels at the end are of no BigGAN")
    settings = {
        "width": channels // built.up[-1],
        "latent_size": inputs - shared if deep else inputs * len(built.up),
        "shared_size": shared,
        "attention": attention_of(_attention(tensors, judge, side, deep), side),
        "norm_epsilon": float(options.get("BN_eps", EPSILON)),
        "image_filters": 0 if filters == 3 else filters,
    }
    return (biggan_deep if deep else biggan).Config(**settings), spec_of(side, classes)


def _attention(tensors: Tensors, judge: Tensors | None, side: int, deep: bool) -> int:
    """Height of the map that self-attention follows, in both networks; 0: none."""
    own = tensors.indices(r"blocks\.(\d+)\.\d+\.gamma$")
    heights = [[8 * 2 ** (number // (2 if deep else 1)) for (number,) in own]]
    if judge is not None:
        theirs = judge.indices(r"blocks\.(\d+)\.\d+\.gamma$")
        heights.append([side // 2 ** (number + 1) for (number,) in theirs])
    told = " and in D ".join(f"at {', '.join(map(str, at))} pixels" if at else "nowhere" for at in heights)
    fits = all(at == heights[0] for at in heights) and len(own) <= 1 and side not in heights[0]
    once = "our networks have it at one height below the image's, the same in both"
    check(fits, f"{tensors.path} has self-attention in G {told}: {once}")
    return heights[0][0] if own else 0


def _stepped(tensors: Tensors):
    def vectors(there, matrix):
        start = tensors.take(f"{there}.u0", (1, len(matrix)))[0].astype(np.float64)
        v = _unit(start @ matrix)
        return _unit(matrix @ v), v

    return vectors


def _unit(x: np.ndarray) -> np.ndarray:
    return x / max(np.linalg.norm(x), 1e-12)


def _generator(tensors: Tensors, network, model: biggan.Config) -> tuple[dict, dict]:
    layers, deep = Layers(tensors, network, _stepped(tensors)), isinstance(model, biggan_deep.Config)
    layers.embedding("shared", "shared.weight", transposed=False)
    layers.dense_map("Dense_0", "linear", 16, channels_first=True)
    for (number,) in tensors.indices(r"blocks\.(\d+)\.0\.conv1\.weight"):
        here, there = f"UpBlock_{number}", f"blocks.{number}.0"
        names = ("conv1", "conv2", "conv3", "conv4") if deep else ("conv1", "conv2", "conv_sc")
        for inner, name in enumerate(names):
            layers.convolution(f"{here}.Convolution_{inner}", f"{there}.{name}")
        for inner in range(4 if deep else 2):
            norm, theirs = f"{here}.BatchNorm_{inner}", f"{there}.bn{inner + 1}"
            layers.dense(f"{norm}.scale", f"{theirs}.gain", bias=False)
            layers.dense(f"{norm}.bias", f"{theirs}.bias", bias=False)
            _statistics(layers, norm, theirs)
    for number, inner in tensors.indices(r"blocks\.(\d+)\.(\d+)\.gamma$"):
        layers.attention("SelfAttention_0", f"blocks.{number}.{inner}", ATTENTION)
    layers.vector("BatchNorm_0.scale", "output_layer.0.gain")
    layers.vector("BatchNorm_0.bias", "output_layer.0.bias")
    _statistics(layers, "BatchNorm_0", "output_layer.0")
    layers.convolution("Convolution_0", "output_layer.2")
    tensors.finish()
    return layers.trees()


def _statistics(layers: Layers, here: str, there: str) -> None:
    """Running statistics; standing ones are sums, with the number of their terms beside them."""
    tensors = layers.tensors
    names = next((pair for pair in STATISTICS if f"{there}.{pair[0]}" in tensors), STATISTICS[0])
    counter = f"{there}.bn.accumulation_counter"
    terms = max(float(tensors.take(counter, (1,))[0]), 1.0) if counter in tensors else 1.0
    for own, name in zip(("mean", "variance"), names, strict=True):
        here_too = f"batch_stats.{here}.{own}"
        layers.statistic(here_too, tensors.take(f"{there}.{name}", layers.stat_shape(here_too)) / terms)


def _discriminator(tensors: Tensors, network, model: biggan.Config) -> tuple[dict, dict]:
    layers, deep = Layers(tensors, network, _stepped(tensors)), isinstance(model, biggan_deep.Config)
    if deep:
        layers.convolution("body.Convolution_0", "input_conv")
    names = ("conv1", "conv2", "conv3", "conv4") if deep else ("conv1", "conv2")
    for place, (number, inner) in enumerate(tensors.indices(r"blocks\.(\d+)\.(\d+)\.conv1\.weight")):
        here, there = f"body.DownBlock_{place}", f"blocks.{number}.{inner}"
        for own, name in enumerate(names):
            layers.convolution(f"{here}.Convolution_{own}", f"{there}.{name}")
        if f"{there}.conv_sc.weight" in tensors:
            layers.convolution(f"{here}.{'shortcut' if deep else 'Convolution_2'}", f"{there}.conv_sc")
    for number, inner in tensors.indices(r"blocks\.(\d+)\.(\d+)\.gamma$"):
        layers.attention("body.SelfAttention_0", f"blocks.{number}.{inner}", ATTENTION)
    layers.dense("head.score", "linear")
    layers.projection("head.projection", "embed")
    tensors.finish()
    return layers.trees()


def _settings(path: Path | None) -> tuple[int | None, dict[str, Any]]:
    """Steps of the generator and the program's options, from state_dict.pth. UserError for options that we lack."""
    if path is None:
        return None, {}
    try:
        stored = pickles.read_plain(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    options = stored.get("config") if isinstance(stored.get("config"), dict) else {}
    for name, values in KNOWN.items():
        value = options.get(name, values[0])
        told = f"{path} tells of a network with {name} {value!r:.40}, which ours does not have"
        check(value in values, f"{told}: {' or '.join(map(str, values))} only")
    numbers = ("BN_eps", "ema_decay", "batch_size", "num_D_accumulations", "num_D_steps")
    plain = {name: options[name] for name in numbers if isinstance(options.get(name), int | float)}
    iterations = stored.get("itr")
    return iterations if isinstance(iterations, int) else None, plain
