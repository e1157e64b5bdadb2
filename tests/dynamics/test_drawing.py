"""Pictures, pages and animations hold the arrays of their sheet."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from vaegan_jax.dynamics import drawing, lab, pictures
from vaegan_jax.dynamics.games import Bilinear
from vaegan_jax.dynamics.page import page
from vaegan_jax.dynamics.panels import Heat, Panel, Series, Sheet, arrays, until
from vaegan_jax.dynamics.settings import Solver


def curve(moving=True):
    x = np.linspace(0.1, 1, 5)
    times = np.arange(5) if moving else None
    heat = Heat(x, x[:3], np.outer(x[:3], x) + 0.5, "radius", 1.0)
    line = Series("a </script> line", x, np.array([1, 2, np.nan, 4, np.inf]), times=times)
    cloud = Series("", np.arange(6.0).reshape(3, 2), np.ones((3, 2)), "dots", times=np.array([0, 2, 4]))
    arrows = Series("", x, x, "arrows", u=x, v=-x)
    first = Panel("first", "x", "y", (line, cloud, arrows), notes=((0.5, 1, "here"),))
    second = Panel("second", "x", "y", (), heat=heat)
    return Sheet("A & B", ((first, second), (first._replace(xlog=True),)), np.array([0, 2, 4]), panel_inches=(2.0, 2.0))


def held(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_a_page_has_the_very_arrays_in_it_and_nothing_from_elsewhere():
    sheet = curve()
    text = page(sheet, table="1 < 2")
    data = held(text)
    line = data["rows"][0][0]["series"][0]
    np.testing.assert_array_equal(line["x"], sheet.rows[0][0].series[0].x)
    assert line["y"] == [1, 2, None, 4, None] and line["name"] == "a </script> line"
    np.testing.assert_array_equal(data["rows"][0][1]["heat"]["values"], sheet.rows[0][1].heat.values)
    assert data["times"] == [0, 2, 4] and "A &amp; B" in text and "1 &lt; 2" in text
    assert not re.search(r"src=|href=|import |url\((?!#)|https?://(?!www.w3.org/2000/svg)", text)


def test_what_is_there_at_a_time_is_what_had_come_by_then():
    line, cloud, _ = curve().rows[0][0].series
    assert list(until(line, 2)[1][:2]) == [1, 2] and len(until(line, 2)[0]) == 3
    np.testing.assert_array_equal(until(cloud, 3)[0], [2, 3])
    np.testing.assert_array_equal(until(cloud, None)[0], [4, 5])
    assert len(until(line._replace(times=None), 0)[0]) == 5


def test_the_saved_arrays_of_a_trace_are_its_own():
    traces = [lab.trace(lambda step: Bilinear().make(step=step), Solver("simultaneous"), 0.5, 40)]
    sheet = pictures.sheet(Bilinear().make(), traces)
    saved = arrays(sheet)
    np.testing.assert_array_equal(saved["0.1.simultaneous.y"], traces[0].distances)
    inside = saved["0.0.simultaneous.x"]
    np.testing.assert_array_equal(inside, traces[0].points[: len(inside), 0])
    assert saved["times"][0] == 0 and saved["times"][-1] == 40


def test_pictures_and_animations_are_drawn_small_and_move():
    sheet = curve()
    shown = np.asarray(Image.open(io.BytesIO(drawing.png(sheet))).convert("L"))
    assert shown.shape[1] == 4 * drawing.DPI and shown.std() > 10
    moving = Image.open(io.BytesIO(drawing.gif(sheet)))
    assert moving.n_frames == 3
    frames = [np.asarray(moving.convert("L"), int) for place in range(3) if moving.seek(place) is None]
    assert np.abs(frames[0] - frames[2]).max() > 50
    with pytest.raises(ValueError, match="nothing moves"):
        drawing.gif(sheet._replace(times=None))
