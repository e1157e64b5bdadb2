"""The models: one paper a file. Each has `Config`, `networks`, `game`, `schedule` and `sample`, all pure."""

from types import ModuleType

from vaegan_jax.models import gan, vae

MODELS: dict[str, ModuleType] = {"vae": vae, "gan": gan}
"""From the name on the command line to the file."""


def name_of(config: object) -> str:
    """The public name of the model that a `Config` belongs to; TypeError if it is none's."""
    for name, module in MODELS.items():
        if type(config) is module.Config:
            return name
    raise TypeError(f"{type(config).__name__} is not the Config of a model: {', '.join(MODELS)}")
