"""Sources of examples: what a data set is to the rest of the library.

A source has a `DataSpec`, a length, and gives one example at a time, by its index; so any reader
of files becomes a source with three short definitions. `ArraySource` is the one over arrays in
memory. Everything that is wrong with a user's arrays is found when it is made, and told in one line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, SupportsIndex, runtime_checkable

import numpy as np
from jaxtyping import Integer

from vaegan_jax.errors import UserError


@dataclass(frozen=True)
class DataSpec:
    """What a model has to know of the data; `dataclasses.asdict` makes it fit for JSON."""

    name: str
    """Name of the data set, or path of the user's file."""

    image_shape: tuple[int, int, int]
    """(height, width, channels) of one image, in pixels; channels are 1 or 3."""

    classes: int = 0
    """Number of classes; labels are 0 .. classes - 1. 0: the data have no labels."""

    class_names: tuple[str, ...] = ()
    """Names of the classes in the order of their labels; empty where they have none."""

    attributes: tuple[tuple[str, int], ...] = ()
    """Further labels of every example: (name, number of values), e.g. (("style", 3), ("skin", 2))."""

    caption_length: int = 0
    """Bytes of a caption, UTF-8 and padded with zeros; 0: the data have no captions."""

    batch_size: int = 0
    """Examples of one move, on all devices together; the trainer fills it in, models count images by it."""


@runtime_checkable
class Source(Protocol):
    """A finite, ordered set of examples."""

    spec: DataSpec

    def __len__(self) -> int:
        """Returns the number of examples, 1 at least."""

    def example(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        """Returns example `index`, in 0 .. len - 1, the same at every call.

        Its "image" is (height, width, channels), uint8 or float32 in [-1, 1]. As the spec says, there
        are also its "label", an int32 scalar, its "attributes", int32 (attributes,) in the order of the
        spec, and its "caption", uint8 (caption length,).
        """


class ArraySource:
    """A source over arrays in memory.

    `arrays` holds "image", (n, height, width, channels) or (n, height, width), uint8 in 0 .. 255 or
    floating in [-1, 1] (kept as float32), and maybe "label", (n,) integers from 0 on; "attributes",
    (n, k) integers from 0 on (both kept as int32); and "caption", (n,) strings (kept as UTF-8 bytes,
    padded with zeros). Other keys are left alone. `name` is what messages call the data.

    By default `classes` is the number of `class_names`, or one more than the greatest label;
    `attributes`, as in the spec, are numbered, each with as many values as its greatest needs; and
    `caption_length` is that of the longest.

    Raises UserError, one line, where the arrays are not so.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        name: str = "the data",
        classes: int = 0,
        class_names: tuple[str, ...] = (),
        attributes: tuple[tuple[str, int], ...] = (),
        caption_length: int = 0,
    ):
        image = _images(arrays.get("image"), name)
        self.arrays = {"image": image}
        if arrays.get("label") is not None:
            label = _labels(arrays["label"], len(image), classes or len(class_names), name)
            self.arrays["label"] = label
            classes = classes or len(class_names) or int(label.max()) + 1
        elif classes or class_names:
            raise UserError(f'{name}: classes are stated, but there is no array "label"; give one, or no classes')
        if arrays.get("attributes") is not None:
            values, attributes = _attributes(arrays["attributes"], len(image), attributes, name)
            self.arrays["attributes"] = values
        if arrays.get("caption") is not None:
            self.arrays["caption"] = _captions(arrays["caption"], len(image), caption_length, name)
            caption_length = self.arrays["caption"].shape[1]
        self.spec = DataSpec(name, image.shape[1:], classes, tuple(class_names), attributes, caption_length)

    def __len__(self) -> int:
        return len(self.arrays["image"])

    def example(self, index: SupportsIndex) -> dict[str, np.ndarray]:
        """Returns example `index`: see `Source.example`."""
        return {key: np.asarray(array[index]) for key, array in self.arrays.items()}

    def examples(self, indices: Integer[np.ndarray, "..."]) -> dict[str, np.ndarray]:
        """Returns the examples at `indices`, stacked."""
        return {key: array[indices] for key, array in self.arrays.items()}

    def part(self, chosen: slice) -> "ArraySource":
        """Returns some of the examples, under the same spec."""
        arrays = {key: array[chosen] for key, array in self.arrays.items()}
        spec = self.spec
        return ArraySource(arrays, spec.name, spec.classes, spec.class_names, spec.attributes, spec.caption_length)


def gather(source: Source, indices: Integer[np.ndarray, "..."]) -> dict[str, np.ndarray]:
    """Returns the examples at `indices`, stacked: each leaf is (*indices.shape, *shape in one example).

    A source that is faster at many than at one has a method `examples`, (n,) indices -> stacked leaves.
    """
    if hasattr(source, "examples"):
        leaves = source.examples(indices.ravel())
    else:
        examples = [source.example(int(index)) for index in indices.ravel()]
        leaves = {key: np.stack([example[key] for example in examples]) for key in examples[0]}
    return {key: leaf.reshape(indices.shape + leaf.shape[1:]) for key, leaf in leaves.items()}


def require(spec: DataSpec, leaf: Literal["label", "attributes", "caption"], who: str) -> None:
    """Raises UserError where the data lack what `who`, such as "the conditional GAN", needs of every example."""
    lacking = {"label": not spec.classes, "attributes": not spec.attributes, "caption": not spec.caption_length}
    words = {"label": "labels", "attributes": "attributes", "caption": "captions"}
    if lacking[leaf]:
        raise UserError(
            f'{who} needs {words[leaf]}, and {spec.name} has none; give an array "{leaf}", choose another data set '
            "(vaegan data list), or another model (vaegan models)"
        )


def encode_caption(text: bytes, length: int) -> np.ndarray:
    """UTF-8 text as `length` bytes: padded with zeros, or cut, at the border of a character."""
    if len(text) > length:
        text = text[:length].decode("utf-8", "ignore").encode()
    return np.frombuffer(text.ljust(length, b"\0"), np.uint8)


def _images(image: Any, name: str) -> np.ndarray:
    """Returns `image` as (n, height, width, channels) uint8 or float32; raises UserError where it cannot."""
    if image is None:
        raise UserError(f'{name}: there are no images; give an array "image" of shape (n, height, width, channels)')
    image = np.asarray(image)
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise UserError(
            f"{name}: images have dtype {image.dtype}; convert them to uint8 in 0 .. 255 or to float32 in [-1, 1]"
        )
    if image.ndim not in (3, 4):
        raise UserError(
            f"{name}: images have shape {image.shape}; it must be (n, height, width, channels) or (n, height, width)"
        )
    image = image[..., None] if image.ndim == 3 else image
    if image.size == 0:
        raise UserError(f"{name}: there are no images, the shape is {image.shape}; one at least is needed")
    if image.shape[-1] not in (1, 3):
        raise UserError(
            f"{name}: images of shape {image.shape} have {image.shape[-1]} channels, not 1 or 3; "
            "channels come last (if yours come first, use image.transpose(0, 2, 3, 1))"
        )
    return image if image.dtype == np.uint8 else _floats(image, name)


def _floats(image: np.ndarray, name: str) -> np.ndarray:
    """Returns floating images as float32; raises UserError where one is not finite or not in [-1, 1]."""
    finite = np.isfinite(image).all(axis=(1, 2, 3))
    if not finite.all():
        raise UserError(
            f"{name}: image {int(finite.argmin())} holds NaN or Inf, the first of "
            f"{int((~finite).sum())} such; leave them out or mend them"
        )
    low, high = float(image.min()), float(image.max())
    if low < -1 or high > 1:
        raise UserError(
            f"{name}: floating images must lie in [-1, 1], these in [{low:.9g}, {high:.9g}]; "
            "scale them (from 0 .. 255 by x / 127.5 - 1) or give them as uint8"
        )
    return image.astype(np.float32, copy=False)


def _labels(label: Any, images: int, classes: int, name: str) -> np.ndarray:
    """Returns `label` as int32 of shape (images,); raises UserError where it cannot. `classes` 0: any number."""
    label = np.asarray(label)
    if label.shape != (images,):
        raise UserError(
            f"{name}: labels have shape {label.shape}, for {images} images it must be ({images},); "
            "give one for each image"
        )
    if not np.issubdtype(label.dtype, np.integer):
        raise UserError(f"{name}: labels have dtype {label.dtype}; convert them to int32 class numbers, from 0 on")
    bound = classes or np.iinfo(np.int32).max
    wrong = (label < 0) | (label >= bound)
    if wrong.any():
        first = int(wrong.argmax())
        raise UserError(
            f"{name}: the label of image {first} is {label[first]}; labels must be class numbers "
            f"in 0 .. {bound - 1}, so number your classes from 0 on"
        )
    return label.astype(np.int32)


def _attributes(
    values: Any, images: int, attributes: tuple[tuple[str, int], ...], name: str
) -> tuple[np.ndarray, tuple[tuple[str, int], ...]]:
    """Returns attributes as int32 (images, k), with names and numbers of values; raises UserError where it cannot."""
    values = np.asarray(values)
    if values.ndim != 2 or len(values) != images or values.shape[1] != (len(attributes) or values.shape[1] or 1):
        raise UserError(
            f"{name}: attributes have shape {values.shape}, for {images} images it must be "
            f"({images}, {len(attributes) or 'attributes'}); give one row for each image"
        )
    columns, stated = [], attributes or tuple((f"attribute_{place}", 0) for place in range(values.shape[1]))
    for place, (title, count) in enumerate(stated):
        columns.append(_labels(values[:, place], images, count, f"{name}, attribute {title}"))
    counted = tuple(
        (title, count or int(column.max()) + 1) for (title, count), column in zip(stated, columns, strict=True)
    )
    return np.stack(columns, 1), counted


def _captions(caption: Any, images: int, length: int, name: str) -> np.ndarray:
    """Returns captions as uint8 (images, length), UTF-8; raises UserError where it cannot. `length` 0: the longest."""
    caption = np.asarray(caption)
    if caption.dtype == np.uint8 and caption.ndim == 2 and len(caption) == images:
        return caption
    if caption.shape != (images,) or caption.dtype.kind not in "US":
        raise UserError(
            f"{name}: captions have dtype {caption.dtype} and shape {caption.shape}, for {images} images they must be "
            f"strings of shape ({images},); give one for each image"
        )
    texts = [text.encode() if isinstance(text, str) else bytes(text) for text in caption.tolist()]
    length = length or max(1, *map(len, texts))
    return np.stack([encode_caption(text, length) for text in texts])
