"""Pictures pixel by pixel, and the bytes of their files read back."""

import io

import numpy as np
import pytest
from PIL import Image

from vaegan_jax import pictures
from vaegan_jax.pictures import gif, grid, npz, pairs, png, side_by_side, to_uint8

WHITE = 255


def flat(*greys, side=56):
    """Images of one grey each, from bytes."""
    return np.stack([np.full((side, side, 1), grey / 127.5 - 1, np.float32) for grey in greys])


def cell(sheet, row, column, height=56, width=56):
    """The pixels of one image of a grid; two white ones are between any two and around all."""
    top, left = 2 + row * (height + 2), 2 + column * (width + 2)
    return sheet[top : top + height, left : left + width]


def greys(sheet, height=56, width=56):
    """The one value of each cell, row by row; fails where a cell is not of one value or a gap is not white."""
    rows, columns = (sheet.shape[0] - 2) // (height + 2), (sheet.shape[1] - 2) // (width + 2)
    assert sheet.shape == (rows * (height + 2) + 2, columns * (width + 2) + 2, 3)
    gaps, table = sheet.copy(), []
    for row in range(rows):
        table.append([])
        for column in range(columns):
            values = np.unique(cell(sheet, row, column, height, width))
            assert len(values) == 1
            table[-1].append(int(values[0]))
            cell(gaps, row, column, height, width)[:] = WHITE
    assert (gaps == WHITE).all()
    return table


def test_every_byte_survives_the_way_to_floats_and_back():
    levels = np.arange(256)
    for dtype in (np.float32, np.float64):
        images = (levels / 127.5 - 1).astype(dtype)
        np.testing.assert_array_equal(to_uint8(images), levels.astype(np.uint8), strict=True)


def test_values_are_rounded_to_the_nearest_byte_and_clipped():
    step = 1 / 127.5
    images = [-1 + 0.49 * step, -1 + 0.51 * step, 1 - 0.51 * step, 1 - 0.49 * step, -1.5, 1.5, -1e30, 1e30, 0.0]
    np.testing.assert_array_equal(to_uint8(np.array(images)), [0, 1, 254, 255, 0, 255, 0, 255, 128])
    assert to_uint8(np.float32([[0.2, -0.4]])).shape == (1, 2)


def test_a_grid_is_filled_row_by_row_and_the_rest_is_white():
    assert greys(grid(flat(10, 20, 30, 40, 50))) == [[10, 20, 30], [40, 50, WHITE]]
    assert greys(grid(flat(10, 20, 30, 40))) == [[10, 20], [30, 40]]
    assert greys(grid(flat(10))) == [[10]]
    assert greys(grid(flat(10, 20, 30), columns=2)) == [[10, 20], [30, WHITE]]
    assert greys(grid(flat(10, 20), columns=5)) == [[10, 20]]


def test_images_keep_their_orientation_and_colors():
    image = np.full((1, 56, 60, 3), -1.0)
    image[0, :10, :20] = [1.0, -1.0, 0.2]
    sheet = grid(image)
    assert sheet.shape == (60, 64, 3)
    picture = cell(sheet, 0, 0, 56, 60)
    np.testing.assert_array_equal(picture[:10, :20], np.tile(np.uint8([255, 0, 153]), (10, 20, 1)))
    assert not picture[10:].any() and not picture[:, 20:].any()


@pytest.mark.parametrize(
    ("side", "enlarged"), [(4, 56), (8, 56), (28, 56), (32, 64), (20, 60), (56, 56), (64, 64), (128, 128), (300, 300)]
)
def test_small_images_are_enlarged_by_a_whole_factor(side, enlarged):
    assert pictures.SMALLEST == 56
    image = np.random.default_rng(0).uniform(-1, 1, (1, side, side, 1))
    picture = cell(grid(image), 0, 0, enlarged, enlarged)
    factor = enlarged // side
    np.testing.assert_array_equal(picture[::factor, ::factor], np.repeat(to_uint8(image[0]), 3, axis=2))
    np.testing.assert_array_equal(picture, picture[::factor, ::factor].repeat(factor, 0).repeat(factor, 1))


def test_each_row_of_images_stands_above_the_row_of_its_partners():
    images, others = flat(10, 20, 30, 40, 50), flat(11, 21, 31, 41, 51)
    assert greys(pairs(images, others, columns=3)) == [[10, 20, 30], [11, 21, 31], [40, 50, WHITE], [41, 51, WHITE]]
    assert greys(pairs(images[:2], others[:2])) == [[10, 20] + [WHITE] * 6, [11, 21] + [WHITE] * 6]


def test_pictures_beside_each_other_are_unchanged_under_their_titles():
    left, right = grid(flat(10, 20)), grid(flat(30, 40, 50))
    whole = side_by_side({"data": left, "samples": right})
    assert whole.dtype == np.uint8
    height, width = left.shape[:2]
    np.testing.assert_array_equal(whole[24 : 24 + height, :width], left)
    np.testing.assert_array_equal(whole[24 : 24 + len(right), width + 24 :], right)
    assert (whole[24:, width : width + 24] == WHITE).all() and (whole[24 + height :, :width] == WHITE).all()
    for part in (whole[:24, :width], whole[:24, width + 24 :]):  # the titles
        assert 0 < (part < 128).any(axis=2).mean() < 0.5


def test_png_files_hold_the_very_pixels():
    sheet = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    content = png(sheet)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), sheet)


def test_an_animation_has_all_frames_in_order_for_ever_and_holds_the_last():
    content = gif([grid(flat(grey)) for grey in (0, 100, 200)], milliseconds=200)
    with Image.open(io.BytesIO(content)) as film:
        assert film.format == "GIF" and film.n_frames == 3 and film.info["loop"] == 0
        times = []
        for frame, grey in enumerate((0, 100, 200)):
            film.seek(frame)
            times.append(film.info["duration"])
            shown = np.asarray(film.convert("RGB"))
            assert abs(cell(shown, 0, 0).astype(int) - grey).max() <= 2  # a palette of 256 colors
    assert times == [200, 200, 800]


def test_frames_that_are_alike_are_kept_too():
    content = gif([grid(flat(100))] * 3, milliseconds=200)
    with Image.open(io.BytesIO(content)) as film:
        durations = []
        for frame in range(film.n_frames):
            film.seek(frame)
            durations.append(film.info["duration"])
    assert sum(durations) == 200 + 200 + 800


def test_one_picture_is_an_animation_too():
    with Image.open(io.BytesIO(gif([grid(flat(100))]))) as film:
        assert film.size == (60, 60)


def test_npz_files_hold_the_very_arrays_and_open_without_pickle():
    arrays = {"image": np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1), "other": np.float32([1.5])}
    with np.load(io.BytesIO(npz(arrays)), allow_pickle=False) as file:
        assert set(file) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array, strict=True)
