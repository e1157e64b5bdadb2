"""Makes `vaegan_jax/data/fashion_mnist_small.npz`, the data set that the library carries.

Claim: of Debian's package dataset-fashion-mnist this takes, of each of the ten classes, the first
1,000 examples of the training set and the first 200 of the test set, all in their original order,
and running it again gives the same file byte for byte (with the same zlib; with another one the
sums of the arrays, printed too, still agree).

    python experiments/embed_fashion_mnist.py              # fetches the package (31 MB); run apt-get update before
    python experiments/embed_fashion_mnist.py --from DIR   # DIR holds the four *-ubyte.gz files

Hardware: any; about 5 s without the download. Every sum, count, mean and deviation is checked,
and the script stops at the first that is wrong.
"""

import argparse
import gzip
import hashlib
import io
import subprocess
import tempfile
import zipfile
from pathlib import Path

import numpy as np

PACKAGE = "dataset-fashion-mnist"
VERSION = "0.0~git20200523.55506a9-1"
PACKAGE_SHA256 = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0"

# Of the unpacked contents: packing them again changes the sums of the .gz files, not these.
SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
CLASSES = 10
TRAIN_OF_CLASS = 1000
TEST_OF_CLASS = 200
OUTPUT = Path(__file__).parents[1] / "vaegan_jax" / "data" / "fashion_mnist_small.npz"


def sha256(content: bytes) -> str:
    """Returns the SHA-256 sum of `content` in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def check(right: bool, what: str) -> None:
    """Stops the script with one line where the data are not what they have to be."""
    if not right:
        raise SystemExit(f"embed_fashion_mnist: {what}; nothing was written")


def fetch(folder: Path) -> Path:
    """Fetches and unpacks the Debian package below `folder`; returns the folder of its .gz files."""
    subprocess.run(["apt-get", "download", "-qq", f"{PACKAGE}={VERSION}"], cwd=folder, check=True)
    (package,) = folder.glob(f"{PACKAGE}_*.deb")
    check(sha256(package.read_bytes()) == PACKAGE_SHA256, f"{package.name} has a wrong sha256")
    subprocess.run(["dpkg", "-x", package.name, "unpacked"], cwd=folder, check=True)
    return folder / "unpacked" / "usr" / "share" / "datasets" / "fashion-mnist"


def idx(folder: Path, name: str) -> np.ndarray:
    """Reads one gzipped IDX file: two zero bytes, type (8: uint8), rank, big-endian sizes, data."""
    check((folder / name).is_file(), f"there is no file {folder / name}")
    content = gzip.decompress((folder / name).read_bytes())
    check(sha256(content) == SHA256[name], f"{name} has a wrong sha256")
    rank = content[3]
    sizes = np.frombuffer(content, ">i4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(sizes)


def balanced(image: np.ndarray, label: np.ndarray, of_class: int) -> tuple[np.ndarray, np.ndarray]:
    """Takes the first `of_class` examples of each class, in their original order."""
    chosen = np.sort(np.concatenate([np.flatnonzero(label == c)[:of_class] for c in range(CLASSES)]))
    label = label[chosen]
    check(bool((np.bincount(label) == of_class).all()), f"some class has fewer than {of_class} examples")
    return image[chosen, :, :, None], label


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """Packs an .npz whose bytes depend on nothing but `arrays` and the zlib that packs them."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            plain = io.BytesIO()
            np.lib.format.write_array(plain, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is made: zipfile would write the system's own number
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, plain.getvalue(), compresslevel=9)
    return packed.getvalue()


def embed(folder: Path) -> dict[str, np.ndarray]:
    """Reads the four IDX files in `folder` and returns the arrays to embed."""
    train = idx(folder, "train-images-idx3-ubyte.gz"), idx(folder, "train-labels-idx1-ubyte.gz")
    test = idx(folder, "t10k-images-idx3-ubyte.gz"), idx(folder, "t10k-labels-idx1-ubyte.gz")
    mean, deviation = train[0].mean() / 255, train[0].std() / 255
    check(f"{mean:.4f} {deviation:.4f}" == "0.2860 0.3530", f"mean {mean} or deviation {deviation} is wrong")
    train_image, train_label = balanced(*train, TRAIN_OF_CLASS)
    test_image, test_label = balanced(*test, TEST_OF_CLASS)
    return {"train_image": train_image, "train_label": train_label, "test_image": test_image, "test_label": test_label}


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the embedded subset of Fashion-MNIST.")
    parser.add_argument("--from", dest="folder", type=Path, help="folder of the four *-ubyte.gz files")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the .npz to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        arrays = embed(args.folder or fetch(Path(temporary)))
    packed = pack(arrays)
    args.output.write_bytes(packed)
    print(f"{args.output.name}: {len(packed):,} bytes, sha256 {sha256(packed)}")
    for name, array in arrays.items():
        print(f"  {name} {array.shape} {array.dtype}, sha256 {sha256(array.tobytes())}")
    train = arrays["train_image"] / 255.0
    print(f"  training pixels in [0, 1]: mean {train.mean():.6f}, deviation {train.std():.6f}")


if __name__ == "__main__":
    main()
