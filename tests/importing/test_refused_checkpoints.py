"""Files that are no checkpoint, or lack something, are refused in one line that names it; nothing is left behind."""

import pickle

import numpy as np
import pytest
from commands import refused
from weight_files import left, told

from vaegan_jax.errors import UserError
from vaegan_jax.evaluation import pickles
from vaegan_jax.importing import biggan_pytorch, checkpoints
from vaegan_jax.importing.tensors import Tensors

pytestmark = pytest.mark.usefixtures("compiled_quickly")
CLASSES, SHARED, PIECE, CHANNELS = 3, 4, 2, 8


def generator(**changed):
    """Tensors of a BigGAN of 32 pixels as far as they are looked at first; None takes one away."""
    shapes = {
        "shared.weight": (CLASSES, SHARED),
        "linear.weight": (16 * CHANNELS, PIECE),
        "linear.bias": (16 * CHANNELS,),
        "linear.u0": (1, 16 * CHANNELS),
        "output_layer.2.weight": (3, CHANNELS, 3, 3),
        **{f"blocks.{number}.0.conv1.weight": (CHANNELS, CHANNELS, 3, 3) for number in range(3)},
    }
    shapes |= {name.replace("__", "."): shape for name, shape in changed.items()}
    return {name: np.ones(shape, np.float32) for name, shape in shapes.items() if shape}


def written(path, arrays):
    with open(path, "wb") as file:
        np.savez(file, **arrays)
    return path


WRONG = {
    "no tensors": ({"a": np.zeros(3, np.float32)}, ["holds no generator that is known", "it has a"]),
    "a discriminator": ({"embed.weight": np.zeros((3, 4), np.float32)}, ["is a discriminator", "name its generator"]),
    "no shared embedding": (generator(shared__weight=None), ["there is no tensor shared.weight"]),
    "a stage too few": (generator(blocks__2__0__conv1__weight=None), ["has 2 stages, which are of no BigGAN"]),
    "channels that are of no BigGAN": (generator(output_layer__2__weight=(3, 7, 3, 3)), ["7 channels at the end"]),
    "attention at two heights": (
        generator(blocks__0__1__gamma=(1,), blocks__1__1__gamma=(1,)),
        ["self-attention in G at 8, 16 pixels", "at one height below the image's"],
    ),
    "attention at the image's height": (generator(blocks__2__1__gamma=(1,)), ["self-attention in G at 32 pixels"]),
    "a dense map of another shape": (
        generator(linear__weight=(24, PIECE)),
        ["the tensor linear.weight has the shape (24, 2), and must have (128, 2)"],
    ),
    "a missing norm": (generator(linear__u0=None), ["there is no tensor linear.u0"]),
    "a missing convolution": (generator(), ["there is no tensor blocks.0.0.conv1.u0"]),
}


@pytest.mark.parametrize("title", WRONG)
def test_a_file_that_is_no_checkpoint_is_told_by_what_is_wrong_with_it(title, tmp_path):
    arrays, fragments = WRONG[title]
    path = written(tmp_path / "weights.npz", arrays)
    told(lambda: checkpoints.found(path), str(path), *fragments)


def test_files_are_found_by_their_suffix(tmp_path):
    for name in ("G", "D", "G_best0", "G_ema_best0", "state_dict_best0", "other"):
        (tmp_path / f"{name}.pth").touch()

    def names(path):
        found = biggan_pytorch.files(path)
        return found and {role: each.name for role, each in found.items()}

    assert names(tmp_path) == {"G": "G.pth", "D": "D.pth"}
    best = {"G": "G_best0.pth", "G_ema": "G_ema_best0.pth", "state_dict": "state_dict_best0.pth"}
    assert names(tmp_path / "G_best0.pth") == names(tmp_path / "G_ema_best0.pth") == best
    assert names(tmp_path / "other.pth") == {"G": "other.pth"}
    (tmp_path / "G.pth").unlink()
    assert names(tmp_path) is None


def test_settings_that_our_networks_do_not_have_and_damaged_ones_are_refused(tmp_path):
    written(tmp_path / "G.pth", generator())
    for options, fragment in (
        ({"G_nl": "swish"}, "G_nl 'swish', which ours does not have: relu or inplace_relu only"),
        ({"norm_style": "gn"}, "norm_style 'gn'"),
        ({"G_param": "WS"}, "G_param 'WS', which ours does not have: SN only"),
        ({"D_param": "none"}, "D_param 'none'"),
        ({"D_wide": False}, "D_wide False, which ours does not have: True only"),
    ):
        (tmp_path / "state_dict.pth").write_bytes(pickle.dumps({"config": options}))
        told(lambda: checkpoints.found(tmp_path), "state_dict.pth", fragment)
    (tmp_path / "state_dict.pth").write_bytes(pickle.dumps({"config": {}, "itr": 3})[:-9])
    told(lambda: checkpoints.found(tmp_path), "state_dict.pth is not a file of settings, or is damaged or cut short")


def test_settings_are_read_among_objects_of_which_none_is_run(tmp_path):
    from weight_files import Evil

    marker = tmp_path / "run"
    stored = {"itr": 7, "config": {"BN_eps": 1e-4, "G_activation": Evil(marker.touch), "names": {1, 2}}}
    found = pickles.read_plain(pickle.dumps(stored), "state_dict.pth")
    assert not marker.exists()
    assert (found["itr"], found["config"]["BN_eps"]) == (7, 1e-4)
    with pytest.raises(UserError, match="holds no settings by name"):
        pickles.read_plain(pickle.dumps([1]), "state_dict.pth")


def test_tensors_that_nobody_asked_for_and_numbers_that_are_not_finite_are_named(tmp_path):
    arrays = {"a": np.array([1.0, np.nan]), "b": np.zeros(2), "c.sv0": np.zeros(1), "d.u1": np.zeros(1)}
    tensors = Tensors(arrays, tmp_path)
    told(lambda: tensors.take("a", (2,)), "the tensor a holds what is no finite number")
    told(tensors.finish, "no network of it has a tensor a")
    parallel = Tensors({f"module.{name}": array for name, array in arrays.items()}, tmp_path)
    assert parallel.take("b", (2,)).dtype == np.float32


def test_the_command_refuses_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 and then nothing")
    written(tmp_path / "weights.npz", generator())
    (tmp_path / "empty").mkdir()
    before = left(tmp_path)
    assert "run exists already" in refused("weights", "import", "weights.npz", "--run", "run")
    assert "damaged or cut short" in refused("weights", "import", "cut.pth", "--run", "new")
    assert "there is no file or folder none.pth" in refused("weights", "import", "none.pth", "--run", "new")
    assert "holds no checkpoint that is known" in refused("weights", "import", "empty", "--run", "new")
    assert "no tensor blocks.0.0.conv1.u0" in refused("weights", "import", "weights.npz", "--run", "new")
    assert "add --run DIR" in refused("weights", "import", "weights.npz")
    assert "--run is for import, not for list" in refused("weights", "list", "--run", "new")
    assert left(tmp_path) == before
