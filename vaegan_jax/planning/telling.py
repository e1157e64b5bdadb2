"""A plan in words, and as JSON."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from vaegan_jax.planning.changes import Change
from vaegan_jax.planning.chips import GIB
from vaegan_jax.planning.plan import UNCERTAINTY, Plan

DAY = 86_400


def lines(made: Plan, utilization: float, images: int | None) -> list[str]:
    """The plan, a fact a line. `images` are those of the whole training, if it has an end."""
    held, on, each = made.memory, made.chip, made.sent
    exact = {
        "parameters": held.parameters,
        "optimizers": held.optimizers,
        "averages": held.averages,
        "statistics": held.statistics,
        "batch": held.batch,
        "parameters, whole within a round": held.whole,
    }
    told = ", ".join(f"{name} {_bytes(amount)}" for name, amount in exact.items() if amount)
    per = made.devices
    facts = [
        ("devices", f"{per:,} x {on.name} ({on.unit}), {_bytes(on.memory)} each"),
        ("  by", on.source),
        *(("parameters", f"{count:,} {name}") for name, count in made.parameters.items()),
        ("operations", f"{_number(made.flops.products)}FLOP a round in products, {_share(made, per)} a device"),
        ("memory", f"{_bytes(held.total)} a device, {held.total / on.memory:.0%} of what there is"),
        ("  exact", f"{_bytes(held.state)}: {told}"),
        (
            "  estimate",
            f"{_bytes(held.activations)}, within {UNCERTAINTY:.0%} on CPUs: activations, gradients, buffers",
        ),
        (
            "messages",
            f"{_bytes(each.total)} sent by each device a round: gradients {_bytes(each.gradients)}, statistics and "
            f"metrics {_bytes(each.statistics)}, gathered {_bytes(each.gathered)}",
        ),
        (
            "time",
            f"{_seconds(made.seconds.total)} a round: {_seconds(made.seconds.arithmetic)} held up by products at "
            f"{utilization:.0%} of the peak, {_seconds(made.seconds.traffic)} by memory, "
            f"{_seconds(made.seconds.links)} of messages meanwhile",
        ),
        ("speed", f"{_rate(made):,.0f} real images a second, {_rate(made) * DAY / 1e6:,.1f} M a day"),
    ]
    if images:
        days = images / _rate(made) / DAY
        rounds = images / made.images
        facts.append(("training", f"{days:,.2f} days for {rounds:,.0f} rounds, {images / 1e6:,.0f} M real images"))
    else:
        facts.append(("training", "of no known length (the paper's is BigGAN's at 128 pixels): --steps or --images"))
    binds = made.limit if made.fits else f"memory: it does not fit, by {_bytes(held.total - on.memory)}"
    return [f"{name:12} {fact}" for name, fact in [*facts, ("limit", binds)]]


def table(changes: Sequence[Change]) -> list[str]:
    """One change a line: memory of a device, its parts, time, and whether it fits."""
    rows = [("", "state", "activations", "together", "round", "operations", "fits")]
    for told, made in changes:
        held = made.memory
        amounts = (_bytes(held.state), _bytes(held.activations), _bytes(held.total))
        work = f"{_number(made.flops.products)}FLOP"
        rows.append((told, *amounts, _seconds(made.seconds.total), work, "yes" if made.fits else "no"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def facts(made: Plan, images: int | None) -> dict[str, Any]:
    """All numbers, in bytes, operations and seconds."""
    return {
        "chip": made.chip._asdict(),
        "devices": made.devices,
        "batch_size": made.config.batch_size,
        "micro_batches": made.config.training.micro_batches,
        "shard": made.config.shard,
        "shard_over": made.config.shard_over,
        "model": dataclasses.asdict(made.config.model),
        "parameters": made.parameters,
        "flops": made.flops._asdict(),
        "memory": made.memory._asdict() | {"state": made.memory.state, "total": made.memory.total},
        "sent": made.sent._asdict() | {"total": made.sent.total},
        "seconds": made.seconds._asdict() | {"total": made.seconds.total},
        "images_per_round": made.images,
        "images_per_second": _rate(made),
        "days": images / _rate(made) / DAY if images else None,
        "fits": made.fits,
        "limit": made.limit,
    }


def _rate(made: Plan) -> float:
    return made.images / made.seconds.total


def _share(made: Plan, devices: int) -> str:
    return f"{_number(made.flops.products / devices)}FLOP"


def _bytes(amount: int | float) -> str:
    for unit, scale in (("GiB", GIB), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(amount) >= scale:
            return f"{amount / scale:.3g} {unit}" if amount < 1000 * scale else f"{amount / scale:,.0f} {unit}"
    return f"{amount:.0f} B"


def _seconds(amount: int | float) -> str:
    return f"{amount:.3g} s" if amount >= 1 else f"{amount * 1e3:.3g} ms"


def _number(amount: int | float) -> str:
    for unit, scale in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if amount >= scale:
            return f"{amount / scale:.3g} {unit}"
    return f"{amount:,.0f} "
