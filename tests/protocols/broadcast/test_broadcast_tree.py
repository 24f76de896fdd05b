"""The reference's scenarios of the tree, by number. Hops take 50 ms, T1 is 500 ms and T2 100 ms until measured."""

from __future__ import annotations

import msgspec
import pytest

from covey.protocols.broadcast.config import BroadcastConfig
from covey.wire.messages.broadcast import Gossip, Graft, IHave, NotHeld, Prune
from tests.protocols.broadcast.broadcast_net import CONFIG, HOP, MS, SECOND, T1, T2, Net, grown, site

STEADY = BroadcastConfig(graft_us_min=T1, graft_us_max=T1, regraft_us_min=T2, regraft_us_max=T2)


def gossip(sender: str, first: int, *values: int, round: int = 1, incarnation: int = 1) -> Gossip:
    body = msgspec.Raw(msgspec.msgpack.encode(list(values or (1,))))
    return Gossip(site(sender), incarnation, b"news", first, len(values or (1,)), round, body)


def i_have(sender: str, first: int, last: int | None = None, round: int = 2) -> IHave:
    return IHave(((site(sender), 1, b"news", ((first, last or first, round),)),))


def test_1_a_duplicate_prunes_both_ends():
    net = Net(STEADY).mesh("a", "b", "c").broadcast("a").run()
    assert len(net.sent(Gossip)) == 4 and len(net.sent(Prune)) == 2
    assert net.lazy("b") == {"c"} and net.lazy("c") == {"b"}
    net.forget().broadcast("a").run()
    assert len(net.sent(Gossip)) == 2 and len(net.sent(IHave)) == 2 and not net.sent(Prune)
    assert [net.numbers(name) for name in "abc"] == [[], [1, 2], [1, 2]]


def test_2_a_late_payload_is_not_grafted():
    net = Net(STEADY).mesh("a", "b")
    net.hear("a", "b", i_have("z", 1))
    net.run(300 * MS)
    net.hear("a", "b", gossip("z", 1))
    net.run()
    assert not net.sent(Graft) and net.heard["a"] == [("z", 1, b"\x01")]


def test_3_a_lost_payload_is_grafted():
    net = grown("abc", ["ab", "bc", "ac"], STEADY)
    assert net.lazy("b") == {"c"}
    net.drops = lambda sender, to, message: (sender, to) == ("a", "c") and type(message) is Gossip
    net.broadcast("a").run(HOP)
    announced_us = net.now_us + CONFIG.announce_us + HOP
    net.drops = lambda *_: False
    net.run(announced_us + T1 + 3 * HOP - net.now_us)
    assert net.numbers("c") == [1, 2, 3]
    assert len(net.sent(Graft)) == 1
    assert "c" in net.eager("b") and "b" in net.eager("c")


def test_4_the_second_announcer_is_asked_when_the_first_does_not_answer():
    net = Net(STEADY).start("a", "x", "y", "e").link("ax", "ay", "ae")
    net.hear("a", "x", i_have("z", 1))
    net.hear("a", "y", i_have("z", 1))
    net.crash("x")
    net.run(T1)
    assert [to for _, to, _ in net.sent(Graft)] == ["x"]
    net.hear("y", "a", gossip("z", 1))
    net.run(T2)
    assert [to for _, to, _ in net.sent(Graft)] == ["x", "y"]
    net.unlink("a", "x")
    net.run()
    assert net.numbers("a") == [1] and net.eager("a") >= {"y"} and "x" not in net.eager("a") | net.lazy("a")


def test_5_an_announcer_that_is_lost_before_t1_is_not_asked():
    net = Net(STEADY).start("a", "x", "e").link("ax", "ae")
    net.hear("a", "x", i_have("z", 1))
    net.run(T1 // 2)
    net.unlink("a", "x")
    net.run(2 * T1)
    assert not net.sent(Graft)
    net.hear("a", "e", i_have("z", 1))
    net.run()
    assert [to for _, to, _ in net.sent(Graft)] == ["e"]


def test_6_a_new_neighbour_changes_one_link_only():
    net = grown("abc", ["ab", "bc", "ac"])
    before = net.eager("b"), net.lazy("b")
    net.start("z").link("bz")
    assert (net.eager("b"), net.lazy("b")) == (before[0] | {"z"}, before[1])


def test_7_a_shorter_path_is_taken_from_seven_hops_on():
    for shorter, taken in ((4, False), (6, False), (7, True), (8, True)):
        net = Net(STEADY).start("a", "p", "q").link("ap", "aq")
        net.hear("p", "a", Prune())
        net.hear("a", "p", Prune())
        assert net.lazy("a") == {"p"}
        net.hear("a", "p", i_have("z", 1, round=2))
        net.hear("a", "q", gossip("z", 1, round=2 + shorter))
        grafts = [message for _, to, message in net.sent(Graft, to="p")]
        assert (grafts == [Graft(())]) is taken and (len(net.sent(Prune, to="q")) == 1) is taken
        assert net.eager("a") == ({"p"} if taken else {"q"})
        net.run()
        assert net.numbers("a") == [1]


def test_8_who_is_no_neighbour_changes_nothing():
    net = grown("abc", ["ab", "bc", "ac"])
    before = [(net.eager(name), net.lazy(name)) for name in "abc"]
    net.hear("b", "s", Prune(), Graft(()), i_have("z", 1), gossip("z", 5), gossip("z", 5))
    net.run()
    assert [(net.eager(name), net.lazy(name)) for name in "abc"] == before
    assert net.heard["b"][-1] == ("z", 5, b"\x01") and not [said for said in net.said if said[1] == "s"]
    assert net.nodes["b"].statistics().strangers == 3


def test_9_what_we_said_is_not_news_when_it_comes_back():
    net = Net(STEADY).mesh("a", "b").broadcast("a")
    net.forget().hear("a", "b", gossip("a", 1))
    assert net.heard["a"] == [] and net.lazy("a") == {"b"} and not net.sent(Gossip)
    assert len(net.sent(Prune, to="b")) == 1


def test_10_the_same_bytes_twice_are_two_messages():
    net = Net().mesh("a", "b").broadcast("a", b"\x07").run(SECOND)
    net.broadcast("a", b"\x07").run()
    assert net.heard["b"] == [("a", 1, b"\x07"), ("a", 2, b"\x07")]


def test_14_a_graft_that_cannot_be_served_goes_to_the_next_announcer_at_once():
    net = Net(STEADY).start("a", "x", "y", "e").link("ax", "ay", "ae")
    net.hear("y", "a", Prune())
    net.hear("y", "e", gossip("z", 1))
    net.forget()
    net.hear("a", "x", i_have("z", 1))
    net.hear("a", "y", i_have("z", 1))
    net.run(T1 + 4 * HOP)
    assert [type(message) for _, _, message in net.sent(NotHeld, "x", "a")] == [NotHeld]
    assert [to for _, to, _ in net.sent(Graft)] == ["x", "y"] and net.numbers("a") == [1]
    net.forget().run(60 * SECOND)
    assert not net.sent(Graft), "nobody is asked for ever"


def test_16_announcements_fit_into_frames():
    net = Net().mesh("a", "b")
    net.hear("a", "b", Prune())
    for number in range(1, 40_001):
        net.nodes["a"].tree.announcements.put([site("b")], (site("z"), 1, b"x" * 40), 2 * number, 2 * number, 3)
    ((peers, messages),) = net.nodes["a"].tree.announcements.take()
    sizes = [len(msgspec.msgpack.encode(message)) for message in messages]
    assert peers == [site("b")] and len(messages) > 3 and max(sizes) <= 65_536
    assert [run[0] for message in messages for _, _, _, runs in message.runs for run in runs] == list(
        range(2, 80_001, 2)
    )


def test_24_without_an_eager_neighbour_nothing_is_waited_for():
    net = Net(STEADY).start("a", "l").link("al")
    net.hear("a", "l", Prune())
    net.hear("l", "e", gossip("z", 1))
    net.hear("a", "l", i_have("z", 1))
    net.run(2 * HOP)
    assert net.numbers("a") == [1] and net.eager("a") == {"l"}


def test_24_what_was_waited_for_is_asked_for_when_the_last_eager_neighbour_goes():
    net = Net(STEADY).start("a", "l", "e").link("al", "ae")
    net.hear("a", "l", Prune())
    net.hear("l", "e", gossip("z", 1))
    net.hear("a", "l", i_have("z", 1))
    net.run(MS)
    net.unlink("a", "e")
    net.run(2 * HOP)
    assert net.numbers("a") == [1]


def test_27_a_lost_prune_is_said_again():
    net = Net(STEADY).mesh("a", "b", "c")
    net.drops = lambda sender, to, message: type(message) is Prune
    net.broadcast("a").run()
    net.forget().drops = lambda *_: False
    net.broadcast("a").run()
    assert len(net.sent(Gossip)) <= 4, "one too many on that link, in each direction"
    net.forget().broadcast("a").run()
    assert len(net.sent(Gossip)) == 2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_small_clusters_are_a_tree_after_one_message(count):
    names = "abcde"[:count]
    net = Net().mesh(*names).broadcast("a").run()
    net.forget().broadcast(names[-1]).run()
    assert len(net.sent(Gossip)) == count - 1
    assert len(net.edges()) == count - 1
    assert all(net.numbers(name) == [1] * (2 - (name in ("a", names[-1])) if count > 1 else 0) for name in names)


def test_a_run_that_is_new_in_part_is_taken_in_part():
    net = Net().mesh("a", "b")
    net.hear("b", "a", gossip("z", 3, 3, 4))
    net.hear("b", "a", gossip("z", 1, 1, 2, 3, 4, 5))
    assert net.heard["b"] == [
        ("z", 3, b"\x03"),
        ("z", 4, b"\x04"),
        ("z", 1, b"\x01"),
        ("z", 2, b"\x02"),
        ("z", 5, b"\x05"),
    ]


def test_what_one_turn_says_goes_in_one_run():
    net = Net().mesh("a", "b").broadcast("a", *(bytes([at]) for at in range(100))).run()
    assert [message.count for _, _, message in net.sent(Gossip)] == [100]
    assert net.numbers("b") == list(range(1, 101))


def test_nobody_says_for_us_what_we_did_not_say():
    net = Net().mesh("a", "b").broadcast("a")
    net.hear("a", "b", gossip("a", 2), gossip("a", 1, incarnation=7))
    assert net.heard["a"] == [] and net.nodes["a"].statistics().forged == 2


def test_a_link_that_was_grafted_just_now_is_not_pruned():
    net = Net(STEADY).start("a", "x", "e").link("ax", "ae")
    net.hear("a", "x", Prune())
    net.hear("a", "x", Graft(()))
    net.hear("a", "e", gossip("z", 1))
    net.forget().hear("a", "x", gossip("z", 1))
    assert not net.sent(Prune) and net.eager("a") == {"x", "e"}
    net.run(SECOND)
    net.hear("a", "x", gossip("z", 1))
    assert len(net.sent(Prune, to="x")) == 1 and net.eager("a") == {"e"}
