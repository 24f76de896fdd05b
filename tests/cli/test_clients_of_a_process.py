"""Clients of a node that is a process: one that disappears, one that is rude, and a hundred."""

from __future__ import annotations

import asyncio
import random

import pytest

import covey
from covey.core.ids import cluster_id
from covey.runtime.client import Client
from covey.runtime.environment import RealEnvironment
from covey.wire import codec
from covey.wire.messages.client import Ask
from covey.wire.messages.overlay import Affirm
from tests.cli.command import SECRET, until_members


def client(address: str) -> Client:
    transport = RealEnvironment().transport(None)
    return Client(transport, address, cluster_id("orders"), SECRET.encode(), random.SystemRandom())


@pytest.mark.slow
@pytest.mark.serial
async def test_a_client_that_disappears_during_its_ask_leaves_the_node_well(node, ask):
    async with node(name="a") as (_, one), node("--seed", one["address"], name="b") as (second, two):
        await until_members(ask, one, 2)
        async with client(one["address"]) as gone:
            await gone.connect(5)
            encoded = codec.encode_message(Ask(1, "kick", b"\x81\xa3who\xa1b"))
            gone._write(codec.join_body([encoded]))  # and does not wait for the answer
        assert (await second.event("kicked"))["by"] == one["site"]
        assert (await until_members(ask, one, 1))["site"] == one["site"]
        assert two["site"] != one["site"]


@pytest.mark.serial
async def test_a_hundred_clients_at_once_are_answered_or_told_to_come_again(node, ask):
    async def one(address: str) -> str:
        async with client(address) as found:
            try:
                await found.connect(20)
                return str((await found.ask("members", timeout=20))["cluster"])
            except covey.Overloaded:
                return "later"

    async with node() as (_, started):
        answers = await asyncio.gather(*(one(started["address"]) for _ in range(100)))
        assert set(answers) <= {"orders", "later"} and answers.count("orders") >= 16
        assert (await until_members(ask, started, 1))["site"] == started["site"]


@pytest.mark.serial
async def test_a_client_that_speaks_as_a_node_is_dropped(node, ask):
    async with node() as (command, started):
        async with client(started["address"]) as rude:
            await rude.connect(5)
            rude._write(codec.join_body([codec.encode_message(Affirm())]))
            with pytest.raises(covey.PeerUnreachable, match="violation: a client may only ask"):
                await rude.ask("members")
        assert (await command.event("protocol_violation"))["detail"] == "a client may only ask"
        await until_members(ask, started, 1)
