"""What is in the folder of a run, and runs that are cheap to train and to compare."""

import json
import shutil
import struct
from itertools import pairwise

import numpy as np
from commands import SMALL, done
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

DCGAN = ["gan", "--model.width", "4", "--model.latent-size", "2"]
ONE, SHARDED, PMAPPED = (
    ["--devices", "1"],
    ["--devices", "2", "--parallel", "sharded"],
    ["--devices", "2", "--parallel", "pmapped"],
)
# Intervals that divide neither each other nor the rounds of a dispatch.
UNEVEN = [
    *SMALL,
    *("--training.log-interval-steps", "3", "--training.checkpoint-interval-steps", "5"),
    *("--training.sample-interval-steps", "8"),
]
STEPS = 20


def facts(run):
    return json.loads(done("inspect", run, "--json"))


def sha256(run):
    return facts(run)["sha256"]["state"]


SPEED = ("images_per_second", "data_wait", "flops_per_second", "memory/host_rss_gib", "memory/host_rss_peak_gib")
"""Metrics that are another each time."""


def rows(run):
    """The rows of metrics.jsonl by step, without how fast it went, and in how much; each is told once, in order."""
    told = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(a["step"] < b["step"] for a, b in pairwise(told))
    return {row["step"]: {name: value for name, value in row.items() if name not in SPEED} for row in told}


def assert_same(run, whole):
    """What `run` came to is what `whole` did; it may tell of more rounds, those that it was stopped after."""
    assert facts(run)["step"] == facts(whole)["step"]
    assert sha256(run) == sha256(whole)
    assert rows(run) | rows(whole) == rows(run)
    for picture in ("samples.png", *(f"samples/{path.name}" for path in (whole / "samples").glob("*.png"))):
        assert (run / picture).read_bytes() == (whole / picture).read_bytes()


def samples(run):
    done("sample", run, "--count", 4, "--output", run.with_name("samples.npz"))
    return np.load(run.with_name("samples.npz"))["image"].tobytes()


def saved(run):
    """The rounds of the checkpoints."""
    return sorted(int(path.name) for path in (run / "checkpoints").glob("[0-9]*") if path.name.isdigit())


def cut(run, after):
    """As if the process had died after all of its rounds were told of and before those `after` one were saved."""
    for step in saved(run):
        if step > after:
            shutil.rmtree(run / "checkpoints" / str(step))


def events(run):
    """(step, name, value) of all in the event files, whose checksums must be right: a number, or a picture's bytes."""
    (path,) = (run / "events").iterdir()
    content, at, told = path.read_bytes(), 0, []
    while at < len(content):
        (length, check) = struct.unpack("<QI", content[at : at + 12])
        data, (of_data,) = content[at + 12 : at + 12 + length], struct.unpack_from("<I", content, at + 12 + length)
        assert masked_crc32c(content[at : at + 8]) == check and masked_crc32c(data) == of_data
        event = Event.FromString(data)
        told += [
            (event.step, each.tag, each.image.encoded_image_string if each.HasField("image") else each.simple_value)
            for each in event.summary.value
        ]
        at += 16 + length
    return told
