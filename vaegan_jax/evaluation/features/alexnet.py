"""AlexNet's convolutions (Krizhevsky 2014, arXiv 1404.5997: one tower), trained on ImageNet, and LPIPS' heads on them.

Features are the mean of relu5 over space, 256 numbers: few enough for a Frechet distance of a thousand images.
"""

from vaegan_jax.evaluation.features.lpips_networks import Layer, Network

SMALLEST = 31
"""Height and width that images must have at least: below, nothing is left after the second pooling."""
LAYERS = (
    Layer("conv1", (11, 11, 3, 64), stride=4, padding=2, pooled=0, tapped=True),
    Layer("conv2", (5, 5, 64, 192), stride=1, padding=2, pooled=3, tapped=True),
    Layer("conv3", (3, 3, 192, 384), stride=1, padding=1, pooled=3, tapped=True),
    Layer("conv4", (3, 3, 384, 256), stride=1, padding=1, pooled=0, tapped=True),
    Layer("conv5", (3, 3, 256, 256), stride=1, padding=1, pooled=0, tapped=True),
)
NETWORK = Network("alexnet", "AlexNet", LAYERS, size=96)
"""Features at 96 x 96 pixels: five rows and columns are left at relu5."""
SHAPES, convert, extractor, activations = NETWORK.shapes, NETWORK.converted, NETWORK.extractor, NETWORK.activations
