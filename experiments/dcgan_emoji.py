"""A DCGAN at 64x64 in color: after 20 epochs of emoji, centered shapes in their colors, on white, and no things yet.

    python experiments/dcgan_emoji.py

Claim: width 16, batches of 64, 5,028 emoji of three styles, without their variants of skin tone (most of the set
otherwise), all else as `vaegan train gan` has it. The pictures say it: figures/dcgan_emoji.png (data, epochs 1, 5 and
20 from the same latents) and figures/dcgan_emoji.gif (those latents from the first rounds to the last). An epoch is 78
rounds: after 1 there is noise, after 5 a gray square, after 20 yellow discs, rounded squares and flags of blurred
stripes; --width 64 --epochs 1 5 100 is for a faster machine. 12 minutes on two CPU cores that others used, too, once
`python experiments/fetch_data.py emoji` has brought the data. Writes runs/dcgan_emoji and results/dcgan_emoji.json,
with the losses and speeds. Interrupted, it goes on where it was.
"""

from common import options
from dcgan_fashion import drawing, experiment

from vaegan_jax.data import ArraySource, load
from vaegan_jax.data.batches import resident
from vaegan_jax.models import gan
from vaegan_jax.training.config import RunConfig


def without_skin_tones() -> ArraySource:
    """The training images of the emoji set whose attribute "skin" is 0, the plain yellow or no skin at all."""
    source = load("emoji", "train")
    arrays, names = resident(source), [name for name, _ in source.spec.attributes]
    plain = arrays["attributes"][:, names.index("skin")] == 0
    return ArraySource({"image": arrays["image"][plain]}, "emoji without skin tones")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--width", type=int, default=16, help="channels of the first layer (default: %(default)s)")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 5, 20], help="shown (default: 1 5 20)")
    arguments = parser.parse_args()
    source = without_skin_tones()
    config = RunConfig(gan.Config(width=arguments.width), data="emoji", batch_size=64, seed=arguments.seed)
    config = drawing(config, source, arguments.epochs[-1], shown=25)
    experiment("dcgan_emoji", config, source, arguments.epochs, arguments.runs)


if __name__ == "__main__":
    main()
