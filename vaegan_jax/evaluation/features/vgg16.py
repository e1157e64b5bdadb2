"""VGG16's convolutions (Simonyan & Zisserman 2014, configuration D), trained on ImageNet, and LPIPS' heads on them.

Features are the mean of relu5_3 over space, 512 numbers. The fully connected layers come with no package, so that
these are NOT the 4,096 numbers of fc2 that Kynkaanniemi et al. 2019 take for precision and recall: a score from these
is named after this network, and compares with none that they or others have published.
"""

from vaegan_jax.evaluation.features.lpips_networks import Layer, Network

SMALLEST = 16
"""Height and width that images must have at least: four poolings halve them."""
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the 3x3 convolutions between one max pooling and the next."""
DEPTHS = (2, 2, 3, 3, 3)
"""How many convolutions these are; LPIPS compares the last of them: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""
LAYERS = tuple(
    Layer(
        f"conv{block}_{place}",
        (3, 3, width if place > 1 else before, width),
        stride=1,
        padding=1,
        pooled=2 if place == 1 and block > 1 else 0,
        tapped=place == depth,
    )
    for block, (depth, before, width) in enumerate(zip(DEPTHS, (3, *WIDTHS[:-1]), WIDTHS, strict=True), 1)
    for place in range(1, depth + 1)
)
NETWORK = Network("vgg16", "VGG16", LAYERS, size=64)
"""Features at 64 x 64 pixels: nearer to small models' images than ImageNet's 224, and fast."""
SHAPES, convert, extractor, activations = NETWORK.shapes, NETWORK.converted, NETWORK.extractor, NETWORK.activations
