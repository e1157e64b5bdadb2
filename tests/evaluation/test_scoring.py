"""`vaegan evaluate` gives the numbers that its functions give, with cards, whoever made the samples and when."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import ALONE, GAN, VAE, done, refused, vaegan

from vaegan_jax.data import ArraySource
from vaegan_jax.data.batches import order
from vaegan_jax.evaluation import config, frechet, metrics
from vaegan_jax.evaluation.cards import kept
from vaegan_jax.evaluation.evidence import collect, real_batches
from vaegan_jax.evaluation.features import pixels
from vaegan_jax.evaluation.moments import of
from vaegan_jax.evaluation.searching import whole
from vaegan_jax.training.experiment import drawn_labels, generate
from vaegan_jax.training.reading import read

pytestmark = pytest.mark.usefixtures("compiled_once", "there")
PIXELS = ["--features", "pixels", "--count", 200]


def scores(*words):
    """What is told as JSON, by name."""
    return {row["name"]: row for row in json.loads(done("evaluate", *words, "--json"))}


def scaled(images):
    return images.reshape(len(images), -1) / 127.5 - 1


def test_every_metric_has_a_row_and_a_description():
    assert list(metrics.METRICS) and set(metrics.METRICS) == set(config.METRICS)
    assert all(name in done("metrics") for name in metrics.METRICS)


def test_the_frechet_distance_is_that_of_the_samples_that_the_run_draws():
    found = scores("vae-0", "--metrics", "frechet", *PIXELS)["FD-pixels"]
    done("sample", "vae-0", "--count", 200, "--seed", 0, "--output", "samples.npz")
    drawn, real = np.load("samples.npz")["image"], np.load("data.npz")["train_image"][order(0, 0, 300)[:200]]
    expected = frechet.distance(of(scaled(real)), of(scaled(drawn)))
    assert found["value"] == pytest.approx(expected, rel=1e-6)
    card = found["protocol"]
    assert (card["real_count"], card["sample_count"], card["split"], card["features"]) == (200, 200, "train", "pixels")
    assert card["settings"]["covariance"] == "unbiased, 1/(N-1)" and found["sampling"]["step"] == 20


def test_somebody_elses_samples_score_as_the_run_that_drew_them():
    names = "frechet,kernel,precision-recall,density-coverage,prd,vendi,memorization,birthday,sliced-wasserstein,parzen"
    done("sample", "vae-0", "--count", 200, "--seed", 0, "--output", "theirs.npz")
    own = scores("vae-0", "--metrics", names, *PIXELS)
    theirs = scores("--samples", "theirs.npz", "--data", "data.npz", "--metrics", names, *PIXELS)
    assert list(own) == list(theirs) and len(own) >= 14
    for name, row in own.items():
        assert theirs[name]["value"] == row["value"], name
        assert theirs[name]["protocol"] == row["protocol"] | {"data": theirs[name]["protocol"]["data"]}


def test_a_folder_of_pictures_scores_as_the_file():
    from PIL import Image

    images = np.load("data.npz")["test_image"]
    for number, image in enumerate(images):
        path = f"pictures/{number:03d}.png"
        shutil.os.makedirs("pictures", exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    np.savez("test.npz", image=images)
    words = ["--data", "data.npz", "--metrics", "frechet", "--features", "pixels"]
    assert scores("--samples", "pictures", *words)["FD-pixels"]["value"] == pytest.approx(
        scores("--samples", "test.npz", *words)["FD-pixels"]["value"], rel=1e-12
    )


def test_training_images_are_found_to_be_copies_and_test_images_are_not():
    data = np.load("data.npz")
    for name in ("train", "test"):
        np.savez(f"{name}-copies.npz", image=data[f"{name}_image"][:100])
    words = ["--data", "data.npz", "--metrics", "memorization", "--features", "pixels"]
    copies, others = (scores("--samples", f"{name}-copies.npz", *words) for name in ("train", "test"))
    assert copies["AuthPct-pixels"]["value"] == 0 and copies["nearer-train-pixels"]["value"] == 1
    assert others["nearer-train-pixels"]["value"] == 0
    # Also those that the comparison with few real images does not look at.
    copies = scores("--samples", "train-copies.npz", *words, "--count", 100, "--real-count", 30)
    assert copies["AuthPct-pixels"]["value"] == 0 and copies["nearer-train-pixels"]["value"] == 1
    card = copies["AuthPct-pixels"]["protocol"]
    assert card["real_count"] == 300 and card["settings"] == {"training images": "all 300", "test images": 100}


def test_a_whole_data_set_is_held_on_the_disk_and_read_in_blocks():
    source = ArraySource({"image": np.load("data.npz")["train_image"][:40]}, "made up")
    found = whole(source, (8, 8, 1), pixels.extractor((8, 8, 1)))
    images = source.arrays["image"]
    assert isinstance(found.features, np.memmap) and found.pixels.shape == (40, 64) and len(found.pixels) == 40
    np.testing.assert_allclose(found.features, scaled(images), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.pixels[3:9], images[3:9].reshape(6, 64))
    np.testing.assert_array_equal(found.pixels.images(np.array([7, 2])), images[[7, 2]])


def test_training_evaluates_as_evaluate_does_and_keeps_best_and_final():
    during = {score.sampling.step: score for score in kept_of("vae-1", "FD-pixels")}
    assert sorted(during) == [8, 16, 20]
    after = scores("vae-1", "--metrics", "frechet", *PIXELS)["FD-pixels"]
    assert during[20].value == after["value"]
    rows = [json.loads(line) for line in Path("vae-1/metrics.jsonl").read_text().splitlines()]
    assert {row["step"]: row["score/FD-pixels"] for row in rows if "score/FD-pixels" in row} == {
        step: score.value for step, score in during.items()
    }


def test_evaluating_changes_nothing_of_the_training():
    words = ["train", *VAE, *ALONE, "--data", "data.npz", "--steps", 20, "--seed", 0, "--run", "plain"]
    done(*words, "--training.log-interval-steps", "5")
    state = [json.loads(done("inspect", run, "--json"))["sha256"]["state"] for run in ("plain", "vae-0")]
    assert state[0] == state[1]


def test_the_order_of_a_file_makes_no_difference_to_what_is_drawn_from_it():
    image = np.load("data.npz")["train_image"]
    kinds = np.concatenate([image[kind::4] for kind in range(4)])  # sorted by class
    np.savez("sorted.npz", image=kinds)
    words = ["--data", "data.npz", "--metrics", "frechet", "--features", "pixels", "--count", 120]
    found = scores("--samples", "sorted.npz", *words)["FD-pixels"]
    np.savez("one-class.npz", image=kinds[:120])
    assert found["value"] < 0.2 * scores("--samples", "one-class.npz", *words)["FD-pixels"]["value"]


def test_real_images_can_be_more_than_samples():
    words = ["vae-0", "--metrics", "frechet", *PIXELS]
    card = scores(*words, "--real-count", 250)["FD-pixels"]["protocol"]
    assert (card["real_count"], card["sample_count"]) == (250, 200)


def test_pixels_of_large_images_need_no_covariance():
    image = np.random.default_rng(0).integers(0, 256, (60, 40, 40, 3), dtype=np.uint8)
    np.savez("large.npz", train_image=image[:40], test_image=image[40:])
    np.savez("large-samples.npz", image=image[20:])
    words = ["--samples", "large-samples.npz", "--data", "large.npz", "--metrics", "frechet", "--features", "pixels"]
    found = scores(*words)["FD-pixels"]
    real, drawn = (scaled(image[chosen]) for chosen in (slice(0, 40), slice(20, 60)))
    assert found["value"] == pytest.approx(frechet.distance_of_features(real, drawn).distance, rel=1e-6)
    assert found["protocol"]["settings"]["form"] == "nuclear"


def test_a_training_without_test_images_takes_no_score_that_needs_them():
    np.savez("untested.npz", train_image=np.load("data.npz")["train_image"])
    words = ["train", *VAE, *ALONE, "--data", "untested.npz", "--steps", 8, "--run", "untested", "--evaluate-every", 8]
    code, _, err = vaegan(*words, "--evaluation.metrics", "elbo")
    assert code == 2 and "elbo cannot be measured: it needs test images" in err


def test_a_score_is_that_of_the_state_and_the_seed():
    first, again, other = (scores("gan", "--metrics", "kernel", "--seed", seed, *PIXELS) for seed in (0, 0, 1))
    assert first["KD-pixels"]["value"] == again["KD-pixels"]["value"] != other["KD-pixels"]["value"]


def test_what_is_gathered_does_not_depend_on_how_images_come():
    images = np.load("data.npz")["train_image"][:100]
    needs = frozenset({"moments", "features", "images"})
    whole, *others = (
        collect(((images[at : at + size], None) for at in range(0, 100, size)), pixels.extractor((8, 8, 1)), needs)
        for size in (100, 7, 33)
    )
    for other in others:
        np.testing.assert_array_equal(other.features, whole.features)
        np.testing.assert_array_equal(other.images, images)
        np.testing.assert_array_equal(other.moments.scatter, whole.moments.scatter)
    assert whole.count == 100


def test_real_images_are_a_fixed_choice_with_their_labels():
    from vaegan_jax.data import load

    source = load("data.npz", "train")
    batches = list(real_batches(source, 270, (8, 8, 1)))
    chosen = order(0, 0, 300)[:270]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), source.arrays["image"][chosen])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), source.arrays["label"][chosen])


@pytest.mark.slow
def test_the_default_is_a_classifier_of_the_data_for_gray_images_with_labels():
    out = done("evaluate", "vae-2", "--count", 100)
    assert "classifier features" in out and "FD-classifier" in out and "-ELBO" in out
    assert "IS-classifier" in done("evaluate", "gan", "--metrics", "inception-score", "--count", 100)


@pytest.mark.slow
def test_label_accuracy_is_the_share_of_labels_that_the_data_s_classifier_agrees_with():
    """Real test images, of which a fifth are given another class: what is left is the classifier's own accuracy."""
    file = np.load("data.npz")
    images, labels = file["test_image"], file["test_label"].copy()
    labels[:20] = (labels[:20] + 1) % 4
    labels[labels == 2] = np.where(np.arange((labels == 2).sum()) < 5, 3, 2)
    right = (labels == file["test_label"]).mean()
    np.savez("named.npz", image=images, label=labels)
    found = scores("--samples", "named.npz", "--data", "data.npz", "--metrics", "label-accuracy", "--output", "named")
    card = found["label-accuracy-classifier"]
    assert card["protocol"]["settings"]["classifier accuracy"] == 1.0
    assert card["value"] == pytest.approx(right) and card["better"] == "higher"
    each = [(labels[labels == k] == file["test_label"][labels == k]).mean() for k in range(4)]
    assert card["notes"]["worst class"] == pytest.approx(min(each))
    assert card["notes"]["which is"] == str(int(np.argmin(each)))
    told = scores("cgan", "--metrics", "label-accuracy,classification-accuracy", "--count", 150)
    assert [card["protocol"]["sample_count"] for card in told.values()] == [150, 150]


def test_the_classes_that_samples_draw_are_known_and_asking_for_them_changes_no_image():
    experiment, state, _ = read("cgan")
    labels = drawn_labels(experiment, 300, 5)
    assert set(labels) == {0, 1, 2, 3}
    by_itself, asked = (generate(experiment, state.params, state.stats, 300, 5, given) for given in (None, labels))
    np.testing.assert_array_equal(by_itself, asked)
    other = generate(experiment, state.params, state.stats, 300, 5, (labels + 1) % 4)
    assert (other != asked).any((1, 2, 3)).all()
    assert drawn_labels(read("gan")[0], 300, 5) is None


@pytest.mark.slow
def test_likelihoods_and_geometry_are_measured_with_their_protocol():
    names = "elbo,nll,ais,active-units,conditioning"
    few = ["--likelihood-count", 8, "--importance-samples", 50, "--temperatures", 20, "--binarization", "static"]
    found = scores("vae-0", "--metrics", names, *few)
    assert found["NLL"]["value"] < found["-ELBO"]["value"] and found["NLL"]["protocol"]["real_count"] == 8
    assert found["NLL"]["protocol"]["settings"]["binarization"] == "static"
    assert found["NLL"]["notes"]["bits per dimension"] == pytest.approx(found["NLL"]["value"] / (64 * np.log(2)))
    assert abs(found["NLL-AIS"]["value"] - found["NLL"]["value"]) < 5


BAD = {
    "nobody to score": (["--metrics", "frechet"], "name a run, or give --samples"),
    "both a run and samples": (["vae-0", "--samples", "data.npz"], "name a run, or give --samples"),
    "samples without data": (["--samples", "data.npz"], "--samples needs --data NAME"),
    "a metric that does not exist": (["vae-0", "--metrics", "fid"], "unknown metric 'fid'"),
    "features that do not exist": (["vae-0", "--features", "inceptoin"], "inceptoin"),
    "no run": (["nowhere"], "there is no run nowhere"),
    "a resizer that is Inception's": (["vae-0", "--resizer", "tf1"], "add --features inception"),
    "no samples asked for": (["vae-0", "--count", 0], "count must be at least 1, not 0"),
    "an extractor without weights": (["vae-0", "--features", "inception"], "vaegan weights import"),
    "a network that a package has": (["vae-0", "--features", "vgg16"], "vaegan weights fetch vgg16"),
    "logits of pixels": (["vae-0", "--metrics", "inception-score", *PIXELS], "pixels has no classes to tell"),
    "the bound of a GAN": (["gan", "--metrics", "nll"], "nll cannot be measured: it needs a model with an encoder"),
    "a model where there are samples": (
        ["--samples", "few.npz", "--data", "data.npz", "--metrics", "conditioning"],
        "name a run, not samples",
    ),
    "labels where there are none": (["vae-0", "--metrics", "classification-accuracy"], "it needs labeled samples"),
    "classes that nobody was told": (["gan", "--metrics", "label-accuracy"], "it needs labeled samples"),
    "classes of pixels": (
        ["--samples", "labeled.npz", "--data", "data.npz", "--metrics", "label-accuracy", *PIXELS],
        "pixels has no classes to tell",
    ),
    "digits that are not stacked": (["vae-0", "--metrics", "stacked-modes"], "it needs stacked digits"),
    "too few samples for neighbors": (
        ["vae-0", "--metrics", "precision-recall", "--features", "pixels", "--count", 3],
        "precision-recall needs 4 samples",
    ),
    "one sample": (["vae-0", "--metrics", "frechet", "--features", "pixels", "--count", 1], "frechet needs 2 samples"),
    "noise on black and white": (
        ["vae-0", "--metrics", "elbo", "--dequantization", "uniform"],
        "choose --binarization",
    ),
    "an output of a run": (["vae-0", "--output", "there"], "--output is for --samples"),
    "no data any more": (["vae-0", "--data", "gone.npz"], "gone.npz"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_measured_is_told_in_one_line(case):
    words, told = BAD[case]
    assert told in refused("evaluate", *words)


SAMPLES = {
    "another shape": (lambda: {"image": np.zeros((20, 9, 8, 1), np.uint8)}, "samples are (9, 8, 1)"),
    "color": (lambda: {"image": np.zeros((20, 8, 8, 3), np.uint8)}, "samples are (8, 8, 3)"),
    "another range": (lambda: {"image": np.full((20, 8, 8, 1), 2.0)}, "[-1, 1]"),
    "another type": (lambda: {"image": np.zeros((20, 8, 8, 1), np.int64)}, "int64"),
    "another scale": (lambda: {"image": np.full((20, 8, 8, 1), 0.5)}, "scale them from [0, 1]"),
    "NaN": (lambda: {"image": np.full((20, 8, 8, 1), np.nan)}, "NaN"),
    "no images": (lambda: {"latents": np.zeros(3)}, 'no array "image" (it has: latents)'),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_samples_that_are_none_are_told_in_one_line(case):
    make, told = SAMPLES[case]
    np.savez("bad.npz", **make())
    assert told in refused("evaluate", "--samples", "bad.npz", "--data", "data.npz", *PIXELS)


def test_files_that_hold_no_samples_are_told_in_one_line(there):
    (there / "text.npz").write_text("dear reader")
    whole = (there / "data.npz").read_bytes()
    (there / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (there / "flipped.npz").write_bytes(whole[:300] + bytes(8) + whole[308:])
    np.save(there / "alone.npy", np.zeros((4, 8, 8, 1), np.uint8))
    for name in ("cut.npz", "flipped.npz", "alone.npy"):
        assert name in refused("evaluate", "--samples", name, "--data", "data.npz", *PIXELS)
    (there / "nothing").mkdir(exist_ok=True)
    assert "text.npz" in refused("evaluate", "--samples", "text.npz", "--data", "data.npz")
    assert "no pictures" in refused("evaluate", "--samples", "nothing", "--data", "data.npz")
    assert "there is no file" in refused("evaluate", "--samples", "gone.npz", "--data", "data.npz")


def test_an_evaluation_that_training_could_not_do_is_told_before_it(there):
    words = ["train", *GAN, *ALONE, "--data", "data.npz", "--steps", 20, "--run", "refused", "--evaluate-every", 10]
    assert "nll cannot be measured" in refused(*words, "--evaluation.metrics", "nll")
    assert not list((there / "refused" / "checkpoints").glob("[0-9]*"))


def test_interrupted_results_are_none(there):
    before = (there / "gan" / "scores.jsonl").read_bytes() if (there / "gan" / "scores.jsonl").exists() else b""
    assert vaegan("evaluate", "gan", "--metrics", "frechet,inception-score", *PIXELS).code == 2
    after = (there / "gan" / "scores.jsonl").read_bytes() if (there / "gan" / "scores.jsonl").exists() else b""
    assert before == after  # all that was asked for, or nothing


def kept_of(run, name):

    return [score for score in kept(Path(run)) if score.name == name]
