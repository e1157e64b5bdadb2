"""Sheets of panels as the bytes of PNG and GIF files."""

import io

import numpy as np
from PIL import Image

from vaegan_jax.dynamics.panels import COLORS, DASHES, Heat, Panel, Series, Sheet, places, until

DPI = 110
FRAMES = 100
"""The most of an animation."""
GIF_COLORS = 32
"""Of an animation, which keeps its files small."""
LETTERS = 9.0
"""Of the legend, in an inch."""


def png(sheet: Sheet) -> bytes:
    """The bytes of a PNG file, of the sheet as it is at the end."""
    figure, _ = _drawn(sheet)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    whole, small = Image.open(file).convert("RGB"), io.BytesIO()
    if not any(panel.heat for _, _, panel in places(sheet)):
        whole = whole.quantize(255, dither=Image.Dither.NONE)
    whole.save(small, "png", optimize=True)
    return small.getvalue()


def gif(sheet: Sheet, milliseconds: int = 80, dpi: int = 60) -> bytes:
    """The bytes of an animated GIF with a frame for each time of the sheet, 100 at most; the last one stays longer.

    ValueError for a sheet without times.
    """
    if sheet.times is None:
        raise ValueError("nothing moves on this sheet")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    times = np.asarray(sheet.times)
    times = times[np.unique(np.linspace(0, len(times) - 1, FRAMES).astype(int))]
    figure, moving = _drawn(sheet)
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # what was laid out stays where it is
    frames = []
    for time in times:
        for line, series in moving:
            line.set_data(*until(series, time))
        figure.texts[0].set_text(f"{sheet.clock} {time:,.0f}")
        canvas.draw()
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    palette = frames[-1].quantize(GIF_COLORS, method=Image.Quantize.MEDIANCUT)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    pauses = [milliseconds] * (len(frames) - 1) + [25 * milliseconds]
    file = io.BytesIO()
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:], duration=pauses, loop=0, optimize=False)
    return file.getvalue()


def _drawn(sheet: Sheet) -> tuple:
    """The figure, whose first text is for the time, and its moving lines with their series."""
    from matplotlib.figure import Figure

    width, height = sheet.panel_inches
    columns = max(map(len, sheet.rows))
    figure = Figure(figsize=(width * columns, height * len(sheet.rows) + 0.9), layout="constrained")
    figure.text(0.995, 0.985, "", ha="right", va="top", fontsize=12)
    heights = figure.add_gridspec(len(sheet.rows), 1)
    grids = [heights[row].subgridspec(1, len(panels)) for row, panels in enumerate(sheet.rows)]
    moving, handles = [], {}
    for row, column, panel in places(sheet):
        axes = figure.add_subplot(grids[row][column])
        for series in panel.series:
            line = _series(axes, series)
            handles.setdefault(series.name, line)
            if series.times is not None:
                moving.append((line, series))
        _axes(figure, axes, panel)
    handles.pop("", None)
    if handles:
        fitting = int(LETTERS * width * columns / (6 + max(map(len, handles))))
        count = min(len(handles), max(1, fitting))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=count, fontsize=11)
    figure.suptitle(sheet.title, fontsize=13)
    return figure, moving


def _axes(figure, axes, panel: Panel) -> None:
    if panel.heat is not None:
        _heat(figure, axes, panel.heat)
    axes.set(xlabel=panel.xlabel, ylabel=panel.ylabel, title=panel.title)
    axes.set_xscale("log" if panel.xlog else "linear")
    axes.set_yscale("log" if panel.ylog else "linear")
    axes.set(xlim=panel.xlim, ylim=panel.ylim)
    if panel.equal:
        axes.set_aspect("equal", adjustable="box")
    if panel.xlabel or panel.ylabel:
        axes.grid(alpha=0.25)
    else:
        axes.set(xticks=[], yticks=[])
    if not panel.yticks:
        axes.set(yticks=[])
    for x, y, text in panel.notes:
        axes.annotate(text, (x, y), xytext=(6, 6), textcoords="offset points")


def _series(axes, series: Series):
    color = COLORS[series.color]
    if series.kind == "arrows":
        return axes.quiver(series.x, series.y, series.u, series.v, color="0.75", pivot="mid", zorder=1)
    x, y = until(series, None)
    if series.kind == "dots":
        return axes.plot(x, y, "o", color=color, markersize=series.size, markeredgewidth=0, zorder=3)[0]
    strokes = DASHES[series.dash]
    (line,) = axes.plot(x, y, color=color, linewidth=series.size, zorder=2)
    if strokes:
        line.set_dashes(strokes)
    return line


def _heat(figure, axes, heat: Heat) -> None:
    """Violet below the contour, orange above it, up to as far above as the least value is below."""
    from matplotlib.colors import TwoSlopeNorm

    finite = heat.values[np.isfinite(heat.values)]
    low, high = min(finite.min(initial=heat.contour), 0.999 * heat.contour), finite.max(initial=1.001 * heat.contour)
    norm = TwoSlopeNorm(heat.contour, low, min(high, 2 * heat.contour - low))
    mesh = axes.pcolormesh(heat.x, heat.y, heat.values, cmap="PuOr_r", norm=norm, shading="nearest", rasterized=True)
    if low < heat.contour < high and finite.min() < heat.contour < finite.max():
        axes.contour(heat.x, heat.y, heat.values, [heat.contour], colors="black", linewidths=1.8)
    figure.colorbar(mesh, ax=axes, label=heat.label, extend="max")
