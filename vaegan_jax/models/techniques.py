"""Tricks of the trade, each a switch that works on any GAN of the family: they wrap its seams, or add a player.

Most are from Salimans et al. 2016 (arXiv 1606.03498), Chintala et al. 2016 ("How to train a GAN?") and the papers
that the fields name. What is a matter of who steps how (unrolling, historical averaging, target networks, an opponent
that is an average, ...) is a solver instead, for any game: `vaegan_jax.dynamics`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from vaegan_jax.errors import check, check_fields
from vaegan_jax.games import POOL, Params
from vaegan_jax.losses import adversarial, auxiliary, consistency, weights
from vaegan_jax.models import adversarial_game
from vaegan_jax.models.adversarial_game import Recall, Seams, Table, Term, more
from vaegan_jax.models.differentiable_augmentation import augment
from vaegan_jax.models.further_players import Part
from vaegan_jax.networks.network import Network

LARGEST_POOL = 1_000_000


@dataclass(frozen=True)
class Techniques:
    """Tricks of the trade; all are off by default."""

    flip_labels: bool = False
    """The generator minimizes the discriminator's loss with flipped labels: its own images are to be taken for real."""
    noisy_labels: float = 0.0
    """Probability that a real and a generated image change places when the discriminator is taught, in [0, 0.5]."""
    instance_noise: float = 0.0
    """Standard deviation of Gaussian noise on all that the discriminator sees (Sonderby et al. 2016)."""
    instance_noise_kimg: float = 0.0
    """Thousand images in which that noise falls linearly to 0; 0: it stays."""
    generator_noise: float = 0.0
    """Noise on what each of the generator's layers is given in training, relative to its size (Zhao et al. 2016)."""
    feature_matching: float = 0.0
    """Weight, in the generator's loss, of the squared distance between mean features (Salimans et al. 2016, 3.1)."""
    adversarial_weight: float = 1.0
    """Weight of the game's own value in the generator's loss; 0 leaves feature matching and other terms alone."""
    augment: Literal["none", "color", "translation", "cutout", "color-translation", "all"] = "none"
    """Differentiable augmentation of all that the discriminator sees (Zhao et al. 2020, arXiv 2006.10738)."""
    adaptive: float = 0.0
    """Augments with probability p only, and moves p such that the mean of sign(D(real)) stays here, say 0.6 (ADA)."""
    consistency: float = 0.0
    """Weight of (D(x) - D(T(x)))^2 on real images (Zhang et al. 2019, CR: 10); with the next one set, on both (bCR)."""
    fake_consistency: float = 0.0
    """Weight of the same on generated images (Zhao et al. 2020, arXiv 2002.04724, bCR: 10)."""
    latent_consistency: float = 0.0
    """Weight, for the discriminator, of (D(G(z)) - D(G(z + dz)))^2 (the same, zCR: 5)."""
    latent_diversity: float = 0.0
    """Weight, for the generator, of -|G(z) - G(z + dz)|^2, per pixel (the same: 0.5)."""
    latent_deviation: float = 0.03
    """Standard deviation of dz (the same)."""
    reverse_kl: float = 0.0
    """Weight, in the generator's loss, of the mean of -D(G(z)), which for the best D is KL(p_G || p_data), D a logit
    (KL + GAN; Sonderby et al. 2016, arXiv 1610.04490)."""
    autoencoding: float = 0.0
    """Weight, in the generator's loss, of |x - G(z)|^2 / 2 over all pixels, with z from an encoder of x that is added
    and pays a VAE's loss (VAE + GAN)."""
    lecam: float = 0.0
    """Weight of (D(x) - a_fake)^2 + (D(G) - a_real)^2, a moving averages of scores (Tseng et al. 2021, LeCam)."""
    lecam_decay: float = 0.99
    """What these averages keep in a move."""
    orthogonality: float = 0.0
    """Weight, for the generator, of the squared products of a layer's different filters (Brock et al. 2018: 1e-4)."""
    replay: int = 0
    """Images in a pool of older generated ones, which replace half of those that the discriminator is shown."""

    def __post_init__(self):
        check_fields(self)
        check(0 <= self.noisy_labels <= 0.5, f"noisy-labels must be in [0, 0.5], not {self.noisy_labels}")
        check(0 <= self.adaptive < 1, f"adaptive must be in [0, 1), not {self.adaptive}")
        check(0 <= self.lecam_decay < 1, f"lecam-decay must be in [0, 1), not {self.lecam_decay}")
        for name in NOT_BELOW_ZERO:
            value = getattr(self, name)
            check(0 <= value < float("inf"), f"{name.replace('_', '-')} must be 0 or more and finite, not {value}")
        check(
            not self.adaptive or self.augment != "none", "adaptive augments nothing without --model.techniques.augment"
        )
        check(
            not self.instance_noise_kimg or self.instance_noise > 0,
            "instance-noise-kimg is the decay of a noise that there is not: set instance-noise",
        )
        check(
            not self.nearby or self.latent_deviation > 0,
            "latent-consistency and latent-diversity compare with latents nearby: set latent-deviation above 0",
        )
        check(
            self.nearby or self.latent_deviation == type(self).latent_deviation,
            "latent-deviation is of comparisons that there are not: set latent-consistency or latent-diversity",
        )
        check(
            bool(self.lecam) or self.lecam_decay == type(self).lecam_decay,
            "lecam-decay is of averages that there are not: set lecam",
        )
        check(self.replay <= LARGEST_POOL, f"replay must be at most {LARGEST_POOL:,} images, not {self.replay:,}")

    @property
    def nearby(self) -> bool:
        """Whether images of latents nearby are compared."""
        return self.latent_consistency > 0 or self.latent_diversity > 0


NOT_BELOW_ZERO = (
    "instance_noise",
    "instance_noise_kimg",
    "generator_noise",
    "feature_matching",
    "adversarial_weight",
    "consistency",
    "fake_consistency",
    "latent_consistency",
    "latent_diversity",
    "latent_deviation",
    "reverse_kl",
    "autoencoding",
    "lecam",
    "orthogonality",
    "replay",
)


def applied(
    techniques: Techniques,
    seams: Seams,
    value: Callable[[Table], adversarial.Value],
    parts: dict[str, Part],
    batch_size: int,
    images_per_round: int,
) -> Seams:
    """The seams with all tricks that are on; `value` is the game that their terms "value" are of.

    `parts` are the further players. Time in thousand images is counted by `images_per_round`. ValueError for a pool
    that is less than half a batch.
    """
    terms = seams.terms
    if techniques.flip_labels:
        flipped = adversarial_game.value_terms(lambda table: adversarial.flipped(value(table)))
        terms = more(terms, "generator", value=flipped["generator"]["value"])
    if techniques.noisy_labels:
        terms = more(terms, "discriminator", value=_noisy(value, techniques.noisy_labels))
    if techniques.adversarial_weight != 1:
        terms = more(terms, "generator", value=_scaled(techniques.adversarial_weight, terms["generator"]["value"]))
    for weight, player, name, term in (
        (techniques.feature_matching, "generator", "feature_matching", _feature_matching),
        (techniques.consistency, "discriminator", "consistency", _consistency("real")),
        (techniques.fake_consistency, "discriminator", "fake_consistency", _consistency("fake")),
        (techniques.latent_consistency, "discriminator", "latent_consistency", _latent_consistency(techniques)),
        (techniques.latent_diversity, "generator", "latent_diversity", _latent_diversity(techniques)),
        (techniques.reverse_kl, "generator", "reverse_kl", lambda table: -table.fake.score),
        (techniques.lecam, "discriminator", "lecam", _lecam),
        (techniques.orthogonality, "generator", "orthogonality", _orthogonality),
    ):
        if weight:
            terms = more(terms, player, **{name: _scaled(weight, term)})
    for name, part in parts.items():
        terms = more(terms, name, **part.terms)
    if techniques.replay and batch_size == 1:
        raise ValueError("replay exchanges half of a batch: make batch-size 2 at least")
    if techniques.replay and techniques.replay < batch_size // 2:
        raise ValueError(f"replay {techniques.replay} is less than half a batch: make it {batch_size // 2} at least")
    recall = _replayed if techniques.replay else seams.recall
    noisy = techniques.generator_noise > 0
    return seams._replace(terms=terms, view=_view(techniques, images_per_round), recall=recall, noisy=noisy)


def remembering(techniques: Techniques, discriminator: Network, image_shape: tuple[int, int, int]) -> Network:
    """The discriminator with a pool of generated images among its stats, where the tricks need one."""
    if not techniques.replay:
        return discriminator

    def init(key: jax.Array):
        params, stats = discriminator.init(key)
        pool = {"images": jnp.zeros((techniques.replay, *image_shape)), "count": jnp.zeros((), jnp.int32)}
        return params, stats | {POOL: pool}

    def apply(params, stats, *inputs, train=False):
        rest = {name: tree for name, tree in stats.items() if name != POOL}
        judgment, moved = discriminator.apply(params, rest, *inputs, train=train)
        return judgment, stats | moved

    return Network(init, apply)


def _view(techniques: Techniques, images_per_round: int) -> Callable:
    """Augments, then adds noise."""

    def view(params: Params, images: jax.Array, keys: jax.Array, step: jax.Array) -> jax.Array:
        changing, noising = (jax.vmap(jax.random.fold_in, (0, None))(keys, purpose) for purpose in (0, 1))
        if techniques.augment != "none":
            probability = params["augmentation"]["p"] if techniques.adaptive else 1.0
            images = augment(techniques.augment, images, changing, probability)
        if techniques.instance_noise:
            left = 1.0
            if techniques.instance_noise_kimg:
                left = jnp.maximum(0, 1 - step * (images_per_round / (1000 * techniques.instance_noise_kimg)))
            noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:], images.dtype))(noising)
            images = images + jnp.asarray(techniques.instance_noise * left, images.dtype) * noise
        return images

    return view


def _replayed(recall: Recall) -> Recall:
    """Half of the images change places with the oldest of the pool; those that fill it at first are shown at once, too.

    Shrivastava et al. 2016 (arXiv 1612.07828), section 2.3, who draw the old ones at random; a pool that is a queue
    shows each image exactly once, pool / (batch / 2) moves later.
    """
    pool, half = recall.stats[POOL], len(recall.images) // 2
    size = len(pool["images"])
    turns = pool["count"] + jnp.arange(half)
    places, filled = turns % size, turns >= size
    fresh, old = recall.images[:half], pool["images"][places]
    shown = jnp.where(filled.reshape(-1, *(1,) * (fresh.ndim - 1)), old, fresh)
    after = {"images": pool["images"].at[places].set(fresh), "count": pool["count"] + half}
    return Recall(jnp.concatenate([shown, recall.images[half:]]), recall.stats | {POOL: after})


def _scaled(weight: float, term: Term) -> Term:
    return lambda table: weight * term(table)


def _noisy(value: Callable[[Table], adversarial.Value], probability: float) -> Term:
    def term(table: Table) -> jax.Array:
        swapped = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(table.keys)
        real, fake = table.real.score, table.fake.score
        pair = jnp.where(swapped, fake, real), jnp.where(swapped, real, fake)
        return sum(loss.mean() for loss in value(table).discriminator(*pair))

    return term


def _feature_matching(table: Table) -> jax.Array:
    return auxiliary.feature_matching(table.real.judgment.features, table.fake.judgment.features)


def _consistency(whose: str) -> Term:
    def term(table: Table) -> jax.Array:
        seen = getattr(table, whose)
        changed = augment("flip-translation", seen.images, table.keys)
        images = {"real": table.real.images, "fake": table.fake.images} | {whose: changed}
        again = dict(zip(("real", "fake"), table.judge_both(**images), strict=True))[whose]
        return consistency.consistency(seen.score, again.score, weight=1.0)

    return term


def _neighbors(techniques: Techniques, table: Table) -> tuple[jax.Array, jax.Array]:
    """Images of the latents, and of latents nearby."""
    latent = table.fake.latents
    noise = jax.vmap(lambda key: jax.random.normal(key, latent.shape[1:], latent.dtype))(table.keys)
    return table.generate(latent), table.generate(latent + techniques.latent_deviation * noise)


def _latent_consistency(techniques: Techniques) -> Term:
    def term(table: Table) -> jax.Array:
        views = (table.view(images) for images in _neighbors(techniques, table))
        scores = (table.judge_both(table.real.images, view)[1].score for view in views)
        return consistency.consistency(*scores, weight=1.0)

    return term


def _latent_diversity(techniques: Techniques) -> Term:
    return lambda table: consistency.latent_diversity(*_neighbors(techniques, table), weight=1.0)


def _lecam(table: Table) -> jax.Array:
    anchors = table.params["anchors"]
    real, fake = consistency.lecam(table.real.score, table.fake.score, anchors["real"], anchors["fake"], weight=1.0)
    return real.mean() + fake.mean()


def _orthogonality(table: Table) -> jax.Array:
    return weights.orthogonality(table.params["generator"])
