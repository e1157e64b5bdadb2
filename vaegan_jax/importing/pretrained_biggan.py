"""BigGAN-deep as the package `pytorch-pretrained-biggan` (0.1.1) stores it: pytorch_model.bin, config.json beside it.

A generator alone, of 128, 256 or 512 pixels, whose weights are averages already (decay 0.9999). Each batch norm has its
statistics at 51 truncations, 0.02 apart (`networks.binned`); these fit latents that are the truncation times a normal
within 2. The last convolution has `channel_width` filters, of which three are used. Spectral norm is by stored u and v.
"""

import json
from pathlib import Path

from vaegan_jax.errors import UserError, check
from vaegan_jax.importing.found import Found, attention_of, halflife_kimg, spec_of
from vaegan_jax.importing.layers import Layers
from vaegan_jax.importing.tensors import Tensors
from vaegan_jax.models import biggan_deep
from vaegan_jax.networks.biggan import plan

FILE, CONFIG = "pytorch_model.bin", "config.json"
MARK = "generator.gen_z.weight_orig"
"""A tensor that no other layout has."""
ATTENTION = {"f": "snconv1x1_phi", "g": "snconv1x1_theta", "h": "snconv1x1_g", "output": "snconv1x1_o_conv"}
EPSILON = 1e-4
"""Of the batch norms, as all published configurations have it."""
DECAY, BATCH = 0.9999, 2048
"""Of the averages, and images a step (Brock et al. 2018, appendix C)."""


def files(path: Path) -> dict[str, Path] | None:
    """The files of a checkpoint: a folder with its usual name in it, or one file and what lies beside it."""
    weights = path / FILE if path.is_dir() else path
    if not weights.is_file():
        return None
    config = weights.with_name(CONFIG)
    return {"weights": weights} | ({"config": config} if config.is_file() else {})


def found(tensors: Tensors, paths: dict[str, Path]) -> Found:
    """The generator and its settings. UserError for what is missing, of another shape, or no such network."""
    embedded, classes = tensors.shape("embeddings.weight")
    blocks = [number for (number,) in tensors.indices(r"generator\.layers\.(\d+)\.conv_0\.")]
    side, told = 4 * 2 ** (len(blocks) // 2), f"{tensors.path} has {len(blocks)} blocks"
    check(side in (32, 64, 128, 256, 512) and len(blocks) % 2 == 0, f"{told}, which are of no BigGAN-deep")
    spec, built = spec_of(side, classes), plan((side, side, 3))
    bins, channels = tensors.shape("generator.bn.running_means")
    filters = tensors.shape("generator.conv_to_rgb.weight_orig")[0]
    model = biggan_deep.Config(
        width=channels // built.up[-1],
        latent_size=embedded,
        shared_size=embedded,
        prior="truncated",
        attention=attention_of(_attention(tensors, blocks, side), side),
        norm_epsilon=_epsilon(paths.get("config"), side, tensors.path),
        image_filters=filters,
        statistics_bins=bins,
    )
    layers = Layers(tensors, biggan_deep.networks(model, spec)["generator"], _stored(tensors), "weight_orig")
    _fill(layers, blocks)
    tensors.finish()
    params, stats = layers.trees()
    return Found(
        "pytorch-pretrained-biggan",
        model,
        spec,
        {"generator": params},
        {"generator": stats},
        {"generator": params},
        halflife_kimg(DECAY, BATCH * model.discriminator_moves),
    )


def _stored(tensors: Tensors):
    def vectors(there, matrix):
        outputs, inputs = matrix.shape
        return tensors.take(f"{there}.weight_u", (outputs,)), tensors.take(f"{there}.weight_v", (inputs,))

    return vectors


def _fill(layers: Layers, blocks: list[int]) -> None:
    layers.embedding("shared", "embeddings.weight", transposed=True)
    layers.dense_map("Dense_0", "generator.gen_z", 16, channels_first=False)
    for place, number in enumerate(blocks):
        for inner in range(4):
            here, there = f"UpBlock_{place}", f"generator.layers.{number}"
            layers.convolution(f"{here}.Convolution_{inner}", f"{there}.conv_{inner}")
            norm, theirs = f"{here}.BatchNorm_{inner}", f"{there}.bn_{inner}"
            layers.dense(f"{norm}.scale", f"{theirs}.scale", bias=False)
            layers.dense(f"{norm}.bias", f"{theirs}.offset", bias=False)
            _statistics(layers, norm, theirs)
    for (number,) in layers.tensors.indices(r"generator\.layers\.(\d+)\.gamma$"):
        layers.attention("SelfAttention_0", f"generator.layers.{number}", ATTENTION)
    layers.vector("BatchNorm_0.scale", "generator.bn.weight")
    layers.vector("BatchNorm_0.bias", "generator.bn.bias")
    _statistics(layers, "BatchNorm_0", "generator.bn")
    layers.convolution("Convolution_0", "generator.conv_to_rgb")


def _statistics(layers: Layers, here: str, there: str) -> None:
    """The table of a norm, and its last row, of the whole prior, as the running statistics."""
    for own, name in (("mean", "running_means"), ("variance", "running_vars")):
        table = layers.tensors.take(f"{there}.{name}", layers.stat_shape(f"binned_stats.{here}.{own}"))
        layers.statistic(f"binned_stats.{here}.{own}", table)
        layers.statistic(f"batch_stats.{here}.{own}", table[-1])


def _attention(tensors: Tensors, blocks: list[int], side: int) -> int:
    """Height of the map that self-attention follows; there it is a layer between the blocks. 0: none."""
    places = [number for (number,) in tensors.indices(r"generator\.layers\.(\d+)\.gamma$")]
    if not places:
        return 0
    before = sum(number < places[0] for number in blocks)
    height = 4 * 2 ** (before // 2)
    told = f"{tensors.path} has self-attention at layers {', '.join(map(str, places))}"
    inner = len(places) == 1 and before % 2 == 0 and 4 < height < side
    check(inner, f"{told}: our networks have it once, after a pair of blocks")
    return height


def _epsilon(path: Path | None, side: int, weights: Path) -> float:
    """Of the batch norms, from config.json where there is one."""
    if path is None:
        return EPSILON
    try:
        config = json.loads(path.read_text())
        stated, epsilon = int(config["output_dim"]), float(config["eps"])
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not the configuration of {weights.name}: {error!r:.80}") from None
    check(stated == side, f"{path} is of images of {stated} pixels, but {weights} makes {side}")
    return epsilon
