"""In which order XLA computes a program, which decides what lives at once.

XLA's own order is not that of the trace: it walks from the results back (its DFS memory scheduler: first the operand
with more readers behind it, then the larger one), or takes what frees most, and keeps the better order. So the forward
pass of the generator's move, which needs nothing of the discriminator's before it, may come ahead of that.
"""

import heapq
from collections.abc import Sequence
from typing import NamedTuple


class Node(NamedTuple):
    """A step, as a scheduler sees it: the values that it reads, all that have to be there before it, and its own."""

    reads: frozenset[int]
    needs: frozenset[int]
    writes: tuple[int, ...]


class Graph(NamedTuple):
    """Steps in the order of the trace, and the values that matter to memory."""

    nodes: Sequence[Node]
    sizes: dict[int, int]
    """Bytes of the values that steps write, 0 for those that are written where inputs were."""
    results: Sequence[int]

    def makers(self) -> dict[int, int]:
        """From a value to the step that writes it."""
        return {number: place for place, node in enumerate(self.nodes) for number in node.writes}

    def operands(self) -> list[list[int]]:
        """The steps that each step waits for; at the end those that the results wait for."""
        makers = self.makers()
        wanted = [*(sorted(node.needs) for node in self.nodes), self.results]
        return [[*dict.fromkeys(makers[number] for number in reads if number in makers)] for reads in wanted]


def depth_first(graph: Graph) -> list[int]:
    """From the results back, each step after its operands: those with more readers behind them first, then larger."""
    operands = graph.operands()
    users = [0] * len(graph.nodes)
    for place in (place for each in operands for place in each):
        users[place] += 1
    extra, total = [0] * len(users), [0] * len(users)
    most_extra = most_total = 0  # as XLA does, lest sums over paths overflow
    for place, node in enumerate(graph.nodes):
        mine, size = max(users[place] - 1, 0), sum(graph.sizes[number] for number in node.writes)
        most_extra, most_total = most_extra + mine, most_total + size
        extra[place] = min(mine + sum(extra[each] for each in operands[place]), most_extra)
        total[place] = min(size + sum(total[each] for each in operands[place]), most_total)

    def backwards(places: list[int]) -> list[tuple[int, bool]]:
        return [(place, False) for place in sorted(places, key=lambda p: (-extra[p], -total[p], p), reverse=True)]

    order, seen, stack = [], set(), backwards(operands[-1])
    while stack:
        place, ready = stack.pop()
        if ready:
            order.append(place)
        elif place not in seen:
            seen.add(place)
            stack += [(place, True), *backwards([each for each in operands[place] if each not in seen])]
    return order


def greedy(graph: Graph) -> list[int]:
    """Of the steps that could be next always the one that frees most, less what it writes."""
    operands, makers = graph.operands()[:-1], graph.makers()
    readers: dict[int, list[int]] = {}
    for place, node in enumerate(graph.nodes):
        for number in node.reads:
            readers.setdefault(number, []).append(place)
    left = {number: len(places) for number, places in readers.items()}
    waiting, followers = [len(each) for each in operands], [[] for _ in operands]
    for place, each in enumerate(operands):
        for operand in each:
            followers[operand].append(place)
    held = {number for number in makers if number not in set(graph.results)}

    def gain(place: int) -> int:
        node = graph.nodes[place]
        freed = sum(graph.sizes[number] for number in node.reads if number in held and left[number] == 1)
        return freed - sum(graph.sizes[number] for number in node.writes)

    order, done = [], set()
    heap = [(-gain(place), place) for place, count in enumerate(waiting) if not count]
    heapq.heapify(heap)
    while heap:
        place = heapq.heappop(heap)[1]
        if place in done:
            continue
        done.add(place)
        order.append(place)
        for follower in followers[place]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(heap, (-gain(follower), follower))
        for number in graph.nodes[place].reads:
            left[number] -= 1
            if left[number] == 1:  # the last reader would free it
                for last in readers[number]:
                    if last not in done and not waiting[last]:
                        heapq.heappush(heap, (-gain(last), last))
    return order
