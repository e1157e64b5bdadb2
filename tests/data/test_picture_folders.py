"""Pictures of any kind become images as they should, and what is wrong with a folder of them is said in one line."""

import json

import numpy as np
import pytest
from commands import refused, vaegan
from made_up import everything, picture, picture_folder, pixels
from PIL import Image, ImageDraw

from vaegan_jax.data import load
from vaegan_jax.data.images import GRAY, flat
from vaegan_jax.data.preparing import prepare
from vaegan_jax.errors import Caution, UserError

pytestmark = pytest.mark.usefixtures("data")


def drawn(mode):
    """A picture of a mode, and what it has to become: by hand, not by Pillow's conversions."""
    rng = np.random.default_rng(0)
    gray, alpha = (rng.integers(0, 256, (7, 5), np.uint8) for _ in range(2))
    color = rng.integers(0, 256, (7, 5, 3), np.uint8)

    def on_white(color, alpha):
        return color * (alpha / 255) + 255 * (1 - alpha / 255)

    if mode == "1":
        return Image.fromarray(gray > 99), np.where(gray > 99, 255, 0)[..., None]
    if mode == "L":
        return Image.fromarray(gray), gray[..., None]
    if mode == "LA":
        return Image.fromarray(np.stack([gray, alpha], 2), "LA"), on_white(gray, alpha)[..., None]
    if mode == "I;16":
        deep = rng.integers(0, 65536, (7, 5), np.uint16)
        return Image.fromarray(deep), (deep / 257)[..., None]
    if mode == "P":
        palette = Image.fromarray(np.arange(35, dtype=np.uint8).reshape(7, 5), "P")
        palette.putpalette(color.tobytes())
        return palette, color
    if mode == "RGB":
        return Image.fromarray(color), color
    if mode == "RGBA":
        return Image.fromarray(np.dstack([color, alpha]), "RGBA"), on_white(color, alpha[..., None])
    return Image.fromarray(np.dstack([color, 0 * gray]), "CMYK"), 255 - color.astype(int)


MODES = {"1": "png", "L": "png", "LA": "png", "I;16": "png", "P": "png", "RGB": "png", "RGBA": "png", "CMYK": "tiff"}


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_any_mode_becomes_gray_or_color(mode, tmp_path):
    image, right = drawn(mode)
    opened = Image.open(picture(tmp_path / f"p.{MODES[mode]}", image))
    assert opened.mode == mode
    channels = right.shape[2]
    assert (mode in GRAY) == (channels == 1)
    got = np.asarray(flat(opened, channels)).reshape(7, 5, channels).astype(float)
    assert np.abs(got - right).max() <= 1


def test_a_palette_with_a_transparent_color_is_flattened_on_white(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 9, 9, 9])
    image.save(tmp_path / "p.png", transparency=0)
    assert np.asarray(flat(Image.open(tmp_path / "p.png"), 3))[..., 0].tolist() == [[255, 9], [9, 255]]


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_a_folder_of_pictures_of_all_modes_and_sizes_is_resized_and_cropped(tmp_path):
    for mode, suffix in MODES.items():
        for number in range(2):
            picture(tmp_path / "raw" / "some" / f"{mode[0]}{mode[1:].strip(';')}{number}.{suffix}", drawn(mode)[0])
    for number, (width, height) in enumerate([(300, 20), (1, 1), (3, 700), (64, 64)] * 2):
        picture(tmp_path / "raw" / "big" / f"{number}.jpg", Image.new("RGB", (width, height), "red"))
    folder, _ = prepare("image_folder/any", tmp_path / "raw", size=16)
    train, test = everything("image_folder/any", "train"), everything("image_folder/any", "test")
    assert train["image"].shape[1:] == test["image"].shape[1:] == (16, 16, 3)
    assert len(train["image"]) + len(test["image"]) == 24
    assert load("image_folder/any", "test").spec.class_names == ("big", "some")
    red = np.concatenate([leaves["image"][leaves["label"] == 0] for leaves in (train, test)])
    assert red.shape[0] == 8 and np.abs(red.astype(int) - [254, 0, 0]).max() <= 1
    assert json.loads((folder / "card.json").read_text())["sizes"] == {"16x16": 24}


def test_the_middle_is_cut_out_and_resized_without_aliasing(tmp_path):
    stripes = Image.new("L", (400, 100), 0)
    ImageDraw.Draw(stripes).rectangle([150, 0, 249, 99], fill=200)
    fine = Image.fromarray(np.indices((160, 160)).sum(0).astype(np.uint8) % 2 * 255)
    for number in range(2):
        picture(tmp_path / "raw" / "stripes" / f"{number}.png", stripes)
        picture(tmp_path / "raw" / "fine" / f"{number}.png", fine)
    prepare("image_folder/middle", tmp_path / "raw", size=10)
    leaves = everything("image_folder/middle", "train")
    assert leaves["image"].shape[1:] == (10, 10, 1)  # all are gray
    middle = leaves["image"][leaves["label"] == 1].astype(int)  # the filter looks a little beyond what is cut
    assert np.abs(middle - 200).max() < 20 and np.abs(middle[:, :, 2:-2] - 200).max() <= 1
    assert np.abs(leaves["image"][leaves["label"] == 0].astype(int) - 127).max() <= 2


def test_pictures_without_a_size_are_kept_bit_for_bit_and_every_tenth_of_a_class_is_held_out(tmp_path):
    folder = picture_folder(tmp_path / "raw", count=20)
    prepare("image_folder/kept", folder)
    right = {image.tobytes(): place for place in range(2) for image in pixels(20, channels=3, seed=place)}
    for split, count in (("train", 36), ("test", 4)):
        leaves = everything("image_folder/kept", split)
        assert [right[image.tobytes()] for image in leaves["image"]] == leaves["label"].tolist()
        assert np.bincount(leaves["label"]).tolist() == [count // 2] * 2


def test_a_folder_may_name_its_splits_and_may_have_no_classes(tmp_path):
    picture_folder(tmp_path / "split" / "train", count=5)
    picture_folder(tmp_path / "split" / "val", count=3)
    prepare("image_folder/split", tmp_path / "split")
    assert [len(load("image_folder/split", split)) for split in ("train", "test")] == [10, 6]
    for number, image in enumerate(pixels(10)):
        picture(tmp_path / "loose" / f"{number}.png", image)
    prepare("image_folder/loose", tmp_path / "loose")
    assert set(everything("image_folder/loose", "train")) == {"image"}


def test_damaged_pictures_are_reported_by_name_all_of_them(tmp_path, data):
    folder = picture_folder(tmp_path / "raw")
    content = (folder / "cat" / "00.png").read_bytes()
    (folder / "cat" / "head.png").write_bytes(b"GIF89a of no kind")
    (folder / "dog" / "cut.png").write_bytes(content[: len(content) // 2])
    (folder / "dog" / "empty.jpg").write_bytes(b"")
    line = refused("data", "prepare", "image_folder/mine", "--from", folder)
    assert "pictures that cannot be read, 3: " in line
    assert all(name in line for name in ("cat/head.png", "dog/cut.png", "dog/empty.jpg"))
    assert not data.exists()


def test_files_that_are_no_pictures_are_left_out_with_a_warning(tmp_path):
    folder = picture_folder(tmp_path / "raw")
    (folder / "cat" / "notes.txt").write_text("about cats")
    (folder / ".DS_Store").write_text("hidden")
    with pytest.warns(Caution, match="what is no picture is left out, 1: notes.txt"):
        prepare("image_folder/mine", folder)


BAD_FOLDERS = {
    "no pictures": (lambda f: (f / "cat").mkdir(parents=True), "there are no pictures in it"),
    "one picture": (lambda f: picture(f / "cat" / "0.png", pixels(1)), "one picture cannot be split"),
    "loose pictures": (lambda f: picture(picture_folder(f) / "x.png", pixels(1)), "beside the folders of classes"),
    "another class in the test": (
        lambda f: (picture_folder(f / "train"), picture_folder(f / "test", ("cow",))),
        "the classes of the test pictures, cow, are not all among those of the training pictures, cat, dog",
    ),
}


@pytest.mark.parametrize("wrong", BAD_FOLDERS)
def test_folders_that_make_no_data_set_are_told_in_one_line(wrong, tmp_path, data):
    make, told = BAD_FOLDERS[wrong]
    make(tmp_path / "raw")
    assert told in refused("data", "prepare", "image_folder/mine", "--from", tmp_path / "raw")
    assert not data.exists()


def test_mixed_sizes_need_a_size_and_are_resized_when_it_is_given(tmp_path):
    folder = picture_folder(tmp_path / "raw")
    picture(folder / "cat" / "wide.png", pixels(1, 30, 60, 3))
    prepare("image_folder/mixed", folder)
    with pytest.raises(UserError, match=r"differ in size \(7x5, 30x60\).*--image-size N"):
        load("image_folder/mixed", "train")
    assert everything("image_folder/mixed", "train", 8)["image"].shape[1:] == (8, 8, 3)
    code, out, _ = vaegan("data", "show", "image_folder/mixed", "--output", tmp_path / "sheet.png")
    assert code == 0 and "'30x60': 1" in out and (tmp_path / "sheet.png").is_file()
