"""The table of metrics: what each needs to see, and how its function becomes readings with their settings and notes."""

import dataclasses

import numpy as np

from vaegan_jax.data import Source
from vaegan_jax.data.sources import ArraySource, gather
from vaegan_jax.errors import check
from vaegan_jax.evaluation import (
    classification_accuracy,
    frechet,
    inception_score,
    kernel_distance,
    memorization,
    model_metrics,
    modes,
    neighbors,
    prd,
    sliced_wasserstein,
    structural_similarity,
    vendi,
)
from vaegan_jax.evaluation.evidence import quantized
from vaegan_jax.evaluation.features import classifier
from vaegan_jax.evaluation.view import Metric, Reading, View
from vaegan_jax.pictures import png
from vaegan_jax.training.experiment import Experiment

MEMORIZED = 2000
"""Samples whose nearest training images are searched."""
CLOSE = 5
"""Percentile of the distances between real neighbors below which the birthday test calls samples duplicates."""


def defaults(experiment: Experiment | None) -> tuple[str, ...]:
    """What is measured where nothing is asked for: quick, and telling for any model."""
    names = ("frechet", "kernel", "precision-recall", "density-coverage")
    return names + (("elbo",) if model_metrics.has_encoder(experiment) else ())


def _frechet(view: View) -> list[Reading]:
    if view.real.moments is None:
        fewest, many = min(view.real.count, view.samples.count), view.real.features.shape[1]
        told = f"{many:,} features of {fewest:,} images are too many for a covariance: choose others than"
        check(fewest <= many, f"{told} {view.extractor.name}")
        found = frechet.distance_of_features(view.real.features, view.samples.features)
    else:
        found = frechet.estimate(view.real.moments, view.samples.moments)
    notes = {"expected bias": found.bias}
    return [Reading(view.name("FD", "FID"), found.distance, notes=notes, settings=_covariance(found.form))]


def _frechet_infinity(view: View) -> list[Reading]:
    smallest = min(5000, view.samples.count // 2)
    told = f"{view.extractor.name} has too many features to extrapolate: choose others"
    check(view.real.moments is not None, told)
    found = frechet.infinity(view.real.moments, view.samples.features, smallest=smallest, seed=view.how.seed)
    settings = _covariance("eigh") | {"points": len(found.counts), "smallest subset": smallest}
    return [Reading(view.name("FD-infinity", "FID-infinity"), found.distance, found.error, settings=settings)]


def _covariance(form: str) -> dict[str, str]:
    return {"covariance": "unbiased, 1/(N-1)", "form": form}


def _kernel(view: View) -> list[Reading]:
    # Subsets of all images would all be the same.
    size = max(2, min(1000, view.samples.count // 2, view.real.count // 2))
    found = kernel_distance.distance(view.real.features, view.samples.features, size=size)
    settings = {"kernel": "cubic", "subsets": 100, "subset size": size, "subset seed": 2020}
    notes = {"spread": "over subsets; may be below 0"}
    return [Reading(view.name("KD", "KID"), found.mean, found.deviation, notes, settings)]


def _cmmd(view: View) -> list[Reading]:
    wide = [x.astype(np.float64) for x in _features(view)]
    value = kernel_distance.cmmd(*(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in wide))
    return [Reading(view.name("MMD"), value, settings={"kernel": "Gaussian", "sigma": 10.0, "features": "unit norm"})]


def _inception_score(view: View) -> list[Reading]:
    found = inception_score.score(view.samples.logits)
    notes = {"spread": "over 10 splits"}
    return [Reading(view.name("IS", "IS"), found.mean, found.deviation, notes, {"splits": 10, "permutation": 2020})]


def _precision_recall(view: View) -> list[Reading]:
    found = neighbors.precision_recall(*_features(view), k=3)
    settings = {"k": 3, "balls": "closed"}
    return [
        Reading(view.name("precision"), found.precision, settings=settings),
        Reading(view.name("recall"), found.recall, settings=settings),
    ]


def _density_coverage(view: View) -> list[Reading]:
    found, settings = neighbors.density_coverage(*_features(view), k=5), {"k": 5, "balls": "open"}
    expected = neighbors.expected_coverage(view.real.count, view.samples.count, 5)
    return [
        Reading(view.name("density"), found.density, notes={"of the data itself": 1.0}, settings=settings),
        Reading(view.name("coverage"), found.coverage, notes={"of the data itself": expected}, settings=settings),
    ]


def _prd(view: View) -> list[Reading]:
    found, settings = prd.score(*_features(view), seed=view.how.seed), {"clusters": 20, "clusterings": 10}
    return [
        Reading(view.name("PRD-F8"), found.recall, notes={"weighs": "recall"}, settings=settings),
        Reading(view.name("PRD-F1/8"), found.precision, notes={"weighs": "precision"}, settings=settings),
    ]


def _vendi(view: View) -> list[Reading]:
    count = min(view.real.count, view.samples.count)
    real, samples = (x[:count] for x in _features(view))
    notes = {"of real images": vendi.score(real)}
    return [Reading(view.name("Vendi"), vendi.score(samples), notes=notes, real_count=count, sample_count=count)]


def _memorization(view: View) -> list[Reading]:
    train, test, count = view.training, view.test, min(MEMORIZED, view.samples.count)
    features, images = view.samples.features[:count], view.samples.images[:count]
    counts = {"real_count": len(train.pixels), "sample_count": count, "split": "train and test"}
    settings = {"training images": f"all {len(train.pixels):,}", "test images": test.count}
    copied = memorization.copying(features, train.features, test.features, seed=view.how.seed)
    authentic = memorization.authenticity(features, train.features)
    readings = [
        Reading(view.name("C_T"), copied, None, {"of new images": 0.0, "copies": "far below 0"}, settings, **counts),
        Reading(view.name("AuthPct"), authentic, None, {}, settings, **counts),
    ]
    pixels = [side.reshape(len(side), -1) for side in (images, test.images)]
    spaces = {"pixels": (pixels[0], train.pixels, pixels[1])}
    if view.extractor.name != "pixels":
        spaces = {"features": (features, train.features, test.features)} | spaces
    for space, (samples, known, new) in spaces.items():
        near, away = memorization.nearest(samples, known), memorization.nearest(samples, new)
        found = memorization.ratio_of_distances(near.distances, away.distances, len(known), len(new))
        picture = memorization.picture(images, train.pixels.images(near.indices), near.distances)
        name = view.name("nearer-train") if space == "features" else "nearer-train-pixels"
        told = {"of new images": found.expected, "copies": "near 1"}
        pictures = {f"nearest-{space}": png(picture)}
        reading = Reading(name, found.closer, None, told, settings | {"test images": len(new)}, **counts)
        readings.append(reading._replace(pictures=pictures, of_features=space == "features"))
    return readings


def _birthday(view: View) -> list[Reading]:
    count = min(MEMORIZED, view.samples.count, view.real.count)
    real, samples = (x[:count] for x in _features(view))
    threshold = float(np.percentile(neighbors.radii(real, 1), CLOSE))
    found = memorization.birthday(samples, threshold, seed=view.how.seed)
    settings = {"duplicate": f"below the {CLOSE}th percentile of the distances between real neighbors"}
    notes = {"batch": float(found.batch), "probability": found.probability}
    counts = {"real_count": count, "sample_count": count}
    return [Reading(view.name("support"), found.support, notes=notes, settings=settings, **counts)]


def _sliced_wasserstein(view: View) -> list[Reading]:
    count = min(len(view.real.images), len(view.samples.images))
    found = sliced_wasserstein.sliced_wasserstein(view.real.images[:count], view.samples.images[:count], view.how.seed)
    levels = {f"level {side}": value for side, value in found.levels.items()}
    settings = {"patches": sliced_wasserstein.PATCHES, "directions": sliced_wasserstein.DIRECTIONS}
    counts = {"real_count": count, "sample_count": count}
    notes = levels | {"floor": found.floor}
    return [Reading("SWD x 1000", found.mean, notes=notes, settings=settings, dtype="float32", **counts)]


def _ms_ssim(view: View) -> list[Reading]:
    small = "refuse" if min(view.data.shape[:2]) >= structural_similarity.SMALLEST else "progan"
    found = structural_similarity.diversity(view.samples.images, seed=view.how.seed, small=small)
    real = structural_similarity.diversity(view.real.images, seed=view.how.seed, small=small)
    settings = {"pairs": found.pairs, "window": "shrunk to the image" if small == "progan" else "11 pixels"}
    counts = {"real_count": len(view.real.images), "sample_count": len(view.samples.images)}
    notes = {"of real images": real.score}
    notes |= {"spread": "standard error"}
    name = "MS-SSIM" if small == "refuse" else "MS-SSIM-progan"
    return [Reading(name, found.score, found.error, notes, settings, **counts)]


def _classification_accuracy(view: View) -> list[Reading]:
    spec, samples = view.data.train.spec, view.samples
    source = ArraySource({"image": samples.images, "label": samples.labels}, "the samples", spec.classes)
    tell = lambda done, total: view.tell("classifier of samples", done, total)  # noqa: E731
    found = classification_accuracy.classification_accuracy(source, view.data.test, view.how.seed, report=tell)
    counts = {"real_count": found.tested_on, "sample_count": found.trained_on, "split": "test"}
    notes = {"top 5": found.top5, "worst class": min(found.by_class.values())}
    settings = {"classifier": dataclasses.asdict(classifier.Config()), "classifier seed": view.how.seed}
    return [Reading("CAS", found.accuracy, None, notes, settings, dtype="float32", **counts)]


def _label_accuracy(view: View) -> list[Reading]:
    told = f"label-accuracy asks a classifier of the data's own labels, which {view.extractor.name} is not"
    check(view.extractor.name == "classifier", f"{told}: choose --features classifier")
    labels = view.samples.labels
    right = view.samples.logits[: len(labels)].argmax(1) == labels
    each = {label: right[labels == label].mean() for label in np.unique(labels)}
    worst = min(each, key=each.get)
    names = view.data.train.spec.class_names
    notes = {"worst class": float(each[worst]), "which is": names[worst] if names else str(worst)}
    counts = {"real_count": 0, "sample_count": len(labels)}
    return [Reading(view.name("label-accuracy"), float(right.mean()), None, notes, dtype="float32", **counts)]


def _stacked_modes(view: View) -> list[Reading]:
    def single(source: Source) -> ArraySource:  # the red digits, and what they are
        examples = gather(source, np.arange(len(source)))
        arrays = {"image": quantized(examples["image"])[..., :1], "label": examples["label"] // 100}
        return ArraySource(arrays, f"the digits of {source.spec.name}", 10)

    tell = lambda done, total: view.tell("classifier of digits", done, total)  # noqa: E731
    digits = classifier.trained(single(view.data.train), single(view.data.test), report=tell)
    named = modes.stacked_labels(view.samples.images, lambda images: classifier.logits(digits, images).argmax(1))
    found = modes.stacked_modes(named)
    settings = {"classifier_sha256": digits.sha256, "classifier accuracy": digits.accuracy}
    counts = {"real_count": 0, "sample_count": found.count}
    kl = Reading("KL", found.kl, notes={"floor": found.kl_floor}, settings=settings, better="lower", **counts)
    return [Reading("modes", float(found.found), notes={"of": 1000.0}, settings=settings, **counts), kl]


def _features(view: View) -> tuple[np.ndarray, np.ndarray]:
    return view.real.features, view.samples.features


def _unlabeled(experiment: Experiment | None, train: Source, labeled: bool) -> str:
    if not train.spec.classes:
        return f"it needs labels, and {train.spec.name} has none"
    told = 'a run of a model that is told classes, or --samples FILE.npz with an array "label"'
    return "" if labeled else f"it needs labeled samples: {told}"


def _not_stacked(experiment: Experiment | None, train: Source, labeled: bool) -> str:
    stacked = train.spec.classes == 1000 and train.spec.image_shape[2] == 3
    return "" if stacked else "it needs stacked digits: color images with labels 100 red + 10 green + blue"


FEATURES, MOMENTS, IMAGES = frozenset({"features"}), frozenset({"moments"}), frozenset({"images"})
METRICS: dict[str, Metric] = {
    "frechet": Metric(_frechet, "lower", MOMENTS),
    "frechet-infinity": Metric(_frechet_infinity, "lower", MOMENTS | FEATURES, least=30),
    "kernel": Metric(_kernel, "lower", FEATURES, least=4),
    "cmmd": Metric(_cmmd, "lower", FEATURES),
    "inception-score": Metric(_inception_score, "higher", frozenset({"logits"}), least=20),
    "precision-recall": Metric(_precision_recall, "higher", FEATURES, least=4),
    "density-coverage": Metric(_density_coverage, "higher", FEATURES, least=6),
    "prd": Metric(_prd, "higher", FEATURES, least=20),
    "vendi": Metric(_vendi, "neither", FEATURES),
    "memorization": Metric(_memorization, "neither", FEATURES | IMAGES | {"search"}, least=20),
    "birthday": Metric(_birthday, "higher", FEATURES),
    "sliced-wasserstein": Metric(_sliced_wasserstein, "lower", IMAGES),
    "ms-ssim": Metric(_ms_ssim, "neither", IMAGES, least=4),
    "label-accuracy": Metric(_label_accuracy, "higher", IMAGES | {"logits"}, _unlabeled),
    "classification-accuracy": Metric(_classification_accuracy, "higher", IMAGES | {"test"}, _unlabeled),
    "stacked-modes": Metric(_stacked_modes, "higher", IMAGES | {"test"}, _not_stacked),
    **model_metrics.METRICS,
}
"""By the names of `config.METRICS`. Where noise would win, neither direction is called better."""
