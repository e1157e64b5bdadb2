"""Variational autoencoders and generative adversarial networks as differentiable games, in JAX.

Start at `games`, the engine; `models`, a paper a file; and `training`, the loop. `vaegan --help` is the command line.
"""

__version__ = "0.1.0"
