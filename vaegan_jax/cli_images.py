"""`vaegan sample`, `interpolate` and `reconstruct`: what a run's networks make, as pictures or as arrays."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from vaegan_jax.errors import UserError, check

Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
Number = Annotated[int | None, tyro.conf.arg(metavar="INT")]
Labels = Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...")]
Truncation = Annotated[float | None, tyro.conf.arg(metavar="FLOAT")]
LARGEST_GRID = 10_000
"""Images in a picture."""


def sample(
    run: Run,
    count: int = 64,
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    seed: Number = None,
    label: Labels = (),
    truncation: Truncation = None,
) -> None:
    """Draw images from a run; needs neither its data nor an accelerator.

    Args:
        run: Folder of the run.
        count: Number of images.
        output: FILE.png for a grid, or FILE.npz for the array "image", (count, height, width, channels) uint8;
            by default NAME-samples.png here.
        seed: Seed of the latents; by default the run's.
        label: Classes, by name or number, that the images are of in turn, for a model that is told classes; a grid then
            has a column for each. By default each image draws its own.
        truncation: Draws each entry of z again that is beyond this, 2, 1 or 0.5 for instance: better and less varied.
    """
    from vaegan_jax import pictures
    from vaegan_jax.training import reading

    output = output or Path(f"{run.resolve().name}-samples.png")
    check(output.suffix in (".png", ".npz"), f"output must end in .png or .npz, not {output.name!r}")
    check(
        output.suffix == ".npz" or count <= LARGEST_GRID,
        f"a grid holds {LARGEST_GRID:,} images at most: use --output FILE.npz",
    )
    images, sampled_with = reading.sample(run, count, seed, label, truncation)
    save(output, {"image": images}, lambda: pictures.grid(images, len(label) if len(label) > 1 else None))
    print(f"{count} samples: {output}  ({sampled_with})")


def interpolate(
    run: Run,
    count: int = 8,
    steps: int = 9,
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    seed: Number = None,
    label: Labels = (),
    truncation: Truncation = None,
    between: Literal["latents", "classes", "both"] = "latents",
    path: Literal["auto", "great-circle", "line"] = "auto",
) -> None:
    """Go from one image of a run to another, a row each; needs neither its data nor an accelerator.

    Args:
        run: Folder of the run.
        count: Number of rows.
        steps: Images of a row, with both ends.
        output: FILE.png for a row below the other, FILE.gif for all rows as a film, or FILE.npz for the array "image",
            (count, steps, height, width, channels) uint8; by default NAME-interpolation.png here.
        seed: Seed of the latents; by default the run's. Row i goes from sample 2 i of that seed to sample 2 i + 1, but
            for what stays as it is in sample 2 i (between).
        label: Classes, by name or number, for a model that is told classes: of the rows in turn, or, between classes,
            of the ends in turn. By default they are the samples' own.
        truncation: Draws each entry of z again that is beyond this, 2, 1 or 0.5 for instance: better and less varied.
        between: What changes along a row: latents with one class, classes with one latent, or both. Codes that a
            model finds itself (infogan) are part of the latents.
        path: Of the latents. Normal ones are shorter halfway on a line than nearly all that the model has seen, uniform
            ones leave their cube on a great circle; auto: the circle for normal and spherical priors, else the line.
    """
    from vaegan_jax import pictures
    from vaegan_jax.editing import interpolation

    output = output or Path(f"{run.resolve().name}-interpolation.png")
    check(output.suffix in (".png", ".gif", ".npz"), f"output must end in .png, .gif or .npz, not {output.name!r}")
    check(
        output.suffix == ".npz" or count * steps <= LARGEST_GRID,
        f"a grid holds {LARGEST_GRID:,} images at most: use --output FILE.npz",
    )
    how = interpolation.Interpolation(count, steps, between, path)
    rows, sampled_with = interpolation.rows_of(run, how, seed, label, truncation)
    sheet = lambda: pictures.grid(rows.reshape(-1, *rows.shape[2:]), steps)  # noqa: E731
    film = [lambda at=at: pictures.grid(rows[:, at]) for at in range(steps)]
    save(output, {"image": rows}, *(film if output.suffix == ".gif" else [sheet]))
    print(f"{count} rows of {steps}: {output}  ({sampled_with})")


def reconstruct(
    run: Run,
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    count: int = 64,
    data: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
) -> None:
    """Show test images beside their reconstructions, for models with an encoder.

    Args:
        run: Folder of the run.
        output: FILE.png for a grid of pairs, or FILE.npz for the arrays "image" and "reconstruction", uint8;
            by default NAME-reconstructions.png here.
        count: Number of images.
        data: Where its data are now, if they have moved.
    """
    from vaegan_jax import pictures
    from vaegan_jax.training import reading

    output = output or Path(f"{run.resolve().name}-reconstructions.png")
    check(output.suffix in (".png", ".npz"), f"output must end in .png or .npz, not {output.name!r}")
    real, rebuilt = reading.reconstructions(run, count, data)
    save(output, {"image": real, "reconstruction": rebuilt}, lambda: pictures.pairs(real, rebuilt))
    print(f"{len(real)} test images above their reconstructions: {output}")


def save(output: Path, arrays: dict[str, np.ndarray], *frames: Callable[[], np.ndarray]) -> None:
    """Writes the arrays as .npz, or the frames as a picture, .png (the first) or .gif. UserError where it cannot."""
    from vaegan_jax.pictures import gif, npz, png, to_uint8
    from vaegan_jax.training.run import write

    try:
        if output.suffix == ".npz":
            write(output, npz({name: to_uint8(array) for name, array in arrays.items()}))
        elif output.suffix == ".gif":
            write(output, gif([frame() for frame in frames]))
        else:
            write(output, png(frames[0]()))
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error
