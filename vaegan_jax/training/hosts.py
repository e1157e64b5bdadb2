"""Several processes that train as one: joining them, agreeing, and noticing that one has died.

Every process plays the same rounds on its own part of each batch; the first one, alone, writes the run. What one
process finds wrong ends all of them with the same line (`everywhere`), and so does the death of any (`_Watch`).
"""

import contextlib
import itertools
import json
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np

from vaegan_jax.errors import UserError, check
from vaegan_jax.training.meeting import meet
from vaegan_jax.training.stopping import Collapsed, Diverged, Interrupted

CONNECT_SECONDS = 30
"""How long a process waits for the connections that tell of the death of another."""
JOIN_SECONDS = 120.0
"""How long processes wait for each other at the start."""
HEARTBEAT_SECONDS = 100
"""After this long without a sign of life a machine counts as lost; a process that dies is noticed at once."""
GRACE_SECONDS = 2
"""What a process is given to end by itself when another one has; all end together when they agree to."""
PIECE_BYTES = 2**28
"""How much of a state is sent to other processes at once."""
WAIT = 24 * 60 * 60 * 1000
"""How long, in milliseconds, a process waits for what another one has to tell; longer than any preparation takes."""
LOST = 4
"""Exit code of a process that ends because another one did."""


Result = TypeVar("Result")


def process_count() -> int:
    """Processes that train together; 1 unless they have `joined`. Does not start JAX's devices."""
    return _service().num_processes if jax.distributed.is_initialized() else 1


def process_index() -> int:
    """Which of them this is. Does not start JAX's devices."""
    return _service().process_id if jax.distributed.is_initialized() else 0


def first() -> bool:
    """Whether this is the process that writes."""
    return process_index() == 0


@contextlib.contextmanager
def joined(
    coordinator: str | None = None, count: int | None = None, index: int | None = None, seconds: float = JOIN_SECONDS
) -> Iterator[None]:
    """Joins `count` processes, of which this is number `index`, for as long as the context lasts.

    `coordinator` is HOST:PORT of the first process, "auto" to ask the cluster's environment (Slurm, Open MPI,
    Kubernetes, TPU pods), or None for a process alone. To be entered before JAX has devices. Raises UserError for
    arguments that make no sense, for processes that do not fit together, and where not all have come after `seconds`
    (by `meet`; in a cluster it says so and ends the process with exit code 2, because JAX's own client would abort it).
    """
    if coordinator is None:
        alone = count in (None, 1) and index in (None, 0)
        check(alone, "--process-count and --process-id need --coordinator HOST:PORT, the address of the first process")
        yield
        return
    given = {} if coordinator == "auto" else _met(coordinator, count, index, seconds)
    late = threading.Timer(seconds, _give_up, (coordinator, seconds))
    late.daemon = True
    late.start()
    try:
        times = {"initialization_timeout": int(seconds) + 60, "heartbeat_timeout_seconds": HEARTBEAT_SECONDS}
        jax.distributed.initialize(**given, **times)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        known = "; outside Slurm, Open MPI, Kubernetes and TPU pods give --coordinator HOST:PORT" if not given else ""
        raise UserError(f"cannot join the other processes at {coordinator}: {reason}{known}") from error
    finally:
        late.cancel()
    with _watched(socket.gethostname() if coordinator == "auto" else coordinator.rpartition(":")[0]):
        yield
    jax.distributed.shutdown()  # not after an error: it would wait for the others


@contextlib.contextmanager
def _watched(host: str) -> Iterator[None]:
    """Notices at once if another process dies, and then ends this one; lets the others know when this one dies."""
    watch = _Watch(host)
    try:
        yield
        watch.leave()
    except (_Agreed, Collapsed, Diverged, Interrupted):  # all processes end for the same reason
        watch.leave()
        raise
    except jax.errors.JaxRuntimeError:
        time.sleep(3 * GRACE_SECONDS)  # if it is because another process has died, the watch ends this one
        raise
    finally:
        watch.close()


def leave(code: int) -> NoReturn:
    """Ends the process after an error that has been told. Where it has joined others, without waiting for them."""
    if not jax.distributed.is_initialized():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def everywhere(action: Callable[[], str]) -> list[str]:
    """What the action returned in every process, in order; a UserError in one of them is raised in all."""
    if process_count() == 1:
        return [action()]
    try:
        told = "+" + action()
    except UserError as error:
        told = f"-{error}" if first() else f"-process {process_index()}: {error}"
    answers = _gather(told)
    if wrong := [answer[1:] for answer in answers if answer.startswith("-")]:
        raise _Agreed(wrong[0])
    return [answer[1:] for answer in answers]


def by_first(action: Callable[[], str]) -> str:
    """What the action returned in the first process, the only one that carries it out. Raises as `everywhere`."""
    return everywhere(lambda: action() if first() else "")[0]


def agreed(action: Callable[[], Result]) -> Result:
    """What the action returns here, after it has succeeded in every process. Raises as `everywhere`."""
    result: list[Result] = []
    everywhere(lambda: result.append(action()) or "")
    return result[0]


def check_alike(facts: dict[str, Any]) -> None:
    """Raises UserError, naming the first difference, unless every process gives the same facts (as JSON)."""
    mine, *others = map(json.loads, everywhere(lambda: json.dumps(facts)))
    for index, other in enumerate(others, 1):
        for name, value in _flat(mine).items():
            theirs = _flat(other).get(name)
            same = f"process {index} has {name} {theirs!r}, process 0 has {value!r}: start them all alike"
            if theirs != value:
                raise _Agreed(same)


def from_first(tree: Any) -> Any:
    """Arrays as the first process has them, bit for bit, on the host; the others give arrays or shapes like them."""
    if process_count() == 1:
        return tree
    from jax.experimental import multihost_utils

    leaves, structure = jax.tree.flatten(tree)
    sizes = [math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves]
    # As bytes, because a sum over processes would turn -0.0 into 0.0; in pieces, because devices may be small.
    mine = b"".join(np.asarray(leaf).tobytes() for leaf in leaves) if first() else bytes(sum(sizes))
    pieces = [mine[begin : begin + PIECE_BYTES] for begin in range(0, len(mine), PIECE_BYTES)]
    sent = b"".join(
        np.asarray(multihost_utils.broadcast_one_to_all(np.frombuffer(piece, np.uint8))).tobytes() for piece in pieces
    )
    ends = itertools.accumulate(sizes)
    arrays = [
        np.frombuffer(sent[end - size : end], leaf.dtype).reshape(leaf.shape)
        for leaf, size, end in zip(leaves, sizes, ends, strict=True)
    ]
    return jax.tree.unflatten(structure, arrays)


def union(numbers: list[int]) -> list[int]:
    """The numbers of all processes, those of the first one first."""
    return [number for told in everywhere(lambda: json.dumps(numbers)) for number in json.loads(told)]


def part() -> tuple[int, int]:
    """Which part of each batch is this process's, of how many."""
    return process_index(), process_count()


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return flat


class _Agreed(UserError):
    """A mistake that all processes have been told of, and end by."""


_calls = itertools.count()


def _gather(told: str) -> list[str]:
    """What every process tells, by JAX's coordination service: it needs no devices. Who dies is for the watch."""
    client, call = _service().client, next(_calls)
    client.key_value_set(f"vaegan/{call}/{process_index()}", told)
    answers = [client.blocking_key_value_get(f"vaegan/{call}/{index}", WAIT) for index in range(process_count())]
    if call:  # whoever has told this much has read all that was told before
        client.key_value_delete(f"vaegan/{call - 1}/{process_index()}")
    return answers


def _service() -> Any:
    # Private, but the only way for processes to speak before they have devices; Orbax goes it as well.
    from jax._src import distributed

    return distributed.global_state


def _met(coordinator: str, count: int | None, index: int | None, seconds: float) -> dict[str, Any]:
    """What JAX is to be given, when the arguments have been checked and all processes have come."""
    host, _, port = coordinator.rpartition(":")
    valid = bool(host) and port.isdigit() and 0 < int(port) < 2**16
    check(valid, f"--coordinator must be HOST:PORT or auto, not {coordinator!r}")
    check(count is not None and count > 0, f"--process-count must say how many processes there are, not {count}")
    check(index is not None and 0 <= index < count, f"--process-id must be in 0 .. {count - 1}, not {index}")
    meet(coordinator, count, index, seconds)
    return {"coordinator_address": coordinator, "num_processes": count, "process_id": index}


def _give_up(coordinator: str, seconds: float) -> NoReturn:
    _end(f"vaegan: error: waited {seconds:g} s at {coordinator} for the others: start them all within that time", 2)


def _end(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    os._exit(code)


class _Watch:
    """A connection from every process to the first, which the system closes when either end dies, however it dies."""

    def __init__(self, host: str):
        self._closing = False
        self._followed: list[tuple[socket.socket, threading.Thread]] = []
        self._listener = socket.create_server(("", 0)) if first() else None
        mine = f"{host} {self._listener.getsockname()[1]}" if self._listener else ""
        host, port = by_first(lambda: mine).split()
        with contextlib.suppress(OSError):  # where they cannot connect, JAX's heartbeats have to do
            if self._listener:
                self._listener.settimeout(CONNECT_SECONDS)
                for _ in range(process_count() - 1):
                    connection, _ = self._listener.accept()
                    self._follow(int.from_bytes(connection.recv(4), "big"), connection)
            else:
                connection = socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS)
                connection.sendall(process_index().to_bytes(4, "big"))
                self._follow(0, connection)

    def leave(self) -> None:
        """Tells the others that this process ends as it should."""
        for connection, _ in self._followed:
            with contextlib.suppress(OSError):
                connection.sendall(b"done")

    def close(self) -> None:
        """Lets go. The first process, on which JAX's service for all depends, first waits for the others to let go."""
        self._closing = True
        for connection, _ in self._followed:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        if self._listener:
            self._listener.close()
            for _, thread in self._followed:
                thread.join(GRACE_SECONDS)

    def _follow(self, index: int, connection: socket.socket) -> None:
        connection.settimeout(None)
        thread = threading.Thread(target=self._wait, args=(index, connection), daemon=True)
        self._followed.append((connection, thread))
        thread.start()

    def _wait(self, index: int, connection: socket.socket) -> None:
        told = b""
        with contextlib.suppress(OSError):
            while received := connection.recv(4):
                told += received
        if told != b"done" and not self._closing and first():
            time.sleep(GRACE_SECONDS)  # the first process may be about to end by itself, for the same reason
        if told != b"done" and not self._closing:
            told = f"process {index} has ended, so process {process_index()} stops, too"
            _end(f"vaegan: {told}; what was saved can be resumed", LOST)
