"""What accelerators can do, as their makers tell, for each device as JAX counts them.

On TPU v3 a device is one of the two cores of a chip, with half of its memory: 128 devices are 64 chips. From v4 on a
chip is one device. Peaks are of dense products; those of float32 as JAX takes them by default, with bfloat16 inputs on
TPUs and TF32 on GPUs. Interconnects are what one device sends at once over all of its links.
"""

from typing import NamedTuple

from vaegan_jax.errors import unknown

GB, GIB = 10**9, 2**30
GIGA, TERA = 1e9, 1e12
"""Of rates."""


class Chip(NamedTuple):
    """A device to plan for."""

    name: str
    unit: str
    """What a device is."""
    bfloat16: float
    """Peak operations a second in products of bfloat16."""
    float32: float
    """The same of float32, at JAX's default precision."""
    memory: int
    """Bytes."""
    bandwidth: float
    """Bytes a second to and from its memory."""
    links: float
    """Bytes a second that it sends to others, within an island."""
    island: int
    """How many devices are linked like that; 0: all of a pod."""
    network: float
    """The same where a ring leaves an island: all adapters of a host together."""
    kinds: tuple[str, ...]
    """What JAX calls such devices (`device_kind`), or how that begins."""
    source: str

    def reach(self, devices: int) -> float:
        """Bytes a second that each device of a ring of so many sends."""
        return self.links if not self.island or devices <= self.island else min(self.links, self.network)


_TPU = "Cloud TPU documentation, page"
_ALL_REDUCE = "interconnect: the pod's all-reduce bandwidth by its chips"
CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip(
            *("tpu-v3", "core, half a chip", 61.5 * TERA, 61.5 * TERA, 16 * GIB, 450 * GIGA, 166 * GIGA, 0, 0.0),
            ("TPU v3",),
            f"{_TPU} TPU v3 (a chip: 123 TFLOP/s, 32 GiB, 900 GB/s); {_ALL_REDUCE}, 340 TB/s by 1,024, halved",
        ),
        Chip(
            *("tpu-v4", "chip", 275 * TERA, 275 * TERA, 32 * GIB, 1200 * GIGA, 268 * GIGA, 0, 0.0),
            ("TPU v4",),
            f"{_TPU} TPU v4; {_ALL_REDUCE}, 1.1 PB/s by 4,096",
        ),
        Chip(
            *("tpu-v5e", "chip", 197 * TERA, 197 * TERA, 16 * GB, 819 * GIGA, 200 * GIGA, 0, 0.0),
            ("TPU v5 lite", "TPU v5e"),
            f"{_TPU} TPU v5e; {_ALL_REDUCE}, 51.2 TB/s by 256",
        ),
        Chip(
            *("tpu-v5p", "chip", 459 * TERA, 459 * TERA, 95 * GIB, 2765 * GIGA, 600 * GIGA, 0, 0.0),
            ("TPU v5p", "TPU v5"),
            f"{_TPU} TPU v5p; interconnect: half of 1,200 GB/s both ways",
        ),
        Chip(
            *("tpu-v6e", "chip", 918 * TERA, 918 * TERA, 32 * GB, 1600 * GIGA, 400 * GIGA, 0, 0.0),
            ("TPU v6 lite", "TPU v6e"),
            f"{_TPU} TPU v6e; {_ALL_REDUCE}, 102.4 TB/s by 256",
        ),
        Chip(
            *("a100", "GPU, SXM 80 GB", 312 * TERA, 156 * TERA, 80 * GB, 2039 * GIGA, 300 * GIGA, 8, 200 * GIGA),
            ("NVIDIA A100",),
            "NVIDIA A100 80GB data sheet; NVLink one way; hosts: DGX A100 data sheet, 8 adapters of 200 Gb/s",
        ),
        Chip(
            *("h100", "GPU, SXM 80 GB", 989 * TERA, 494 * TERA, 80 * GB, 3350 * GIGA, 450 * GIGA, 8, 400 * GIGA),
            ("NVIDIA H100",),
            "NVIDIA H100 data sheet (SXM, without sparsity); NVLink one way; DGX H100: 8 adapters of 400 Gb/s",
        ),
        Chip(
            *("h200", "GPU, SXM 141 GB", 989 * TERA, 494 * TERA, 141 * GB, 4800 * GIGA, 450 * GIGA, 8, 400 * GIGA),
            ("NVIDIA H200",),
            "NVIDIA H200 data sheet (SXM, without sparsity); NVLink one way; DGX H200: 8 adapters of 400 Gb/s",
        ),
    )
}


def chip(name: str) -> Chip:
    """A chip by its name. UserError, with all of them, for another."""
    if name.lower() not in CHIPS:
        raise unknown("chip", name, CHIPS)
    return CHIPS[name.lower()]


def known(kind: str) -> Chip | None:
    """The chip that JAX calls so (`device.device_kind`); None where there is none in the table."""
    matches = [(len(start), each) for each in CHIPS.values() for start in each.kinds if kind.startswith(start)]
    return max(matches, key=lambda match: match[0])[1] if matches else None
