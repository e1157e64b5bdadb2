"""The speed of metrics beside the packages that others use, in turns, on a CPU.

    python experiments/metric_speed.py

Aim, on two CPU cores: the Frechet distance of 5,000 images of 2,048 features (without taking the features) at least 5
times as fast as pytorch-fid's, precision, recall, density and coverage of 10,000 x 2,048 features at least as fast as
prdc's and in bounded memory, features of FID's Inception at least at 0.8 of PyTorch's images a second, and the
importance-weighted bound of 1,000 MNIST-sized images with 1,000 draws each (VAE 784-500-20) in at most 20 seconds.

Inception, where the time went (one core, processor time per image, chunks of 4, PyTorch 149 ms): 185 ms before. Of
these 40 were page faults: XLA folded the batch norms into 87 MB of kernels in every chunk, which is now done once, and
JAX 0.10 writes all patches of a convolution without padding into memory, which a column of padding avoids. 135 to 145
ms are left, nearly all in convolutions and products at 80 to 100 GF/s, near the core's peak (PyTorch: 100 to 113).
Sums of products over the taps of 1 x 7 kernels would save 2 %, patches side by side nothing; both were left out. On
two cores that nobody else used the ratio was 0.6 before, and is 0.90 to 0.95 since (three runs; of this row alone, the
others are of the day before).

Medians of turns that alternate, in one process; the first call of each, which compiles, is apart. pytorch-fid's
function hands SciPy's matrix square root an argument that newer versions drop; it is given one that takes it. About 10
minutes; writes results/metric_speed.json. What it compares with: pip install '.[peers]'
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from common import options, report

from vaegan_jax.data.sources import DataSpec
from vaegan_jax.evaluation import frechet, moments, neighbors
from vaegan_jax.evaluation.features import inception
from vaegan_jax.evaluation.features.extractor import extract
from vaegan_jax.evaluation.likelihood.bounds import importance_weighted
from vaegan_jax.evaluation.likelihood.latent_models import of_vae
from vaegan_jax.evaluation.weights import digest
from vaegan_jax.models import vae
from vaegan_jax.networks.network import init_networks

SEED = 0


def features(count: int, size: int, seed: int) -> np.ndarray:
    """Rectified, correlated features, float32, as networks have them."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(SEED).normal(size=(size, size)) / size**0.5
    return np.maximum(rng.normal(size=(count, size)) @ mixing, 0).astype(np.float32)


def frechets() -> dict[str, Callable[[], float]]:
    """Distances from features, ours and pytorch-fid's (NumPy's mean and covariance, as its script takes them)."""
    import scipy.linalg
    from pytorch_fid import fid_score

    a, b = (features(5000, 2048, seed) for seed in (1, 2))
    root = scipy.linalg.sqrtm
    fid_score.linalg.sqrtm = lambda x, disp=True: root(x) if disp else (root(x), None)

    def theirs() -> float:
        statistics_ = [(np.mean(x, axis=0), np.cov(x, rowvar=False)) for x in (a, b)]
        return float(fid_score.calculate_frechet_distance(*statistics_[0], *statistics_[1]))

    return {"ours": lambda: frechet.distance(moments.of(a), moments.of(b)), "pytorch-fid": theirs}


def coverages() -> dict[str, Callable[[], float]]:
    """Precision, recall, density and coverage with k = 5."""
    import prdc

    a, b = (features(10_000, 2048, seed) for seed in (1, 2))
    return {
        "ours": lambda: float(neighbors.scores(a, b, 5, 5, strict=True).coverage),
        "prdc": lambda: float(prdc.compute_prdc(a, b, 5)["coverage"]),
    }


def inceptions(count: int = 32) -> dict[str, Callable[[], float]]:
    """Features of images of 299 pixels, weights random: the sum is only there to be waited for."""
    import torch

    images = np.random.default_rng(SEED).integers(0, 256, (count, 299, 299, 3), dtype=np.uint8)
    rng = np.random.default_rng(SEED)
    arrays = {name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in inception.shapes().items()}
    arrays = {name: np.abs(array) + 0.5 if name.endswith("variance") else array for name, array in arrays.items()}
    network = inception.extractor(arrays, digest(arrays))
    module = _inception_module().eval()
    given = torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    def theirs() -> float:
        with torch.no_grad():
            return float(sum(module(given[at : at + 16]).sum() for at in range(0, count, 16)))

    return {"ours": lambda: float(sum(x["features"].sum() for x in extract(network, [images]))), "PyTorch": theirs}


def _inception_module() -> Any:
    """pytorch-fid's network without its download: torchvision's with its patched blocks."""
    import torch
    import torchvision
    from pytorch_fid import inception as theirs

    network = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    network.Mixed_5b = theirs.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = theirs.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = theirs.FIDInceptionA(288, pool_features=64)
    for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        setattr(network, f"Mixed_{name}", theirs.FIDInceptionC(768, channels_7x7=width))
    network.Mixed_7b, network.Mixed_7c = theirs.FIDInceptionE_1(1280), theirs.FIDInceptionE_2(2048)
    network.fc = torch.nn.Identity()
    return network


def bound() -> dict[str, Callable[[], float]]:
    """IWAE-1000 of 1,000 images."""
    config, spec = vae.Config(latent_size=20, hidden_sizes=(500,)), DataSpec("images", (28, 28, 1))
    params, stats = init_networks(vae.networks(config, spec), jax.random.key(SEED))
    images = np.random.default_rng(SEED).choice([-1.0, 1.0], (1000, 28, 28, 1)).astype(np.float32)
    model = of_vae(config, spec, params, stats)
    return {"ours": lambda: float(importance_weighted(model, images, jax.random.key(1), 1000).mean())}


CASES = {
    "frechet, 5,000 x 2,048": (frechets, 5),
    "precision to coverage, 10,000 x 2,048": (coverages, 3),
    "inception, 32 images of 299 pixels": (inceptions, 5),
    "IWAE-1000 of 1,000 images": (bound, 3),
}


def main() -> None:
    options(__doc__).parse_args()
    rows = {}
    for name, (make, turns) in CASES.items():
        runs, times, values = make(), {}, {}
        for who, run in runs.items():
            begun = time.perf_counter()
            values[who] = run()
            times[who] = {"first": time.perf_counter() - begun, "seconds": []}
        for _ in range(turns):
            for who, run in runs.items():
                time.sleep(0.3)
                begun = time.perf_counter()
                run()
                times[who]["seconds"].append(time.perf_counter() - begun)
        median = {who: statistics.median(each["seconds"]) for who, each in times.items()}
        ratios = {who: seconds / median["ours"] for who, seconds in median.items() if who != "ours"}
        rows[name] = {"seconds": median, "times_as_fast_as": ratios, "values": values, "times": times}
        print(name, json.dumps({key: rows[name][key] for key in ("seconds", "times_as_fast_as", "values")}), flush=True)
    report("metric_speed", {"cases": rows}, [SEED])


if __name__ == "__main__":
    main()
