"""A small convolutional network, trained on a data set's own labels: the features for gray and for small images.

Networks trained on photographs see little in digits and clothes: there their features separate classes no better than
raw pixels do. This one is trained in well under a minute by the library's own engine, as a game of one player, and kept
beside the fetched weights. Its name in a score is its sha256: classifiers of other data, seeds or versions are others.
"""

import functools
import hashlib
import json
import math
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, Int32, Shaped

import vaegan_jax
from vaegan_jax.data.batches import batch, fetch, read, resident
from vaegan_jax.data.sources import DataSpec, Source, gather
from vaegan_jax.errors import Caution, UserError, check, check_fields
from vaegan_jax.evaluation import weights
from vaegan_jax.evaluation.features.extractor import Extractor
from vaegan_jax.games import Player, State, init, play
from vaegan_jax.networks.layers import Convolution, Dense
from vaegan_jax.networks.network import Network, init_networks, pure
from vaegan_jax.networks.norms import BatchNorm
from vaegan_jax.training.feeding import fingerprint, fits

CHUNK = 256
"""Images classified at once, the last ones padded: no bit depends on how many there are."""
OTHERS = "pixels, or efficientnet_lite0, vgg16, alexnet or inception, which were trained on others'"
"""Features that need no labels of the data."""

Report = Callable[[int, int], None]
"""Is told the rounds done, and of how many."""


@dataclass(frozen=True)
class Config:
    """Classifier on the data set's own labels."""

    width: int = 24
    """Channels of the third last convolution; every further one has twice as many, every earlier one half, 8 at least:
    so large images do not take so much longer."""
    features: int = 128
    """Units of the layer before the logits: the dimensions of the features."""
    batch_size: int = 128
    """Images per round."""
    kimg: float = 50.0
    """Thousands of images seen in training."""
    epochs: int = 30
    """Small sets are seen at most so often."""
    learning_rate: float = 3e-3
    """The highest step size of Adam; it rises for a fifth of the training and then falls to 0 along a cosine."""
    weight_decay: float = 1e-2
    """Of AdamW (Loshchilov & Hutter 2019)."""

    def __post_init__(self):
        check_fields(self)
        least = min(self.width, self.features, self.batch_size, self.epochs)
        check(least > 0, "width, features, batch-size and epochs of the classifier must be at least 1")
        positive = all(0 < value < float("inf") for value in (self.kimg, self.learning_rate))
        check(positive, "kimg and learning-rate of the classifier must be above 0 and finite")
        check(0 <= self.weight_decay < float("inf"), "weight-decay of the classifier must be 0 or more and finite")

    def rounds(self, examples: int) -> int:
        """Rounds of training on so many examples."""
        return max(1, math.ceil(min(self.kimg * 1000, self.epochs * examples) / self.batch_size))


class Classifier(NamedTuple):
    """A trained one: `arrays` by name, such as "params/classifier/Dense_0/kernel", and what they mean."""

    arrays: dict[str, np.ndarray]
    accuracy: float
    """Share of the held-out images that it classifies rightly."""
    sha256: str
    """Of the arrays."""
    spec: DataSpec
    """Of the data that it was trained on."""
    config: Config
    seed: int


class Module(nn.Module):
    """Halves images until sides are at most 4, then two dense layers: -> (n, features), (n, classes)."""

    config: Config
    classes: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> tuple[Array, Array]:
        levels = max(1, math.ceil(math.log2(max(x.shape[1:3]) / 4)))
        for level in range(levels):
            width = max(8, 4 * self.config.width // 2 ** (levels - 1 - level))
            x = nn.relu(BatchNorm()(Convolution(width, use_bias=False)(x), train))
        features = nn.relu(BatchNorm()(Dense(self.config.features)(x.reshape((len(x), -1))), train))
        return features, Dense(self.classes)(features)


def trained(
    source: Source,
    held_out: Source,
    seed: int = 0,
    config: Config = Config(),  # noqa: B008
    folder: Path | str | None = None,
    report: Report | None = None,
) -> Classifier:
    """The classifier of a training set, from the folder of weights or, the first time, trained (under a minute).

    `held_out` gives its accuracy. A pure function of data, seed, configuration and library version, but for the
    rounding of the machine that trained it. Raises UserError where labels are missing or the two sets differ in kind.
    """
    require_labels(source.spec)
    _check_alike(source.spec, held_out.spec)
    folder = Path(folder or weights.folder())
    data = [[fingerprint(part), len(part)] for part in (source, held_out)]
    facts = [data, source.spec.image_shape, source.spec.classes, asdict(config), int(seed), vaegan_jax.__version__]
    path = folder / f"classifier-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]}.npz"
    if kept := _kept(path):
        return Classifier(*kept, source.spec, config, seed)
    arrays = fit(source, seed, config, report)
    made = Classifier(arrays, 0.0, weights.digest(arrays), source.spec, config, seed)
    made = made._replace(accuracy=accuracy(made, held_out))
    _keep(path, made)
    return made


def extractor(classifier: Classifier) -> Extractor:
    """Its penultimate layer as "features" and its "logits", for images of the size that it was trained on."""
    network = _network(classifier.config, classifier.spec.image_shape, classifier.spec.classes)
    params = unflatten_dict(classifier.arrays, sep="/")
    return Extractor("classifier", classifier.sha256, "none", None, params, _outputs(network), None)


def fit(
    source: Source,
    seed: int = 0,
    config: Config = Config(),  # noqa: B008
    report: Report | None = None,
) -> dict[str, np.ndarray]:
    """Trains on all examples of a source, and gives parameters and running statistics by name.

    Minimizes the cross-entropy in nats, in the order in which every run reads its data. UserError without labels.
    """
    require_labels(source.spec)
    rounds, shape = config.rounds(len(source)), (1, 1, config.batch_size)
    network = _network(config, source.spec.image_shape, source.spec.classes)
    start, step = _playing(network, config, rounds)
    key, local = jax.random.key(seed), fits(source)
    state, store = start(key), jax.device_put(resident(source)) if local else {}
    for done in range(rounds):
        taken = batch(seed, done, shape, len(source))
        state = step(state, taken if local else read(source, taken), store, key)
        if report:
            report(done + 1, rounds)
    named = flatten_dict({"params": state.params, "stats": state.stats}, sep="/")
    arrays = {name: np.asarray(leaf) for name, leaf in named.items()}
    finite = all(np.isfinite(array).all() for array in arrays.values())
    check(finite, f"the classifier of {source.spec.name} diverged: lower its learning-rate, {config.learning_rate}")
    return arrays


def logits(classifier: Classifier, images: Shaped[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
    """Logits of images of the size that it was trained on, uint8 or floating in [-1, 1]. UserError for another size."""
    shape = classifier.spec.image_shape
    check(images.shape[1:] == shape, f"the classifier was trained on images of {shape}, these are {images.shape[1:]}")
    network, params = (
        _network(classifier.config, shape, classifier.spec.classes),
        unflatten_dict(classifier.arrays, sep="/"),
    )
    found = [np.zeros((0, classifier.spec.classes), np.float32)]
    for first in range(0, len(images), CHUNK):
        part = images[first : first + CHUNK]
        filled = np.concatenate([part, np.repeat(part[-1:], CHUNK - len(part), axis=0)])
        found.append(np.asarray(_evaluated(network, params, fetch({}, {"image": filled})["image"])[1])[: len(part)])
    return np.concatenate(found)


def classify(classifier: Classifier, images: Shaped[np.ndarray, "n h w c"]) -> Int[np.ndarray, " n"]:
    """The most probable class of each image. Raises UserError as `logits` does."""
    return logits(classifier, images).argmax(1)


def predict(classifier: Classifier, source: Source) -> tuple[Float[np.ndarray, "n k"], Int32[np.ndarray, " n"]]:
    """Logits and true labels of all examples of a source. UserError where it has no labels, or of other classes."""
    _check_alike(classifier.spec, source.spec)
    parts = []
    for first in range(0, len(source), CHUNK):
        examples = gather(source, np.arange(first, min(first + CHUNK, len(source))))
        parts.append((logits(classifier, examples["image"]), examples["label"]))
    found, labels = zip(*parts, strict=True)
    return np.concatenate(found), np.concatenate(labels)


def accuracy(classifier: Classifier, source: Source) -> float:
    """The share of the examples of a source that are classified rightly. Raises UserError as `predict` does."""
    found, labels = predict(classifier, source)
    return float((found.argmax(1) == labels).mean())


def require_labels(spec: DataSpec) -> None:
    """Raises UserError where the data have no labels: it says which features need none."""
    if not spec.classes:
        raise UserError(
            f"the classifier's features need labels, and {spec.name} has none: choose other features ({OTHERS} data), "
            'or give an array "label"'
        )


def _check_alike(spec: DataSpec, other: DataSpec) -> None:
    require_labels(other)
    told = "; ".join(f"{at.name} has images of {at.image_shape} in {at.classes} classes" for at in (spec, other))
    alike = (spec.image_shape, spec.classes) == (other.image_shape, other.classes)
    check(alike, f"a classifier is tested on images of the kind that it was trained on: {told}")


@functools.lru_cache(maxsize=8)
def _network(config: Config, image_shape: tuple[int, int, int], classes: int) -> Network:
    """One object for one network, so that what is compiled for it is found again."""
    return pure(Module(config, classes), jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))


@functools.lru_cache(maxsize=8)
def _playing(network: Network, config: Config, rounds: int) -> tuple[Callable[..., State], Callable[..., State]]:
    """The first state, of a key, and the round, (state, batch, store, key) -> state, of the game of one player."""

    def loss(params, stats, batch, key, step):
        (_, found), changed = network.apply(params["classifier"], stats["classifier"], batch["image"], train=True)
        loss = optax.softmax_cross_entropy_with_integer_labels(found, batch["label"]).mean()
        return loss, ({"classifier": changed}, {})

    rate = optax.cosine_onecycle_schedule(rounds, config.learning_rate, 0.2) if rounds > 4 else config.learning_rate
    game = {"classifier": Player(("classifier",), loss, optax.adamw(rate, weight_decay=config.weight_decay))}
    round = play(game, (("classifier",),))
    start = jax.jit(lambda key: init(game, *init_networks({"classifier": network}, key)))
    step = lambda state, taken, store, key: round(state, fetch(store, taken), key, False)[0]  # noqa: E731
    return start, jax.jit(step, donate_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def _evaluated(network: Network, variables: Any, images: Array) -> tuple[Array, Array]:
    # Accelerators round products to fewer digits unless told otherwise, and scores are compared between them.
    with jax.default_matmul_precision("highest"):
        params, stats = variables["params"]["classifier"], variables["stats"]["classifier"]
        return network.apply(params, stats, images)[0]


@functools.lru_cache(maxsize=8)
def _outputs(network: Network) -> Callable[[Any, Array], dict[str, Array]]:
    def apply(params: Any, images: Array) -> dict[str, Array]:
        features, found = _evaluated(network, params, (images - 127.5) * (1 / 127.5))
        return {"features": features, "logits": found}

    return apply


def _kept(path: Path) -> tuple[dict[str, np.ndarray], float, str] | None:
    """Arrays, accuracy and sha256 of a file; None where there is none, or a damaged one, of which it warns."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        accuracy, sha256 = float(arrays.pop("accuracy")), str(arrays.pop("sha256"))
        if weights.digest(arrays) == sha256:
            return arrays, accuracy, sha256
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        pass
    warnings.warn(f"{path} is damaged; the classifier is trained again", Caution, stacklevel=3)
    return None


def _keep(path: Path, made: Classifier) -> None:
    """Writes the file whole or not at all; where it cannot be written, the next score has to train again."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                np.savez(file, accuracy=made.accuracy, sha256=made.sha256, **made.arrays)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        told = f"the classifier cannot be kept in {path.parent} ({error.strerror or error}); it works all the same"
        warnings.warn(told, Caution, stacklevel=3)
