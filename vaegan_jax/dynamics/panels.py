"""What a picture shows, as arrays. `drawing` makes PNG and GIF files of a sheet, `page` a page that opens anywhere."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, SupportsFloat

import numpy as np

COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#999999")
"""Told apart by color-blind people, too (Okabe & Ito 2008)."""
BLACK, GRAY = 6, 7
DASHES = ((), (6, 3), (6, 2, 1, 2), (1, 2))
"""Strokes and gaps in points, so that lines are told apart without their colors."""
DASHED = 1


class Series(NamedTuple):
    """Points of a panel; those that are not finite are left out."""

    name: str
    """In the legend, once for all panels; "" is not in it."""
    x: np.ndarray
    """(n,); or (t, n) for a cloud that changes: of an animation's times the last one's row is shown."""
    y: np.ndarray
    kind: Literal["line", "dots", "arrows"] = "line"
    color: int = 0
    """Place in COLORS."""
    dash: int = 0
    """Place in DASHES."""
    size: float = 1.6
    """Width of a line or diameter of a dot, in points."""
    u: np.ndarray | None = None
    """(n,): where arrows point to, in the units of the axes."""
    v: np.ndarray | None = None
    times: np.ndarray | None = None
    """(n,) or (t,), increasing: when each point, or row of a cloud, appears in an animation; None: always there."""


class Heat(NamedTuple):
    """Values over a grid, drawn as colors, with one contour."""

    x: np.ndarray
    """(n,), increasing."""
    y: np.ndarray
    """(m,), increasing."""
    values: np.ndarray
    """(m, n)."""
    label: str
    contour: float


class Panel(NamedTuple):
    """A pair of axes."""

    title: str
    xlabel: str
    ylabel: str
    series: tuple[Series, ...]
    xlog: bool = False
    ylog: bool = False
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
    equal: bool = False
    """Whether both axes have one scale."""
    heat: Heat | None = None
    notes: tuple[tuple[float, float, str], ...] = ()
    """(x, y, text) beside a point."""
    yticks: bool = True
    """Whether the y axis has numbers."""


class Sheet(NamedTuple):
    """A whole picture."""

    title: str
    rows: tuple[tuple[Panel, ...], ...]
    times: np.ndarray | None = None
    """(f,): of the frames of an animation; None: nothing moves."""
    clock: str = "round"
    """What the times count."""
    panel_inches: tuple[float, float] = (5.0, 4.4)


def arrays(sheet: Sheet) -> dict[str, np.ndarray]:
    """All that is drawn, by names such as "0.1.extragradient.y": row, column and series of the sheet, and axis."""
    found = {} if sheet.times is None else {"times": np.asarray(sheet.times)}
    for row, column, panel in places(sheet):
        for number, series in enumerate(panel.series):
            name = f"{row}.{column}.{series.name or number}"
            parts = {"x": series.x, "y": series.y, "u": series.u, "v": series.v, "times": series.times}
            found |= {f"{name}.{axis}": np.asarray(part) for axis, part in parts.items() if part is not None}
        if panel.heat is not None:
            parts = {"x": panel.heat.x, "y": panel.heat.y, "values": panel.heat.values}
            found |= {f"{row}.{column}.{panel.heat.label}.{axis}": np.asarray(part) for axis, part in parts.items()}
    return found


def places(sheet: Sheet) -> Iterator[tuple[int, int, Panel]]:
    """(row, column, panel) of all panels."""
    for row, panels in enumerate(sheet.rows):
        for column, panel in enumerate(panels):
            yield row, column, panel


def until(series: Series, time: SupportsFloat | None) -> tuple[np.ndarray, np.ndarray]:
    """x and y of what is there at a time; None: at the end."""
    if series.times is None:
        return series.x, series.y
    count = len(series.times) if time is None else int(np.searchsorted(series.times, time, side="right"))
    if series.x.ndim == 2:
        return (series.x[count - 1], series.y[count - 1]) if count else (series.x[:0, 0], series.y[:0, 0])
    return series.x[:count], series.y[:count]
