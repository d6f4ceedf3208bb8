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


def beside(p, fd):
    p.send(message("BESIDE"), fds=(fd,))


def twin(p, fd, side=0):
    p.send(message("TWIN", 0, 1, side), fds=(fd,))


def pair(p, fd, side=0):
    """Asks for a new socket to be bound beside this one: the new one, and whether it was."""
    new = udp(p, False)
    beside(p, fd)
    twin(p, new, side)
    (found,), passed = p.recv()
    assert found[0] == "TWINNED" and found[1][:3] == (0, 1, side) and passed == -1
    return new, found[1][3]


def alone(name, *fields):
    return lambda p: p.send(message(name, *fields))


CASES = [
    ("a side that there is not", lambda p: (beside(p, udp(p)), twin(p, udp(p, False), 2)), REFUSED),
    ("beside nothing", lambda p: twin(p, udp(p, False)), REFUSED),
    ("beside a TCP socket", lambda p: beside(p, tcp(p)), REFUSED),
    ("beside its listener", lambda p: beside(p, p.given("LISTENER")), REFUSED),
    ("beside its channel", lambda p: beside(p, 3), REFUSED),
    ("a TCP socket", lambda p: (beside(p, udp(p)), twin(p, tcp(p))), REFUSED),
    ("a second one", lambda p: (beside(p, udp(p)), twin(p, udp(p, False)), twin(p, udp(p, False))), REFUSED),
    ("not at once", lambda p: (beside(p, udp(p)), p.send(message("MARK", 7, 4, 0)), twin(p, udp(p, False))), REFUSED),
    ("without a socket", alone("TWIN", 0, 1, 0), NOT_ALLOWED),
    ("beside without a socket", alone("BESIDE"), NOT_ALLOWED),
    ("the wrong way", alone("TWINNED", 0, 1, 0, 1), NOT_ALLOWED),
    ("half of one", lambda p: p.send(raw(NUMBER["TWIN"], bytes(4)), fds=(udp(p),)), NOT_ALLOWED),
]


def test_what_is_done(stage, gateway):
    g, (p,) = start(gateway, stage, sally.OPEN, {"worker": 1}, workers=2)
    fd = udp(p)
    new, done = pair(p, fd, 1)
    assert done == 1
    with open("/proc/net/udp") as f:
        ports = [int(line.split()[1].split(":")[1], 16) for line in f.readlines()[1:]]
    port, = {n for n in ports if ports.count(n) == 2}
    third = udp(p, False)
    assert p.sys("bind", third, at(port), 16) == (-1, errno.EADDRINUSE)
    assert p.sys("close", new) == (0, 0)
    assert pair(p, fd)[1] == 1
    end(g, [p], 0)


def test_what_cannot_be(stage, gateway):
    """No fault, and nothing done."""
    g, (p,) = start(gateway, stage, sally.OPEN, {"worker": 1}, workers=2)
    assert pair(p, udp(p, False))[1] == 0  # as one that could not send, and has no port
    beside(p, udp(p))
    twin(p, udp(p))  # which has a port of its own
    assert p.recv()[0][0][1][3] == 0
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


def test_the_master_holds_one(stage, gateway):
    """Of many sockets that others are to be beside, and of answers that nobody reads, none."""
    g, (p,) = start(gateway, stage, sally.OPEN, {"worker": 1}, workers=2)
    before = len(os.listdir(f"/proc/{g.p.pid}/fd"))
    for _ in range(500):
        beside(p, udp(p))
    for _ in range(300):
        beside(p, udp(p))
        twin(p, udp(p, False))
    beside(p, udp(p))
    wait_for(lambda: len(os.listdir(f"/proc/{g.p.pid}/fd")) == before + 1, why=g.story)
    end(g, [p], 0)
