"""Metrics that look into the model: likelihoods, and the geometry of its latent space."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal

import jax
import numpy as np

from vaegan_jax.data import Source
from vaegan_jax.data.augmentation import middle
from vaegan_jax.data.sources import gather
from vaegan_jax.errors import check
from vaegan_jax.evaluation import conditioning, lpips, path_length, weights
from vaegan_jax.evaluation.evidence import quantized
from vaegan_jax.evaluation.likelihood import annealing, parzen, rates
from vaegan_jax.evaluation.likelihood.bounds import Bounds, bounds, over_images
from vaegan_jax.evaluation.likelihood.latent_models import LatentModel, of_gan, of_vae
from vaegan_jax.evaluation.likelihood.protocol import Protocol, bits_per_dimension, prepared, warn_of
from vaegan_jax.evaluation.view import Metric, Reading, Subject, View
from vaegan_jax.training.experiment import Experiment

BOUNDS, ANNEALING, SIMULATED, PATHS, LATENTS = range(5)
"""What a metric's key is for."""
ANNEALED = 64
"""Test images that are annealed at most: each takes a thousand transitions of sixteen chains."""
ANNEALED_AT_ONCE = 16
BOUNDED_AT_ONCE = 250
"""Images between two words on how far a likelihood has come."""
VALIDATION = 1000
"""Training images on which a Parzen window's width is chosen."""
PARZEN = 2**28
"""Pixels of its samples at most; they are held in float64."""
PATH_COUNT = 10_000
LPIPS = ("vgg16", "alexnet")
"""Networks that path lengths are measured by, the first that is there."""
CONDITIONED = 64
"""Latents at which the Jacobian is taken."""


def _elbo(view: View) -> list[Reading]:
    """-ELBO with the KL in closed form, and its two parts."""
    found, protocol = _bounds(view, 1)
    negative, rate, distortion = over_images(-found.elbo), found.rate.mean(), found.distortion.mean()
    notes = {"rate": float(rate), "distortion": float(distortion)}
    return [_likelihood("-ELBO", negative, notes, protocol, view)]


def _nll(view: View) -> list[Reading]:
    found, protocol = _bounds(view, view.how.importance_samples)
    negative = over_images(-found.importance_weighted)
    notes = {"-ELBO": float(-found.elbo.mean()), "effective draws": float(np.median(found.effective_draws))}
    return [_likelihood("NLL", negative, notes, protocol, view)]


def _ais(view: View) -> list[Reading]:
    model = _latent_model(view)
    settings = annealing.Annealing(temperatures=view.how.temperatures, images_at_once=ANNEALED_AT_ONCE)
    images, protocol = _test_images(view, min(ANNEALED, view.how.likelihood_count), 1)
    parts = _in_parts(view, annealing.annealed, images, settings.images_at_once, model, view.key(ANNEALING), settings)
    gap = annealing.bidirectional(model, min(settings.images_at_once, len(images)), view.key(SIMULATED), settings).gap
    negative = over_images(-np.concatenate([part.log_evidence for part in parts]))
    acceptance = float(np.mean(np.concatenate([part.acceptance for part in parts])))
    notes = {"gap on simulated images": gap.mean, "acceptance": acceptance}
    reading = _likelihood("NLL-AIS", negative, notes, protocol, view)
    told = dataclasses.asdict(settings) | (
        {} if has_encoder(view.subject.experiment) else {"deviation": view.how.deviation}
    )
    return [reading._replace(settings=reading.settings | told)]


def _active_units(view: View) -> list[Reading]:
    images, protocol = _test_images(view, view.how.likelihood_count, 1)
    found = rates.active_units(rates.posterior_means(_latent_model(view), images))
    notes = {"of": float(len(found.variances))}
    counts = {"split": "test", "real_count": len(images), "sample_count": 0}
    settings = {"threshold": rates.THRESHOLD, "binarization": protocol.binarization}
    return [Reading("active-units", float(found.count), notes=notes, settings=settings, dtype="float32", **counts)]


def _parzen(view: View) -> list[Reading]:
    flat = lambda images: images.reshape(len(images), -1) / 255  # noqa: E731
    count = min(view.how.likelihood_count, len(view.data.test))
    test = flat(_images(view, view.data.test, count))
    validation = flat(_images(view, view.data.train, min(VALIDATION, len(view.data.train))))
    told = f"{len(view.samples.images):,} images of {view.data.shape} are too many for a Parzen window: lower --count"
    check(view.samples.images.size <= PARZEN, told)
    found = parzen.parzen(test, validation, flat(view.samples.images))
    counts = {"split": "test", "real_count": count, "sample_count": len(view.samples.images)}
    notes = {"bandwidth": found.bandwidth, "beware": "misleads; see Theis et al. 2016"}
    settings = {"pixels": "in [0, 1]", "validation images": len(validation)}
    return [Reading("Parzen", found.nats.mean, found.nats.standard_error, notes, settings, **counts)]


def _path_length(view: View) -> list[Reading]:
    network = next(name for name in LPIPS if weights.present(name))
    arrays, sha256 = weights.load(network)
    model, config, spec = view.subject.experiment.model, view.subject.experiment.config.model, _spec(view.subject)
    params, stats = view.subject.params, view.subject.stats
    found = path_length.path_length(
        lambda z: model.generate(config, spec, params, stats, z),
        lambda a, b: lpips.distance(arrays, a, b, network),
        view.subject.prior or model.prior(config),
        view.key(PATHS),
        min(PATH_COUNT, view.how.count),
    )
    settings = {"distance": f"LPIPS-{network}", "distance_sha256": sha256, "epsilon": 1e-4, "kept": "1 to 99 %"}
    settings |= {"path": "great circle in z", "beginning": "anywhere on the path"}
    counts = {"real_count": 0, "sample_count": found.count}
    notes = {"spread": "standard error"}
    return [Reading("PPL", found.mean, found.error, notes, settings, rounding="none", dtype="float32", **counts)]


def _conditioning(view: View) -> list[Reading]:
    model, config, spec = view.subject.experiment.model, view.subject.experiment.config.model, _spec(view.subject)
    keys = jax.random.split(view.key(LATENTS), CONDITIONED)
    z = (view.subject.prior or model.prior(config))(keys)
    found = conditioning.conditioning(
        lambda z: model.generate(config, spec, view.subject.params, view.subject.stats, z), z
    )
    notes = {"spread": "between latents"}
    counts = {"real_count": 0, "sample_count": CONDITIONED}
    return [Reading("log-condition", found.mean, found.deviation, notes, rounding="none", **counts)]


def _bounds(view: View, draws: int):
    images, protocol = _test_images(view, view.how.likelihood_count, draws)
    parts = _in_parts(view, bounds, images, BOUNDED_AT_ONCE, _latent_model(view), view.key(BOUNDS), draws)
    return Bounds(*map(np.concatenate, zip(*parts, strict=True))), protocol


def _in_parts(view: View, measure: Callable, images: np.ndarray, size: int, model: LatentModel, key, how) -> list:
    """`measure` of all images, part by part, which does not change a bit, and tells how far it has come."""
    parts = []
    for at in range(0, len(images), size):
        parts.append(measure(model, images[at : at + size], key, how, first=at))
        view.tell("likelihoods", min(at + size, len(images)), len(images))
    return parts


def _likelihood(name: str, estimate, notes: dict, protocol: Protocol, view: View) -> Reading:
    settings = dataclasses.asdict(protocol)
    split, count = settings.pop("split"), settings.pop("images")
    warn_of(protocol, _likelihood_of(view))
    notes = {"spread": "standard error over images, nats"} | notes | _bits(view, protocol, estimate.mean)
    counts = {"split": split, "real_count": count, "sample_count": 0}
    return Reading(name, estimate.mean, estimate.standard_error, notes, settings, rounding="none", **counts)


def _bits(view: View, protocol: Protocol, nats: float) -> dict[str, float | str]:
    """-log p in bits per dimension, where p(x | z) gives such pixels a probability; else what the number is not."""
    bernoulli = _likelihood_of(view) == "bernoulli"
    if not (protocol.binarization != "none" if bernoulli else protocol.dequantization != "none"):
        return {"beware": "no likelihood of discrete pixels"}
    scale = {"levels_per_unit": 1.0} if bernoulli else {}
    return {"bits per dimension": float(bits_per_dimension(nats, math.prod(view.data.shape), **scale))}


def _likelihood_of(view: View) -> Literal["bernoulli", "gaussian"]:
    config = view.subject.experiment.config.model
    return "bernoulli" if getattr(config, "likelihood", "gaussian") == "bernoulli" else "gaussian"


def _test_images(view: View, count: int, draws: int) -> tuple[np.ndarray, Protocol]:
    how, test = view.how, view.data.test
    told = "pixels of a Bernoulli decoder have no noise to add: choose --binarization static or dynamic"
    check(_likelihood_of(view) != "bernoulli" or how.dequantization == "none", told)
    protocol = Protocol(
        binarization=how.binarization,
        seed=how.seed,
        preceding_images=len(view.data.train) if how.binarization == "static" else 0,
        dequantization=how.dequantization,
        images=min(count, len(test)),
        importance_samples=draws,
    )
    return prepared(protocol, _images(view, test, protocol.images)), protocol


def _images(view: View, source: Source, count: int) -> np.ndarray:
    """The first images of a source, uint8, of the model's shape."""
    return quantized(middle(gather(source, np.arange(count))["image"], view.data.shape))


def _latent_model(view: View) -> LatentModel:
    subject, spec = view.subject, _spec(view.subject)
    config = subject.experiment.config.model
    if has_encoder(subject.experiment):
        return of_vae(config, spec, subject.params, subject.stats)
    return of_gan(config, spec, subject.params, subject.stats, view.how.deviation)


def _spec(subject: Subject):
    return subject.experiment.spec


def has_encoder(experiment: Experiment | None) -> bool:
    """Whether there is a model that gives q(z | x) and p(x | z)."""
    return experiment is not None and hasattr(experiment.model, "log_likelihood")


def _without_model(experiment: Experiment | None, train: Source, labeled: bool) -> str:
    return "" if experiment else "it looks into a model: name a run, not samples"


def _without_encoder(experiment: Experiment | None, train: Source, labeled: bool) -> str:
    told = "" if has_encoder(experiment) else "it needs a model with an encoder (vae has); ais does without one"
    return _without_model(experiment, train, labeled) or told


def _without_lpips(experiment: Experiment | None, train: Source, labeled: bool) -> str:
    here = any(weights.present(name) for name in LPIPS)
    told = "" if here else f"it needs the weights of LPIPS: get them with {weights.how_to_get(LPIPS[0])}"
    return _without_model(experiment, train, labeled) or told


TEST = frozenset({"test"})
METRICS: dict[str, Metric] = {
    "elbo": Metric(_elbo, "lower", TEST, _without_encoder),
    "nll": Metric(_nll, "lower", TEST, _without_encoder),
    "ais": Metric(_ais, "lower", TEST, _without_model),
    "active-units": Metric(_active_units, "higher", TEST, _without_encoder),
    "parzen": Metric(_parzen, "higher", TEST | {"images"}),
    "path-length": Metric(_path_length, "lower", refuse=_without_lpips),
    "conditioning": Metric(_conditioning, "lower", refuse=_without_model),
}
