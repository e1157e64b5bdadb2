"""The command line, `vaegan`: thin functions over the library; what each does is a line or two of Python as well."""

import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vaegan_jax import cli_dynamics, cli_evaluation, cli_images, cli_plan
from vaegan_jax.cli_images import Number, Run
from vaegan_jax.errors import Caution, UserError, check
from vaegan_jax.models import MODELS
from vaegan_jax.models.catalog import CATALOG
from vaegan_jax.parsing import parse
from vaegan_jax.training.config import RunConfig, Shard

Coordinator = Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]


def train(
    config: Annotated[RunConfig, tyro.conf.arg(name="")],
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    coordinator: Coordinator = None,
    process_count: Number = None,
    process_id: Number = None,
) -> None:
    """Train a model in a new run folder.

    Args:
        run: Folder of the run, which must not exist yet; by default the next under runs/.
        coordinator: To train with several processes: HOST:PORT where the first one can be reached by all, or auto
            to ask the cluster (Slurm, Open MPI, Kubernetes, TPU pods). Start the same command in each.
        process_count: How many processes there are.
        process_id: Which one this is, from 0 on; the first one writes the run.
    """
    from vaegan_jax.training import hosts, loop

    with hosts.joined(coordinator, process_count, process_id):
        loop.train(config, run)


def resume(
    run: Run,
    steps: Number = None,
    data: Name = None,
    devices: Number = None,
    parallel: Literal["sharded", "pmapped"] | None = None,
    shard: Shard | None = None,
    shard_over: Number = None,
    coordinator: Coordinator = None,
    process_count: Number = None,
    process_id: Number = None,
) -> None:
    """Go on with a run, exactly as if it had never stopped.

    Args:
        run: Folder of the run.
        steps: Rounds in total; by default what the run was started with.
        data: Where its data are now, if they have moved.
        devices: As for train; the number, and how a run is parallel and split, need not be what it was started with.
        parallel: As for train.
        shard: As for train.
        shard_over: As for train.
        coordinator: As for train; the number of processes need not be the same.
        process_count: As for train.
        process_id: As for train.
    """
    from vaegan_jax.training import hosts, loop

    check(steps is None or steps > 0, f"steps must be at least 1, not {steps}")
    with hosts.joined(coordinator, process_count, process_id):
        loop.resume(run, steps, data, devices=devices, parallel=parallel, shard=shard, shard_over=shard_over)


def inspect(
    run: Run, as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
) -> None:
    """Tell what a run is and where it stands.

    Args:
        run: Folder of the run.
        as_json: All of it, as JSON.
    """
    from vaegan_jax.training import reading
    from vaegan_jax.training.telling import lines

    facts = reading.inspect(run)
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print("\n".join(lines(facts)))


def models() -> None:
    """List the models, with their sources and whether they are ready."""
    width = max(len(row.name) for row in CATALOG)
    for row in sorted(CATALOG, key=lambda row: row.name not in MODELS):
        print(f"{row.name:{width}}  {'ready  ' if row.name in MODELS else 'planned'}  {row.title} ({row.source})")
    print("\nvaegan train MODEL --help tells what a ready model can be told.")


def data(
    action: Annotated[Literal["list", "prepare", "show"], tyro.conf.Positional],
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None,
    source: Annotated[Path | None, tyro.conf.arg(name="from", metavar="DIR")] = None,
    size: Annotated[int, tyro.conf.arg(metavar="INT")] = 0,
    split: Literal["train", "test"] = "train",
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE.png")] = None,
) -> None:
    """List the data sets, prepare one, or show one: its card, its checksum and a contact sheet.

    Args:
        action: list, prepare NAME --from DIR, or show NAME.
        name: Name of a data set, or path of an .npz file or of a prepared folder.
        source: prepare: folder of the raw files (or the .npz file); `show NAME` tells how to get them.
        size: prepare: side to which the pictures of an image_folder are resized and cropped; 0 keeps them.
        split: show: which of the two goes on the contact sheet.
        output: show: where the contact sheet goes; by default NAME.png here.
    """
    check(action == "prepare" or source is None and size == 0, f"--from and --size are for prepare, not for {action}")
    check(action == "show" or output is None, f"--output is for show, not for {action}")
    if action == "list":
        check(name is None, f"list takes no name: vaegan data show {name}")
        from vaegan_jax.data.telling import listing

        print("\n".join(listing()))
    elif action == "prepare":
        from vaegan_jax.data.builders import BUILDERS, KNOWN
        from vaegan_jax.data.preparing import prepare

        check(name is not None, "prepare needs the NAME of a data set: vaegan data list")
        if name.partition("/")[0] not in {*BUILDERS, *KNOWN}:
            print(f"preparing {name} by the TFDS catalog; a download may take its time", flush=True)
        folder, made = prepare(name, source, size)
        print(
            f"{name}: {'prepared in' if made else 'is prepared already, in'} {folder}; to look: vaegan data show {name}"
        )
    else:
        check(name is not None, "show needs the NAME of a data set: vaegan data list")
        _show(name, split, output)


def _show(name: str, split: str, output: Path | None) -> None:
    from vaegan_jax import pictures
    from vaegan_jax.data import telling
    from vaegan_jax.data.batches import order
    from vaegan_jax.training.showing import images

    if commands := telling.how_to_get(name):
        print(commands)
        return
    title = Path(name).resolve()  # "." has no name of its own
    output = output or Path(f"{title.stem if title.suffix == '.npz' else title.name}.png")
    check(output.suffix == ".png", f"output must end in .png, not {output.name!r}")
    source = telling.at_one_size(name, split)
    chosen = order(0, 0, len(source))[:100]
    facts = telling.facts(name)
    cli_images.save(output, {}, lambda: pictures.grid(images(source, chosen)))
    for title, value in facts.items():
        print(f"{title:12} {value}")
    print(f"{'sheet':12} {output}")


COMMANDS = {
    "train": train,
    "resume": resume,
    "sample": cli_images.sample,
    "interpolate": cli_images.interpolate,
    "reconstruct": cli_images.reconstruct,
    "inspect": inspect,
    "models": models,
    "data": data,
    "evaluate": cli_evaluation.evaluate,
    "compare": cli_evaluation.compare,
    "metrics": cli_evaluation.metrics,
    "weights": cli_evaluation.weights,
    "dynamics": cli_dynamics.dynamics,
    "plan": cli_plan.plan,
}


def main() -> None:
    """Runs a command.

    Exit codes: 0 done, 2 a mistake to mend, 3 training diverged, 4 another process ended, 5 training collapsed and was
    to stop then (--on-collapse), 128 + N stopped by signal N.
    """
    warnings.showwarning = _show_warning
    try:
        parse(COMMANDS, sys.argv[1:], {"dynamics": cli_dynamics.chosen, "plan": cli_plan.chosen})()
    except UserError as error:
        _leave(f"vaegan: error: {error}", 2)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        _leave("vaegan: stopped", 130)
    except Exception as error:
        from vaegan_jax.training.stopping import Collapsed, Diverged, Interrupted

        if isinstance(error, Diverged):
            _leave(f"vaegan: diverged: {error}", 3)
        if isinstance(error, Collapsed):
            _leave(f"vaegan: collapsed {error}", 5)
        if isinstance(error, Interrupted):
            _leave(f"vaegan: {error}", 128 + error.signal)
        if "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized():
            _leave(traceback.format_exc(), 1)  # or Python would wait for the other processes
        raise


def _show_warning(message, category, *where, usual=warnings.showwarning) -> None:
    if issubclass(category, Caution):
        print(f"vaegan: warning: {message}", file=sys.stderr)
    else:
        usual(message, category, *where)


def _leave(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    if joined := sys.modules.get("vaegan_jax.training.hosts"):
        joined.leave(code)
    sys.exit(code)
