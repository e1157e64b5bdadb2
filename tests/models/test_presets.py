"""The hyperparameters of each preset, as its paper reports them, and what `--help` says of them."""

import dataclasses
import inspect
import re
import typing

import pytest
from commands import done

from vaegan_jax.models import CONFIGS, gan
from vaegan_jax.models.presets import PRESETS
from vaegan_jax.optimizers import Optimizer


def adam(rate, b1, b2=0.999):
    return Optimizer("adam", rate, b1, b2)


DCGAN = {"discriminator_optimizer": adam(2e-4, 0.5), "generator_optimizer": adam(2e-4, 0.5), "discriminator_moves": 1}


def both(optimizer, moves):
    return {"discriminator_optimizer": optimizer, "generator_optimizer": optimizer, "discriminator_moves": moves}


BIGGAN = {
    "discriminator_optimizer": Optimizer("adam", 2e-4, 0.0, 0.999, 1e-6),
    "generator_optimizer": Optimizer("adam", 5e-5, 0.0, 0.999, 1e-6),
    "discriminator_moves": 2,
    **{"value": "hinge", "condition": "projection", "spectral": "both", "shared_size": 128, "prior": "normal"},
}
PAPERS = {
    # Radford et al. 2015, section 4: Adam 2e-4, b1 0.5; 100 uniform z; slope 0.2 in the discriminator.
    "dcgan": DCGAN | {"prior": "uniform", "latent_size": 100, "value": "non-saturating", "generator_slope": 0.0},
    # Mao et al. 2017, section 4.1: Adam, b1 0.5, 2e-4 (Chinese characters; 1e-3 for scenes); targets 0, 1, 1 (eq. 9).
    "lsgan": DCGAN | {"value": "least-squares", "label_smoothing": 0.0},
    # Arjovsky et al. 2017, algorithm 1: alpha 5e-5, c 0.01, n_critic 5, RMSProp; its decay is the authors' program's.
    "wgan": both(Optimizer("rmsprop", 5e-5, b2=0.99), 5) | {"value": "wasserstein", "clip": 0.01, "penalty": "none"},
    # Gulrajani et al. 2017, algorithm 1: lambda 10, n_critic 5, Adam 1e-4, b1 0, b2 0.9; layer norm (section 4).
    "wgan-gp": both(adam(1e-4, 0.0, 0.9), 5)
    | {"value": "wasserstein", "penalty": "gradient", "penalty_weight": 10.0, "clip": 0.0}
    | {"discriminator_norm": "layer", "penalty_interval": 1},
    # Kodali et al. 2017, section 4: lambda 10, k 1, otherwise DCGAN.
    "dragan": DCGAN | {"value": "non-saturating", "penalty": "dragan", "penalty_weight": 10.0},
    # Mescheder et al. 2018, section 6.2 and the authors' configs/default.yaml: RMSProp 1e-4, alpha 0.99, gamma 10.
    "r1gan": both(Optimizer("rmsprop", 1e-4, b2=0.99), 1)
    | {"value": "non-saturating", "penalty": "r1", "penalty_weight": 10.0, "discriminator_norm": "none"},
    # Zhou et al. 2019, section 5: Adam with b1 0, b2 0.9, five moves; the weight is searched.
    "lgan": both(adam(2e-4, 0.0, 0.9), 5) | {"value": "non-saturating", "penalty": "max-gradient"},
    # Lim & Ye 2017 leave the rest to DCGAN.
    "hinge-gan": DCGAN | {"value": "hinge", "penalty": "none"},
    # Jolicoeur-Martineau 2018, section 5: Adam 2e-4, b1 0.5, b2 0.999, one move.
    "rsgan": DCGAN | {"value": "relativistic"},
    "ragan": DCGAN | {"value": "relativistic-average"},
    # Mirza & Osindero 2014 have a dense network; what they share with DCGAN is the class beside z and image.
    "cgan": DCGAN | {"condition": "concatenate", "condition_place": "input"},
    # Odena et al. 2016, appendix A: Adam 2e-4, b1 0.5, b2 0.999; L_S and L_C weigh the same (section 3).
    "acgan": DCGAN | {"condition": "auxiliary", "classification_weight": 1.0, "condition_place": "input"},
    # Miyato & Koyama 2018, section 5: hinge, Adam 2e-4, b1 0, b2 0.9, five moves, z of 128, conditional batch norm.
    "projection-gan": both(adam(2e-4, 0.0, 0.9), 5)
    | {"value": "hinge", "condition": "projection", "condition_place": "norm", "spectral": "discriminator"}
    | {"network": "resnet", "latent_size": 128},
    # Miyato et al. 2018, table 1, setting C; z of 128 (table 3).
    "sngan": DCGAN | {"network": "sndcgan", "latent_size": 128, "spectral": "discriminator", "penalty": "none"},
    # Zhang et al. 2018, section 4: hinge, spectral norm in both, Adam b1 0, b2 0.9, 4e-4 and 1e-4, projection.
    "sagan": {"discriminator_optimizer": adam(4e-4, 0.0, 0.9), "generator_optimizer": adam(1e-4, 0.0, 0.9)}
    | {"value": "hinge", "condition": "projection", "condition_place": "norm", "spectral": "both", "attention": -1}
    | {"discriminator_moves": 1, "latent_size": 128},
    # Brock et al. 2018, section 3 and appendix C: Adam b1 0, b2 0.999, 2e-4 and 5e-5, two moves; epsilon: the program.
    "biggan": BIGGAN | {"latent_size": 120, "width": 96},
    "biggan-deep": BIGGAN | {"latent_size": 128, "width": 128},
    # Zhao et al. 2016, section 4.1 and appendix: m 10 (MNIST), 0.1 for the pulling-away term.
    "ebgan": DCGAN | {"value": "margin", "margin": 10.0, "pulling_away": 0.1},
    # Berthelot et al. 2017, sections 3.4 and 4.1: Adam 1e-4, lambda_k 1e-3, gamma 0.5, z and code of 64, uniform z.
    "began": both(adam(1e-4, 0.9), 1)
    | {"value": "boundary-equilibrium", "balance_rate": 1e-3, "gamma": 0.5, "latent_size": 64, "prior": "uniform"},
    # Unterthiner et al. 2017, the authors' program: Adam 1e-4, dimension 3, epsilon 1, z of 32.
    "coulomb-gan": both(adam(1e-4, 0.9), 1)
    | {"value": "coulomb", "dimension": 3.0, "epsilon": 1.0, "latent_size": 32, "discriminator_norm": "none"},
    # Chen et al. 2016, appendix C.1 (MNIST): 62 of noise, one code of 10, two continuous; Adam 2e-4 for D, 1e-3 for G.
    "infogan": {"discriminator_optimizer": adam(2e-4, 0.5), "generator_optimizer": adam(1e-3, 0.5)}
    | {"latent_size": 62, "categories": (10,), "continuous": 2, "information_weight": 1.0, "continuous_weight": 0.1},
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_preset_has_the_hyperparameters_of_its_paper(name):
    config = CONFIGS[name]()
    assert {field: getattr(config, field) for field in PAPERS[name]} == PAPERS[name]


def test_every_model_but_the_general_ones_has_a_row_in_this_table():
    assert set(PAPERS) == set(CONFIGS) - {"gan", "vae"}
    assert set(PRESETS) <= set(PAPERS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_nothing_but_defaults_and_names_its_paper(name):
    kind, base = PRESETS[name], gan.Config
    assert [field.name for field in dataclasses.fields(kind)] == [field.name for field in dataclasses.fields(base)]
    assert kind.__bases__ == (base,) and not {"__post_init__", "__init__"} & set(vars(kind)) - {"__init__"}
    hints, general = typing.get_type_hints(kind), typing.get_type_hints(base)
    for field, hint in hints.items():
        assert hint == general[field] or set(typing.get_args(hint)) <= set(typing.get_args(general[field]))
    assert any(year in inspect.getdoc(kind) for year in map(str, range(2014, 2020)))


QUICK = {"wgan-gp", "began"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in PAPERS])
def test_help_of_a_preset_tells_its_own_defaults(name):
    out = re.sub(r"[\s│]+", " ", done("train", name, "--help"))
    config = CONFIGS[name]()
    for field in PAPERS[name]:
        flag, value = f"--model.{field.replace('_', '-')}", getattr(config, field)
        if isinstance(value, Optimizer):
            told = out.split(f"{flag}.learning-rate FLOAT")[1].split("--model.")[0]
            assert f"(default: {value.learning_rate})" in told
        elif not isinstance(value, tuple) and typing.get_args(typing.get_type_hints(type(config))[field]) != (value,):
            assert f"(default: {value})" in out.split(f"{flag} ")[1].split("--model.")[0], flag
