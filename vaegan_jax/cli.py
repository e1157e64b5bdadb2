"""The command line, `vaegan`: thin functions over the library; what each does is a line or two of Python as well."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from vaegan_jax.errors import Caution, UserError, check, unknown
from vaegan_jax.models import MODELS
from vaegan_jax.models.catalog import CATALOG
from vaegan_jax.training.config import RunConfig

Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
LARGEST_GRID = 10_000


def train(
    config: Annotated[RunConfig, tyro.conf.arg(name="")],
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
) -> None:
    """Train a model in a new run folder.

    Args:
        run: Folder of the run, which must not exist yet; by default the next under runs/.
    """
    from vaegan_jax.training import loop

    loop.train(config, run)


def resume(run: Run, steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None) -> None:
    """Go on with a run, exactly as if it had never stopped.

    Args:
        run: Folder of the run.
        steps: Rounds in total; by default what the run was started with.
    """
    from vaegan_jax.training import loop

    check(steps is None or steps > 0, f"steps must be at least 1, not {steps}")
    loop.resume(run, steps)


def sample(
    run: Run,
    count: int = 64,
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None,
) -> None:
    """Draw images from a run; needs neither its data nor an accelerator.

    Args:
        run: Folder of the run.
        count: Number of images.
        output: FILE.png for a grid, or FILE.npz for the array "image", (count, height, width, channels) uint8;
            by default NAME-samples.png here.
        seed: Seed of the latents; by default the run's.
    """
    from vaegan_jax import pictures
    from vaegan_jax.training import reading

    output = output or Path(f"{run.resolve().name}-samples.png")
    check(count > 0, f"count must be at least 1, not {count}")
    check(seed is None or 0 <= seed < 2**32, f"seed must be in 0 .. 2^32 - 1, not {seed}")
    check(output.suffix in (".png", ".npz"), f"output must end in .png or .npz, not {output.name!r}")
    check(
        output.suffix == ".npz" or count <= LARGEST_GRID,
        f"a grid holds {LARGEST_GRID:,} images at most: use --output FILE.npz",
    )
    images, sampled_with = reading.sample(run, count, seed)
    _save(output, {"image": images}, lambda: pictures.grid(images))
    print(f"{count} samples: {output}  ({sampled_with})")


def reconstruct(
    run: Run, output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None, count: int = 64
) -> None:
    """Show test images beside their reconstructions, for models with an encoder.

    Args:
        run: Folder of the run.
        output: FILE.png for a grid of pairs, or FILE.npz for the arrays "image" and "reconstruction", uint8;
            by default NAME-reconstructions.png here.
        count: Number of images.
    """
    from vaegan_jax import pictures
    from vaegan_jax.training import reading

    output = output or Path(f"{run.resolve().name}-reconstructions.png")
    check(count > 0, f"count must be at least 1, not {count}")
    check(output.suffix in (".png", ".npz"), f"output must end in .png or .npz, not {output.name!r}")
    real, rebuilt = reading.reconstructions(run, count)
    _save(output, {"image": real, "reconstruction": rebuilt}, lambda: pictures.pairs(real, rebuilt))
    print(f"{len(real)} test images above their reconstructions: {output}")


def inspect(
    run: Run, as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
) -> None:
    """Tell what a run is and where it stands.

    Args:
        run: Folder of the run.
        as_json: All of it, as JSON.
    """
    from vaegan_jax.training import reading

    facts = reading.inspect(run)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    model = facts["config"]["model"]
    print(f"run         {facts['run']}")
    print(f"model       {model['name']} on {facts['config']['data']}, seed {facts['config']['seed']}")
    print(f"round       {facts['step']:,} of {facts['steps']:,}")
    for network, parameters in facts["parameters"].items():
        print(f"parameters  {parameters:,} {network}")
    for what, sha256 in facts["sha256"].items():
        print(f"sha256      {sha256} {what}")
    for name, value in facts["metrics"].items():
        print(f"metric      {value:.6g} {name}")
    for damage in facts["damage"]:
        print(f"damage      {damage}")


def models() -> None:
    """List the models, with their sources and whether they are ready."""
    width = max(len(row.name) for row in CATALOG)
    for row in sorted(CATALOG, key=lambda row: row.name not in MODELS):
        print(f"{row.name:{width}}  {'ready  ' if row.name in MODELS else 'planned'}  {row.title} ({row.source})")
    print("\nvaegan train MODEL --help tells what a ready model can be told.")


def data(
    action: Annotated[Literal["list", "show"], tyro.conf.Positional],
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None,
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None,
) -> None:
    """List the data sets, or show one: its card and a contact sheet.

    Args:
        action: list, or show NAME.
        name: Name of a data set, or path of an .npz file.
        output: Where the contact sheet goes; by default NAME.png here.
    """
    from vaegan_jax import pictures
    from vaegan_jax.data import DATASETS, load
    from vaegan_jax.training.showing import images

    if action == "list":
        for card in DATASETS.values():
            shape = "x".join(map(str, card.image_shape))
            count = f"{card.train:,} + {card.test:,} images {shape}, {len(card.class_names)} classes"
            print(f"{card.name}  {count}  {card.title}")
        print("FILE.npz  your own images: see `vaegan data show --help` and the README")
        return
    check(name is not None, "show needs the NAME of a data set: vaegan data list")
    source = load(name, "train")
    output = output or Path(f"{Path(name).stem}.png")
    check(output.suffix == ".png", f"output must end in .png, not {output.name!r}")
    _save(output, {}, lambda: pictures.grid(images(source, np.arange(min(100, len(source))))))
    facts = (
        vars(DATASETS[name])
        if name in DATASETS
        else {"train": len(source), "test": len(load(name, "test")), **vars(source.spec)}
    )
    for title, value in facts.items():
        print(f"{title:12} {value}")
    print(f"{'sheet':12} {output}")


def _save(output: Path, arrays: dict[str, np.ndarray], picture) -> None:
    from vaegan_jax.pictures import npz, png, to_uint8
    from vaegan_jax.training.run import write

    try:
        if output.suffix == ".npz":
            write(output, npz({name: to_uint8(array) for name, array in arrays.items()}))
        else:
            write(output, png(picture()))
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error


COMMANDS = {
    "train": train,
    "resume": resume,
    "sample": sample,
    "reconstruct": reconstruct,
    "inspect": inspect,
    "models": models,
    "data": data,
}


def main() -> None:
    """Runs a command. Exit codes: 0 done, 2 a mistake to mend, 3 training diverged, 128 + N stopped by signal N."""
    warnings.showwarning = _told_plainly
    try:
        _check_names(sys.argv[1:])
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="vaegan",
            description="Variational autoencoders and generative adversarial networks in JAX.",
            config=(tyro.conf.CascadeSubcommandArgs,),
        )
    except UserError as error:
        _leave(f"vaegan: error: {error}", 2)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        _leave("vaegan: stopped", 130)
    except Exception as error:
        from vaegan_jax.training.stopping import Diverged, Interrupted

        if isinstance(error, Diverged):
            _leave(f"vaegan: diverged: {error}", 3)
        if isinstance(error, Interrupted):
            _leave(f"vaegan: {error}", 128 + error.signal)
        raise


def _check_names(words: list[str]) -> None:
    """Names the nearest command or model for one that is not known."""
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS)
    if words[:1] == ["train"] and len(words) > 1 and not words[1].startswith("-") and words[1] not in MODELS:
        if words[1] in {row.name for row in CATALOG}:
            raise UserError(f"model {words[1]!r} is planned, not ready. There are: {', '.join(MODELS)}")
        raise unknown("model", words[1], MODELS)


def _told_plainly(message, category, *where, usual=warnings.showwarning) -> None:
    if issubclass(category, Caution):
        print(f"vaegan: warning: {message}", file=sys.stderr)
    else:
        usual(message, category, *where)


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)
