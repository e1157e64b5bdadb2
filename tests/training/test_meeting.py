"""Processes meet before JAX joins them: what does not fit is told to all that have come, at once."""

import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from vaegan_jax.errors import UserError
from vaegan_jax.training.meeting import meet


@pytest.fixture
def coordinator():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def told(coordinator, *processes, seconds=20.0):
    """What each of the processes, (count, index), is told, "" where it may join, and how long all of it took."""

    def one(process):
        try:
            meet(coordinator, *process, seconds)
        except UserError as error:
            return str(error)
        return ""

    begun = time.monotonic()
    with ThreadPoolExecutor(len(processes)) as threads:
        return list(threads.map(one, processes)), time.monotonic() - begun


def begun(coordinator, words):
    """A connection to the first process that has said `words`."""
    host, port = coordinator.split(":")
    for _ in range(100):
        try:
            connection = socket.create_connection((host, int(port)))
        except OSError:
            time.sleep(0.05)
        else:
            connection.sendall(words)
            return connection
    raise AssertionError("the first process does not listen")


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 2, 0)])
def test_those_that_fit_may_join_and_leave_the_port_free(order, coordinator):
    for _ in range(2):
        assert told(coordinator, *((4, index) for index in order))[0] == ["", "", "", ""]
    with socket.create_server(("", int(coordinator.split(":")[1]))):
        pass


def test_one_alone_waits_for_nobody(coordinator):
    assert told(coordinator, (1, 0), seconds=0.01)[0] == [""]


def test_two_of_one_id_are_told_to_all_at_once(coordinator):
    answers, seconds = told(coordinator, (3, 0), (3, 1), (3, 1))
    assert answers == ["two processes have --process-id 1: give each one of 0 .. 2 of its own"] * 3 and seconds < 5


def test_unlike_counts_are_told_to_both_at_once(coordinator):
    answers, seconds = told(coordinator, (2, 0), (3, 1))
    same = "process 1 has --process-count 3, process 0 has 2: start them all alike"
    assert answers == [same, same] and seconds < 5


def test_the_missing_are_named_to_those_that_came(coordinator):
    (first, third), _ = told(coordinator, (4, 0), (4, 2), seconds=1.0)
    assert first.startswith(f"process 0 of 4 waited 1 s at {coordinator} for process 1, 3: start them all within")
    assert third in (first, first.replace("process 0", "process 2").replace("process 1, 3", "the others"))


def test_where_nobody_listens_a_process_says_for_how_long_it_has_waited(coordinator):
    (answer,), seconds = told(coordinator, (2, 1), seconds=0.5)
    assert answer.startswith(f"process 1 of 2 waited 0.5 s at {coordinator} for the others: ") and seconds < 5


def test_strangers_are_not_counted_and_who_has_ended_may_come_again(coordinator):
    answers = []
    first = threading.Thread(target=lambda: answers.extend(told(coordinator, (2, 0))[0]))
    first.start()
    begun(coordinator, b"GET / HTTP/1.1\n").close()
    begun(coordinator, b"\xff\n").close()
    begun(coordinator, b"").close()
    with begun(coordinator, b"7 2\n"):  # an id that is none
        time.sleep(0.5)
        assert first.is_alive() and not answers
        assert told(coordinator, (2, 1))[0] == [""]
    first.join(20)
    assert answers == [""]


def test_a_process_that_was_stopped_while_it_waited_may_come_again(coordinator):
    answers = []
    first = threading.Thread(target=lambda: answers.extend(told(coordinator, (3, 0))[0]))
    first.start()
    begun(coordinator, b"1 3\n").close()
    assert told(coordinator, (3, 2), (3, 1))[0] == ["", ""]
    first.join(20)
    assert answers == [""]


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\n", b"\x00\x00\x12\x04\xfe\xff"])
def test_another_program_at_the_address_is_told(said, coordinator):
    """JAX's own service, once the others have met, answers in bytes that are no text."""
    with socket.create_server(("127.0.0.1", int(coordinator.split(":")[1]))) as other:

        def answer():
            connection, _ = other.accept()
            connection.recv(16)  # what is unread when it closes would reset the connection
            connection.sendall(said)
            connection.close()

        threading.Thread(target=answer).start()
        (answered,), seconds = told(coordinator, (2, 1))
    assert answered.startswith(f"at {coordinator} is no process that waits for others: ") and seconds < 5


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_the_address_may_be_of_ipv6(coordinator):
    six = f"[::1]:{coordinator.split(':')[1]}"
    assert told(six, (2, 0), (2, 1))[0] == ["", ""]
