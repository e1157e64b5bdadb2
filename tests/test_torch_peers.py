"""What the library is timed beside does the same: PyTorch's GANs have our losses, gradients and spectral vectors."""

import sys
from pathlib import Path

import numpy as np
import pytest

from vaegan_jax.data import ArraySource
from vaegan_jax.models import CONFIGS
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import assemble

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_quickly")]
MODELS = {
    "wgan-gp": CONFIGS["wgan-gp"](width=2),
    "sagan": CONFIGS["sagan"](width=4),
    "biggan": CONFIGS["biggan"](width=8, latent_size=6, shared_size=4, attention=8),
}


@pytest.fixture
def checks(monkeypatch):
    pytest.importorskip("torch")
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "experiments"))
    import torch_checks

    yield torch_checks
    for name in {"torch_biggan", "torch_checks", "torch_networks", "torch_peers"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.mark.parametrize("name", MODELS)
def test_peers_are_ours_and_a_wrong_one_is_found(name, checks, monkeypatch):
    draw = np.random.default_rng(0).integers
    arrays = {"image": draw(0, 256, (20, 16, 16, 3), dtype=np.uint8), "label": np.arange(20, dtype=np.int32) % 3}
    source = ArraySource(arrays)
    experiment = assemble(RunConfig(MODELS[name], steps=1, batch_size=4), source.spec)
    known, peer = [], checks.torch_peers.GAN
    right, losses = peer.discriminator, checks._losses
    monkeypatch.setattr(
        checks, "_losses", lambda *given: known[0] if known else known.append(losses(*given)) or known[0]
    )
    assert np.isfinite(float(checks.checked_peers(experiment, arrays)["torch"].round()))
    monkeypatch.setattr(peer, "discriminator", lambda *given: 1.01 * right(*given))
    with pytest.raises(SystemExit, match="the loss of discriminator differs from PyTorch's"):
        checks.checked_peers(experiment, arrays)
