"""The user's own arrays: one split of an .npz file."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from vaegan_jax.data.sources import ArraySource
from vaegan_jax.errors import UserError

LEAVES = ("label", "attributes", "caption")
"""What an example may have beside its image."""


def read_npz(path: Path, split: str) -> ArraySource:
    """Returns one split of a user's .npz: see `vaegan_jax.data.load`."""
    keys = _keys(path)
    if "train_image" in keys or "test_image" in keys:
        return _named_split(path, keys, split)
    if "image" in keys:
        return _held_out_split(path, keys, split)
    raise UserError(
        f'{path}: it has no array "image" and no "train_image" (it has: '
        f"{', '.join(keys) or 'nothing'}); name your images so"
    )


def _named_split(path: Path, keys: list[str], split: str) -> ArraySource:
    """Returns the split that the file names, with as many classes and attributes as both splits have together."""
    if f"{split}_image" not in keys:
        raise UserError(
            f'{path}: it has no array "{split}_image" (it has: {", ".join(keys)}); add it, or give '
            'one array "image", of which the last tenth becomes the test set'
        )
    arrays, facts = {"image": _array(path, f"{split}_image")}, {}
    for leaf in LEAVES:
        both = {key: _array(path, key) for key in (f"train_{leaf}", f"test_{leaf}") if key in keys}
        if len(both) == 1 and {"train_image", "test_image"} <= set(keys):
            what = f'only one has {leaf if leaf == "attributes" else leaf + "s"}, "{next(iter(both))}"'
            does = "label both or neither" if leaf == "label" else "give them to both or to neither"
            raise UserError(f"{path}: of the two splits {what}; {does}")
        if f"{split}_{leaf}" in both:
            arrays[leaf] = both[f"{split}_{leaf}"]
            facts |= _together(leaf, list(both.values()))
    return ArraySource(arrays, str(path), **facts)


def _together(leaf: str, both: list[np.ndarray]) -> dict:
    """What the spec has to say of a leaf in both splits; nothing where it is wrong, for ArraySource to refuse."""
    numbers = [array for array in both if array.size and np.issubdtype(array.dtype, np.integer)]
    if leaf == "label":
        return {"classes": max([0] + [int(array.max()) + 1 for array in numbers])}
    if leaf == "attributes" and numbers == both and {(a.ndim, a.shape[1:]) for a in both} == {(2, both[0].shape[1:])}:
        most = np.max([array.max(axis=0) for array in both], axis=0)
        return {"attributes": tuple((f"attribute_{at}", max(int(value) + 1, 1)) for at, value in enumerate(most))}
    if leaf == "caption" and all(array.dtype.kind in "US" for array in both):
        texts = [text for array in both for text in array.ravel().tolist()]
        return {"caption_length": max([1] + [len(text.encode() if isinstance(text, str) else text) for text in texts])}
    return {}


def _held_out_split(path: Path, keys: list[str], split: str) -> ArraySource:
    """Returns all but the last tenth of the examples, or the last tenth."""
    # Checked as a whole: what is wrong with a test image is told before the training, not after it.
    whole = ArraySource({key: _array(path, key) for key in ("image", *LEAVES) if key in keys}, str(path))
    kept = len(whole) * 9 // 10
    if kept == 0:
        raise UserError(f"{path}: one image cannot be split in train and test; two at least are needed")
    return whole.part(slice(kept) if split == "train" else slice(kept, None))


def _keys(path: Path) -> list[str]:
    """Returns the names of the arrays in an .npz file."""
    try:
        if not path.is_file():
            raise UserError(f"there is no file {path}; give the path of an .npz file")
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        raise UserError(f"{path}: this is not an .npz file, or cannot be read; write it with numpy.savez") from None


def _array(path: Path, key: str) -> np.ndarray:
    """Reads one array of an .npz file; never unpickles, so that opening a stranger's file runs no code."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return np.asarray(file[key])
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise UserError(
            f'{path}: the array "{key}" cannot be read; it is damaged, or holds Python objects '
            "where plain numbers are needed"
        ) from None
