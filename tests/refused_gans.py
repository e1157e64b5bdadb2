"""Commands about GANs that make no sense, and what their one line tells: rows of test_refused.py."""

from commands import ALONE, CGAN, DENSE, GAN

GANS = {
    "a conditional model of data without labels": (
        ["train", *CGAN, *ALONE, "--data", "data.npz"],
        ["condition concatenate needs labels", "data.npz has none"],
    ),
    "few labels for a model that wants all": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--labels", 5],
        ["labels 5: gan cannot learn from few labels (acgan can)"],
    ),
    "more labels than examples": (
        ["train", *CGAN, *ALONE, "--data", "labeled.npz", "--labels", 81],
        ["labels 81 is more than there are examples: 72"],
    ),
    "fewer labels than none": (["train", *CGAN, *ALONE, "--data", "labeled.npz", "--labels", -1], ["labels must be"]),
    "a class that does not exist": (
        ["sample", "cgan", "--label", "3"],
        ["unknown label '3'", "or a number in 0 .. 2"],
    ),
    "a class of a model that is told none": (["sample", "gan", "--label", 1], ["gan was not told classes"]),
    "a grid of more classes than there are": (
        ["train", *CGAN, *ALONE, "--data", "labeled.npz", "--training.sample-classes", 4],
        ["4"],
    ),
    "batch norm under a penalty": (
        ["train", "wgan-gp", *DENSE, *ALONE, "--data", "data.npz", "--model.discriminator-norm", "batch"],
        ["penalizes the discriminator's slope at single images", "use a discriminator without batch norm"],
    ),
    "a layer that mixes images under a penalty": (
        ["train", "r1gan", *DENSE, *ALONE, "--data", "data.npz", "--model.minibatch", "deviation"],
        ["penalty r1 is of single images, and minibatch deviation mixes them: choose one"],
    ),
    "a penalty of logits where there are none": (
        ["train", "lsgan", *DENSE, *ALONE, "--data", "data.npz", "--model.penalty", "jensen-shannon"],
        ["jensen-shannon penalty is of logits, and the scores of least-squares are none"],
    ),
    "a penalty that does not exist": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--model.penalty", "r3"],
        ["'r3'", "Did you mean"],
    ),
    "smoothing without a target": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--model.value", "hinge", "--model.label-smoothing", 0.1],
        ["label-smoothing moves the target of", "hinge has none"],
    ),
    "adaptive without augmentation": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--model.techniques.adaptive", 0.6],
        ["adaptive augments nothing without --model.techniques.augment"],
    ),
    "a divergence of no logits": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--model.value", "hinge", "--model.techniques.reverse-kl", 1],
        ["reverse-kl reads the divergence off a logit", "the scores of hinge are none"],
    ),
    "an autoencoder of another prior": (
        ["train", "dcgan", *DENSE, *ALONE, "--data", "data.npz", "--model.techniques.autoencoding", 1],
        ["autoencoding is of a VAE, whose prior is normal, not uniform"],
    ),
    "a deviation of latents that nobody compares": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--model.techniques.latent-deviation", 0.1],
        ["latent-deviation is of comparisons that there are not"],
    ),
    "the weight of a classifier that there is not": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--model.classification-weight", 2],
        ["classification-weight is of a classifier that there is not: set condition auxiliary"],
    ),
    "flipped labels of a game that is left out": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--model.value", "minimax", "--model.techniques.flip-labels"]
        + ["--model.techniques.adversarial-weight", 0, "--model.techniques.feature-matching", 1],
        ["flip-labels changes what adversarial-weight 0 leaves out: use one of them"],
    ),
    "a model beyond all memory": (
        ["train", "dcgan", *ALONE, "--data", "data.npz", "--model.width", 10**9],
        ["too little memory: parameters alone are", "and this machine has"],
    ),
    "half of one image": (
        ["train", *GAN, "--data", "data.npz", "--batch-size", 1, "--devices", 1, "--model.techniques.replay", 4],
        ["replay exchanges half of a batch: make batch-size 2 at least"],
    ),
    "a potential of no width": (
        ["train", "coulomb-gan", *DENSE, *ALONE, "--data", "data.npz", "--model.dimension", "inf"],
        ["dimension must be above 2 and finite, not inf"],
    ),
    "latents near a one-hot one": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--model.prior", "categorical"]
        + ["--model.techniques.latent-consistency", 5],
        ["latent-consistency and latent-diversity compare with latents nearby, and a categorical prior has none"],
    ),
    "a pool of images without their classes": (
        ["train", *CGAN, *ALONE, "--data", "labeled.npz", "--model.techniques.replay", 8],
        ["replay keeps images without their classes: use it with an unconditional model"],
    ),
    "attention in a dense network": (
        ["train", *GAN, *ALONE, "--data", "data.npz", "--model.attention", 4],
        ["attention is for maps, and the mlp network has none"],
    ),
}
