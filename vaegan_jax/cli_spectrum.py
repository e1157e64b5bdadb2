"""The part of the command line that looks at the dynamics of a run: `vaegan dynamics spectrum` and `path`."""

import json
from pathlib import Path
from typing import Annotated

import tyro

from vaegan_jax.errors import check

Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
Number = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
Json = Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff]
ENDINGS = (".png", ".html", ".npz")


def spectrum(
    run: Run,
    step: Number = None,
    count: int = 6,
    probes: int = 20,
    batch_size: int = 128,
    seed: int = 0,
    data: Name = None,
    output: File = None,
    as_json: Json = False,
) -> None:
    """What the game's Jacobian says of a run: eigenvalues, Hessians, rotation, singular values, and a verdict.

    On images of the test split, always the same; batch norm takes their statistics, as in training. Nash: no player
    could descend alone, as far as second derivatives tell; local minimax: the leader could not, along the best answer.

    Args:
        run: Folder of the run.
        step: Round of the checkpoint; by default the newest.
        count: Eigenvalues at each end of each spectrum.
        probes: Random vectors for the share of rotation.
        batch_size: Images.
        seed: Which of them.
        data: Where the run's data are now, if they have moved.
        output: FILE.png, FILE.html to explore, or FILE.npz for what they are drawn from; by default
            NAME-spectrum.png here.
        as_json: The numbers as JSON, and a picture only if --output asks for one.
    """
    from vaegan_jax.dynamics import run_pictures, runs
    from vaegan_jax.evaluation.progress import Steps

    check_output(output, ENDINGS)
    with Steps() as steps:
        found = runs.spectrum(run, step, count, probes, (batch_size, seed), data, steps)
    lines = run_pictures.spectrum_lines(found)
    print(json.dumps(run_pictures.spectrum_json(found), indent=2) if as_json else "\n".join(lines))
    usual = f"{run.resolve().name}-spectrum.png"
    save(output, usual, run_pictures.spectrum_sheet(found), "\n".join(lines), as_json)


def path(
    run: Run,
    first: Annotated[int | None, tyro.conf.arg(name="from", metavar="INT")] = None,
    last: Annotated[int | None, tyro.conf.arg(name="to", metavar="INT")] = None,
    points: int = 61,
    batch_size: int = 128,
    seed: int = 0,
    data: Name = None,
    output: File = None,
    as_json: Json = False,
) -> None:
    """The path-angle between two checkpoints of a run (Berard et al. 2020): does the field attract, or rotate?

    A run keeps three checkpoints unless --training.keep-checkpoints of `vaegan train` says otherwise.

    Args:
        run: Folder of the run.
        first: Round of the first checkpoint; by default the oldest that is kept.
        last: Round of the last one; by default the newest.
        points: How many on the way, which goes a fifth beyond the last one.
        batch_size: Images of the test split that the field is measured on.
        seed: Which of them.
        data: Where the run's data are now, if they have moved.
        output: FILE.png, FILE.html to explore, or FILE.npz for what they are drawn from; by default NAME-path.png here.
        as_json: The numbers as JSON, and a picture only if --output asks for one.
    """
    from vaegan_jax.dynamics import run_pictures, runs

    check_output(output, ENDINGS)
    found = runs.path(run, first, last, points, (batch_size, seed), data)
    lines = run_pictures.path_lines(found)
    print(json.dumps(run_pictures.path_json(found), indent=2) if as_json else "\n".join(lines))
    save(output, f"{run.resolve().name}-path.png", run_pictures.path_sheet(found), "\n".join(lines), as_json)


def check_output(output: Path | None, endings: tuple[str, ...]) -> None:
    """UserError where a file's name ends in none of these."""
    check(output is None or output.suffix in endings, f"output must end in {', '.join(endings)}, not {output}")


def save(output: Path | None, usual: str, sheet, table: str, as_json: bool) -> None:
    """Draws the sheet, by default in the usual file; with --json only where a file is asked for."""
    from vaegan_jax.dynamics import showing

    if as_json and output is None:
        return
    output = output or Path(usual)
    showing.save(sheet, output, table)
    if not as_json:
        print(f"picture: {output}")
