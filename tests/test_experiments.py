"""Every experiment tells its command and answers --help, and its results tell what they depend on."""

import ast
import dataclasses
import importlib.util
import io
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from vaegan_jax.data import load
from vaegan_jax.data.sources import DataSpec
from vaegan_jax.games import Player, init, play
from vaegan_jax.training.config import RunConfig
from vaegan_jax.training.experiment import assemble

FOLDER = Path(__file__).parents[1] / "experiments"
SCRIPTS = sorted(path for path in FOLDER.glob("*.py") if "__main__" in path.read_text())
RESULTS = sorted(FOLDER.glob("results/*.json"))
PICTURES = sorted(FOLDER.glob("figures/*"))


@pytest.fixture(autouse=True)
def neighbors(monkeypatch):
    """Scripts import each other, as they do when they are run; what they import is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for name in {path.stem for path in FOLDER.glob("*.py")} & (set(sys.modules) - before):
        del sys.modules[name]


def script(name):
    """An experiment as a module."""
    made = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_docstring_holds_the_command(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert f"\n    python experiments/{path.name}" in docstring
    assert "XX" not in docstring


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_is_answered(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        script(path.stem).main()
    assert stopped.value.code == 0
    assert "usage" in capsys.readouterr().out


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_tell_seeds_versions_and_machine(path):
    results = json.loads(path.read_text())
    assert {"python", "vaegan_jax", "jax", "numpy"} <= results["versions"].keys()
    assert results["machine"]["cores"] > 0
    assert '"seed' in path.read_text()


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_pictures_are_small(path):
    assert path.stat().st_size < (1_000_000 if path.suffix in (".gif", ".html") else 300_000)


CLAIMING = [path for path in RESULTS if '"claims"' in path.read_text()]


@pytest.mark.parametrize("path", CLAIMING, ids=lambda path: path.stem)
def test_claims_are_borne_out_by_the_results(path):
    results = json.loads(path.read_text())
    written_by = max((one.stem for one in SCRIPTS if path.stem.startswith(one.stem)), key=len)  # or one of its parts
    told = script(written_by).claims(results)
    assert told and all(told.values())
    assert told.keys() == results["claims"].keys()


def test_bilinear_divergence_measures_what_it_claims():
    bilinear = script("bilinear_divergence")
    results = bilinear.measure((0.3, 2.05), ("simultaneous", "alternating"), 200)
    assert all(bilinear.claims(results).values())


def test_a_wrong_growth_is_no_rotation_times_the_factor():
    bilinear = script("bilinear_divergence")
    path = FOLDER / "results" / "bilinear_divergence.json"
    results = json.loads(path.read_text())
    results["rows"][0]["measured_rate"] += 1e-6
    assert not bilinear.claims(results)["at once, every round is a rotation by arctan(a) times sqrt(1 + a^2)"]


def test_judging_a_direction_finds_its_best_threshold():
    judged = script("js_and_earth_mover").judged
    real, fake = np.array([[1.0, 5], [2, -5], [-0.5, 0]]), np.array([[-1.0, 7], [0.0, 3], [-3, 0]])
    told = judged(np.array([2.0, 0.0]), real, fake)
    assert told["wrong"] == pytest.approx(1 / 6) and told["angle"] == 0
    assert judged(np.array([1.0, 0]), real[:2], fake) == {"angle": 0, "wrong": 0, "cut": 0.5}


def test_a_player_who_waits_keeps_weights_and_moments_while_the_loss_is_low():
    loss = lambda params, stats, batch, key, step: (jnp.square(params["w"]).sum(), ({}, {}))  # noqa: E731
    game = {"one": Player(("w",), loss, optax.adam(0.1))}
    waits = script("what_not_to_do").balanced(game, {"one": 0.25})
    ends = []
    for each in (game, waits):
        state, round = init(each, {"w": jnp.ones(1)}), jax.jit(play(each, (("one",),)))
        ends.append([state := round(state, {}, jax.random.key(0))[0] for _ in range(12)])
    free, held = ends
    moves = int(held[-1].opt["one"].moves)
    assert 4 <= moves < 12 and free[moves - 2].params["w"] ** 2 > 0.25 >= free[moves - 1].params["w"] ** 2
    same = [float(state.params["w"][0]) for state in held[:moves]]
    assert same == pytest.approx([float(state.params["w"][0]) for state in free[:moves]], rel=1e-6)
    assert held[-1].params["w"] == held[moves - 1].params["w"] != free[-1].params["w"]
    first, last = (jax.tree.leaves(state.opt["one"].inner) for state in (held[moves - 1], held[-1]))
    assert all(map(np.array_equal, first, last))


def test_norms_along_both_paths_are_those_of_chi():
    paths = script("interpolation")
    size, mean = 8, 2**0.5 * math.gamma(4.5) / math.gamma(4)
    a, b = np.random.default_rng(0).normal(size=(2, 20_000, size))
    for share in (0.0, 0.3, 0.5):
        told = paths.norms(size, share)
        assert told["great circle"][0] == pytest.approx(mean)
        assert told["line"][0] == pytest.approx(mean * math.sqrt(1 - 2 * share * (1 - share)))
        for name in paths.PATHS:
            drawn = np.linalg.norm(np.asarray(paths.along(paths.PATHS[name], a, b, share)), axis=1)
            assert drawn.mean() == pytest.approx(told[name][0], abs=0.03)
            assert drawn.std() == pytest.approx(told[name][1], rel=0.03)


def test_every_fifth_sample_is_a_copy_with_noise():
    copied = script("first_epochs").with_copies
    samples, training = np.zeros((20, 2, 2, 1), np.uint8), np.full((9, 2, 2, 1), 120, np.uint8)
    made = copied(samples, training)
    assert (made[np.arange(20) % 5 > 0] == 0).all()
    assert 80 < made[::5].mean() < 160 and made[::5].std() > 5


def test_an_interval_is_students():
    interval = script("solvers_on_mixtures").interval
    told = interval([1.0, 2.0, 3.0, None])
    assert told["mean"] == 2 and told["count"] == 3
    assert told["half_width"] == pytest.approx(4.3027 / 3**0.5, abs=1e-4)
    assert interval([None, None])["mean"] is None


def test_unpacked_images_are_those_of_the_files(tmp_path, monkeypatch):
    unpack = script("unpack_jpegs")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    files = [io.BytesIO() for _ in images]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image).save(file, "png")  # nothing is lost in it, so that it can be compared
    sizes = [len(file.getvalue()) for file in files]
    packed = np.frombuffer(b"".join(file.getvalue() for file in files), np.uint8)
    arrays = {"train_jpeg": packed, "train_offsets": np.cumsum([0, *sizes]), "train_label": np.arange(3)}
    np.savez(tmp_path / "in.npz", **arrays)
    monkeypatch.setattr(sys, "argv", ["unpack_jpegs", str(tmp_path / "in.npz"), str(tmp_path / "out.npz")])
    unpack.main()
    source = load(str(tmp_path / "out.npz"), "train")
    assert np.array_equal(source.arrays["image"], images) and source.arrays["label"].tolist() == [0, 1, 2]
    monkeypatch.setattr(sys, "argv", ["unpack_jpegs", __file__, str(tmp_path / "out.npz")])
    with pytest.raises(SystemExit, match="test_experiments.py is not a set of JPEGs"):
        unpack.main()


@pytest.mark.parametrize("part", ["small", "full"])
def test_biggans_of_the_experiments_can_be_built(part):
    cifar, study = script("biggan_cifar"), script("batch_size_study")
    spec, clothes = (DataSpec("images", shape, classes=10) for shape in ((32, 32, 3), (28, 28, 1)))
    how = cifar.PARTS[part] | {"features": "pixels"}
    configs = [cifar.config_of(how, "images", 0)]
    configs += [study.config_of(study.PARTS[part], "root", size, 0) for size in study.PARTS[part]["batches"]]
    for config in configs:
        shown = clothes if config.data == "fashion_mnist" else spec
        assert assemble(config, shown).batch_shape[2] == config.batch_size
    rates = {config.batch_size: config.model.generator_optimizer.learning_rate for config in configs[1:]}
    assert rates[2048] == pytest.approx(8 * rates[32]) and rates[128] == pytest.approx(2e-4 * 2**0.5)
    seen = {config.batch_size: config.steps * config.batch_size for config in configs[1:]}
    assert len(set(seen.values())) == 1


def test_the_best_and_the_final_look_are_told_apart(tmp_path, monkeypatch):
    cifar = script("biggan_cifar")
    Settings = dataclasses.make_dataclass("Settings", ["data"])
    looks = [(100, 5.0, 0.1, "none"), (200, 2.0, 0.4, "none"), (300, 3.0, 0.3, "none"), (300, 1.0, 0.9, "0.04")]
    scores = [
        SimpleNamespace(
            name=name,
            value=value,
            better=better,
            protocol=Settings("x"),
            sampling=SimpleNamespace(step=step, images=1, truncation=truncation),
        )
        for step, distance, precision, truncation in looks
        for name, value, better in (("FD", distance, "lower"), ("precision", precision, "higher"))
    ]
    monkeypatch.setattr(cifar, "kept", lambda run: scores)
    told = cifar.seen(tmp_path)
    assert [told[name]["best"]["step"] for name in ("FD", "precision")] == [200, 200]
    assert [told[name]["final"]["value"] for name in ("FD", "precision")] == [3.0, 0.3]


def test_claims_of_the_truncation_curve_can_fail():
    curve = script("truncation_curve")
    rows = [
        {"threshold": cut, "FD-classifier": distance, "precision": precision, "recall": recall}
        for cut, distance, precision, recall in zip(
            curve.THRESHOLDS,
            (8.0, 8.0, 7.5, 7.9, 9.0, 12.0, 20.0, 40.0),
            (0.6, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9),
            (0.5, 0.49, 0.45, 0.4, 0.3, 0.2, 0.1, 0.0),
            strict=True,
        )
    ]
    assert all(curve.claims(rows).values()) and curve.picture(rows)
    rows[2]["recall"], rows[-1]["FD-classifier"] = 0.9, 1.0
    assert list(curve.claims(rows).values()) == [False, True, True, False, False]


@pytest.mark.soak
def test_solvers_on_mixtures_goes_on_where_it_was(tmp_path, monkeypatch):
    mixtures = script("solvers_on_mixtures")
    ring = {"ring": mixtures.sets(8, 8)["ring"]}
    how = mixtures.protocol((0, 1), evaluations=20, looks=2) | {"samples": 50}
    rows = mixtures.measure(tmp_path, ring, ["gradient", "alternating", "averaging", "extra-adam"], how)["ring"]
    assert rows["gradient"]["last"] == rows["alternating"]["last"]
    assert [rows[name]["rounds"] for name in ("averaging", "extra-adam")] == [20, 10]
    assert len(rows["gradient"]["last"]["found"]["values"]) == 2
    monkeypatch.setattr(mixtures, "play", lambda *_: pytest.fail("it was there already"))
    again = mixtures.measure(tmp_path, ring, ["gradient", "alternating"], how)["ring"]
    assert again == {name: rows[name] for name in again}


@pytest.mark.slow
def test_dirac_gan_measures_what_it_claims():
    dirac = script("dirac_gan")
    results = dirac.measure(("non-saturating",), ("none", "r1", "wgan-gp"), far=6000)
    told = dirac.claims(results)
    assert all(told.values())


@pytest.mark.slow
def test_gan_in_one_dimension_plays_both_games():
    one = script("gan_in_one_dimension")
    results = one.measure((0,), 60, 20)
    assert [row["round"] for row in results["stages"]] == [0, 1, 3, 6, 60]
    assert results["stages"][-1]["earth_mover"] < results["stages"][0]["earth_mover"]
    area = np.trapezoid(results["stages"][0]["density"], one.LINE)
    assert area == pytest.approx(1, abs=0.02)
    assert one.picture(results)


@pytest.mark.slow
def test_js_and_earth_mover_trains_its_critics(monkeypatch):
    js = script("js_and_earth_mover")
    monkeypatch.setattr(js, "THETAS", (-0.5, 0.0, 0.5))
    lines = js.lines(0, 150)
    assert lines["earth_mover"] == pytest.approx([0.5, 0, 0.5], abs=0.01)
    assert lines["jensen_shannon"][0] == pytest.approx(np.log(2), abs=0.05)
    assert abs(lines["jensen_shannon"][1]) < 0.01
    told = js.separators(0, 400)
    assert told["wasserstein"]["angle"] == pytest.approx(told["mean difference"]["angle"], abs=1)
    assert told["hinge"]["wrong"] == 0


@pytest.mark.slow
def test_spectrum_of_a_gan_looks_at_its_stages():
    rows = script("spectrum_of_a_gan").ring(0, (0, 5), units=6, probes=20, count=3)
    assert [row["round"] for row in rows] == [0, 5]
    assert all(0 <= row["rotation_share"] <= 1 and len(row["eigenvalues"]) == 3 for row in rows)
    assert max(map(max, (row["residuals"] for row in rows))) < 1e-2


@pytest.mark.soak
def test_solvers_on_dcgan_spend_the_same_and_go_on(tmp_path, monkeypatch, this_compiled_quickly):
    dcgan = script("solvers_on_dcgan")
    scores = iter(range(1, 101))
    fake = lambda run, how: [SimpleNamespace(name="FD", value=float(next(scores)))]  # noqa: E731
    monkeypatch.setattr(dcgan, "evaluate_run", fake)
    config = dataclasses.replace(
        dcgan.CONFIG, model=dataclasses.replace(dcgan.CONFIG.model, width=2, latent_size=4), batch_size=2, devices=1
    )
    solvers = {name: dcgan.SOLVERS[name] for name in ("gradient", "extra-adam")}
    results = dcgan.measure(tmp_path, (0,), solvers, config, evaluations=8)
    assert [row["looks"][-1]["round"] for row in results["rows"]] == [8, 4]
    assert all(dcgan.claims(results).values())
    monkeypatch.setattr(dcgan, "train", lambda *_: pytest.fail("it was there already"))
    assert dcgan.measure(tmp_path, (0,), solvers, config, evaluations=8) == results


@pytest.mark.slow
def test_what_not_to_do_counts_moves_and_goes_on(tmp_path, monkeypatch):
    ring = script("what_not_to_do")
    how = ring.HOW | {"moves": 60, "looks": 2, "samples": 50}
    arms = {name: ring.ARMS[name] for name in ("in turns", "D above log 4")}
    results = ring.measure(tmp_path, (0,), arms, how)
    assert [row["looks"][-1]["round"] for row in results["rows"]] == [30, 30]
    assert 0 <= results["rows"][1]["moved"]["discriminator"] <= 30
    monkeypatch.setattr(ring, "play", lambda *_: pytest.fail("it was there already"))
    assert ring.measure(tmp_path, (0,), arms, how) == results


@pytest.mark.slow
def test_a_generator_alone_climbs_a_discriminator_that_stands_still(tmp_path):
    frozen = script("frozen_discriminator")
    (stand,) = frozen.measure(tmp_path, (0,), (20,), (0, 60), frozen.HOW | {"samples": 100})["rows"]
    first, last = stand["looks"]
    assert (stand["after"], first["moves"], last["moves"]) == (20, 0, 60)
    assert first["judged"] < last["judged"] <= stand["highest"] + 1e-6 < 1


def test_purity_is_the_share_of_the_most_common_class_of_each_code():
    inside = script("inside_gans")
    codes, labels = np.array([0, 0, 0, 1, 1, 2]), np.array([4, 4, 5, 4, 4, 0])
    assert inside.purity(codes, labels) == pytest.approx(5 / 6)
    assert inside.purity(np.zeros(10, int), np.arange(10)) == pytest.approx(0.1)
    assert inside.purity(np.arange(10), np.arange(10)) == 1


def test_a_critic_s_estimate_is_the_mean_over_the_rounds_since_the_last_look(tmp_path, monkeypatch):
    inside = script("inside_gans")
    rows = [{"step": at, "discriminator/real": at / 10, "discriminator/fake": 0.0} for at in (10, 20, 30, 40)]
    score = lambda step, value: SimpleNamespace(sampling=SimpleNamespace(step=step), value=value)  # noqa: E731
    monkeypatch.setattr(inside, "read_metrics", lambda run: [*rows, {"step": 40, "score/FD-classifier": 1.0}])
    monkeypatch.setattr(inside, "kept", lambda run: [score(40, 5.0), score(20, 9.0)])
    assert inside.progress(tmp_path) == {"step": [20, 40], "estimate": [1.5, 3.5], "frechet": [9.0, 5.0]}


def test_a_model_does_better_with_more_modes_or_as_many_and_more_good_samples():
    better = script("why_not_the_ring").better
    side = lambda found, good: {"found": found, "high_quality": good}  # noqa: E731
    before = side([5, 5, 6], [0.3, 0.3, 0.3])
    for after, told in (
        (side([7, 7, 5], [0.1, 0.2, 0.1]), True),
        (side([5, 5, 5], [0.4, 0.4, 0.1]), True),
        (side([5, 5, 5], [0.3, 0.3, 0.3]), False),
        (side([4, 4, 4], [1.0, 1.0, 1.0]), False),
    ):
        assert better({"before": before, "after": after}) is told


def test_grids_of_every_model_have_a_class_a_column():
    every = script("every_model")
    images = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1).repeat(2, 1).repeat(2, 2)
    figure = every.picture("clothes", {"gan": images, "cgan": images})
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (8, 20) and (shown[::2, ::2] == np.arange(40).reshape(4, 10)).all()
    assert [panel.get_title() for panel in figure.axes[:3]] == ["gan", "cgan", ""]


def test_the_collapse_experiment_watches_what_its_cases_ask_for(tmp_path, monkeypatch):
    signals = script("collapse_signals")
    asked = []
    monkeypatch.setattr(signals, "train", lambda config, folder: asked.append(config))
    monkeypatch.setattr(signals, "read_metrics", lambda folder: [])
    model, rounds, _ = signals.cases()["wgan, not clipped"]
    assert signals.trained("wgan, not clipped", model, rounds, tmp_path) == ([], "")
    for case, _, _ in signals.cases().values():  # every model fits the clothes
        assemble(RunConfig(case, batch_size=32), load("fashion_mnist_small", "train").spec)
    (config,) = asked
    assert (config.model.clip, config.steps, config.batch_size, config.watch_every) == (0.0, 2000, 32, 100)
    assert config.data == "fashion_mnist_small" and signals.seen([])["signals"] == {}


def test_what_lasted_is_the_worst_span_and_a_signal_has_the_round_of_its_first_row():
    signals = script("collapse_signals")
    settled = lambda step: 1.0 if step > 1000 else 0.1 * (step % 3)  # noqa: E731
    rows = [{"step": at, "discriminator/settled": settled(at)} for at in range(20, 2001, 20)]
    found = signals.seen(rows)
    assert found["settled"] == 1.0 and found["settled_once"] == 1.0 and found["slope"] is None
    (first,) = found["signals"]["saturation"]
    assert 1000 + signals.collapse.SPAN - 40 <= first <= 1000 + signals.collapse.SPAN + 40
    assert signals.seen(rows[:50])["signals"] == {}


def test_operations_are_counted_by_kind_the_first_that_fits():
    shares = script("profiling").shares
    told = shares({"loop_convert_fusion": 1.0, "cudnn$conv": 5.0, "all-reduce": 2.0, "mystery": 2.0})
    assert told == {"convolutions": 0.5, "messages": 0.2, "others": 0.2, "casts": 0.1}
    assert shares({}) == {}


@pytest.mark.slow
def test_optimizations_change_one_thing_each_and_predict_from_shapes():
    optimizations = script("biggan_optimizations")
    experiment, source = optimizations.put_together(optimizations.SMALL)
    plain = experiment.config
    for name, config in optimizations.changed(plain).items():
        different = [
            (part, field.name)
            for part in ("model", "training")
            for field in dataclasses.fields(getattr(plain, part))
            if getattr(getattr(plain, part), field.name) != getattr(getattr(config, part), field.name)
        ]
        assert len(different) == (name != optimizations.AS_IT_IS), name
    told = optimizations.predicted(plain, source.spec)
    assert told["operations"] > 1e9 and told["activations"] > 1e6
