"""Every model with every switch: what is tried, and what is refused because it makes no sense."""

import itertools

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.models import CONFIGS
from vaegan_jax.models.techniques import Techniques
from vaegan_jax.optimizers import Optimizer

SPEC = DataSpec("pixels", (2, 2, 1), classes=3, batch_size=4)
WITHOUT = {"sagan": {"attention": 0, "condition_place": "input"}, "projection-gan": {"condition_place": "input"}}
SWITCHES = {
    "flip_labels": True,
    "noisy_labels": 0.1,
    "instance_noise": 0.1,
    "generator_noise": 0.1,
    "feature_matching": 1.0,
    "augment": "all",
    "adaptive": 0.6,
    "consistency": 1.0,
    "fake_consistency": 1.0,
    "latent_consistency": 1.0,
    "latent_diversity": 1.0,
    "reverse_kl": 0.5,
    "autoencoding": 0.1,
    "lecam": 0.3,
    "orthogonality": 0.1,
    "replay": 4,
}
ALONG = {"adaptive": {"augment": "color"}, "instance_noise": {"instance_noise_kimg": 1.0}}
PENALTIES = ("gradient", "one-sided", "dragan", "r2", "jensen-shannon", "max-gradient")
FIELDS = {
    "penalty": {"penalty": "r1", "discriminator_norm": "none"},
    "lazy penalty": {"penalty": "r1", "discriminator_norm": "none", "penalty_interval": 2},
    **{f"penalty {name}": {"penalty": name, "discriminator_norm": "none"} for name in PENALTIES},
    **{f"prior {name}": {"prior": name} for name in ("uniform", "spherical", "truncated", "categorical")},
    "joint_batch": {"joint_batch": True},
    "minibatch": {"minibatch": "discrimination"},
    "minibatch deviation": {"minibatch": "deviation"},
    "spectral": {"spectral": "both"},
    "clip": {"clip": 0.1},
    "generator_moves": {"generator_moves": 2},
    "discriminator_moves": {"discriminator_moves": 3},
    "label_smoothing": {"label_smoothing": 0.1},
    "sgd": {"discriminator_optimizer": Optimizer("sgd", 1e-2)},
    "two rates": {
        "discriminator_optimizer": Optimizer(learning_rate=4e-4, b1=0.0),
        "generator_optimizer": Optimizer(learning_rate=1e-4, b1=0.0),
    },
    "leaky generator": {"generator_slope": 0.2},
}
"""Switches that are fields of a model, not of its techniques."""
SETTINGS = {"adversarial_weight", "instance_noise_kimg", "latent_deviation", "lecam_decay"}
"""Fields of techniques that are constants of a switch."""
NAMES = [name for name, kind in CONFIGS.items() if name != "vae" and not name.startswith("biggan")]
UNSIGNED = "adaptive reads off a score's sign what is taken for real"
NO_LOGIT = "reverse-kl reads the divergence off a logit"
OTHER_PRIOR = "autoencoding is of a VAE, whose prior is normal, not uniform"
SAME = "flip-labels changes nothing: the generator of .* pays for its images as for real ones already"
UNLABELED = "flip-labels and noisy-labels are for a game of labels; each image here has its potential"
PENALIZED = "penalty .* is of single images, and minibatch .* mixes them: choose one"
UNTARGETED = "label-smoothing moves the target of"
MOVED = "latent-consistency and latent-diversity move latents, and a code moved is none"
OF_LOGITS = "the jensen-shannon penalty is of logits"
OF_SCORES = ("ebgan", "began", "coulomb-gan", "hinge-gan", "sagan", "projection-gan")
REFUSED = (
    {(name, "adaptive"): UNSIGNED for name in ("lsgan", "wgan", "wgan-gp", "rsgan", "ragan", "ebgan", "began")}
    | {("coulomb-gan", "adaptive"): UNSIGNED}
    | {("coulomb-gan", switch): UNLABELED for switch in ("flip_labels", "noisy_labels")}
    | {(name, "reverse_kl"): NO_LOGIT for name in ("lsgan", "wgan", "wgan-gp", "rsgan", "ragan", "ebgan", "began")}
    | {(name, "flip_labels"): SAME for name in ("gan", "dcgan", "lsgan", "wgan", "wgan-gp", "dragan", "r1gan", "lgan")}
    | {(name, "flip_labels"): SAME for name in ("rsgan", "cgan", "acgan", "sngan", "infogan", "ebgan", "began")}
    | {(name, "reverse_kl"): NO_LOGIT for name in ("coulomb-gan", "hinge-gan", "sagan", "projection-gan")}
    | {(name, "autoencoding"): OTHER_PRIOR for name in ("dcgan", "began")}
    | {("infogan", "autoencoding"): "these have no codes"}
    | {(name, "replay"): "without their classes" for name in ("cgan", "acgan", "projection-gan", "sagan")}
    | {("infogan", "replay"): "without their codes"}
    | {("infogan", switch): MOVED for switch in ("latent_consistency", "latent_diversity")}
    | {(name, "minibatch"): PENALIZED for name in ("wgan-gp", "dragan", "r1gan", "lgan")}
    | {(name, "minibatch deviation"): PENALIZED for name in ("wgan-gp", "dragan", "r1gan", "lgan")}
    | {(name, "minibatch"): "unknown minibatch 'discrimination'" for name in ("ebgan", "began")}
    | {(name, "minibatch deviation"): "unknown minibatch 'deviation'" for name in ("ebgan", "began")}
    | {(name, "label_smoothing"): UNTARGETED for name in ("wgan", "wgan-gp", "rsgan", "ragan", *OF_SCORES)}
    | {
        (name, "penalty jensen-shannon"): OF_LOGITS
        for name in ("lsgan", "wgan", "wgan-gp", "rsgan", "ragan", *OF_SCORES)
    }
)
"""What makes no sense, and why."""


def config_of(name, switches):
    """On images of 2 x 2 pixels, of dense networks."""
    own = {"network": "mlp", "latent_size": 3, "hidden_sizes": (5,), "discriminator_moves": 1}
    return switched(name, own | WITHOUT.get(name, {}), switches)


def switched(name, own, switches):
    """A model's configuration with switches on."""
    tricks = {}
    for switch in switches:
        own |= FIELDS.get(switch, {})
        tricks |= {switch: SWITCHES[switch]} | ALONG.get(switch, {}) if switch in SWITCHES else {}
    return CONFIGS[name](**own, techniques=Techniques(**tricks))


def together(name):
    """All that make sense, but for what excludes another."""
    switches = sensible(name)
    mixed = "minibatch" in switches
    return [switch for switch in switches if not (mixed and "penalty" in switch) and not switch.startswith("prior")]


def exclusive(name):
    """A prior and a penalty at a time, and what mixes images alone: each at least once, in few sets."""
    switches = sensible(name)
    priors = [switch for switch in switches if switch.startswith("prior")]
    slopes = [switch for switch in switches if "penalty" in switch]
    layers = [switch for switch in switches if switch == "minibatch"]
    sets = [pair for pair in itertools.zip_longest(priors, slopes)] + [(layer,) for layer in layers]
    return [[switch for switch in found if switch] for found in sets]


def sensible(name):
    return [switch for switch in (*SWITCHES, *FIELDS) if (name, switch) not in REFUSED]
