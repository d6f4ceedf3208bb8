"""An association that has much to send: its client and its target get a socket each that has a peer (worker/udp_twin.c), and
nothing else changes: who is heard, what is counted, where other targets see it come from."""
import socket
import time

import pytest

import peers
from udp5 import Association, closing, datagram, drops

PASS = "pass udp from any to { any, 127.0.0.0/8, ::1 } auth none\n"
ENOUGH = 80  # datagrams in a row


@pytest.fixture
def echo(serve):
    return serve(peers.UdpEcho)


def ends(port):
    """Of the UDP sockets with this port: those without a peer, and the ports of the others' peers."""
    found = []
    for name in "udp", "udp6":
        with open(f"/proc/net/{name}") as f:
            found += [line.split()[1:3] for line in f.readlines()[1:]]
    peers_of = [int(there.split(":")[1], 16) for here, there in found if int(here.split(":")[1], 16) == port]
    return peers_of.count(0), sorted(p for p in peers_of if p)


def busy(a, echo, count=ENOUGH):
    """Exchanges datagrams until both have a twin; returns the port that the target sees."""
    for i in range(count):
        assert a.ask(echo.host, echo.port, b"%d" % i) == (echo.host, echo.port, b"%d" % i)
    outgoing = echo.seen[-1][1][1]
    assert ends(a.relay[1]) == (1, [a.u.getsockname()[1]])
    assert ends(outgoing) == (1, [echo.port])
    return outgoing


def udp(host="127.0.0.1"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((host, 0))
    s.settimeout(5)
    return s


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_they_come_with_the_datagrams_and_go_with_the_association(gateway, serve, host):
    echo = serve(peers.UdpEcho, host)
    g = gateway(PASS)
    a = Association(g.at)
    for i in range(60):
        assert a.ask(host, echo.port, b"x")[2] == b"x"
    outgoing = echo.seen[0][1]
    assert ends(a.relay[1]) == ends(outgoing[1]) == (1, [])
    assert busy(a, echo) == outgoing[1]
    assert {where for _, where in echo.seen} == {outgoing}
    for i in range(100):
        assert a.ask(host, echo.port, b"y")[2] == b"y"
    r = closing(g, a)
    count = b"%d" % (160 + ENOUGH)
    assert (r["datagrams-up"], r["datagrams-down"], r["reason"], drops(r)) == (count, count, b"client-closed", {})
    assert ends(a.relay[1]) == ends(outgoing[1]) == (0, [])


def test_what_is_under_way_arrives_once_and_in_its_order(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    sent = [b"%04d" % i for i in range(600)]
    back = []
    for i, data in enumerate(sent):
        a.send("127.0.0.1", echo.port, data)
        if i >= 30:  # so many wait in sockets
            back.append(a.recv()[2])
    back += [a.recv()[2] for _ in range(30)]
    assert ends(a.relay[1])[1] and ends(echo.seen[-1][1][1])[1]
    # The one change from one socket to the other may let some pass others.
    assert sorted(back) == sorted(o for o, _ in echo.seen) == sent
    assert back[200:] == sent[200:]
    assert drops(closing(g, a)) == {}


def test_strangers_are_counted_and_not_heard(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    outgoing = busy(a, echo)
    far, near = udp("127.0.0.2"), udp()
    for _ in range(3):
        far.sendto(datagram("127.0.0.1", echo.port, b"mine"), a.relay)
        near.sendto(datagram("127.0.0.1", echo.port, b"mine"), a.relay)
        far.sendto(b"surprise", ("127.0.0.1", outgoing))
        near.sendto(b"surprise", ("127.0.0.1", outgoing))
    assert a.ask("127.0.0.1", echo.port, b"last")[2] == b"last"
    assert not any(o == b"mine" for o, _ in echo.seen)
    assert drops(closing(g, a)) == {"source": 6, "reply": 6}
    far.close()
    near.close()


def test_other_targets_see_the_same_port(gateway, serve, echo):
    others = [serve(peers.UdpEcho) for _ in range(3)]
    g = gateway(PASS)
    a = Association(g.at)
    outgoing = busy(a, echo)
    for _ in range(3):
        for target in (*others, echo):
            assert a.ask("127.0.0.1", target.port, b"x") == ("127.0.0.1", target.port, b"x")
    for target in others:
        assert {where[1] for _, where in target.seen} == {outgoing}
    # Another with much to send has none as long as the first has it.
    for _ in range(ENOUGH):
        assert a.ask("127.0.0.1", others[0].port, b"x")[1] == others[0].port
    assert ends(outgoing) == (1, [echo.port])
    assert drops(closing(g, a)) == {}


def test_replies_from_anywhere(gateway, echo):
    g = gateway("udp replies any\n" + PASS)
    a = Association(g.at)
    outgoing = busy(a, echo)
    with udp() as other:
        other.sendto(b"surprise", ("127.0.0.1", outgoing))
        assert a.recv() == ("127.0.0.1", other.getsockname()[1], b"surprise")
    assert a.ask("127.0.0.1", echo.port, b"x")[:2] == ("127.0.0.1", echo.port)
    assert drops(closing(g, a)) == {}


def test_bad_and_other_datagrams_of_the_client(gateway, serve, echo):
    """What comes through the client's twin is read as ever."""
    serve(peers.Dns, {"echo.example": {"A": ["127.0.0.1"]}})
    g = gateway("resolver 127.0.0.1\n" + PASS)
    a = Association(g.at)
    busy(a, echo)
    a.raw(b"\0\0\0")
    a.raw(datagram("127.0.0.1", echo.port, b"y", rsv=1))
    a.send("127.0.0.1", echo.port, b"one ", 1)
    a.send("127.0.0.1", echo.port, b"two", 0x82)
    assert a.recv()[2] == b"one two"
    assert a.ask(b"echo.example", echo.port, b"named")[2] == b"named"
    assert a.ask("127.0.0.1", echo.port, b"")[2] == b""
    assert a.ask("127.0.0.1", echo.port, bytes(9000))[2] == bytes(9000)
    assert drops(closing(g, a)) == {"header": 2}


def test_a_target_that_was_away(gateway, serve, echo):
    """The kernel tells a socket with a peer of ICMP errors, in place of sending what comes next."""
    g = gateway(PASS)
    a = Association(g.at)
    busy(a, echo)
    port = echo.port
    echo.stop()
    for _ in range(5):
        a.send("127.0.0.1", port, b"lost")
        assert a.silent(0.05) is True
    back = serve(peers.UdpEcho, "127.0.0.1", port)
    for i in range(5):
        assert a.ask("127.0.0.1", port, b"%d" % i)[2] == b"%d" % i
    assert [o for o, _ in back.seen] == [b"0", b"1", b"2", b"3", b"4"]
    r = closing(g, a)
    assert int(r["datagrams-up"]) + drops(r).get("send", 0) == ENOUGH + 10


def test_a_client_that_was_away(gateway, echo):
    """Likewise with replies while the client has no socket."""
    g = gateway(PASS)
    a = Association(g.at)
    outgoing = busy(a, echo)
    mine = a.u.getsockname()
    a.u.close()
    for _ in range(5):
        echo.s.sendto(b"lost", ("127.0.0.1", outgoing))
        time.sleep(0.02)
    a.u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.u.bind(mine)
    a.u.settimeout(5)
    echo.s.sendto(b"heard", ("127.0.0.1", outgoing))
    while (data := a.recv()[2]) == b"lost":  # on a slow machine
        pass
    assert data == b"heard"
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    a.close()


def test_egress_is_the_rules(gateway, echo):
    g = gateway("egress from 127.0.0.5\n" + PASS)
    a = Association(g.at)
    busy(a, echo)
    assert {where[0] for _, where in echo.seen} == {"127.0.0.5"}
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert g.reload("egress from 127.0.0.6\n" + PASS)["event"] == b"reload"
    peers.wait_for(lambda: a.ask("127.0.0.1", echo.port, b"x") and echo.seen[-1][1][0] == "127.0.0.6", why=g.story)
    for _ in range(ENOUGH):
        assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert echo.seen[-1][1][0] == "127.0.0.6"
    assert drops(closing(g, a)) == {}


def test_a_new_policy_is_obeyed(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    busy(a, echo)
    assert g.reload(f"block udp from any to any port {echo.port}\n" + PASS)["event"] == b"reload"
    peers.wait_for(lambda: (a.send("127.0.0.1", echo.port, b"y"), g.records("target-refused"))[1], why=g.story)
    while a.silent() is not True:
        pass
    seen = len(echo.seen)
    a.send("127.0.0.1", echo.port, b"y")
    assert a.silent() is True and len(echo.seen) == seen
    assert g.reload(PASS)["event"] == b"reload"
    peers.wait_for(lambda: (a.send("127.0.0.1", echo.port, b"z"), len(g.records("session-target")) == 2)[1], why=g.story)
    assert a.recv()[2] == b"z"
    a.close()


def test_few_descriptors_are_left_for_sessions(gateway, echo):
    """Half of them: past that all goes on without twins."""
    g = gateway(PASS, workers=1, wrapper=["prlimit", "--nofile=256:256"])
    others = [Association(g.at) for _ in range(28)]
    for a in others:
        for i in range(ENOUGH):
            assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    twins = [bool(ends(a.relay[1])[1]) for a in others]
    assert twins[0] and not twins[-1], twins
    more = [Association(g.at) for _ in range(4)]
    for a in others + more:
        assert a.ask("127.0.0.1", echo.port, b"y")[2] == b"y"
        a.close()


def test_ports_of_associations_are_their_own(gateway, echo):
    """While there are twins no other association gets the port."""
    port = peers.free_port()
    g = gateway(f"udp ports {port}-{port}\n" + PASS)
    a = Association(g.at)
    assert a.relay[1] == port
    busy(a, echo)
    b = Association(g.at)
    assert b.reply[0] != 0
    b.close()
    a.close()
    peers.wait_for(lambda: ends(port) == (0, []), why=g.story)
    c = Association(g.at)
    assert c.relay[1] == port and c.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    c.close()
