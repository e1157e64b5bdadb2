"""Unpacks images that are kept as JPEGs in one .npz, such as a copy of CIFAR-10, into one that `vaegan train` reads.

    python experiments/unpack_jpegs.py cifar10_jpeg.npz cifar10_from_jpeg.npz

The first file holds, for `train` and `test`, SPLIT_jpeg (the bytes of all files in a row), SPLIT_offsets (n + 1, where
each begins) and SPLIT_label. The second gets SPLIT_image (n, height, width, 3) uint8 and SPLIT_label. Claim: pixels are
those of the JPEGs, decoded by Pillow; scores on them are of a JPEG copy, not of the original images, which is what the
file's name, on every card, should tell. Ten seconds for CIFAR-10's 60,000 on one core; 184 MB.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from common import options
from PIL import Image

from vaegan_jax.pictures import npz
from vaegan_jax.training.run import write


def unpacked(packed: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Images (n, height, width, 3) from the bytes of their files; all must be of one size."""
    content = packed.tobytes()
    files = (content[begin:end] for begin, end in zip(offsets[:-1], offsets[1:], strict=True))
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])


def main() -> None:
    parser = options(__doc__, runs=False)
    parser.add_argument("source", type=Path, metavar="FILE.npz", help="with the JPEGs")
    parser.add_argument("output", type=Path, metavar="FILE.npz", help="with the images")
    arguments = parser.parse_args()
    try:
        with np.load(arguments.source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        splits = [name.removesuffix("_jpeg") for name in arrays if name.endswith("_jpeg")]
        made = {f"{split}_image": unpacked(arrays[f"{split}_jpeg"], arrays[f"{split}_offsets"]) for split in splits}
        made |= {f"{split}_label": arrays[f"{split}_label"].astype(np.int32) for split in splits}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise SystemExit(f"unpack_jpegs: {arguments.source} is not a set of JPEGs: {error}") from None
    if not made:
        raise SystemExit(f"unpack_jpegs: {arguments.source} has no array that ends in _jpeg")
    write(arguments.output, npz(made))
    for name, array in made.items():
        print(f"{name:12} {array.shape}")


if __name__ == "__main__":
    main()
