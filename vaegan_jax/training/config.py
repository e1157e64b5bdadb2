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
Shard = Literal["none", "optimizer", "all"]


@dataclass(frozen=True)
class TrainingConfig:
    """How the loop trains, logs, samples and saves."""

    micro_batches: int = 1
    """Parts in which each move's batch is computed and accumulated, to fit memory. Equal to the whole batch but for
    batch norms, each of one part: ghost batch norms (Hoffer et al. 2017). What else mixes examples is refused."""
    rounds_per_dispatch: int = 8
    """Rounds in one call to the device, but no more than take 4 s; the more, the less the host is in the way. Ctrl-C
    and SIGTERM wait for up to two calls, then save: mind a grace period where a single round takes long."""
    feeding: Literal["auto", "resident", "stream"] = "auto"
    """Where the data live: on the devices, or read batch by batch ahead of them; auto: on them up to 1 GiB."""
    readers: int = 8
    """Threads that read ahead what is streamed, where Grain is installed; more, if `data_wait` is above 5 %."""
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
    sample_classes: tuple[str, ...] = ()
    """Classes, by name or number, that a grid has a column for each of, where the model is told any; by default the
    first ten."""
    checkpoint_interval_steps: int = 500
    """Rounds between checkpoints; 0 saves only the last."""
    keep_checkpoints: int = 3
    """How many checkpoints are kept."""

    def __post_init__(self):
        check_fields(self)
        for name in (
            "micro_batches",
            "rounds_per_dispatch",
            "readers",
            "log_interval_steps",
            "sample_count",
            "keep_checkpoints",
        ):
            check(getattr(self, name) > 0, f"{_flag(name)} must be at least 1, not {getattr(self, name)}")
        for name in ("ema_halflife_kimg", "ema_start_kimg", "sample_interval_steps", "checkpoint_interval_steps"):
            check(
                0 <= getattr(self, name) < float("inf"), f"{_flag(name)} must be 0 or more, not {getattr(self, name)}"
            )
        check(
            self.ema_halflife_kimg > 0 or not self.ema_start_kimg,
            "training.ema-start-kimg is of an average that there is not: set training.ema-halflife-kimg above 0",
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
    initial: str = ""
    """Folder of a run whose networks this one begins with, averaged where they are, to tune them further; what depends
    on the number of classes begins anew where that is another. By default all begins anew."""
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
    shard: Shard = "none"
    """What each device keeps a part of only, with sharded: nothing, the optimizers' states and the averages (ZeRO-1),
    or the parameters too (FSDP). The trajectory is the same."""
    shard_over: int = 0
    """Over how many devices it is split, where there are more: the next as many have it again; 0: over all."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Random changes of the training images."""
    solver: Solver = field(default_factory=Solver)
    """How the model's game is played, by a solver's name; its constants are --solver.CONSTANT."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How the loop trains, logs, samples and saves."""
    dynamics_every: int = 0
    """Rounds between measurements of the game's Jacobian, and one at the end; 0: none."""
    watch_every: int = 500
    """Rounds between looks at the singular values of all layers and at the variance of samples; 0: never."""
    on_collapse: Literal["warn", "stop", "rollback"] = "warn"
    """What to do when the spectra explode, the discriminator saturates, or the variance of samples dies: say so; stop;
    or go on from the last checkpoint before, with other noise."""
    rollbacks: int = 3
    """How many times a run is rolled back, at most; then it stops."""
    rolled_back: Annotated[int, tyro.conf.Suppress] = 0
    """How many times it was; the trainer counts."""
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
        for name in ("dynamics_every", "watch_every", "evaluate_every"):
            every = getattr(self, name)
            check(every >= 0, f"{name.replace('_', '-')} must be 0 (never) or more, not {every}")
        _check_collapse(self)
        check(self.devices >= 0, f"devices must be 0 (all) or more, not {self.devices}")
        check(
            self.shard == "none" or self.parallel == "sharded",
            f"shard {self.shard} is for parallel sharded: with pmapped every device has all of the state",
        )
        told = f"shard-over must be 0 (all) or a divisor of {self.devices or 'the'} devices, not {self.shard_over}"
        check(self.shard_over >= 0 and self.devices % (self.shard_over or 1) == 0, told)
        told = f"shard-over {self.shard_over} is of a split state, and shard none splits nothing"
        check(self.shard != "none" or not self.shard_over, told)
        parts = self.training.micro_batches
        check(
            self.batch_size % (parts * max(self.devices, 1)) == 0,
            f"batch-size {self.batch_size} is not divisible by {max(self.devices, 1)} devices x {parts} micro-batches",
        )


def _check_collapse(config: RunConfig) -> None:
    acts = config.on_collapse != "warn"
    check(
        not acts or config.watch_every > 0,
        f"on-collapse {config.on_collapse} is blind for spectra and samples with watch-every 0",
    )
    check(
        config.on_collapse != "rollback" or config.training.checkpoint_interval_steps > 0,
        "on-collapse rollback goes back to checkpoints, and training.checkpoint-interval-steps 0 makes none",
    )
    check(config.rollbacks > 0, f"rollbacks must be at least 1, not {config.rollbacks}")
    check(
        config.on_collapse == "rollback" or config.rollbacks == RunConfig.rollbacks,
        f"rollbacks {config.rollbacks} are of --on-collapse rollback, and on-collapse {config.on_collapse} makes none",
    )
    check(config.rolled_back >= 0, f"rolled-back must be 0 or more, not {config.rolled_back}")


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
