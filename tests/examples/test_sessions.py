"""README's first program, for real: four uvicorn workers under load, and one of them killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from itertools import pairwise

import pytest

from tests.examples.web_server import Answer, Load, post, serving
from tests.runtime.transport.tcp_harness import wait_until

pytestmark = [pytest.mark.serial, pytest.mark.slow, pytest.mark.timeout(180)]

USERS = [f"user-{number}" for number in range(12)]
CLIENTS_EACH = 2


async def test_sessions_outlive_a_worker_and_never_answer_from_two(tmp_path):
    async with serving("examples.sessions:app", 4, tmp_path) as server:
        load = Load(server.port, USERS, CLIENTS_EACH)
        await wait_until(lambda: all(len(load.good(user)) >= 10 for user in USERS), 60)
        homes = Counter(load.good(user)[-1].body["worker"] for user in USERS)
        assert len(homes) > 1, "sessions are spread over the workers"

        (victim, _), *_ = homes.most_common(1)
        killed = asyncio.get_running_loop().time()
        os.kill(victim, signal.SIGKILL)
        await wait_until(lambda: all(len(load.good(user, killed)) >= 20 for user in USERS), 60)
        await server.wait_startups(5)  # uvicorn starts another worker in its place
        again = asyncio.get_running_loop().time()
        await wait_until(lambda: all(len(load.good(user, again)) >= 20 for user in USERS), 60)
        await load.end()
        assert await server.end() == 0

    for user in USERS:
        check_one_at_a_time(load.good(user), victim)
    failed = [one for one in load.answers if one.status != 200]
    assert {one.status for one in failed} <= {0, 503}
    assert all(one.ended >= killed for one in failed), "nothing fails while all workers live"
    assert len(failed) <= 3 * load.clients, "each client sees the gap, and not much more of it"
    assert max(one.ended - one.began for one in load.answers) < 10
    gap = max(load.good(user, killed)[0].ended for user in USERS) - killed
    print(f"answers: {len(load.answers) - len(failed)}, failed: {len(failed)}, longest gap: {gap * 1000:.0f} ms")
    workers = {one.body["worker"] for user in USERS for one in load.good(user)}
    assert all(map(has_ended, workers))


def check_one_at_a_time(answers: list[Answer], victim: int) -> None:
    """A later copy has a higher token, and who has answered after it was heard of is no older one.

    Copies that are handed over go on counting; only what the killed worker had in its memory is gone.
    """
    hosts: dict[int, int] = {}
    counts: dict[int, list[int]] = {}
    for one in answers:
        token, worker = one.body["token"], one.body["worker"]
        assert hosts.setdefault(token, worker) == worker, f"copy {token} of {one.user} is on two workers"
        counts.setdefault(token, []).append(one.body["lines"])
    newest, newest_ended = 0, 0.0
    for one in sorted(answers, key=lambda one: one.ended):
        if one.body["token"] < newest:
            assert one.began <= newest_ended, f"an older copy of {one.user} answers after a newer one: {one}"
        elif one.body["token"] > newest:
            newest, newest_ended = one.body["token"], one.ended
    for token, lines in counts.items():
        assert len(set(lines)) == len(lines), f"copy {token} answered two calls with one number: {lines}"
    for before, after in pairwise(sorted(counts)):
        if hosts[before] != victim:
            assert min(counts[after]) > max(counts[before]), "what was handed over is not lost"


async def test_one_worker_is_a_cluster_as_well(tmp_path):
    async with serving("examples.sessions:app", 1, tmp_path) as server:
        assert (await post(server.port, "/ann", "hello"))[0] == 200
        status, body = await post(server.port, "/ann", "again")
        assert (status, body["user"], body["lines"]) == (200, "ann", 2)
        assert (await post(server.port, "/ann", b"\xff"))[0] == 200, "whatever the body is"
        assert await server.end() == 0
    assert has_ended(body["worker"])


def has_ended(pid: int) -> bool:
    """Whether there is no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
