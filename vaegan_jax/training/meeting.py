"""Processes meet at the first one's address, and compare who they are, before JAX joins them.

JAX's own client aborts where two processes have one id or count differently, while the others wait. Here every process
sends its id and count over a plain connection; the first one answers all of them at once: they fit, or what is wrong.
"""

import contextlib
import socket
import time

from vaegan_jax.errors import UserError, check

OURS = "vaegan: "
"""How an answer begins that is ours."""
FITS = f"{OURS}they fit"
RETRY_SECONDS = 0.2
"""How long a process waits before it knocks again."""
ANSWER_SECONDS = 5.0
"""How long a connection may be silent before it is taken for a stranger's."""


def meet(coordinator: str, count: int, index: int, seconds: float) -> None:
    """Returns, in all of `count` processes, when all have come to `coordinator`, HOST:PORT of the first one.

    Raises UserError, in all that have come, where two have one id or count differently, and where not all have come
    after `seconds`, naming those that are missing; in the first one alone, where the port is taken.
    """
    host, _, port = coordinator.rpartition(":")
    if index == 0:
        with _listening(int(port)) as listener:
            _receive(listener, count, coordinator, seconds)
    else:
        _come((host.strip("[]"), int(port)), count, index, coordinator, seconds)


def _listening(port: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both)
    except OSError as error:
        told = f"cannot listen at port {port} ({error.strerror}): a program has it, perhaps another process of id 0"
        raise UserError(f"{told}; choose another port, and a --process-id of its own for each process") from error


def _receive(listener: socket.socket, count: int, coordinator: str, seconds: float) -> None:
    """The first process: receives the others, by id, and answers them when all are there or one does not fit."""
    came: dict[int, socket.socket] = {}
    until, wrong = time.monotonic() + seconds, ""
    with contextlib.ExitStack() as connections:
        while not wrong and len(came := _there(came)) < count - 1:
            listener.settimeout(max(until - time.monotonic(), 0.01))
            try:
                connection = connections.enter_context(listener.accept()[0])
                index, theirs = _who(_line(connection, ANSWER_SECONDS))
            except TimeoutError:
                if time.monotonic() < until:
                    continue
                missing = ", ".join(str(index) for index in range(1, count) if index not in came)
                wrong = _in_vain(0, count, coordinator, seconds, f"process {missing}")
            except (OSError, ValueError):
                continue  # a stranger
            else:
                wrong = _misfit(index, theirs, count, came)
                came[index if not wrong else -1] = connection  # one that does not fit is answered as well
        for connection in came.values():
            with contextlib.suppress(OSError):
                connection.sendall(f"{OURS + wrong if wrong else FITS}\n".encode())
                connection.settimeout(ANSWER_SECONDS)
                connection.recv(1)  # whoever closes first keeps the port busy: they do
    check(not wrong, wrong)


def _come(address: tuple[str, int], count: int, index: int, coordinator: str, seconds: float) -> None:
    """Any other process: knocks until the first one opens, and waits for its answer."""
    until, answer = time.monotonic() + seconds, ""
    while not answer:
        left = until - time.monotonic()
        check(left > 0, _in_vain(index, count, coordinator, seconds, "the others"))
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=left) as connection:
            connection.sendall(f"{index} {count}\n".encode())
            answer = _line(connection, left)
        if not answer:
            time.sleep(RETRY_SECONDS)
    told = f"at {coordinator} is no process that waits for others: they have met already, or another program is there"
    check(answer.startswith(OURS), f"{told}; start all at once, each with a --process-id of its own")
    check(answer == FITS, answer.removeprefix(OURS))


def _who(line: str) -> tuple[int, int]:
    """The id and the count that a process has sent. Raises ValueError where no process of ours has."""
    index, count = map(int, line.split())
    if not 0 < index < count:
        raise ValueError(line)
    return index, count


def _misfit(index: int, theirs: int, count: int, came: dict[int, socket.socket]) -> str:
    """What is wrong with a process that has come, or nothing."""
    if theirs != count:
        return f"process {index} has --process-count {theirs}, process 0 has {count}: start them all alike"
    if index in _there(came):
        return f"two processes have --process-id {index}: give each one of 0 .. {count - 1} of its own"
    return ""


def _there(came: dict[int, socket.socket]) -> dict[int, socket.socket]:
    """Those of the processes that had come that have not ended since."""
    there = {}
    for index, connection in came.items():
        connection.setblocking(False)
        try:
            connection.recv(1)  # they send nothing more: this is their end
        except BlockingIOError:
            there[index] = connection
        except OSError:
            continue
    return there


def _line(connection: socket.socket, seconds: float) -> str:
    """A line that the other end sends; what there is of it where that closes. Raises TimeoutError after `seconds`."""
    connection.settimeout(seconds)
    with connection.makefile(encoding="utf-8", errors="replace") as lines:
        return lines.readline().strip()


def _in_vain(index: int, count: int, coordinator: str, seconds: float, whom: str) -> str:
    return (
        f"process {index} of {count} waited {seconds:g} s at {coordinator} for {whom}: start them all within that "
        "time, with the same --coordinator and --process-count, where this address can be reached"
    )
