"""A worker that asks for marked sockets: it gets those of the configuration, and no more at a time than it takes."""
import os

import pytest

import sally
from peers import wait_for
from puppets import NUMBER, Stage, end, message, raw, start

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="marks take root")
TEXT = "egress mark 7\n" + sally.OPEN
REFUSED, NOT_ALLOWED = b"refused", b"not a message that it may send"
CASES = [
    ("of no family", lambda p: [message("MARK", 7, 5, 0)], REFUSED),
    ("of no type", lambda p: [message("MARK", 7, 4, 2)], REFUSED),
    ("the wrong way", lambda p: [message("MARKED", 7, 4, 0)], NOT_ALLOWED),
    ("half of one", lambda p: [raw(NUMBER["MARK"], bytes(4))], NOT_ALLOWED),
    ("so many that none are taken", lambda p: [message("MARK", 7, 4, 0) * 1000] * 8, REFUSED),
]


@pytest.fixture
def stage():
    with Stage() as s:
        yield s


def ask(p, mark, family, datagrams):
    p.send(message("MARK", mark, family, datagrams))


def test_what_is_given(stage, gateway):
    g, (p,) = start(gateway, stage, TEXT, {"worker": 1}, workers=2)
    for family, datagrams in ((4, 0), (4, 1), (6, 0), (6, 1)):
        ask(p, 7, family, datagrams)
        (found,), fd = p.recv()
        assert found[:2] == ("MARKED", (7, family, datagrams)) and fd != -1
    for mark in (0, 8, 0xffffffff):  # as after a reload: no fault, and nothing given
        ask(p, mark, 4, 0)
        assert p.recv(ms=300) == ([], None)
    end(g, [p], 0)


def test_what_kills(stage, gateway):
    n = len(CASES)
    g, cast = start(gateway, stage, TEXT, {"worker": n}, workers=n + 1)
    for (what, act, reason), p in zip(CASES, cast):
        for packet in act(p):
            p.send(packet)
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and reason in r["detail"], (what, r)
    wait_for(lambda: len(g.children("worker")) == n + 1, 30, g.story)
    end(g, [], n)
