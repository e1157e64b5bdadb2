"""The models: one paper a file, or a preset of the file `gan`. All are pure.

A file has `networks`, `game`, `schedule`, `sample`, `generate` and `prior`, each a function of a `Config`.
"""

from types import ModuleType

from vaegan_jax.models import began, biggan, biggan_deep, coulomb_gan, ebgan, gan, infogan, vae
from vaegan_jax.models.presets import PRESETS

MODELS: dict[str, ModuleType] = {
    "vae": vae,
    "gan": gan,
    **dict.fromkeys(PRESETS, gan),
    "coulomb-gan": coulomb_gan,
    "ebgan": ebgan,
    "began": began,
    "infogan": infogan,
    "biggan": biggan,
    "biggan-deep": biggan_deep,
}
"""From the name on the command line to the file."""
CONFIGS: dict[str, type] = {name: module.Config for name, module in MODELS.items()} | PRESETS
"""From the name on the command line to the model's settings."""


def name_of(config: object) -> str:
    """The public name of the model that a `Config` belongs to; TypeError if it is none's."""
    for name, kind in CONFIGS.items():
        if type(config) is kind:
            return name
    raise TypeError(f"{type(config).__name__} is not the Config of a model: {', '.join(CONFIGS)}")
