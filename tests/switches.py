"""Every model with every switch: what is tried, and what is refused because it makes no sense."""

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.models import CONFIGS
from vaegan_jax.models.techniques import Techniques

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
ALONG = {"adaptive": {"augment": "color"}}
FIELDS = {
    "penalty": {"penalty": "r1", "discriminator_norm": "none"},
    "joint_batch": {"joint_batch": True},
    "minibatch": {"minibatch": "discrimination"},
    "spectral": {"spectral": "both"},
    "clip": {"clip": 0.1},
    "generator_moves": {"generator_moves": 2},
}
"""Switches that are fields of a model, not of its techniques."""
SETTINGS = {"adversarial_weight", "instance_noise_kimg", "latent_deviation", "lecam_decay"}
"""Fields of techniques that are constants of a switch."""
NAMES = [name for name, kind in CONFIGS.items() if name != "vae" and not name.startswith("biggan")]
UNSIGNED = "adaptive reads off a score's sign what is taken for real"
NO_LOGIT = "reverse-kl reads the divergence off a logit"
OTHER_PRIOR = "autoencoding is of a VAE, whose prior is normal, not uniform"
UNLABELED = "flip-labels and noisy-labels are for a game of labels; each image here has its potential"
PENALIZED = "penalty .* is of single images, and minibatch discrimination mixes them: choose one"
REFUSED = (
    {(name, "adaptive"): UNSIGNED for name in ("lsgan", "wgan", "wgan-gp", "rsgan", "ragan", "ebgan", "began")}
    | {("coulomb-gan", "adaptive"): UNSIGNED}
    | {("coulomb-gan", switch): UNLABELED for switch in ("flip_labels", "noisy_labels")}
    | {(name, "reverse_kl"): NO_LOGIT for name in ("lsgan", "wgan", "wgan-gp", "rsgan", "ragan", "ebgan", "began")}
    | {(name, "reverse_kl"): NO_LOGIT for name in ("coulomb-gan", "hinge-gan", "sagan", "projection-gan")}
    | {(name, "autoencoding"): OTHER_PRIOR for name in ("dcgan", "began")}
    | {("infogan", "autoencoding"): "these have no codes"}
    | {(name, "replay"): "without their classes" for name in ("cgan", "acgan", "projection-gan", "sagan")}
    | {("infogan", "replay"): "without their codes"}
    | {(name, "minibatch"): PENALIZED for name in ("wgan-gp", "dragan", "r1gan", "lgan")}
    | {(name, "minibatch"): "unknown minibatch 'discrimination'" for name in ("ebgan", "began")}
)
"""What makes no sense, and why."""


def config_of(name, switches):
    own = {"network": "mlp", "latent_size": 3, "hidden_sizes": (5,), "discriminator_moves": 1}
    own |= WITHOUT.get(name, {})
    tricks = {}
    for switch in switches:
        own |= FIELDS.get(switch, {})
        tricks |= {switch: SWITCHES[switch]} | ALONG.get(switch, {}) if switch in SWITCHES else {}
    return CONFIGS[name](**own, techniques=Techniques(**tricks))


def sensible(name):
    return [switch for switch in (*SWITCHES, *FIELDS) if (name, switch) not in REFUSED]
