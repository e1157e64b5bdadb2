"""Generators that others have trained, as runs of ours: `vaegan weights import FILE|DIR --run DIR`.

`checkpoints` tells the layouts apart, `pretrained_biggan` and `biggan_pytorch` know one each, `layers` turns their
layers into ours, and `runs` writes the run. Files are read by `evaluation.tensor_files`, which runs nothing that they
hold.
"""
