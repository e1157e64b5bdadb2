"""Each builder stores exactly what the raw files hold, and says in one line what is wrong with them."""

import gzip
import importlib
import json

import numpy as np
import pytest
from made_up import idx, idx_folder, picture, picture_folder, pixels, refused, vaegan
from PIL import Image, ImageDraw

from vaegan_jax.data import gather, load
from vaegan_jax.data.builders import BUILDERS, KNOWN
from vaegan_jax.data.images import GRAY, flat
from vaegan_jax.data.preparing import prepare
from vaegan_jax.errors import Caution, UserError


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """The data folder, which is not there yet."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def everything(name, split, size=0):
    source = load(name, split, size)
    return gather(source, np.arange(len(source)))


# IDX files


@pytest.mark.parametrize("channels", [1, 3])
def test_idx_files_come_back_bit_for_bit_in_their_order(channels, tmp_path):
    train, test = pixels(20, channels=channels), pixels(6, channels=channels, seed=1)
    folder = idx_folder(tmp_path / "raw", *(a if channels == 3 else a[..., 0] for a in (train, test)))
    prepare("idx_images/mine", folder)
    for split, images in (("train", train), ("test", test)):
        leaves = everything("idx_images/mine", split)
        np.testing.assert_array_equal(leaves["image"], images)
        np.testing.assert_array_equal(leaves["label"], np.arange(len(images)) % 3)
        assert leaves["label"].dtype == np.int32
    spec = load("idx_images/mine", "train").spec
    assert (spec.image_shape, spec.classes, spec.class_names) == ((7, 5, channels), 3, ())


def test_idx_images_may_lack_labels_and_have_other_names(tmp_path):
    folder = tmp_path / "raw" / "deep"
    folder.mkdir(parents=True)
    (folder / "qmnist-train.images.idx3").write_bytes(idx(pixels()[..., 0]))
    (folder / "qmnist-test.images.idx3.gz").write_bytes(gzip.compress(idx(pixels()[..., 0])))
    prepare("idx_images/bare", tmp_path / "raw")
    assert set(everything("idx_images/bare", "train")) == {"image"}
    assert load("idx_images/bare", "test").spec.classes == 0


GOOD = idx(pixels()[..., 0])
BAD_IDX = {
    "no test images": (dict(t10k_images=None, t10k_labels=None), ["no IDX file of test images", "t10k"]),
    "more labels than images": (
        dict(train_labels=idx(np.zeros(21, np.uint8))),
        ["20 train images and 21 train labels"],
    ),
    "labels of one split": (dict(t10k_labels=None), ["only train has labels"]),
    "a file cut off": (dict(train_images=GOOD[:-9]), ["states 700 bytes of data and holds 691"]),
    "a file that goes on": (dict(train_images=GOOD + b"more"), ["states 700 bytes of data and holds 704"]),
    "a text": (dict(train_images=b"not at all"), ["train-images-idx3-ubyte: this is not an IDX file"]),
    "an empty file": (dict(train_images=b""), ["this is not an IDX file"]),
    "a damaged archive": (dict(t10k_images=gzip.compress(GOOD)[:50]), ["t10k-images-idx3-ubyte", "is damaged"]),
    "no images in it": (dict(train_images=idx(np.zeros((0, 7, 5), np.uint8))), ["20 train labels"]),
    "floating images": (dict(train_images=idx(np.zeros((20, 7, 5), np.float32))), ["float32", "not bytes"]),
    "labels where images are due": (dict(train_images=idx(np.zeros(20, np.uint8))), ["uint8 of shape (20,)"]),
    "test images of other sides": (dict(t10k_images=idx(pixels(6, 9)[..., 0])), ["(7, 5), test images of (9, 5)"]),
    "negative labels": (dict(train_labels=idx(np.full(20, -1, np.int32))), ["label of image 0 is -1"]),
    "images twice": (dict(train_images_again=GOOD), ["2 files of train images"]),
}


@pytest.mark.parametrize("wrong", BAD_IDX)
def test_idx_files_that_do_not_match_are_told_in_one_line_and_leave_nothing(wrong, tmp_path, data):
    files, told = BAD_IDX[wrong]
    folder = idx_folder(tmp_path / "raw", **files)
    line = refused("data", "prepare", "idx_images/mine", "--from", folder)
    assert all(fragment in line for fragment in told), line
    assert not data.exists()


def test_idx_files_that_are_not_the_known_ones_are_refused(tmp_path, data):
    folder = idx_folder(tmp_path / "raw")
    assert "train-images-idx3-ubyte: its contents are not those of the original" in refused(
        "data", "prepare", "mnist", "--from", folder
    )
    assert "this is not kmnist, which has 60,000 + 10,000 images" in refused(
        "data", "prepare", "kmnist", "--from", folder
    )
    assert not data.exists()


# Folders of pictures


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
    assert "3 damaged pictures" in line
    assert all(name in line for name in ("cat/head.png", "dog/cut.png", "dog/empty.jpg"))
    assert not data.exists()


def test_files_that_are_no_pictures_are_left_out_with_a_warning(tmp_path):
    folder = picture_folder(tmp_path / "raw")
    (folder / "cat" / "notes.txt").write_text("about cats")
    (folder / ".DS_Store").write_text("hidden")
    with pytest.warns(Caution, match="1 files are no pictures and left out: notes.txt"):
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


# Arrays


def test_an_npz_is_prepared_with_attributes_and_captions(tmp_path):
    arrays = {
        "image": pixels(20, channels=3),
        "label": np.arange(20) % 4,
        "attributes": np.stack([np.arange(20) % 2, np.arange(20) % 5], 1),
        "caption": np.array([f"no. {i} é" for i in range(20)]),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    prepare("npz_images/a", tmp_path / "a.npz")
    for split in ("train", "test"):
        made, plain = load("npz_images/a", split), load(str(tmp_path / "a.npz"), split)
        leaves, right = (gather(source, np.arange(len(source))) for source in (made, plain))
        assert leaves.keys() == right.keys()
        for key in leaves:
            np.testing.assert_array_equal(leaves[key], right[key])
        assert made.spec.attributes == plain.spec.attributes == (("attribute_0", 2), ("attribute_1", 5))
        assert made.spec.caption_length == plain.spec.caption_length == len("no. 19 é".encode())


def test_floats_are_stored_in_256_steps_with_a_warning_and_a_nan_is_refused(tmp_path, data):
    images = np.linspace(-1, 1, 20 * 12, dtype=np.float32).reshape(20, 4, 3)
    np.savez(tmp_path / "nan.npz", image=np.where(images > 0.99, np.nan, images))
    assert "image 19 holds NaN or Inf" in refused("data", "prepare", "npz_images/f", "--from", tmp_path / "nan.npz")
    assert "image 19 holds NaN or Inf" in refused("train", "--data", tmp_path / "nan.npz")
    assert not data.exists()
    np.savez(tmp_path / "f.npz", image=images)
    with pytest.warns(Caution, match="256 steps"):
        prepare("npz_images/f", tmp_path / "f.npz")
    assert np.abs(everything("npz_images/f", "train")["image"] / 127.5 - 1 - images[:18, ..., None]).max() < 1 / 254


# Emoji and glyphs


def emoji_folder(folder, count=40):
    index = []
    for number in range(count):
        entry = {"unified": f"1F{number:03X}", "image": f"1f{number:03x}.png", "name": f"FACE {number}"}
        entry |= {"category": "Symbols", "subcategory": "math" if number % 2 else "arrow"}
        if number % 4 == 0:
            tone = {"unified": entry["unified"] + "-1F3FB", "image": f"1f{number:03x}-1f3fb.png"}
            entry["skin_variations"] = {"1F3FB": tone}
        index.append(entry)
        for image in [entry["image"], *(v["image"] for v in entry.get("skin_variations", {}).values())]:
            color = Image.new("RGBA", (64, 64), (number, 0, 0, 255))
            picture(folder / "google/img/google/64" / image, color)
            picture(folder / "twitter/img/twitter/64" / image, color)
            if number % 3 == 0:
                picture(folder / "fluent/assets" / image.replace(".png", ".webp"), color.resize((256, 256)))
    (folder / "google/emoji.json").write_text(json.dumps(index))
    return folder


def test_no_emoji_is_in_both_splits_in_any_style_or_skin(tmp_path, monkeypatch):
    monkeypatch.setattr("vaegan_jax.data.preparing._check_known", lambda *_: None)
    prepare("emoji", emoji_folder(tmp_path / "raw"))
    names = {}
    for split in ("train", "test"):
        leaves = everything("emoji", split)
        captions = [bytes(caption).rstrip(b"\0").decode() for caption in leaves["caption"]]
        names[split] = {caption.split(",")[0] for caption in captions}
        spec = load("emoji", split).spec
        assert spec.attributes == (("skin", 7), ("style", 3), ("subcategory", 2))
        for caption, image, attributes in zip(captions, leaves["image"], leaves["attributes"], strict=True):
            number = int(caption.split(",")[0].removeprefix("face "))
            assert abs(int(image[0, 0, 0]) - number) <= 3  # WebP is not exact
            assert attributes[0] == ("light skin tone" in caption) and attributes[2] == number % 2
    assert not names["train"] & names["test"] and len(names["train"] | names["test"]) == 40


def test_a_lacking_or_damaged_emoji_is_named(tmp_path, data):
    folder = emoji_folder(tmp_path / "raw")
    lacking = folder / "twitter/img/twitter/64/1f005.png"
    content = lacking.read_bytes()
    lacking.unlink()
    assert "1f005.png is missing" in refused("data", "prepare", "emoji", "--from", folder)
    lacking.write_bytes(content[:40])
    assert "1f005.png: this picture is damaged" in refused("data", "prepare", "emoji", "--from", folder)
    lacking.write_bytes(content)
    assert "this is not emoji, which has 9,798" in refused("data", "prepare", "emoji", "--from", folder)
    (folder / "google/emoji.json").write_text("{")
    assert "google/emoji.json" in refused("data", "prepare", "emoji", "--from", folder)
    assert not data.exists()


def test_glyphs_without_usable_fonts_are_refused(tmp_path, data):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.txt").write_text("no font")
    assert "no .ttf or .otf files" in refused("data", "prepare", "glyphs", "--from", tmp_path / "raw")
    (tmp_path / "raw" / "a.ttf").write_text("no font")
    assert "0 fonts have all digits and letters" in refused("data", "prepare", "glyphs", "--from", tmp_path / "raw")
    assert not data.exists()


def test_every_builder_has_its_file_its_class_and_its_version():
    for name, (kind, version) in BUILDERS.items():
        builder = getattr(importlib.import_module(f"vaegan_jax.data.builders.{name}"), kind)
        assert builder.name == name and str(builder.VERSION) == version and builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    assert {known.builder for known in KNOWN.values()} <= set(BUILDERS)
    for known in KNOWN.values():
        assert known.how_to_get().endswith(f"vaegan data prepare {known.name} --from {known.name}")
        assert all(package.sha256 in known.how_to_get() for package in known.packages)
