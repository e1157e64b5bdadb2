"""What the instruments see of a run, for people: in words, as JSON, and as pictures."""

import math
from typing import Any

import numpy as np

from vaegan_jax.dynamics.panels import BLACK, COLORS, DASHES, GRAY, Panel, Series, Sheet
from vaegan_jax.dynamics.runs import Held, RunPath, RunSpectrum
from vaegan_jax.dynamics.spectra import Spectrum

TOLD = 4
"""Singular values of each array that are told in words."""
PLACES = (0.0, 0.5, 0.9, 1.0, 1.1)
"""On a path, where its numbers are told in words."""


def spectrum_lines(found: RunSpectrum) -> list[str]:
    """The spectrum in words."""
    share = found.share
    lines = [
        f"run              {found.run}, round {found.step:,}, {_held(found.data)}",
        f"field            {', '.join(f'|{name}| {norm:.4g}' for name, norm in found.norms.items())}",
        f"leading          {_values(found.leading)}",
        f"leftmost         {_values(found.leftmost)}",
    ]
    for name, ends in found.hessians.items():
        low, high = (f"{end.eigenvalues[0]:.4g}" if len(end.eigenvalues) else "?" for end in ends)
        lines.append(f"Hessian          {name}: {low} to {high}")
    lines.append(f"rotation         {share.share:.4f} +- {share.error:.4f} of |J|^2 ({share.probes} probes)")
    for name, values in found.singular_values.items():
        told = " ".join(f"{value:.4g}" for value in values[:TOLD])
        lines.append(f"singular values  {name}: {told}{' ...' * (len(values) > TOLD)} (of {len(values)})")
    return [*lines, f"verdict          {found.point.kind}: {found.point.told}"]


def spectrum_json(found: RunSpectrum) -> dict[str, Any]:
    """The spectrum as JSON has it; complex numbers as pairs."""
    return {
        "run": found.run,
        "step": found.step,
        "data": found.data._asdict(),
        "norms": found.norms,
        "leading": _spectrum(found.leading),
        "leftmost": _spectrum(found.leftmost),
        "hessians": {
            name: {side: _spectrum(getattr(ends, side)) for side in ends._fields}
            for name, ends in found.hessians.items()
        },
        "rotation": found.share._asdict(),
        "singular_values": {name: values.tolist() for name, values in found.singular_values.items()},
        "verdict": {name: getattr(found.point, name) for name in ("kind", "stationary", "ridge", "told")},
    }


def spectrum_sheet(found: RunSpectrum) -> Sheet:
    """The game's eigenvalues in the complex plane, those of each player's Hessian, and the weights' singular values."""
    groups = (("largest in magnitude", found.leading, 0, 9), ("least real part", found.leftmost, 3, 5))
    dots = [
        Series(f"eigenvalue: {name}", part.eigenvalues.real, part.eigenvalues.imag, "dots", color, size=size)
        for name, part, color, size in groups
    ]
    tall, wide = (float(max(np.abs(getattr(dot, side)).max(initial=0) for dot in dots)) for side in "yx")
    high = 1.3 * tall or 0.1 * wide or 1.0
    axis = Series("", np.zeros(2), np.array([-high, high]), color=BLACK, size=1)
    plane = Panel(
        "eigenvalues of the game's Jacobian", "real part (left of the line: repels)", "imaginary part (rotates)",
        (axis, *dots), ylim=(-high, high),
    )  # fmt: skip
    players, notes = [], []
    for place, (name, ends) in enumerate(found.hessians.items()):
        values = np.concatenate([end.eigenvalues.real for end in ends])
        players.append(Series("", values, np.full(len(values), place), "dots", place % BLACK, size=7))
        notes.append((float(values.min(initial=0)), float(place), name))
    count = len(players)
    players.insert(0, Series("", np.zeros(2), np.array([-0.6, count - 0.2]), color=BLACK, size=1))
    label, limits = "outermost eigenvalues (left of the line: could descend)", (-0.6, count - 0.2)
    hessians = Panel(
        "each player's own Hessian", label, "", tuple(players), ylim=limits, notes=tuple(notes), yticks=False
    )
    title = f"{found.run}, round {found.step:,}: {found.point.kind}, rotation {found.share.share:.3f}"
    return Sheet(title, ((plane, hessians, _singular(found)),), panel_inches=(5.2, 4.4))


def path_lines(found: RunPath) -> list[str]:
    """The path in words."""
    alphas, cosines, norms = found.path
    places = [int(np.abs(alphas - place).argmin()) for place in PLACES]
    return [
        f"run     {found.run}, from round {found.first:,} to {found.last:,}, {_held(found.data)}",
        "along   " + "  ".join(f"{alphas[place]:7.2f}" for place in places),
        "cosine  " + "  ".join(f"{cosines[place]:7.4f}" for place in places),
        "|v|     " + "  ".join(f"{norms[place]:7.4g}" for place in places),
        "An end that attracts: the cosine turns from below 0 to above at 1. Rotation around it: a bump of one sign.",
    ]


def path_json(found: RunPath) -> dict[str, Any]:
    """The path as JSON has it."""
    numbers = {name: _listed(values) for name, values in found.path._asdict().items()}
    told = {"run": found.run, "from": found.first, "to": found.last, "data": found.data._asdict()}
    return told | numbers


def path_sheet(found: RunPath) -> Sheet:
    """The path-angle and the field's norm along the way."""
    alphas, cosines, norms = found.path
    label = f"0: round {found.first:,}, 1: round {found.last:,}"
    line = Series("", np.array([1.0, 1.0]), np.array([-1.1, 1.1]), color=GRAY, dash=1, size=1)
    zero = Series("", alphas[[0, -1]], np.zeros(2), color=BLACK, size=0.8)
    angle = Series("", alphas, cosines, color=0, size=2)
    first = Panel(
        "path-angle: along the way or against it",
        label,
        "cosine of way and field",
        (zero, line, angle),
        ylim=(-1.1, 1.1),
    )
    top = 1.1 * float(np.nanmax(norms)) or 1.0
    second = Panel("size of the field", label, "|v|", (Series("", alphas, norms, color=3, size=2),), ylim=(0.0, top))
    return Sheet(f"{found.run}: on the straight line between two checkpoints", ((first, second),))


def _singular(found: RunSpectrum) -> Panel:
    series, top = [], max((values[0] for values in found.singular_values.values()), default=1.0)
    for place, (name, values) in enumerate(found.singular_values.items()):
        look = {"color": place % len(COLORS), "dash": place // len(COLORS) % len(DASHES)}
        kind = {"kind": "dots", "size": 5} if len(values) == 1 else {}
        series.append(Series(name.removesuffix(".kernel"), np.arange(1, len(values) + 1), values, **look, **kind))
    return Panel(
        "singular values of the weights", "number, the largest first", "value", tuple(series), xlog=True,
        ylim=(0.0, 1.08 * float(top)),
    )  # fmt: skip


def _held(data: Held) -> str:
    return f"{data.count:,} held images of {data.name} (seed {data.seed})"


def _values(spectrum: Spectrum) -> str:
    told = [
        f"{value.real:.4g}{value.imag:+.4g}i" if value.imag else f"{value.real:.4g}" for value in spectrum.eigenvalues
    ]
    worst = max(spectrum.residuals, default=math.nan)
    missing = "" if spectrum.complete else ", not all converged"
    return f"{' '.join(told)}  ({spectrum.products} products, residual {worst:.1e}{missing})"


def _spectrum(spectrum: Spectrum) -> dict[str, Any]:
    values = [[value.real, value.imag] if np.iscomplexobj(value) else float(value) for value in spectrum.eigenvalues]
    return spectrum._asdict() | {"eigenvalues": values, "residuals": _listed(spectrum.residuals)}


def _listed(array: np.ndarray) -> list:
    return np.where(np.isfinite(array), array, np.array(None, object)).tolist()
