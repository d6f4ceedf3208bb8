"""Fragments through a gateway, RFC 1928 section 7. The queue's table of sequences is in tests/unit/test_reassembly.c;
here is what of it can be seen from outside, the timer on a real clock, and `udp fragments off`."""
import time

import pytest

import peers
from socks5 import Association

RULES = "pass udp from any to { any, 127.0.0.0/8, ::1 } auth none\n"
END = 0x80

# name: ((FRAG, data), ...), what comes to the target, and how many are dropped
SEQUENCES = {
    "standalone": (((0, b"a"), (0, b"b")), [b"a", b"b"], 0),
    "in order": (((1, b"a"), (2, b"b"), (END | 3, b"c")), [b"abc"], 0),
    "end at position 1": (((END | 1, b"a"),), [b"a"], 0),
    "lower than the highest": (((1, b"a"), (2, b"b"), (3, b"c"), (2, b"d"), (END | 4, b"e")), [], 5),
    "lower, and from the start": (((1, b"a"), (2, b"b"), (1, b"c"), (END | 2, b"d")), [b"cd"], 2),
    "standalone in the middle": (((1, b"a"), (2, b"b"), (0, b"s"), (END | 3, b"c")), [b"s"], 3),
    "a gap": (((1, b"a"), (3, b"c"), (END | 4, b"d")), [], 3),
    "out of order": (((1, b"a"), (3, b"c"), (2, b"b"), (END | 4, b"d")), [], 4),
    "a repeat": (((1, b"a"), (2, b"b"), (2, b"b"), (END | 3, b"c")), [b"abc"], 1),
    "no beginning": (((2, b"b"), (END | 3, b"c")), [], 2),
    "no position": (((END, b"x"),), [], 1),
    "127 positions": ((*((i, bytes([i])) for i in range(1, 127)), (END | 127, b"z")), [bytes(range(1, 127)) + b"z"], 0),
}


def datagrams_at(echo):
    return [octets for octets, _ in echo.seen]


@pytest.fixture
def udp_echo(serve):
    return serve(peers.UdpEcho)


@pytest.fixture
def g(gateway):
    return gateway(RULES)


def run(a, echo, steps):
    """Sends the steps, then a datagram that says that all of them have been dealt with."""
    for frag, data in steps:
        a.send(echo.host, echo.port, data, frag)
    a.send(echo.host, echo.port, b"done")
    peers.wait_for(lambda: datagrams_at(echo)[-1:] == [b"done"])
    return datagrams_at(echo)[:-1]


def dropped(g):
    """Fragments dropped, as the closing record has it."""
    drops = g.record("session-close").get("drops", b"").decode()
    return dict(d.split(":") for d in drops.split(",") if d).get("fragment", "0") if drops else "0"


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequence(g, udp_echo, name):
    steps, expected, drops = SEQUENCES[name]
    with Association(g.at) as a:
        assert run(a, udp_echo, steps) == expected
    assert int(dropped(g)) == drops


def test_the_timer(g, udp_echo):
    """Not before 5 seconds have passed, and soon after."""
    with Association(g.at) as early, Association(g.at) as late:
        for a in (early, late):
            a.send(udp_echo.host, udp_echo.port, b"first", 1)
        began = time.monotonic()
        time.sleep(4.9)
        early.send(udp_echo.host, udp_echo.port, b" second", END | 2)
        peers.wait_for(lambda: datagrams_at(udp_echo) == [b"first second"])
        time.sleep(max(0, began + 5.5 - time.monotonic()))
        assert run(late, udp_echo, [(END | 2, b" late")]) == [b"first second"]


def test_a_large_datagram_in_pieces(g, udp_echo):
    """As large as a datagram can be comes whole; one that would be larger does not come."""
    data = bytes(i % 251 for i in range(65507))
    with Association(g.at) as a:
        for end, expected in ((65507, [data]), (65508, [])):
            steps = [(i // 8000 + 1, data[i:i + 8000]) for i in range(0, 64000, 8000)]
            steps += [(END | 9, data[64000:] + b"x" * (end - 65507))]
            for frag, piece in steps:
                a.send(udp_echo.host, udp_echo.port, piece, frag)
                time.sleep(0.01)  # nothing is lost on the way here
            assert run(a, udp_echo, []) == expected
            udp_echo.seen.clear()


def test_answers_come_whole(g, udp_echo):
    """"It is recommended that fragmentation be avoided": the gateway never sends any."""
    with Association(g.at) as a:
        for size in (0, 1, 1400, 9000, 40000):
            a.send(udp_echo.host, udp_echo.port, b"q" * size)
            assert a.receive() == (0, udp_echo.host, udp_echo.port, b"q" * size)


def test_fragments_to_one_target_do_not_go_to_another(g, serve):
    one, other = serve(peers.UdpEcho), serve(peers.UdpEcho)
    with Association(g.at) as a:
        a.send(one.host, one.port, b"a", 1)
        a.send(other.host, other.port, b"x", END | 2)
        a.send(one.host, one.port, b"b", END | 2)
        peers.wait_for(lambda: datagrams_at(one) == [b"ab"])
        a.send(other.host, other.port, b"done")
        peers.wait_for(lambda: datagrams_at(other) == [b"done"])


def test_each_association_has_a_queue_of_its_own(g, udp_echo):
    with Association(g.at) as a, Association(g.at) as b:
        a.send(udp_echo.host, udp_echo.port, b"a", 1)
        b.send(udp_echo.host, udp_echo.port, b"b", END | 2)
        assert run(b, udp_echo, []) == []
        a.send(udp_echo.host, udp_echo.port, b"c", END | 2)
        peers.wait_for(lambda: datagrams_at(udp_echo)[-1] == b"ac")


def test_fragments_off(gateway, udp_echo):
    """"MUST drop any datagram whose FRAG field is other than X'00'"."""
    g = gateway("udp fragments off\n" + RULES)
    with Association(g.at) as a:
        assert run(a, udp_echo, [(f, b"f") for f in range(1, 256)]) == []
    assert dropped(g) == "255"
