"""The pictures of a run: sample grids from fixed latents as it goes, and at its end beside the data and in motion."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vaegan_jax.data import Source
from vaegan_jax.data.augmentation import middle
from vaegan_jax.data.batches import fetch, order
from vaegan_jax.data.sources import gather
from vaegan_jax.games import Params, State, Stats
from vaegan_jax.pictures import gif, grid, pairs, png, side_by_side
from vaegan_jax.training.experiment import (
    Experiment,
    class_numbers,
    classes_told,
    generate,
    has_means,
    reconstruct,
    reconstructs,
    weights_for_sampling,
)
from vaegan_jax.training.run import write


class Pictures:
    """Draws into the folder of a run; made by the trainer alone."""

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        source: Source,
        held_out: Callable[[], Source | None],
        done: int,
    ):
        """Cuts back as `cut_back`."""
        self._folder, self._experiment, self._source, self._held_out = folder, experiment, source, held_out
        self.cut_back(done)

    def cut_back(self, done: int) -> None:
        """Leaves the sample grids of rounds up to `done`."""
        for path in self._grids():
            if int(path.stem.removeprefix("step-")) > done:
                path.unlink()

    def draw(self, state: State, step: int) -> dict[str, Path]:
        """Writes the sample grid of a round and, where there are averages, averages.png: with them and without.

        Returns the files by what they show.
        """
        sheet, _ = self._samples(state)
        path = self._folder / "samples" / f"step-{step:08d}.png"
        write(path, png(sheet))
        if has_means(self._experiment):
            write(self._folder / "averages.png", png(self._against(state, sheet)))
            return {"samples": path, "averages": self._folder / "averages.png"}
        return {"samples": path}

    def finish(self, state: State) -> tuple[dict[str, str], str]:
        """Writes the last pictures; returns their names by title, and what weights the samples were made with."""
        sheet, sampled_with = self._samples(state)
        config = self._experiment.config
        count = min(config.training.sample_count, len(self._source))
        chosen = order(config.seed, 0, len(self._source))[:count]
        real = middle(images(self._source, chosen), self._experiment.spec.image_shape)
        made = {"samples": png(sheet), "beside_data": png(side_by_side({"data": grid(real), "samples": sheet}))}
        if has_means(self._experiment):
            made["averages"] = png(self._against(state, sheet))
        if reconstructs(self._experiment) and (held_out := self._held_out()):
            made["reconstructions"] = png(reconstruction_pairs(self._experiment, state, held_out, count))
        for title, content in made.items():
            write(self._folder / f"{title}.png", content)
        names = {title: f"{title}.png" for title in made}
        frames = []
        for path in self._grids():
            with suppress(UnidentifiedImageError):  # somebody's damage to a picture stops no training
                frames.append(np.asarray(Image.open(path)))
        if frames:
            write(self._folder / "samples.gif", gif(frames))
            names["animation"] = "samples.gif"
        return names, sampled_with

    def _samples(self, state: State) -> tuple[np.ndarray, str]:
        params, stats, sampled_with = weights_for_sampling(self._experiment, state)
        return self._sheet(params, stats), sampled_with

    def _against(self, state: State, sheet: np.ndarray) -> np.ndarray:
        """The sample grid beside the same latents through the last weights, with their running statistics."""
        return side_by_side({"averaged weights": sheet, "last weights": self._sheet(state.params, state.stats)})

    def _sheet(self, params: Params, stats: Stats) -> np.ndarray:
        count, columns, labels = grid_plan(self._experiment)
        return grid(generate(self._experiment, params, stats, count, self._experiment.config.seed, labels), columns)

    def _grids(self) -> list[Path]:
        return sorted((self._folder / "samples").glob("step-*.png"))


def grid_plan(experiment: Experiment) -> tuple[int, int | None, np.ndarray | None]:
    """Images of a sample grid, its columns, and the images' classes: a column for each, where the model is told any.

    They are those of `training.sample_classes`, by default the first ten. None where there is nothing to choose.
    """
    training = experiment.config.training
    count = training.sample_count
    if not (classes := classes_told(experiment)):
        return count, None, None
    wanted = training.sample_classes
    chosen = class_numbers(experiment, wanted) if wanted else np.arange(min(classes, 10))
    count = max(len(chosen), count - count % len(chosen))
    return count, len(chosen), np.resize(chosen, count)


def images(source: Source, indices: np.ndarray) -> np.ndarray:
    """Examples of a source as images in [-1, 1]."""
    return np.asarray(fetch({}, {"image": gather(source, indices)["image"]})["image"])


def reconstruction_pairs(experiment: Experiment, state: State, source: Source, count: int) -> np.ndarray:
    """A picture of the first `count` images of a source, each above its reconstruction."""
    real = middle(images(source, np.arange(min(count, len(source)))), experiment.spec.image_shape)
    return pairs(real, reconstruct(experiment, state, real))
