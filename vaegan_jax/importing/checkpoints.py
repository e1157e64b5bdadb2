"""Which layout a file or folder is of, and what it holds."""

from pathlib import Path

from vaegan_jax.errors import UserError, check
from vaegan_jax.importing import biggan_pytorch, pretrained_biggan
from vaegan_jax.importing.found import Found
from vaegan_jax.importing.tensors import read

EXPECTED = "pytorch_model.bin of pytorch-pretrained-biggan, or G.pth or G_ema.pth of BigGAN-PyTorch"


def found(path: Path) -> tuple[Found, dict[str, Path]]:
    """What a checkpoint holds, and its files by their roles; told by the names of tensors.

    UserError, one line, where it is none, is damaged, lacks a tensor, or has one of another shape.
    """
    check(path.exists(), f"there is no file or folder {path}")
    theirs = biggan_pytorch.files(path)
    if path.is_dir():
        other = pretrained_biggan.files(path)
        check(bool(theirs or other), f"{path} holds no checkpoint that is known: {EXPECTED}")
        if other and not theirs:
            return pretrained_biggan.found(read(other["weights"]), other), other
    tensors = read(theirs.get("G", theirs.get("G_ema")))
    if pretrained_biggan.MARK in tensors:
        paths = pretrained_biggan.files(tensors.path)
        return pretrained_biggan.found(tensors, paths), paths
    told = f"{tensors.path} is a discriminator; name its generator, G.pth or G_ema.pth, or their folder"
    check(biggan_pytorch.JUDGE not in tensors, told)
    if biggan_pytorch.MARK not in tensors:
        raise UserError(f"{tensors.path} holds no generator that is known ({EXPECTED}): it has {min(tensors.arrays)}")
    return biggan_pytorch.found(tensors, theirs), theirs
