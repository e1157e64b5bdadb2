"""Whether the networks and losses of `torch_peers.py` are ours: with the same weights and noise, the same results.

Of a VAE outputs are compared, of a GAN each player's loss, the norm of its gradient, and the spectral vectors that a
move leaves. All within 1e-3 of the largest entry, as float32 has it after a few layers of batch norms.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch_networks
import torch_peers
from torch.nn.utils import parametrize

from vaegan_jax.games import Params, Stats
from vaegan_jax.models import adversarial_game, gan, name_of
from vaegan_jax.training.beginning import first_state
from vaegan_jax.training.experiment import Experiment

CHECKED = 16
"""Images on which a peer is compared."""
MOVED = 0.05
"""Weights are compared with noise of this deviation on them: those that begin with 0 would tell nothing."""


def checked_peers(experiment: Experiment, arrays: dict[str, np.ndarray]) -> dict[str, torch_peers.Peer]:
    """PyTorch's contenders with our first weights. Stops where a peer's sizes or results differ from ours."""
    is_vae, state = name_of(experiment.config.model) == "vae", first_state(experiment)
    kind = torch_peers.VAE if is_vae else torch_peers.GAN
    peers = {name: kind(experiment, arrays, tuned) for name, tuned in (("torch", False), ("torch, tuned", True))}
    noise = np.random.default_rng(0).normal
    params = jax.tree.map(lambda leaf: leaf + np.float32(MOVED * noise(size=leaf.shape)), state.params)
    given = _given(experiment, arrays, noise)
    torch.backends.cudnn.allow_tf32 = False  # on a GPU, and only for this
    with jax.default_matmul_precision("highest"):
        expected = (_outputs if is_vae else _losses)(experiment, params, state.stats, given)
    for peer in peers.values():
        take(peer, params, state.stats)
        for what, result in (_peer_outputs if is_vae else _peer_losses)(peer, given).items():
            result, ours = result.detach().cpu().numpy(), np.asarray(expected[what])
            if not np.abs(result - ours).max() <= 1e-3 * np.abs(ours).max():
                raise SystemExit(f"throughput: {what} differs from PyTorch's: {ours} and {result}")
        take(peer, state.params, state.stats)
    torch.backends.cudnn.allow_tf32 = True
    return peers


def take(peer: torch_peers.Peer, params: Params, stats: Stats) -> None:
    """Gives a peer our weights and spectral vectors. Stops where the sizes differ."""
    for name, module in peer.networks.items():
        ours = sum(leaf.size for leaf in jax.tree.leaves(params[name]))
        theirs = sum(parameter.numel() for parameter in module.parameters())
        if ours != theirs:
            raise SystemExit(f"throughput: {name} has {ours} parameters, PyTorch's {theirs}")
        torch_networks.load(module, params[name], stats[name].get("spectral", {}))


def _given(experiment: Experiment, arrays: dict[str, np.ndarray], noise: Callable) -> dict[str, Any]:
    """Images, latents and, where the model is told any, classes; keys, and what they draw for interpolates."""
    keys = jax.random.split(experiment.key(0), CHECKED)
    given = {
        "image": np.float32(arrays["image"][:CHECKED] / 127.5 - 1),
        "latents": np.float32(noise(size=(CHECKED, experiment.config.model.latent_size))),
        "keys": keys,
        "alpha": np.asarray(jax.vmap(jax.random.uniform)(keys)),
    }
    told = getattr(experiment.config.model, "condition", "none") != "none"
    return given | ({"label": arrays["label"][:CHECKED].astype(np.int32)} if told else {})


def _outputs(experiment: Experiment, params: Params, stats: Stats, given: dict[str, Any]) -> dict[str, Any]:
    networks = experiment.model.networks(experiment.config.model, experiment.spec)
    inputs = {"encoder": given["image"], "decoder": given["latents"]}
    return {
        f"the output of {name}": network.apply(params[name], stats[name], inputs[name], train=True)[0].reshape(
            CHECKED, -1
        )
        for name, network in networks.items()
    }


def _peer_outputs(peer: torch_peers.VAE, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    inputs = {"encoder": _images(given), "decoder": _tensor(given["latents"])}
    return {f"the output of {name}": network(inputs[name]) for name, network in peer.networks.items()}


def _losses(experiment: Experiment, params: Params, stats: Stats, given: dict[str, Any]) -> dict[str, Any]:
    config, spec = experiment.config.model, experiment.spec
    if hasattr(config, "precision"):
        config = dataclasses.replace(config, precision="float32")  # as the peers are, outside of autocast
    seams = gan.seams(config, spec)._replace(prior=lambda keys: jnp.asarray(given["latents"]))
    if config.penalty != "none":
        penalty = seams.terms["discriminator"]["penalty"]
        known = lambda table: penalty(table._replace(keys=given["keys"]))  # noqa: E731
        seams = seams._replace(terms=adversarial_game.more(seams.terms, "discriminator", penalty=known))
    game = adversarial_game.game(gan.networks(config, spec), seams, dict.fromkeys(seams.terms, optax.identity()))
    batch = {name: jnp.asarray(given[name]) for name in ("image", "label") if name in given}
    batch["position"] = jnp.arange(CHECKED)

    def both(params):
        told = {}
        for name, player in game.items():
            loss = lambda block, name=name, player=player: player.loss(  # noqa: E731
                params | {name: block}, stats, batch, jax.random.key(0), jnp.int32(0)
            )
            (value, (after, _)), slopes = jax.value_and_grad(loss, has_aux=True)(params[name])
            told |= {f"the loss of {name}": value, f"the slope of {name}": optax.tree.norm(slopes)}
            vectors = jax.tree.leaves_with_path(after.get(name, {}).get("spectral", {}))
            powers = [jnp.sum(leaf**4) for path, leaf in vectors if path[-1].key == "u"]
            told |= {f"the vectors of {name}": jnp.sort(jnp.stack(powers))} if powers else {}
        return told

    # Compiled for once, not for speed; on GPUs that option is another one.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    return jax.jit(both, compiler_options=options)(params)


def _peer_losses(peer: torch_peers.GAN, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    images, latents, told = _images(given).contiguous(memory_format=peer.layout), _tensor(given["latents"]), {}
    labels = (
        torch.nn.functional.one_hot(_tensor(given["label"]).long(), peer.labels.shape[1]) if "label" in given else None
    )
    labels = None if labels is None else labels.float()
    for name, network in peer.networks.items():
        vectors = {part: part.u.clone() for part in network.modules() if isinstance(part, torch_networks.Spectral)}
        network.zero_grad()
        with parametrize.cached():
            if name == "discriminator":
                loss = peer.discriminator(images, labels, latents, _tensor(given["alpha"]))
            else:
                loss = peer.generator(labels, latents)
        loss.backward()
        slopes = torch.stack([parameter.grad.norm() for parameter in network.parameters()])
        told |= {f"the loss of {name}": loss, f"the slope of {name}": slopes.norm()}
        if vectors:
            told[f"the vectors of {name}"] = torch.stack([part.u.pow(4).sum() for part in vectors]).sort().values
        for part, before in vectors.items():
            part.u.copy_(before)
    return told


def _images(given: dict[str, Any]) -> torch.Tensor:
    return _tensor(given["image"]).permute(0, 3, 1, 2)


def _tensor(array: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(array), device=torch_peers.DEVICE)
