"""Imported networks make the images, and give the scores, that PyTorch's make and give of the same random weights."""

import importlib.util
import json
import sys
import types
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from biggan_peers import UP, Discriminator, Generator, randomized, torch
from commands import done

from vaegan_jax.importing import checkpoints
from vaegan_jax.importing.runs import import_run
from vaegan_jax.models import MODELS, name_of
from vaegan_jax.networks import binned
from vaegan_jax.training.experiment import weights_for_sampling
from vaegan_jax.training.reading import read

pytestmark = pytest.mark.usefixtures("compiled_quickly")
CLASSES, SHARED = 5, 6
CUTS = (1.0, 0.5, 0.437, 0.58)
"""Truncations at bins, between two, and at one that the package's floats put just below its bin."""


@pytest.fixture
def package(monkeypatch):
    """The peer of BigGAN-deep; what it fetches files with is not needed here."""
    stubs = {"boto3": {}, "botocore": {}, "botocore.exceptions": {"ClientError": Exception}, "tqdm": {"tqdm": None}}
    stubs |= {"requests": {}}
    for name in [name for name in stubs if importlib.util.find_spec(name.split(".")[0]) is None]:
        module = types.ModuleType(name)
        vars(module).update(stubs[name])
        monkeypatch.setitem(sys.modules, name, module)
    return pytest.importorskip("pytorch_pretrained_biggan")


def stored(package, folder, width, size, side=128):
    """A generator of that package, random, in its files; its singular vectors follow its weights.

    Its layers are those of the published configurations, of which the package itself holds that of 128 pixels.
    """
    settings = {"z_dim": size, "class_embed_dim": size, "channel_width": width, "num_classes": CLASSES}
    layers = [layer for a, b in pairwise(UP[side]) for layer in ((False, a, a), (True, a, b))]
    config = package.BigGANConfig(**settings, output_dim=side, layers=layers)
    assert side != 128 or layers == package.BigGANConfig().layers
    model = randomized(package.BigGAN(config), seed=1)
    for module in model.modules():
        if hasattr(module, "weight_u"):
            with torch.no_grad():
                matrix = module.weight_orig.flatten(1)
                module.weight_v.copy_(torch.nn.functional.normalize(matrix.T @ module.weight_u, dim=0))
                module.weight_u.copy_(torch.nn.functional.normalize(matrix @ module.weight_v, dim=0))
        if hasattr(module, "running_vars"):
            module.running_vars.copy_(0.5 + torch.rand(module.running_vars.shape))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "config.json").write_text(config.to_json_string())
    return model


def drawn(size):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, size)), jnp.float32), jnp.array([3, 0])


def assert_alike(found, expected):
    """Within 1e-4 of the largest of what is expected."""
    scale = np.abs(expected).max()
    assert scale > 0.05
    np.testing.assert_allclose(np.asarray(found) / scale, expected / scale, atol=1e-4)


def assert_images_of(model, z, labels, generate, stats_at):
    made = []
    for cut in CUTS:
        with torch.no_grad():
            expected = (
                model(torch.tensor(np.asarray(z)), torch.eye(CLASSES)[labels.tolist()], cut)
                .numpy()
                .transpose(0, 2, 3, 1)
            )
        made.append(np.asarray(generate(stats_at(cut))))
        assert_alike(made[-1], expected)
    assert np.abs(made[0] - made[1]).max() > 1e-2


def generator_of(config, spec, params, z, labels):
    model = MODELS[name_of(config)]
    return jax.jit(lambda stats: model.generate(config, spec, params, stats, z, labels))


@pytest.mark.slow
@pytest.mark.parametrize("side", [128, 256, 512])
def test_biggan_deep_of_the_package_makes_its_images_at_truncations_on_and_between_its_statistics(
    side, package, tmp_path
):
    model, (z, labels) = stored(package, tmp_path, 4, 8, side), drawn(8)
    said = []
    run = import_run(tmp_path, tmp_path / "run", said.append)
    assert said == ["the checkpoint has no discriminator: that of the run is new and has learned nothing"]
    experiment, state, step = read(run)
    config = experiment.config.model
    assert (config.width, config.image_filters, config.statistics_bins, config.norm_epsilon) == (4, 4, 51, 1e-4)
    assert step == 0 and config.attention in (-1, 64) and experiment.spec.classes == CLASSES
    assert experiment.spec.image_shape == (side, side, 3)
    generate = generator_of(config, experiment.spec, state.averages, z, labels)

    def at(cut):
        _, stats, told = weights_for_sampling(experiment, state, cut)
        assert told.endswith(f"imported statistics of truncation {cut:g}")
        return stats

    assert_images_of(model, z, labels, generate, at)
    assert weights_for_sampling(experiment, state)[2].endswith("imported statistics of truncation 1")


@pytest.mark.slow
def test_biggan_deep_of_the_package_in_its_published_size(package, tmp_path):
    model, (z, labels) = stored(package, tmp_path, 128, 128), drawn(128)
    found, paths = checkpoints.found(tmp_path)
    assert paths.keys() == {"weights", "config"} and found.averages["generator"] is found.params["generator"]
    counted = sum(leaf.size for leaf in jax.tree.leaves(found.params))
    assert counted == sum(each.numel() for each in model.parameters())
    generate, stats = generator_of(found.model, found.spec, found.params, z, labels), found.stats["generator"]
    assert_images_of(model, z, labels, generate, lambda cut: {"generator": binned.at(stats, cut)})


LARGER = [
    *((32, True, "inner"), (64, False, "synchronized"), (64, True, "own"), (128, True, "own"), (128, False, "inner")),
    *((256, False, "inner"), (256, True, "synchronized"), (512, False, "own")),
]
SIZES = [(32, False, "own"), *(pytest.param(*size, marks=pytest.mark.slow) for size in LARGER)]


@pytest.mark.parametrize(("side", "deep", "place"), SIZES)
def test_checkpoints_of_biggan_pytorch_make_their_images_and_give_their_scores(side, deep, place, tmp_path):
    attention, width, piece = min(64, side // 2), 2 if side == 32 else 8, 3
    filters = 128 if deep else 3
    generator = randomized(Generator(side, width, piece, SHARED, CLASSES, attention, place, deep, filters), 1)
    discriminator = randomized(Discriminator(side, width, CLASSES, attention, deep), 2)
    options = {"BN_eps": 1e-5, "G_nl": "relu", "G_activation": torch.nn.ReLU(), "D_wide": True}
    torch.save({"itr": 1234, "best_FID": np.float64(9.5), "config": options}, tmp_path / "state_dict.pth")
    for name, module in (("G", generator), ("D", discriminator)):
        torch.save(module.state_dict(), tmp_path / f"{name}.pth")
    z, labels = drawn(piece if deep else piece * len(UP[side]))
    with torch.no_grad():
        expected = generator(torch.tensor(np.asarray(z)), torch.tensor(labels.tolist())).numpy().transpose(0, 2, 3, 1)
        x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(3)) * 2 - 1
        judged = discriminator(x, torch.tensor(labels.tolist())).numpy()
    run = tmp_path / "run"
    assert f"next: vaegan sample {run}" in done("weights", "import", tmp_path, "--run", run)
    experiment, state, _ = read(run)
    config, spec = experiment.config.model, experiment.spec
    _, stats, told = weights_for_sampling(experiment, state)
    assert told == "last weights, running statistics"
    assert_alike(generator_of(config, spec, state.params, z, labels)(stats), expected)
    network = experiment.model.networks(config, spec)["discriminator"]
    pictures, classes = jnp.asarray(x.numpy().transpose(0, 2, 3, 1)), jax.nn.one_hot(labels, CLASSES)
    judge = jax.jit(lambda params, stats: network.apply(params, stats, pictures, classes)[0].score)
    assert_alike(judge(state.params["discriminator"], state.stats["discriminator"]), judged)
    assert config.image_filters == (128 if deep else 0)
    record = json.loads((run / "config.json").read_text())["imported"]
    assert (record["layout"], record["iterations"], record["averages"]) == ("BigGAN-PyTorch", 1234, False)
    assert record["discriminator"] == "imported"
    (line,) = (line for line in done("inspect", run).splitlines() if line.startswith("imported"))
    assert line.startswith("imported    BigGAN-PyTorch: ") and f"G.pth ({record['files']['G']['sha256'][:12]})" in line
    if side == 32:  # then it is a run like any other
        rows, words = tmp_path / "rows.npz", ["--between", "both", "--label", 0, 1, "--truncation", 0.5]
        done("interpolate", run, *words, "--count", 2, "--steps", 3, "--output", rows)
        images = np.load(rows)["image"].reshape(2, 3, side, side, 3)
        assert all(len({image.tobytes() for image in row}) == 3 for row in images)


@pytest.mark.slow
def test_the_averaged_generator_is_the_run_s_average_and_alone_its_weights_too(tmp_path):
    for seed, name in enumerate(("G", "G_ema")):
        torch.save(randomized(Generator(32, 2, 3, SHARED, CLASSES), seed).state_dict(), tmp_path / f"{name}_best0.pth")
    options = {"ema_decay": 0.999, "batch_size": 50, "num_D_accumulations": 3, "num_D_steps": 4}
    torch.save({"itr": 9, "config": options}, tmp_path / "state_dict_best0.pth")
    both, paths = checkpoints.found(tmp_path / "G_best0.pth")
    assert paths.keys() == {"G", "G_ema", "state_dict"} and both.iterations == 9
    assert np.isclose(both.halflife_kimg, np.log(2) / -np.log(0.999) * 600 / 1000)  # real images of a round
    (tmp_path / "G_best0.pth").rename(tmp_path / "alone.pth")
    alone, averaged = (checkpoints.found(tmp_path / name)[0] for name in ("alone.pth", "G_ema_best0.pth"))
    for found, params, averages in (
        (both, alone.params, averaged.params),
        (averaged, averaged.params, averaged.params),
    ):
        jax.tree.map(np.testing.assert_array_equal, (found.params, found.averages), (params, averages))
    assert alone.averages == {} and alone.halflife_kimg == 0
    assert both.notes == ()
    torch.save({"itr": 9, "config": options | {"BN_eps": 1e-4}}, tmp_path / "state_dict_best0.pth")
    (noted,) = checkpoints.found(tmp_path / "G_ema_best0.pth")[0].notes
    assert noted == "the last batch norm there has epsilon 1e-05, here 0.0001 as all others"
