"""The pictures of a run: sample grids from fixed latents as it goes, and at its end beside the data and in motion."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from vaegan_jax.data import Source
from vaegan_jax.data.augmentation import middle
from vaegan_jax.data.batches import fetch, order
from vaegan_jax.data.sources import gather
from vaegan_jax.games import State
from vaegan_jax.pictures import gif, grid, pairs, png, side_by_side
from vaegan_jax.training.experiment import Experiment, classes_told, generate, reconstruct, weights_for_sampling
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
        """Cuts the sample grids back to those of rounds up to `done`."""
        self._folder, self._experiment, self._source, self._held_out = folder, experiment, source, held_out
        for path in self._grids():
            if int(path.stem.removeprefix("step-")) > done:
                path.unlink()

    def draw(self, state: State, step: int) -> None:
        """Writes the sample grid of a round."""
        write(self._folder / "samples" / f"step-{step:08d}.png", png(self._samples(state)[0]))

    def finish(self, state: State) -> tuple[dict[str, str], str]:
        """Writes the last pictures; returns their names by title, and what weights the samples were made with."""
        sheet, sampled_with = self._samples(state)
        config = self._experiment.config
        count = min(config.training.sample_count, len(self._source))
        chosen = order(config.seed, 0, len(self._source))[:count]
        real = middle(images(self._source, chosen), self._experiment.spec.image_shape)
        made = {"samples": png(sheet), "beside_data": png(side_by_side({"data": grid(real), "samples": sheet}))}
        if hasattr(self._experiment.model, "reconstruct") and (held_out := self._held_out()):
            made["reconstructions"] = png(reconstruction_pairs(self._experiment, state, held_out, count))
        for title, content in made.items():
            write(self._folder / f"{title}.png", content)
        names = {title: f"{title}.png" for title in made}
        if frames := [np.asarray(Image.open(path)) for path in self._grids()]:
            write(self._folder / "samples.gif", gif(frames))
            names["animation"] = "samples.gif"
        return names, sampled_with

    def _samples(self, state: State) -> tuple[np.ndarray, str]:
        config = self._experiment.config
        params, stats, sampled_with = weights_for_sampling(self._experiment, state)
        count, columns, labels = config.training.sample_count, None, None
        if classes := classes_told(self._experiment):  # a column for each of the first ten
            columns = min(classes, 10)
            count = max(columns, count - count % columns)
            labels = np.arange(count) % columns
        return grid(generate(self._experiment, params, stats, count, config.seed, labels), columns), sampled_with

    def _grids(self) -> list[Path]:
        return sorted((self._folder / "samples").glob("step-*.png"))


def images(source: Source, indices: np.ndarray) -> np.ndarray:
    """Examples of a source as images in [-1, 1]."""
    return np.asarray(fetch({}, {"image": gather(source, indices)["image"]})["image"])


def reconstruction_pairs(experiment: Experiment, state: State, source: Source, count: int) -> np.ndarray:
    """A picture of the first `count` images of a source, each above its reconstruction."""
    real = middle(images(source, np.arange(min(count, len(source)))), experiment.spec.image_shape)
    return pairs(real, reconstruct(experiment, state, real))
