"""What an evaluation can be told, as one frozen dataclass; light, because a run's configuration holds one."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from vaegan_jax.errors import check, check_fields, unknown

METRICS = {
    "frechet": "Frechet distance of features (Heusel et al. 2017); FID with Inception's published weights",
    "frechet-infinity": "the same, extrapolated to infinitely many samples (Chong & Forsyth 2020)",
    "kernel": "unbiased squared MMD of features with a cubic kernel (Binkowski et al. 2018); KID with Inception's",
    "cmmd": "1000 x squared MMD of unit features with a Gaussian kernel (Jayasumana et al. 2024)",
    "inception-score": "exp E KL(p(y|x), p(y)) of a classifier's answers (Salimans et al. 2016)",
    "precision-recall": "share of samples near the data, and of data near the samples (Kynkaanniemi et al. 2019)",
    "density-coverage": "their counterparts that outliers do not fool (Naeem et al. 2020)",
    "prd": "precision and recall as F8 and F1/8 of a curve over clusters (Sajjadi et al. 2018)",
    "vendi": "effective number of different samples (Friedman & Dieng 2023)",
    "memorization": "nearness to training images, against test images, with a picture (Meehan et al. 2020; AuthPct)",
    "birthday": "size of the support from near duplicates in a batch (Arora & Zhang 2018)",
    "sliced-wasserstein": "sliced Wasserstein distance per level of a Laplacian pyramid (Karras et al. 2018)",
    "ms-ssim": "mean MS-SSIM of random pairs of samples: low is diverse (Odena et al. 2017)",
    "path-length": "perceptual path length in latent space (Karras et al. 2019)",
    "conditioning": "mean log condition number of the generator's Jacobian (Odena et al. 2018)",
    "elbo": "evidence lower bound of test images (Kingma & Welling 2013)",
    "nll": "importance-weighted bound on -log p of test images (Burda et al. 2016)",
    "ais": "-log p of test images by annealed importance sampling, with its gap (Wu et al. 2017)",
    "active-units": "latent dimensions that the encoder uses (Burda et al. 2016)",
    "parzen": "Parzen window log-likelihood of samples; misleads (Theis et al. 2016)",
    "stacked-modes": "modes of stacked MNIST that are found, of 1,000 (Srivastava et al. 2017)",
    "label-accuracy": "share of samples of a class that a classifier of the data agrees with (Odena et al. 2016)",
    "classification-accuracy": "accuracy on real images of a classifier of samples (Ravuri & Vinyals 2019)",
}
"""The metrics by name, with what they are."""

FEATURES = ("auto", "classifier", "pixels", "inception", "vgg16", "alexnet", "efficientnet_lite0")


@dataclass(frozen=True)
class Evaluation:
    """Which numbers are taken, and how; all of it goes onto their cards."""

    metrics: str = ""
    """Names of metrics with commas between them; by default what suits the model and the data."""
    features: Literal[FEATURES] = "auto"
    """Network whose features are compared; auto: Inception or EfficientNet for color if their weights are there, else
    a classifier of the data set's labels, else pixels."""
    resizer: Literal["clean", "bilinear", "tf1"] = "clean"
    """How images are brought to Inception's size: as clean-fid does, as pytorch-fid, or as TensorFlow 1's FID."""
    count: int = 10_000
    """Samples that are compared; all of them where a file has fewer."""
    real_count: int = 0
    """Real images that they are compared with, all where there are fewer; 0: as many as samples. A search for copies
    (memorization) is through all training and test images, whatever this is."""
    real: Literal["train", "test"] = "train"
    """Which images of the data set the samples are compared with."""
    likelihood_count: int = 1000
    """Test images whose likelihood is measured (of ais the first 64 of them at most)."""
    importance_samples: int = 1000
    """Draws of z per image of nll (k)."""
    temperatures: int = 1000
    """Temperatures of ais."""
    deviation: float = 0.2
    """Standard deviation of the Gaussian pixels that ais gives a GAN, where black to white is 2."""
    binarization: Literal["none", "static", "dynamic"] = "none"
    """Pixels whose likelihood is measured: gray as they are, or drawn as black or white with their gray as chance."""
    dequantization: Literal["none", "uniform"] = "none"
    """Noise that makes a density of pixels bound the probability of their 256 levels; adds bits per dimension."""
    truncation: Annotated[float | None, tyro.conf.arg(metavar="FLOAT")] = None
    """Draws each entry of a sample's z again that is beyond this (Brock et al. 2018); by default none."""
    seed: int = 0
    """Seed of the latents, and of whatever is random in a metric."""

    def __post_init__(self):
        check_fields(self)
        for name in self.names:
            if name not in METRICS:
                raise unknown("metric", name, METRICS)
        for name in ("count", "likelihood_count", "importance_samples", "temperatures"):
            check(getattr(self, name) > 0, f"{name.replace('_', '-')} must be at least 1, not {getattr(self, name)}")
        told = f"resizer {self.resizer} is for Inception: others have one of their own; add --features inception"
        check(self.resizer == "clean" or self.features == "inception", told)
        check(0 < self.deviation < float("inf"), f"deviation must be above 0 and finite, not {self.deviation}")
        binary, noisy = self.binarization != "none", self.dequantization != "none"
        check(not (binary and noisy), "binary pixels are not dequantized: choose binarization or dequantization")
        check(self.real_count >= 0, f"real-count must be 0 (as many as samples) or more, not {self.real_count}")
        cut = self.truncation
        number = cut is None or isinstance(cut, int | float) and 0 < cut < float("inf")
        check(number and cut is not True, f"truncation must be above 0 and finite, not {cut}")
        check(0 <= self.seed < 2**32, f"seed must be in 0 .. 2^32 - 1, not {self.seed}")

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that were asked for, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.metrics.split(",") if name.strip()))
