"""The part of the command line that tells what a training would take: `vaegan plan`."""

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import tyro

from vaegan_jax.errors import check
from vaegan_jax.models import CONFIGS, biggan
from vaegan_jax.parsing import check_model
from vaegan_jax.training.config import RunConfig, Shard, TrainingConfig

Json = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
Number = Annotated[int | None, tyro.conf.arg(metavar="INT")]
PAPER_IMAGES = 165_000 * 2 * 2048
"""Real images of BigGAN's training at 128 pixels (Brock et al. 2018, table 1, row 8): 165 thousand iterations of batch
2048, taken for rounds of two moves of the discriminator and one of the generator."""


def plan() -> None:
    """Tell what a training would take on so many chips: memory, operations, messages, days. From shapes alone."""


def of_model(
    model: Any,
    resolution: int = 128,
    batch_size: int = 2048,
    devices: int = 128,
    chip: str = "tpu-v3",
    classes: int = 1000,
    channels: int = 3,
    micro_batches: int = 1,
    shard: Shard = "none",
    shard_over: int = 0,
    rounds_per_dispatch: int = 8,
    ema: bool = True,
    steps: Number = None,
    images: Number = None,
    utilization: float = 0.4,
    brief: Flag = False,
    xla: Flag = False,
    as_json: Json = False,
) -> None:
    """Tell what a training would take on so many chips: memory, operations, messages, days. From shapes alone.

    vaegan plan [MODEL] traces one round and allocates nothing; a trace takes some seconds, and each of the
    alternatives that it tells of another one. Chips: tpu-v3 (a device is a core, half a chip), tpu-v4, tpu-v5e,
    tpu-v5p, tpu-v6e, a100, h100, h200.

    Args:
        model: The model's own fields.
        resolution: Height and width of the images, in pixels.
        batch_size: Examples of each move, over all devices.
        devices: Devices, as JAX counts them.
        chip: What they are.
        classes: Classes of the data; 0 for data without labels.
        channels: 3 for color, 1 for gray.
        micro_batches: As --training.micro-batches of vaegan train.
        shard: As --shard of vaegan train.
        shard_over: As --shard-over of vaegan train.
        rounds_per_dispatch: As --training.rounds-per-dispatch of vaegan train: so many rounds' images are sent at once.
        ema: Whether the generator is averaged.
        steps: Rounds of the whole training; by default those of BigGAN's paper, as images.
        images: Real images of the whole training, in place of steps.
        utilization: Share of the chip's peak that products reach.
        brief: Leaves out what a change would make of it.
        xla: Also XLA's own count of operations, which lowers the round: takes a minute where that is large.
        as_json: All numbers, as JSON.
    """
    from vaegan_jax.planning import changes, chips, telling
    from vaegan_jax.planning.tracing import flops_by_xla

    on, spec = chips.chip(chip), _spec(resolution, channels, classes)
    check(devices > 0, f"devices must be at least 1, not {devices}")
    check(0 < utilization <= 1, f"utilization must be above 0 and at most 1, not {utilization:g}")
    check(all(n is None or n > 0 for n in (steps, images)), "--steps and --images must be at least 1")
    check(steps is None or images is None, "--steps and --images both say how long: choose one")
    training = TrainingConfig(
        micro_batches=micro_batches, rounds_per_dispatch=rounds_per_dispatch, ema_halflife_kimg=10.0 if ema else 0.0
    )
    config = RunConfig(
        _cut_evenly(model, resolution),
        batch_size=batch_size,
        devices=devices,
        shard=shard,
        shard_over=shard_over,
        training=training,
    )
    planner = changes.Planner(spec, on, utilization)
    made = planner(config)
    wanted = images or (steps * made.images if steps else _paper(config.model, resolution))
    if not as_json:  # the alternatives take longer
        print("\n".join(telling.lines(made, utilization, wanted)), flush=True)
    counted = {"xla": flops_by_xla(config, spec)} if xla else {}
    others = [] if brief else changes.alternatives(planner, config)
    ways = [] if brief or made.fits else changes.fitting(planner, config)
    if as_json:
        told = {
            title: [{"change": each.told, **telling.facts(each.plan, wanted)} for each in found]
            for title, found in (("alternatives", others), ("fitting", ways))
        }
        print(json.dumps(telling.facts(made, wanted) | counted | told, indent=2))
        return
    lines = [f"{'XLA counts':12} {counted['xla'] / 1e12:,.4g} TFLOP a round, loops once"] if xla else []
    for title, found in (("One change at a time", others), ("It fits with", ways)):
        lines += [f"\n{title}:", *telling.table(found)] if found else []
    if not (brief or made.fits or ways):
        lines.append("\nNo number of micro-batches, no rematerialization and no more devices make it fit.")
    print("\n".join(lines), end="\n" if lines else "")


def chosen(words: Sequence[str]) -> tuple[Callable[..., None], int]:
    """The command for the model that follows `vaegan plan`, BigGAN where none does, and how many words name it."""
    named = bool(words) and not words[0].startswith("-")
    if named:
        check_model(words[0])
    kind = CONFIGS[words[0]] if named else biggan.Config

    @functools.wraps(of_model)
    def command(*args: Any, **settings: Any) -> None:
        return of_model(*args, **settings)

    signature = inspect.signature(of_model)
    first = signature.parameters["model"].replace(annotation=kind, default=kind())
    command.__signature__ = signature.replace(parameters=[first, *list(signature.parameters.values())[1:]])
    command.__annotations__ = of_model.__annotations__ | {"model": kind}
    return command, int(named)


def _spec(resolution: int, channels: int, classes: int):
    from vaegan_jax.data.sources import DataSpec

    check(resolution > 0, f"resolution must be at least 1, not {resolution}")
    check(channels in (1, 3), f"channels must be 1 or 3, not {channels}")
    check(classes >= 0, f"classes must be 0 (none) or more, not {classes}")
    return DataSpec("the data", (resolution, resolution, channels), classes)


def _cut_evenly(model: Any, resolution: int) -> Any:
    """BigGAN with the paper's z for more pixels than 128, 20 numbers for each piece, where none is asked for."""
    if (
        type(model) is not biggan.Config
        or model.latent_size != biggan.Config.latent_size
        or resolution not in (256, 512)
    ):
        return model
    return replace(model, latent_size={256: 140, 512: 160}[resolution])


def _paper(model: Any, resolution: int) -> int | None:
    return PAPER_IMAGES if type(model) is biggan.Config and resolution == 128 else None
