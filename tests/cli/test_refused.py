"""What is wrong is told in one line with exit code 2, and changes nothing."""

import pytest
from commands import ALONE, GAN, TRAIN, VAE, contents, vaegan
from refused_gans import GANS

pytestmark = pytest.mark.usefixtures("compiled_once")
BAD = GANS | {
    "a command that does not exist": (["trian"], ["unknown command 'trian'", "Did you mean 'train'?"]),
    "a model that does not exist": (["train", "vea"], ["unknown model 'vea'", "Did you mean 'vae'?"]),
    "a model that is planned": (["train", "stylegan"], ["model 'stylegan' is planned, not ready", "vae, gan"]),
    "a data set that does not exist": (
        ["train", "--data", "fashion_mnist_smal"],
        ["unknown data set 'fashion_mnist_smal'", "Did you mean 'fashion_mnist_small'?"],
    ),
    "no images in a batch": ([*TRAIN, "--batch-size", 0], ["batch-size must be at least 1, not 0"]),
    "steps below zero": ([*TRAIN, "--steps", -5], ["steps must be at least 1, not -5"]),
    "no steps": ([*TRAIN, "--steps", 0], ["steps must be at least 1, not 0"]),
    "beta below zero": ([*TRAIN, "--model.beta", -0.5], ["beta must be 0 or more and finite, not -0.5"]),
    "beta not a number": ([*TRAIN, "--model.beta", "nan"], ["beta must be 0 or more and finite, not nan"]),
    "no latents": ([*TRAIN, "--model.latent-size", 0], ["latent-size must be at least 1, not 0"]),
    "an empty layer": ([*TRAIN, "--model.hidden-sizes", 8, 0], ["hidden-sizes must be at least 1 each, not (8, 0)"]),
    "a constant without its solver": (
        [*TRAIN, "--solver.step", 0.3],
        ["solver gradient has no step: it has no constants"],
    ),
    "a constant of another solver": (
        [*TRAIN, "--solver.k", 3, "--solver", "consensus"],
        ["solver consensus has no k: it has gamma"],
    ),
    "a constant out of range": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--solver", "extragradient", "--solver.step", 0],
        ["step must be above 0, not 0.0"],
    ),
    "a solver for two on a VAE": (
        [*TRAIN, "--solver", "competitive", "--run", "new"],
        ["solver competitive needs two players, and here vae alone moves"],
    ),
    "a solver of a player that does not exist": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--solver", "unrolled", "--solver.player", "generater"],
        ["unknown player 'generater'. Did you mean 'generator'?"],
    ),
    "dynamics below zero": ([*TRAIN, "--dynamics-every", -1], ["dynamics-every must be 0 (never) or more, not -1"]),
    "watching below zero": ([*TRAIN, "--watch-every", -1], ["watch-every must be 0 (never) or more, not -1"]),
    "stopping blindly": (
        [*TRAIN, "--watch-every", 0, "--on-collapse", "stop"],
        ["on-collapse stop is blind for spectra and samples with watch-every 0"],
    ),
    "a way back to nowhere": (
        [*TRAIN, "--on-collapse", "rollback", "--training.checkpoint-interval-steps", 0],
        ["on-collapse rollback goes back to checkpoints, and training.checkpoint-interval-steps 0 makes none"],
    ),
    "no way back": ([*TRAIN, "--rollbacks", 0], ["rollbacks must be at least 1, not 0"]),
    "classes in a grid of a model without": (
        [*TRAIN, "--training.sample-classes", 3],
        ["vae was not told classes, so there is no label to choose"],
    ),
    "a learning rate of zero": (
        [*TRAIN, "--model.optimizer.learning-rate", 0],
        ["learning-rate must be above 0 and finite, not 0.0"],
    ),
    "a learning rate below zero": (
        ["train", *GAN, *ALONE, "--model.generator-optimizer.learning-rate", -1e-3],
        ["learning-rate must be above 0 and finite, not -0.001"],
    ),
    "a learning rate without end": (
        [*TRAIN, "--model.optimizer.learning-rate", "inf"],
        ["learning-rate must be above 0 and finite, not inf"],
    ),
    "a seed below zero": ([*TRAIN, "--seed", -1], ["seed must be in 0 .. 2^32 - 1, not -1"]),
    "a seed of 33 bits": ([*TRAIN, "--seed", 2**32], ["seed must be in 0 .. 2^32 - 1, not 4294967296"]),
    "an interval below zero": (
        [*TRAIN, "--training.checkpoint-interval-steps", -1],
        ["training.checkpoint-interval-steps must be 0 or more, not -1"],
    ),
    "no checkpoints kept": (
        [*TRAIN, "--training.keep-checkpoints", 0],
        ["training.keep-checkpoints must be at least 1, not 0"],
    ),
    "a batch that devices cannot share": (
        [*TRAIN, "--devices", 3],
        ["batch-size 8 is not divisible by 3 devices x 1 micro-batches"],
    ),
    "a batch that micro-batches cannot share": (
        [*TRAIN, "--training.micro-batches", 3],
        ["batch-size 8 is not divisible by 1 devices x 3 micro-batches"],
    ),
    "a split over groups that there are not": (
        [*TRAIN, "--devices", 2, "--shard", "all", "--shard-over", 3],
        ["shard-over must be 0 (all) or a divisor of 2 devices, not 3"],
    ),
    "a plan of a split over groups that there are not": (
        ["plan", "--shard", "all", "--shard-over", 3],
        ["shard-over must be 0 (all) or a divisor of 128 devices, not 3"],
    ),
    "a batch that both cannot share": (
        [*TRAIN, "--devices", 2, "--training.micro-batches", 3],
        ["batch-size 8 is not divisible by 2 devices x 3 micro-batches"],
    ),
    "seventeen devices": (
        [*TRAIN, "--devices", 17, "--batch-size", 17 * 8],
        ["17 devices asked for, but there are", "16 is the most"],
    ),
    "more devices than were made": ([*TRAIN, "--devices", 8], ["8 devices asked for, but there are 4 (cpu)"]),
    "devices below zero": ([*TRAIN, "--devices", -1], ["devices must be 0 (all) or more, not -1"]),
    "a run that exists": ([*TRAIN, "--run", "vae"], ["vae exists already", "vaegan resume vae"]),
    "a run in a folder with other things": ([*TRAIN, "--run", "letters"], ["letters exists already", "choose another"]),
    "a run in place of a file": ([*TRAIN, "--run", "file"], ["file exists already"]),
    "a run in a file": ([*TRAIN, "--run", "file/run"], ["cannot make the run folder file/run"]),
    "a run with an endless name": ([*TRAIN, "--run", "r" * 300], ["cannot make the run folder", "too long"]),
    "images with a NaN": (
        ["train", *VAE, *ALONE, "--data", "nan.npz", "--run", "new"],
        ["nan.npz: image 17 holds NaN or Inf"],
    ),
    "data that are not there": (
        ["train", *VAE, *ALONE, "--data", "none.npz", "--run", "new"],
        ["none.npz; give the path of an .npz file"],
    ),
    "data with an endless name": (["train", "--data", "d" * 300 + ".npz", "--run", "new"], [".npz"]),
    "data that are text": (
        ["train", *VAE, *ALONE, "--data", "text.npz", "--run", "new"],
        ["text.npz: this is not an .npz file"],
    ),
    "images that do not halve": (
        ["train", "gan", *ALONE, "--data", "odd.npz", "--run", "new"],
        ["a DCGAN halves images", "7x7", "mlp"],
    ),
    "going on with fewer steps": (["resume", "gan", "--steps", 3], ["gan is at round 5 already, beyond 3"]),
    "going on with no steps": (["resume", "gan", "--steps", 0], ["steps must be at least 1, not 0"]),
    "going on without the data": (["resume", "vae"], ["gone.npz; give the path of an .npz file"]),
    "going on with data that are text": (["resume", "undone"], ["text.npz: this is not an .npz file"]),
    "going on with other images": (["resume", "changed"], ["data.npz is not the data", "sha256 differs"]),
    "going on with images of other sides": (["resume", "reshaped"], ["odd.npz is not the data", "sha256 differs"]),
    "going on with another model": (
        ["resume", "swapped"],
        ["the checkpoint is of another model than config.json says", "should be"],
    ),
    "samples of another model": (
        ["sample", "swapped"],
        ["the checkpoint is of another model than config.json says", "should be"],
    ),
    "no samples": (["sample", "vae", "--count", 0], ["count must be at least 1, not 0"]),
    "samples by a seed below zero": (["sample", "vae", "--seed", -1], ["seed must be in 0 .. 2^32 - 1, not -1"]),
    "samples as a text": (["sample", "vae", "--output", "s.txt"], ["output must end in .png or .npz, not 's.txt'"]),
    "samples without a suffix": (["sample", "vae", "--output", "s"], ["output must end in .png or .npz, not 's'"]),
    "samples in a file": (["sample", "vae", "--output", "file/s.png"], ["cannot write file/s.png"]),
    "samples in a file, as arrays": (["sample", "vae", "--output", "file/s.npz"], ["cannot write file/s.npz"]),
    "samples where nothing can be": (["sample", "vae", "--output", "/proc/none/s.png"], ["cannot write /proc/none"]),
    "a grid of a million": (["sample", "vae", "--count", 10**6], ["10,000 images at most", ".npz"]),
    "no rows": (["interpolate", "vae", "--count", 0], ["count must be at least 1, not 0"]),
    "a row of one image": (["interpolate", "vae", "--steps", 1], ["steps must be at least 2, one for each end, not 1"]),
    "rows by a seed below zero": (["interpolate", "vae", "--seed", -1], ["seed must be in 0 .. 2^32 - 1, not -1"]),
    "rows as a text": (["interpolate", "vae", "--output", "i.txt"], ["output must end in .png, .gif or .npz"]),
    "rows in a file": (["interpolate", "vae", "--output", "file/i.gif"], ["cannot write file/i.gif"]),
    "a grid of ten thousand rows": (["interpolate", "vae", "--count", 10**4], ["10,000 images at most", ".npz"]),
    "rows between classes that nobody told": (
        ["interpolate", "vae", "--between", "classes"],
        ["vae was not told classes, so there is nothing between them"],
    ),
    "rows of a class that nobody told": (
        ["interpolate", "vae", "--label", 1],
        ["vae was not told classes, so there is no label to choose"],
    ),
    "reconstructions of a GAN": (["reconstruct", "gan"], ["gan cannot reconstruct: it has no encoder"]),
    "reconstructions without the data": (["reconstruct", "vae"], ["gone.npz; give the path of an .npz file"]),
    "reconstructions of other images": (["reconstruct", "reshaped"], ["odd.npz has images of (7, 7, 1)", "(8, 8, 1)"]),
    "no reconstructions": (["reconstruct", "vae", "--count", 0], ["count must be at least 1, not 0"]),
    "reconstructions as a text": (["reconstruct", "vae", "--output", "r.txt"], ["output must end in .png or .npz"]),
    "a plan for a chip that does not exist": (["plan", "--chip", "h10"], ["unknown chip 'h10'. Did you mean 'h100'"]),
    "a plan of a resolution that BigGAN does not have": (
        ["plan", "biggan", "--resolution", 1024],
        ["BigGAN has 32, 64, 128, 256 and 512 pixels, not 1024x1024"],
    ),
    "a plan of a batch that devices cannot share": (
        ["plan", "--batch-size", 100],
        ["batch-size 100 is not divisible by 128 devices x 1 micro-batches"],
    ),
    "a plan of a model that does not exist": (["plan", "bigan"], ["planned, not ready"]),
    "a plan for no devices": (["plan", "--devices", 0], ["devices must be at least 1, not 0"]),
    "a plan of no rounds": (["plan", "--steps", 0, "--images", 5], ["--steps and --images must be at least 1"]),
    "an average that begins after the end": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--steps", 5, "--training.ema-start-kimg", 1],
        ["training.ema-start-kimg 1 is after the end: 5 rounds show 40 images"],
    ),
    "the beginning of no average": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--training.ema-halflife-kimg", 0]
        + ["--training.ema-start-kimg", 1],
        ["training.ema-start-kimg is of an average that there is not"],
    ),
    "rollbacks of a run that only warns": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--rollbacks", 7],
        ["rollbacks 7 are of --on-collapse rollback, and on-collapse warn makes none"],
    ),
    "statistics that only an import fills": (
        ["train", "biggan", "--model.width", 4, *ALONE, "--data", "labeled.npz", "--model.statistics-bins", 3],
        ["statistics-bins are filled by an import alone"],
    ),
    "a plan of two lengths": (["plan", "--steps", 1, "--images", 1], ["--steps and --images both say how long"]),
    "a plan of a conditional model without classes": (["plan", "--classes", 0], ["condition projection needs labels"]),
    "a plan at more than the peak": (["plan", "--utilization", 1.5], ["utilization must be above 0 and at most 1"]),
    "a sheet of no data set": (["data", "show"], ["show needs the NAME of a data set"]),
    "a sheet of an unknown data set": (["data", "show", "fashon_mnist_small"], ["Did you mean 'fashion_mnist_small'?"]),
    "a sheet as arrays": (["data", "show", "data.npz", "--output", "s.npz"], ["output must end in .png, not 's.npz'"]),
    "a sheet in a file": (["data", "show", "data.npz", "--output", "file/s.png"], ["cannot write file/s.png"]),
}
for command in ("resume", "sample", "interpolate", "reconstruct", "inspect"):
    BAD |= {
        f"{command} of nothing": ([command, "none"], ["there is no run none: the folder does not exist"]),
        f"{command} of a folder that is no run": (
            [command, "letters"],
            ["letters is not a run: it has no config.json"],
        ),
        f"{command} of an empty folder": ([command, "empty"], ["empty is not a run: it has no config.json"]),
        f"{command} of a file": ([command, "file"], ["file is not a run: it has no config.json"]),
        f"{command} of a name without end": ([command, "r" * 300], ["File name too long"]),
        f"{command} of a torn config.json": ([command, "torn"], ["torn/config.json is not a run's configuration"]),
        f"{command} of another format": ([command, "future"], ["is of format 2, this version reads format 1"]),
    }
    if command != "resume":
        BAD[f"{command} before the first checkpoint"] = (
            [command, "unsaved"],
            ["unsaved has no checkpoint yet", "vaegan resume unsaved"],
        )


@pytest.mark.parametrize("words, told", BAD.values(), ids=BAD)
def test_what_is_wrong_is_told_in_one_line_and_changes_nothing(words, told, place, monkeypatch):
    monkeypatch.chdir(place)
    before = contents(place)
    code, out, err = vaegan(*words)
    assert code == 2 and out == ""
    assert err.startswith("vaegan: error: ") and err.count("\n") == 1 and err.endswith("\n")
    for fragment in told:
        assert fragment in err
    assert contents(place) == before


UNPARSED = {
    "no command": (
        [],
        "Expected one of {train, resume, sample, interpolate, reconstruct, inspect, models, data, evaluate, compare,",
    ),
    "no folder": (["sample"], "Missing from vaegan sample: DIR"),
    "a flag that does not exist": ([*TRAIN, "--stepz", 3], "unknown option --stepz. Did you mean --steps?"),
    "a model's flag that does not exist": (
        [*TRAIN, "--model.latent-sise", 3],
        "unknown option --model.latent-sise. Did you mean --model.latent-size?",
    ),
    "a flag of training that does not exist": (
        [*TRAIN, "--training.log-steps", 3],
        "unknown option --training.log-steps. Did you mean --training.log-interval-steps?",
    ),
    "a flag of another model": (
        [*TRAIN, "--model.discriminator-moves", 3],
        "--model.discriminator-moves is an option of another model or command",
    ),
    "a flag of sampling that does not exist": (["sample", "vae", "--cuont", 3], "Did you mean --count?"),
    "a flag of inspecting that does not exist": (["inspect", "vae", "--jsn"], "Did you mean --json?"),
    "a model after the flags that does not exist": (
        ["train", "--steps", 3, "vea"],
        "unknown model 'vea'. Did you mean 'vae'?",
    ),
    "a planned model after the flags": (["train", "--steps", 3, "stylegan"], "model 'stylegan' is planned, not ready"),
    "steps in words": ([*TRAIN, "--steps", "many"], "--steps: 'many' is not a whole number"),
    "half a step": ([*TRAIN, "--steps", "1.5"], "--steps: '1.5' is not a whole number"),
    "a rate in words": (
        [*TRAIN, "--model.optimizer.learning-rate", "small"],
        "--model.optimizer.learning-rate: 'small' is not a number",
    ),
    "a lift that does not exist": (
        [*TRAIN, "--parallel", "pmaped"],
        "unknown --parallel 'pmaped'. Did you mean 'pmapped'? There are: pmapped, sharded",
    ),
    "a solver that does not exist": (
        [*TRAIN, "--solver", "extragradiant"],
        "unknown --solver 'extragradiant'. Did you mean 'extragradient'? There are: alternating, ",
    ),
    "a constant of solvers that does not exist": (
        [*TRAIN, "--solver.stp", 0.1],
        "unknown option --solver.stp. Did you mean --solver.step?",
    ),
    "a constant in words": ([*TRAIN, "--solver.gamma", "much"], "--solver.gamma: 'much' is not a number"),
    "a network that does not exist": ([*TRAIN, "--model.network", "mpl"], "'mlp'"),
    "a flag without its value": ([*TRAIN, "--run"], "Missing value for argument '--run'"),
    "a word too many": (["models", "all"], "'all' is one word too many"),
    "a word after the model": (["train", "vae", "fast"], "'fast' is one word too many"),
    "an action that does not exist": (["data", "lsit"], "Expected one of ('list', 'prepare', 'show')"),
}


@pytest.mark.parametrize("words, told", UNPARSED.values(), ids=UNPARSED)
def test_what_cannot_be_parsed_is_told_in_one_line_that_names_the_nearest(words, told, place, monkeypatch):
    monkeypatch.chdir(place)
    before = contents(place)
    code, out, err = vaegan(*words)
    assert code == 2 and out == ""
    assert err.startswith("vaegan: error: ") and err.count("\n") == 1 and "│" not in err
    assert told in err and "--help" in err or "There are: " in err
    assert contents(place) == before
