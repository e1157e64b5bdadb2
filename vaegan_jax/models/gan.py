"""Generative adversarial networks: one configuration for the whole family.

Goodfellow et al. 2014 (arXiv 1406.2661); the default networks are Radford et al. 2015's (DCGAN, arXiv 1511.06434).
`networks` says who plays, `seams` what they pay, `schedule` who moves when. Images come and go in [-1, 1]. The papers
that are no more than a choice among these fields are `presets`; those that are more have a file each.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from vaegan_jax.data.sources import DataSpec, require
from vaegan_jax.errors import check, check_fields
from vaegan_jax.games import Game, Schedule
from vaegan_jax.latents import PRIORS, Prior
from vaegan_jax.losses import adversarial, penalties
from vaegan_jax.models import adversarial_game, autoencoding, further_players, gan_networks, gan_terms, techniques
from vaegan_jax.models.adversarial_game import Seams, Table
from vaegan_jax.models.further_players import Part
from vaegan_jax.models.techniques import Techniques
from vaegan_jax.networks.conditions import Place
from vaegan_jax.networks.network import Network, init_networks
from vaegan_jax.networks.norms import Kind
from vaegan_jax.optimizers import Optimizer, bounded

AVERAGED = ("generator",)
"""Networks that training also keeps as an exponential moving average, for sampling."""
PAPER_ADAM = Optimizer(learning_rate=2e-4, b1=0.5)
"""DCGAN, section 4."""
NetworkName = Literal["dcgan", "mlp", "sndcgan", "resnet"]
PriorName = Literal["normal", "uniform", "spherical", "truncated", "categorical"]
Norm = Literal["auto", Kind]
Spectral = Literal["none", "discriminator", "both"]
Condition = Literal["none", "concatenate", "auxiliary", "projection"]
Value, Penalty = gan_terms.Value, gan_terms.Penalty


@dataclass(frozen=True)
class Config:
    """Generative adversarial network (Goodfellow et al. 2014; Radford et al. 2015)."""

    network: NetworkName = "dcgan"
    """Both networks: strided convolutions, dense layers, SNGAN's plain convolutions, or residual blocks."""
    latent_size: int = 100
    """Dimensions of z."""
    prior: PriorName = "normal"
    """p(z): normal, uniform on [-1, 1], uniform on the sphere, normal within 2 deviations, or one of so many."""
    width: int = 64
    """Channels of the largest maps (of a residual network: of its last block at 64 pixels)."""
    hidden_sizes: tuple[int, ...] = (512, 512)
    """Units of the hidden layers (mlp)."""
    generator_norm: Norm = "auto"
    """Norms in the generator; auto: batch, and none in an mlp."""
    discriminator_norm: Norm = "auto"
    """Norms in the discriminator; auto: batch in a dcgan without spectral norm, else none."""
    spectral: Spectral = "none"
    """Where weights are divided by their largest singular value (Miyato et al. 2018)."""
    attention: int = 0
    """Height in pixels of the map that self-attention follows in both networks (Zhang et al. 2018); 0: none; -1: half
    of the image's."""
    up: Literal["transposed", "shuffle", "nearest"] = "transposed"
    """How a dcgan's generator doubles a map."""
    down: Literal["strided", "average"] = "strided"
    """How a dcgan's discriminator halves one."""
    generator_slope: float = 0.0
    """Slope of the generator's ReLUs for negative inputs."""
    minibatch: Literal["none", "discrimination", "deviation"] = "none"
    """What the discriminator is told of the whole batch (Salimans et al. 2016; Karras et al. 2017)."""
    condition: Condition = "none"
    """What classes are to the discriminator: nothing, more channels, a second task, or a projection of its features."""
    condition_place: Place = "input"
    """Where the generator is told them: beside z, or as gains and shifts of its norms."""
    classification_weight: float = 1.0
    """Weight of the auxiliary classifier's cross-entropy in both losses (auxiliary)."""
    value: Value = "non-saturating"
    """What the players disagree about; `vaegan_jax.losses` has the formulas."""
    label_smoothing: float = 0.0
    """The discriminator's target for real images is 1 minus this; for generated ones it stays 0 (one-sided)."""
    penalty: Penalty = "none"
    """What the discriminator pays for its slope; `vaegan_jax.losses.penalties` has the formulas."""
    penalty_weight: float = 10.0
    """Weight of the penalty (lambda, or gamma of r1, r2 and jensen-shannon)."""
    penalty_interval: int = 1
    """Rounds between penalties, which then weigh as many times as much (lazy regularization; Karras et al. 2019). They
    are part of the discriminator's one step, not a step of their own, so that Adam's constants need no adjustment."""
    clip: float = 0.0
    """Keeps the discriminator's weights within plus and minus this (Arjovsky et al. 2017); 0: does not."""
    joint_batch: bool = False
    """Shows real and generated images in one batch, so that batch norms mix them, not in one each."""
    discriminator_moves: int = 1
    """Moves of the discriminator in a round, each on fresh images."""
    generator_moves: int = 1
    """Moves of the generator after them."""
    discriminator_optimizer: Optimizer = PAPER_ADAM
    """How the discriminator steps."""
    generator_optimizer: Optimizer = PAPER_ADAM
    """How the generator steps."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products and activations in both networks. Parameters, statistics, gains and shifts, spectral norm, softmax,
    logits, the squares of slopes, losses and averages stay float32."""
    rematerialize: bool = False
    """Computes the inner activations of each residual block again in the backward pass instead of keeping them (Chen et
    al. 2016): less memory, about a third more time; for resnet, biggan and biggan-deep."""
    techniques: Techniques = field(default_factory=Techniques)
    """Tricks of the trade."""

    def __post_init__(self):
        check_fields(self)
        for name in ("latent_size", "width", "penalty_interval", "discriminator_moves", "generator_moves"):
            check(getattr(self, name) > 0, f"{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        check(self.attention >= -1, f"attention must be a height, 0 (none) or -1 (half of it), not {self.attention}")
        for name in ("generator_slope", "classification_weight", "penalty_weight", "clip"):
            given = getattr(self, name)
            check(0 <= given < float("inf"), f"{name.replace('_', '-')} must be 0 or more and finite, not {given}")
        check(min(self.hidden_sizes, default=1) > 0, f"hidden-sizes must be at least 1 each, not {self.hidden_sizes}")
        check(0 <= self.label_smoothing < 1, f"label-smoothing must be in [0, 1), not {self.label_smoothing}")
        smooth = ("non-saturating", "minimax", "least-squares")
        check(
            not self.label_smoothing or self.value in smooth,
            f"label-smoothing moves the target of {', '.join(smooth)}; {self.value} has none",
        )
        check(
            self.penalty != "jensen-shannon" or self.value in gan_terms.LOGISTIC,
            f"the jensen-shannon penalty is of logits, and the scores of {self.value} are none",
        )
        check(
            not self.techniques.flip_labels or self.label_smoothing > 0 or self.value not in gan_terms.FLIPPED,
            f"flip-labels changes nothing: the generator of {self.value} pays for its images as for real ones already "
            "(that of minimax and hinge does not)",
        )
        check(
            self.penalty != "none"
            or (self.penalty_interval, self.penalty_weight) == (type(self).penalty_interval, type(self).penalty_weight),
            "penalty-weight and penalty-interval are of a penalty that there is not: set penalty",
        )
        check(
            self.condition == "auxiliary" or self.classification_weight == type(self).classification_weight,
            "classification-weight is of a classifier that there is not: set condition auxiliary",
        )
        check(
            not self.techniques.flip_labels or self.techniques.adversarial_weight > 0,
            "flip-labels changes what adversarial-weight 0 leaves out: use one of them",
        )
        check(
            self._generator_pays(),
            "adversarial-weight 0 leaves the generator nothing to minimize: set feature-matching",
        )
        check(
            not self.techniques.adaptive or self.value in gan_terms.SIGNED,
            f"adaptive reads off a score's sign what is taken for real ({', '.join(gan_terms.SIGNED)}), and "
            f"{self.value} has none: set adaptive 0, and augment is always on",
        )
        check(
            not self.techniques.reverse_kl or self.value in gan_terms.LOGISTIC,
            f"reverse-kl reads the divergence off a logit ({', '.join(gan_terms.LOGISTIC)}), and the scores of "
            f"{self.value} are none",
        )
        check(
            not self.techniques.autoencoding or self.prior == "normal",
            f"autoencoding is of a VAE, whose prior is normal, not {self.prior}: set prior normal",
        )
        check(
            not self.techniques.nearby or self.prior != "categorical",
            "latent-consistency and latent-diversity compare with latents nearby, and a categorical prior has none",
        )
        check(
            not self.techniques.replay or self.condition == "none",
            "replay keeps images without their classes: use it with an unconditional model",
        )

    def _generator_pays(self) -> bool:
        """Whether a term has a least value for the generator; the distance of neighbors has none."""
        of = self.techniques
        tricks = (of.adversarial_weight, of.feature_matching, of.reverse_kl, of.autoencoding)
        return any(tricks) or (self.condition == "auxiliary" and self.classification_weight > 0)


def networks(config: Config, spec: DataSpec) -> dict[str, Network]:
    """Generator, discriminator, and the numbers that techniques add. ValueError for images that do not fit."""
    return networks_of(config, spec, gan_networks.discriminator(config, spec))


def networks_of(config: Config, spec: DataSpec, discriminator: Network) -> dict[str, Network]:
    """The same with another discriminator."""
    made = {
        "generator": gan_networks.generator(config, spec),
        "discriminator": techniques.remembering(config.techniques, discriminator, spec.image_shape),
    }
    return made | {name: part.network for name, part in parts(config, spec).items()}


def parts(config: Config, spec: DataSpec) -> dict[str, Part]:
    """The players that techniques add. They pay no gradient to others: nobody's network is theirs but their own."""
    made = {
        "anchors": lambda: further_players.anchors(config.techniques),
        "augmentation": lambda: further_players.augmentation(config.techniques, spec.batch_size),
        "encoder": lambda: autoencoding.part(config, spec),
    }
    return {name: made[name]() for name in further_players.added(config.techniques)}


def seams(config: Config, spec: DataSpec, value: Callable[[Table], adversarial.Value] | None = None) -> Seams:
    """What the players pay and see, as the configuration asks for it; `value` stands in for the configured one.

    UserError for a conditional model where the data have no labels; ValueError as `techniques.applied`.
    """
    value = value or (lambda table: gan_terms.value(config))
    terms = gan_terms.terms(config, value)
    made = Seams(
        prior(config),
        terms,
        told=gan_terms.told(config),
        classes=told(config, spec),
        joint_batch=config.joint_batch,
    )
    sizes = spec.batch_size, spec.batch_size * config.discriminator_moves
    made = techniques.applied(config.techniques, made, value, parts(config, spec), *sizes)
    return autoencoding.rebuilding(config, spec, made) if config.techniques.autoencoding else made


def game(config: Config, spec: DataSpec, filled: Seams | None = None) -> Game:
    """Two players, a network each; `filled` stands in for the seams that the configuration asks for."""
    return assembled(config, spec, networks(config, spec), filled or seams(config, spec))


def assembled(
    config: Config,
    spec: DataSpec,
    made: dict[str, Network],
    filled: Seams,
    steps: dict[str, optax.GradientTransformation] | None = None,
) -> Game:
    """The game of these networks and seams; `steps` are of players that a paper adds.

    ValueError for what a network does not have, and for a penalty on the slope of one that mixes examples.
    """
    _, stats = jax.eval_shape(lambda key: init_networks(made, key), jax.random.key(0))  # networks refuse when they init
    if config.penalty != "none":
        name, told = f"penalty {config.penalty}", "batch_stats"
        judged = {part: norm for part, norm in stats["discriminator"].get(told, {}).items() if part != "recognition"}
        penalties.refuse_batch_norm({told: judged}, name)
        if config.minibatch != "none":
            raise ValueError(f"{name} is of single images, and minibatch {config.minibatch} mixes them: choose one")
    if config.minibatch != "none" and spec.batch_size == 1:
        raise ValueError(f"minibatch {config.minibatch} compares images: make batch-size 2 at least")
    return adversarial_game.game(made, filled, optimizers(config, spec) | (steps or {}))


def optimizers(config: Config, spec: DataSpec) -> dict[str, optax.GradientTransformation]:
    """How each player steps."""
    discriminator = config.discriminator_optimizer.transformation()
    if config.clip:
        discriminator = bounded(discriminator, -config.clip, config.clip)
    own = {"discriminator": discriminator, "generator": config.generator_optimizer.transformation()}
    return own | {name: part.tx for name, part in parts(config, spec).items()}


def schedule(config: Config) -> Schedule:
    """The discriminator's moves, then the generator's; techniques' players move beside one of them."""
    moves = (("discriminator",),) * config.discriminator_moves + (("generator",),) * config.generator_moves
    for name, player in further_players.added(config.techniques).items():
        moves = adversarial_game.beside(moves, player, name)
    return moves


def prior(config: Config) -> Prior:
    """p(z), as configured."""
    return PRIORS[config.prior](config.latent_size)


def sample(
    config: Config, spec: DataSpec, params, stats, keys, train: bool = False, labels=None, prior: Prior | None = None
) -> tuple[jax.Array, dict]:
    """Images in [-1, 1], one per key, and the stats; `train` takes batch norm's statistics from this very batch.

    `labels` (n,) are the classes of a conditional model's images; by default each key draws its own. `prior` stands in
    for the configured one.
    """
    count = told(config, spec)
    if count and labels is None:
        labels = adversarial_game.drawn_classes(keys, count)
    z = (prior or PRIORS[config.prior](config.latent_size))(keys)
    images, moved = _generate(config, spec, params, stats, z, labels, train)
    return images, stats | {"generator": moved}


def generate(config: Config, spec: DataSpec, params, stats, z, labels=None) -> jax.Array:
    """Images in [-1, 1], one per latent, (n, height, width, channels); batch norm by its running statistics.

    `labels` are classes (n,), or weights of them (n, k), as between two. Without any, a conditional model's images are
    of the classes 0, 1, ... in turn.
    """
    if (count := told(config, spec)) and labels is None:
        labels = jnp.arange(len(z)) % count
    return _generate(config, spec, params, stats, z, labels, train=False)[0]


def told(config: Config, spec: DataSpec) -> int:
    """Classes of which the networks are told; 0: none. UserError where the data have none for a conditional model."""
    if config.condition == "none":
        return 0
    require(spec, "label", f"condition {config.condition}")
    return spec.classes


encodes, reconstruct = autoencoding.encodes, autoencoding.reconstruct


def _generate(config, spec, params, stats, z, labels, train):
    classes = told(config, spec)
    return adversarial_game.generate(gan_networks.generator(config, spec), params, stats, z, labels, classes, train)
