"""Sheets of panels as one HTML file, with its data and its script in it: it opens offline, everywhere.

Points tell their values under the mouse, series are switched off and on in the legend, and where something moves, a
slider goes through the time. The arrays in it are those of the sheet, to all digits.
"""

import html
import json
from importlib import resources

import numpy as np

from vaegan_jax.dynamics.panels import COLORS, DASHES, Heat, Panel, Series, Sheet


def page(sheet: Sheet, table: str = "") -> str:
    """The text of the file; `table` is shown above the panels as it is."""
    data = {
        "rows": [[_panel(panel) for panel in row] for row in sheet.rows],
        "times": _numbers(sheet.times),
        "clock": sheet.clock,
        "colors": COLORS,
        "dashes": DASHES,
        "inches": sheet.panel_inches,
    }
    told = json.dumps(data, allow_nan=False).replace("</", "<\\/")
    script = resources.files(__package__).joinpath("page.js").read_text()
    style = (
        "body{font:15px system-ui,sans-serif;margin:1.5em;color:#222}pre{font-size:13px;overflow-x:auto}"
        ".row{display:flex;flex-wrap:wrap;gap:12px}.row svg{max-width:100%;height:auto}"
        "text{font:12px system-ui,sans-serif;fill:#222}"
        "#tip{position:fixed;background:#fffffff0;border:1px solid #888;padding:3px 7px;display:none;"
        "white-space:pre;pointer-events:none}label{margin-right:1.2em;white-space:nowrap}"
    )
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(sheet.title)}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{style}</style>\n<h2>{html.escape(sheet.title)}</h2>\n"
        f"{f'<pre>{html.escape(table)}</pre>' if table else ''}\n"
        '<div id="time"></div><div id="legend"></div><div id="panels"></div><div id="tip"></div>\n'
        f'<script type="application/json" id="data">{told}</script>\n<script>{script}</script></html>\n'
    )


def _panel(panel: Panel) -> dict:
    told = panel._asdict() | {"series": [_series(series) for series in panel.series]}
    return told | {"heat": None if panel.heat is None else _heat(panel.heat)}


def _series(series: Series) -> dict:
    told = series._asdict()
    return told | {axis: _numbers(told[axis]) for axis in ("x", "y", "u", "v", "times")}


def _heat(heat: Heat) -> dict:
    return heat._asdict() | {axis: _numbers(getattr(heat, axis)) for axis in ("x", "y", "values")}


def _numbers(array: np.ndarray | None) -> list | None:
    """Numbers, and null for what is none."""
    if array is None:
        return None
    return np.where(np.isfinite(array), np.asarray(array, float), np.array(None, object)).tolist()
