"""A worker that asks for sockets beside its own: it gets one beside a UDP socket that is bound, and no other way into a
port."""
import errno
import os
import socket
import struct

import pytest

import sally
from peers import wait_for
from puppets import NUMBER, Stage, end, message, raw, start

REFUSED, NOT_ALLOWED = b"refused", b"not a message that it may send"
DGRAM, STREAM = 0o2004002, 0o2004001


@pytest.fixture
def stage():
    with Stage() as s:
        yield s


def at(port):
    return "h:" + (struct.pack("<H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton("127.0.0.1"))).hex()


def udp(p, bound=True):
    fd, error = p.sys("socket", socket.AF_INET, DGRAM, socket.IPPROTO_UDP)
    assert fd >= 0, errno.errorcode[error]
    if bound:
        assert p.sys("bind", fd, at(0), 16) == (0, 0)
    return fd


def tcp(p):
    fd, error = p.sys("socket", socket.AF_INET, STREAM, 0)
    assert fd >= 0, errno.errorcode[error]
    return fd


def twin(side=0):
    return message("TWIN", 0, 1, side)


CASES = [
    ("of no side", lambda p: p.send(twin(2), fds=(udp(p),)), REFUSED),
    ("without a socket", lambda p: p.send(twin()), NOT_ALLOWED),
    ("of a TCP socket", lambda p: p.send(twin(), fds=(tcp(p),)), REFUSED),
    ("of its listener", lambda p: p.send(twin(), fds=(p.given("LISTENER"),)), REFUSED),
    ("of its channel", lambda p: p.send(twin(), fds=(3,)), REFUSED),
    ("the wrong way", lambda p: p.send(message("TWINNED", 0, 1, 0), fds=(udp(p),)), NOT_ALLOWED),
    ("half of one", lambda p: p.send(raw(NUMBER["TWIN"], bytes(4)), fds=(udp(p),)), NOT_ALLOWED),
]


def test_what_is_given(stage, gateway):
    g, (p,) = start(gateway, stage, sally.OPEN, {"worker": 1}, workers=2)
    fd = udp(p)
    p.send(twin(1), fds=(fd,))
    (found,), beside = p.recv()
    assert found[:2] == ("TWINNED", (0, 1, 1)) and beside not in (-1, fd)
    with open("/proc/net/udp") as f:
        ports = [int(line.split()[1].split(":")[1], 16) for line in f.readlines()[1:]]
    port, = {n for n in ports if ports.count(n) == 2}
    third = udp(p, False)
    assert p.sys("bind", third, at(port), 16) == (-1, errno.EADDRINUSE)
    end(g, [p], 0)


def test_beside_what_has_no_port(stage, gateway):
    """As one that could not send: no fault, and nothing given."""
    g, (p,) = start(gateway, stage, sally.OPEN, {"worker": 1}, workers=2)
    p.send(twin(), fds=(udp(p, False),))
    assert p.recv(ms=300) == ([], None)
    end(g, [p], 0)


def test_what_kills(stage, gateway):
    n = len(CASES)
    g, cast = start(gateway, stage, sally.OPEN, {"worker": n}, workers=n + 1)
    for (what, act, reason), p in zip(CASES, cast):
        act(p)
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and reason in r["detail"], (what, r)
    wait_for(lambda: len(g.children("worker")) == n + 1, 30, g.story)
    end(g, [], n)


def test_answers_that_it_does_not_take(stage, gateway):
    """They hold the master's descriptors: there are not many of them."""
    g, (p,) = start(gateway, stage, sally.OPEN, {"worker": 1}, workers=2)
    for _ in range(1500):
        p.send(twin(), fds=(udp(p),))
    held = len(os.listdir(f"/proc/{g.p.pid}/fd"))
    assert 200 < held < 400, held
    end(g, [p], 0)


def test_one_at_a_time(stage, gateway):
    """A second one would find the first in its way: no fault, and nothing given."""
    g, (p,) = start(gateway, stage, sally.OPEN, {"worker": 1}, workers=2)
    fd = udp(p)
    p.send(twin(), fds=(fd,))
    _, beside = p.recv()
    assert beside != -1
    p.send(twin(), fds=(fd,))
    assert p.recv(ms=300) == ([], None)
    assert p.sys("close", beside) == (0, 0)
    p.send(twin(), fds=(fd,))
    assert p.recv()[1] != -1
    end(g, [p], 0)
