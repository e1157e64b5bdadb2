"""Networks whose features are compared, by name; a score is named after its network."""

from collections.abc import Callable

from vaegan_jax.data.sources import DataSpec, Source
from vaegan_jax.errors import check
from vaegan_jax.evaluation.config import Evaluation
from vaegan_jax.evaluation.features.extractor import Extractor


def choose(
    how: Evaluation,
    source: Source,
    held_out: Source | None,
    shape: tuple[int, int, int],
    report: Callable[[int, int], None] | None = None,
) -> tuple[Extractor, float | None]:
    """The extractor that is asked for, "auto" being `default`'s; of a classifier with its accuracy on `held_out`.

    The classifier is trained on `source` unless it has been.
    `shape` is that of the images, `report` hears of the rounds of that training. Raises UserError for weights that are
    not there (says how to get them), and for a classifier of data without labels.
    """
    from vaegan_jax.evaluation import weights
    from vaegan_jax.evaluation.features import alexnet, classifier, efficientnet, inception, pixels, vgg16

    pretrained = {
        "inception": inception.extractor,
        "efficientnet_lite0": efficientnet.extractor,
        "vgg16": vgg16.extractor,
        "alexnet": alexnet.extractor,
    }
    name = default(source.spec) if how.features == "auto" else how.features
    if name == "pixels":
        return pixels.extractor(shape), None
    if name == "classifier":
        whole = source.spec.image_shape
        told = f"the classifier sees whole images of {whole}, and the model makes {shape}: choose --features pixels"
        check(shape == whole or not source.spec.classes, told)
        told = f"the classifier's features need test images of {source.spec.name}: choose --features pixels"
        check(held_out is not None or not source.spec.classes, told)
        classifier.require_labels(source.spec)
        found = classifier.trained(source, held_out, report=report)
        return classifier.extractor(found), found.accuracy
    arrays, sha256 = weights.load(name)
    settings = {"resizer": how.resizer} if name == "inception" else {}
    return pretrained[name](arrays, sha256, **settings), None


def default(spec: DataSpec) -> str:
    """What suits the data: for color the best pretrained network that is there, else a classifier, else pixels.

    Networks trained on photographs see less in digits and clothes than pixels do, and less than a small classifier.
    """
    from vaegan_jax.evaluation import weights

    if spec.image_shape[2] == 3:
        for name in ("inception", "efficientnet_lite0"):
            if weights.present(name):
                return name
    return "classifier" if spec.classes else "pixels"
