"""UDP ASSOCIATE under GSSAPI (RFC 1928 section 7, RFC 1961 section 5): each datagram in a token of its own, at each level,
however datagrams are lost, doubled, reordered or forged; a client's port is learnt only from one that unwraps."""
import os
import socket

import pytest

import gss5
import peers
import socks5
from gss5 import Association, configuration, frame

NAMES = {1: b"integrity", 2: b"confidentiality", 3: b"selective"}


@pytest.fixture(scope="module")
def alice(realm):
    return realm.kinit().fetch()


@pytest.fixture
def g(gateway, realm):
    return gateway(configuration(realm))


@pytest.fixture
def echo(serve):
    return serve(peers.UdpEcho)


def seen(echo):
    return [octets for octets, _ in echo.seen]


def drops(g):
    text = g.record("session-close").get("drops", b"").decode()
    return {k: int(n) for k, n in (d.split(":") for d in text.split(",") if d)}


def finish(a, echo, data=b"last"):
    """One more datagram there and back: what was sent before it has been judged."""
    a.send(echo.host, echo.port, data)
    while True:
        got = a.receive()
        if got[3] == data:
            return


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("enctype", [17, 18, 19, 20])
def test_each_level_and_encryption_type(g, realm, echo, level, enctype):
    with Association(g.at, realm.kinit(enctype=enctype), level) as a:
        assert a.tcp.level == level
        for size in (0, 1, 100, 1400, 20000):
            data = os.urandom(size)
            a.send(echo.host, echo.port, data)
            assert a.receive() == (0, echo.host, echo.port, data)
    r = g.record("session-close")
    assert (r["protection"], r["user"]) == (NAMES[level], b"alice")
    assert (r["datagrams-up"], r["datagrams-down"]) == (b"5", b"5")


def test_in_clear_where_it_is_allowed(gateway, realm, alice, echo):
    g = gateway(configuration(realm, options="allow clear"))
    with Association(g.at, alice, 0) as a:
        assert a.tcp.level == 0
        a.send(echo.host, echo.port, b"hello")
        assert a.receive() == (0, echo.host, echo.port, b"hello")


@pytest.mark.parametrize("level", [1, 2])
def test_lost_doubled_and_reordered(g, alice, echo, level):
    with Association(g.at, alice, level) as a:
        tokens = [a.make(echo.host, echo.port, b"%d" % n) for n in range(12)]
        for n in (0, 2, 1, 1, 0, 5, 4, 4, 9, 11, 2, 10):  # 3, 6, 7 and 8 are lost
            a.s.send(tokens[n])
        finish(a, echo)
    assert seen(echo) == [b"0", b"2", b"1", b"5", b"4", b"9", b"11", b"10", b"last"]
    assert drops(g) == {"replay": 4}


@pytest.mark.parametrize("level", [1, 2])
def test_far_out_of_the_window(g, alice, echo, level):
    """A datagram that is long past is too old to know, and dropped; one from far ahead moves the window."""
    with Association(g.at, alice, level) as a:
        old = a.make(echo.host, echo.port, b"old")
        late = [a.make(echo.host, echo.port, b"late")]
        for _ in range(5000):
            a.make(echo.host, echo.port, b"lost")
        finish(a, echo, b"ahead")
        a.s.send(old)
        a.s.send(late[0])
        finish(a, echo)
    assert seen(echo) == [b"ahead", b"last"]
    assert drops(g) == {"replay": 2}


@pytest.mark.parametrize("level", [1, 2])
def test_what_does_not_unwrap_is_dropped(g, alice, echo, level):
    """Silently, and the association lives on."""
    with Association(g.at, alice, level) as a, Association(g.at, alice, level) as other:
        good = a.make(echo.host, echo.port, b"evil")
        plain = socks5.datagram(echo.host, echo.port, b"evil")
        bad = [b"", b"\1", good[:3], good[:4], good[:20], good[:-1], good + b"\0", b"\2" + good[1:], b"\1\1" + good[2:],
               good[:-1] + bytes([good[-1] ^ 1]), good[:30] + bytes([good[30] ^ 1]) + good[31:], plain, os.urandom(200),
               frame(gss5.DATA, b""), frame(gss5.DATA, os.urandom(100)), frame(gss5.DATA, plain),
               other.make(echo.host, echo.port, b"evil"), a.make(echo.host, echo.port, b"evil", conf=level == 1)]
        for octets in bad:
            a.s.send(octets)
        finish(a, echo)
        # a header that is wrong inside a token that is right
        a.s.send(a.tcp.wrap(b"\0\0\0\1\x7f"))
        finish(a, echo)
    assert seen(echo) == [b"last", b"last"]
    got = peers.wait_for(lambda: [r for r in g.records("session-close") if r.get("drops")], why=g.story)[0]["drops"].decode()
    got = {k: int(n) for k, n in (d.split(":") for d in got.split(","))}
    assert got.pop("header") == 1 and sum(got.values()) == len(bad) and set(got) <= {"token", "replay", "size"}, got


@pytest.mark.parametrize("level", [1, 2])
def test_a_port_is_learnt_only_from_a_datagram_that_unwraps(g, alice, echo, level):
    """Another program of the client's host is first, and gets nothing; afterwards too."""
    with Association(g.at, alice, level) as a, a.socket() as stranger:
        stranger.settimeout(0.3)
        for octets in (socks5.datagram(echo.host, echo.port, b"evil"), frame(gss5.DATA, os.urandom(90)), b"x"):
            stranger.send(octets)
        a.send(echo.host, echo.port, b"mine")
        assert a.receive()[3] == b"mine"
        stranger.send(frame(gss5.DATA, os.urandom(90)))
        finish(a, echo)
        with pytest.raises(TimeoutError):
            stranger.recv(100)
    assert seen(echo) == [b"mine", b"last"]


def test_a_stolen_datagram_from_another_port(g, alice, echo):
    """Sent first by someone on the client's host, then by the client: it counts once."""
    with Association(g.at, alice, 2) as a, a.socket() as thief:
        a.send(echo.host, echo.port, b"first")
        assert a.receive()[3] == b"first"
        token = a.make(echo.host, echo.port, b"stolen")
        thief.send(token)
        thief.settimeout(0.3)
        with pytest.raises(TimeoutError):
            thief.recv(100)
        finish(a, echo)
    assert b"stolen" not in seen(echo)


@pytest.mark.parametrize("level,over", [(1, 28), (2, 60)])
def test_the_largest_datagrams(g, alice, serve, level, over):
    """A reply that no longer fits a datagram with its header and token is dropped and counted; one that just does comes."""
    limit = 65507 - 4 - over - 10
    target = serve(peers.UdpEcho)
    with Association(g.at, alice, level) as a:
        data = os.urandom(limit)
        a.send(target.host, target.port, data)
        assert a.receive() == (0, target.host, target.port, data)
        client = target.seen[0][1]
        target.s.sendto(b"y" * (limit + 1), client)
        target.s.sendto(b"small", client)
        assert a.receive()[3] == b"small"
    assert drops(g) == {"size": 1}


@pytest.mark.parametrize("level", [1, 2])
def test_many(g, alice, echo, level):
    """A thousand there and back, ten at a time, each once and unchanged."""
    with Association(g.at, alice, level) as a:
        for n in range(100):
            sent = {b"%d." % (10 * n + k) + os.urandom(1000) for k in range(10)}
            for data in sent:
                a.send(echo.host, echo.port, data)
            assert {a.receive()[3] for _ in sent} == sent


def test_names_and_several_targets(g, alice, serve):
    with Association(g.at, alice, 2) as a:
        for host in ("127.0.0.1", "127.0.0.7", "::1"):
            echo = serve(peers.UdpEcho, host)
            a.send(host, echo.port, b"to " + host.encode())
            assert a.receive() == (0, host, echo.port, b"to " + host.encode())


def test_tcp_and_datagrams_share_the_counter(g, alice, echo):
    """What comes on the connection after datagrams, out of the order of arrival, is no fault of the association's; what
    is wrong with the connection's own octets ends it."""
    with Association(g.at, alice, 2) as a:
        a.send(echo.host, echo.port, b"one")
        assert a.receive()[3] == b"one"
        a.tcp.half_close()
        assert a.tcp.raw_ended()
    assert g.record("session-close")["reason"] == b"client-closed"


@pytest.mark.parametrize("level", [1, 2])
def test_rules_hold_for_each_target(gateway, realm, alice, serve, level):
    echo = serve(peers.UdpEcho)
    g = gateway(configuration(realm, "pass udp from any to 127.0.0.1 auth gssapi protection integrity\n"
                              "pass udp from any to 127.0.0.2 user bob auth gssapi\n"))
    with Association(g.at, alice, level) as a:
        a.send("127.0.0.2", echo.port, b"blocked")
        finish(a, echo)
    assert drops(g) == {"rules": 1}


def test_ipv6(g, alice, serve):
    echo = serve(peers.UdpEcho, "::1")
    with Association(g.at6, alice, 2) as a:
        assert a.s.family == socket.AF_INET6
        a.send("::1", echo.port, b"six")
        assert a.receive() == (0, "::1", echo.port, b"six")
