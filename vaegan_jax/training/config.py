"""What a run is: everything that its trajectory depends on, as one frozen dataclass that is stored as JSON."""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union

import tyro

from vaegan_jax.data.augmentation import Augmentation
from vaegan_jax.dynamics.settings import Solver
from vaegan_jax.errors import check, check_fields
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.models import CONFIGS, name_of, vae

Model = Union[tuple(Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)] for name, kind in CONFIGS.items())]  # noqa: UP007
"""Any model's `Config`; on the command line its name, then its fields as --model.FIELD."""


@dataclass(frozen=True)
class TrainingConfig:
    """How the loop trains, logs, samples and saves."""

    micro_batches: int = 1
    """Parts in which each move's batch is computed and accumulated, to fit memory; batch norms see one at a time."""
    rounds_per_dispatch: int = 8
    """Rounds in one call to the device; the more, the less the host is in the way, and the later a Ctrl-C acts."""
    feeding: Literal["auto", "resident", "stream"] = "auto"
    """Where the data live: on the devices, or read batch by batch ahead of them; auto: on them up to 1 GiB."""
    ema_halflife_kimg: float = 10.0
    """Half-life of the averaged generator, in thousand images; 0 keeps no average (a VAE has none anyway)."""
    ema_start_kimg: float = 0.0
    """Thousand images up to which that average is the generator itself: early weights do not linger in it."""
    log_interval_steps: int = 50
    """Rounds between lines of metrics.jsonl."""
    sample_interval_steps: int = 500
    """Rounds between sample grids; 0 draws only the last."""
    sample_count: int = 64
    """Images in a sample grid."""
    checkpoint_interval_steps: int = 500
    """Rounds between checkpoints; 0 saves only the last."""
    keep_checkpoints: int = 3
    """How many checkpoints are kept."""

    def __post_init__(self):
        check_fields(self)
        for name in ("micro_batches", "rounds_per_dispatch", "log_interval_steps", "sample_count", "keep_checkpoints"):
            check(getattr(self, name) > 0, f"{_flag(name)} must be at least 1, not {getattr(self, name)}")
        for name in ("ema_halflife_kimg", "ema_start_kimg", "sample_interval_steps", "checkpoint_interval_steps"):
            check(
                0 <= getattr(self, name) < float("inf"), f"{_flag(name)} must be 0 or more, not {getattr(self, name)}"
            )


@dataclass(frozen=True)
class RunConfig:
    """A run. Two runs of one RunConfig, one library version and one machine are the same, bit for bit."""

    model: Model = field(default_factory=vae.Config)
    """The model and its settings: `vaegan_jax.models.gan.Config()` and the like, on the command line its name."""
    data: str = "fashion_mnist_small"
    """Name of the data set, or the path of an .npz file or of a prepared folder; see `vaegan data list`."""
    image_size: int = 0
    """Resizes images to this many pixels a side when they are read, cutting off what is not square; 0 leaves them."""
    labels: int = 0
    """Training examples that keep their labels, evenly over the classes, for models with an auxiliary classifier
    (semi-supervised learning); 0: all."""
    steps: int = 5000
    """Rounds to train in total."""
    batch_size: int = 128
    """Examples of each move, over all devices."""
    seed: int = 0
    """Seed of everything random: weights, noise and the order of the data."""
    devices: int = 0
    """Devices to train on, of all processes; 0 means all (one on a CPU). On a CPU N makes N virtual ones, up to 16."""
    parallel: Literal["sharded", "pmapped"] = "sharded"
    """How the step is lifted to the devices: by jax.jit over a mesh, or by jax.pmap; the trajectory is the same."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random changes of the training images."""
    solver: Solver = field(default_factory=Solver)
    """How the model's game is played, by a solver's name; its constants are --solver.CONSTANT."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How the loop trains, logs, samples and saves."""
    dynamics_every: int = 0
    """Rounds between measurements of the game's Jacobian, and one at the end; 0: none."""
    evaluate_every: int = 0
    """Rounds between evaluations, and one at the end; 0: none (`vaegan evaluate` does it afterwards)."""
    evaluation: Evaluation = field(default_factory=Evaluation)
    """What they measure, as `vaegan evaluate` does."""

    def __post_init__(self):
        check_fields(self)
        name_of(self.model)
        check(self.steps > 0, f"steps must be at least 1, not {self.steps}")
        check(self.batch_size > 0, f"batch-size must be at least 1, not {self.batch_size}")
        check(self.labels >= 0, f"labels must be 0 (all) or more, not {self.labels}")
        check(self.image_size >= 0, f"image-size must be 0 (as it is) or more, not {self.image_size}")
        check(0 <= self.seed < 2**32, f"seed must be in 0 .. 2^32 - 1, not {self.seed}")
        for name in ("dynamics_every", "evaluate_every"):
            every = getattr(self, name)
            check(every >= 0, f"{name.replace('_', '-')} must be 0 (never) or more, not {every}")
        check(self.devices >= 0, f"devices must be 0 (all) or more, not {self.devices}")
        parts = self.training.micro_batches
        check(
            self.batch_size % (parts * max(self.devices, 1)) == 0,
            f"batch-size {self.batch_size} is not divisible by {max(self.devices, 1)} devices x {parts} micro-batches",
        )


def to_json(config: RunConfig) -> dict[str, Any]:
    """A dictionary for JSON: the dataclass, and the name of its model beside the model's own fields."""
    return {**dataclasses.asdict(config), "model": {"name": name_of(config.model), **dataclasses.asdict(config.model)}}


def from_json(stored: dict[str, Any]) -> RunConfig:
    """The inverse of `to_json`. Raises KeyError, TypeError or ValueError where the dictionary is not such a thing."""
    model = dict(stored["model"])
    config = build(CONFIGS[model.pop("name")], model)
    return build(RunConfig, {**stored, "model": config})


def build(kind: type, values: dict[str, Any]) -> Any:
    """A dataclass from what JSON has kept of its fields. Raises TypeError or ValueError where they are not such."""
    hints = typing.get_type_hints(kind)
    if strange := sorted(set(values) - set(hints)):
        raise ValueError(f"{kind.__name__} has no field {strange[0]}")
    return kind(**{name: _convert(hints[name], value) for name, value in values.items()})


def _convert(hint: Any, value: Any) -> Any:
    """A value of JSON as what a field's annotation asks for; TypeError where it is of another type."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return build(hint, value)
    if origin is tuple and isinstance(value, list):
        first, *rest = typing.get_args(hint)
        kinds = [first] * len(value) if rest == [...] else [first, *rest]
        if len(kinds) != len(value):
            raise TypeError(f"{value!r} is no {hint}")
        return tuple(_convert(kind, element) for kind, element in zip(kinds, value, strict=True))
    if origin in (Literal, Union, types.UnionType):  # choices are checked by the dataclass, models are built before
        return value
    kinds = {float: (int, float)}.get(hint, origin or hint)
    if not isinstance(value, kinds) or isinstance(value, bool) and hint is not bool:
        raise TypeError(f"{value!r} is no {hint}")
    return value


def _flag(name: str) -> str:
    return f"training.{name.replace('_', '-')}"
