"""How connections and datagrams leave: which address, which device, and which mark, by which the kernel routes."""
import os

import pytest

import peers
import sally
import socks5
from hosts import Hosts
from udp5 import Association

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces and marks take root")
TARGET = "198.51.100.10"
NET_RAW = 1 << 13


@pytest.fixture
def net(serve):
    """The target's address is there twice: the routes lead to the left, those of the mark 7 to the right."""
    hosts = serve(Hosts,
                  ("client", "10.1.0.2/24", "gw", "10.1.0.1/24"),
                  ("gw", "10.5.0.1/24", "left", "10.5.0.2/24"),
                  ("gw", "10.6.0.1/24", "right", "10.6.0.2/24"))
    for side in ("left", "right"):
        hosts.ip(side, "addr", "add", f"{TARGET}/32", "dev", "lo")
    hosts.route("gw", "198.51.100.0/24", "10.5.0.2")
    hosts.ip("gw", "route", "add", "198.51.100.0/24", "via", "10.6.0.2", "metric", "100")
    hosts.ip("gw", "route", "add", "198.51.100.0/24", "via", "10.6.0.2", "table", "100")
    hosts.ip("gw", "rule", "add", "fwmark", "7", "lookup", "100")
    return hosts


@pytest.fixture
def sides(net, serve):
    """Two servers, left and right, at one port."""
    with net.on("left"):
        left = serve(peers.Echo, TARGET)
    with net.on("right"):
        return left, serve(peers.Echo, TARGET, left.port)


@pytest.fixture
def g(net, gateway):
    return lambda text: gateway("resolver 127.0.0.1\n" + text, hosts=("10.1.0.1",), wrapper=net.inside("gw"))


def connect(net, g, port):
    """The address that the session leaves by."""
    with net.on("client"):
        c, (rep, addr, _) = socks5.open_session(("10.1.0.1", g.port), TARGET, port)
    c.close()
    return addr if rep == socks5.OK else rep


@as_root
@pytest.mark.parametrize("text, leaves_by", [
    ("pass connect auth none", "10.5.0.1"),
    ("egress mark 7\npass connect auth none", "10.6.0.1"),
    ("egress mark 8\npass connect auth none egress mark 0x7", "10.6.0.1"),
    ("egress mark 7\npass connect auth none egress mark 8", "10.5.0.1"),
    ("egress device c2a\npass connect auth none", "10.6.0.1"),
    ("egress device c2a\npass connect auth none egress device \"c1a\"", "10.5.0.1"),
    ("pass connect auth none egress mark 7 egress from 10.6.0.1", "10.6.0.1"),
    ("egress device nowhere\npass connect auth none", socks5.GENERAL)])
def test_a_connection(net, sides, g, text, leaves_by):
    assert connect(net, g(text + "\n"), sides[0].port) == leaves_by


@as_root
def test_marks_decide_which_server_answers(net, sides, g):
    g = g("egress mark 7\npass connect auth none\n")
    connect(net, g, sides[0].port)
    assert sides[1].peer()[0] == "10.6.0.1"


@as_root
def test_datagrams_and_peers_go_by_the_mark_too(net, serve, g):
    with net.on("left"):
        left = serve(peers.UdpEcho, TARGET)
    with net.on("right"):
        right = serve(peers.UdpEcho, TARGET, left.port)
    g = g("egress mark 7\npass auth none\n")
    with net.on("client"):
        with Association(("10.1.0.1", g.port)) as a:
            assert a.ask(TARGET, left.port, b"x")[2] == b"x"
        c = socks5.Client(("10.1.0.1", g.port))
        assert c.greet(0) == 0
        c.send(socks5.request(TARGET, 1, socks5.BIND))
        assert c.reply()[:2] == (socks5.OK, "10.6.0.1")
        c.close()
    assert {peer[0] for _, peer in right.seen} == {"10.6.0.1"} and not left.seen


@as_root
def test_more_at_once_than_are_in_stock(net, sides, g):
    g = g("egress mark 7\npass connect auth none\n")
    with net.on("client"):
        clients = [socks5.Client(("10.1.0.1", g.port)) for _ in range(100)]
        for c in clients:
            assert c.greet(0) == 0
        for c in clients:
            c.send(socks5.request(TARGET, sides[0].port))
        for c in clients:
            assert c.reply()[:2] == (socks5.OK, "10.6.0.1")
            c.close()


@as_root
def test_a_reload_takes_marks_away(net, sides, g):
    g = g("egress mark 7\npass connect auth none\n")
    assert connect(net, g, sides[0].port) == "10.6.0.1"
    for rule, leaves_by in (("", "10.5.0.1"), (" egress mark 7", "10.6.0.1")):
        assert g.reload(f"resolver 127.0.0.1\npass connect auth none{rule}\n")["event"] == b"reload"
        peers.wait_for(lambda: connect(net, g, sides[0].port) == leaves_by, why=g.story)


def capabilities(pid):
    with open(f"/proc/{pid}/status") as f:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    return int(fields["CapEff"], 16) | int(fields["CapPrm"], 16) | int(fields["CapBnd"], 16)


@as_root
def test_the_capability_is_there_for_marks_alone(gateway):
    """And no child has it; a reload cannot bring it back."""
    g = gateway("egress mark 7\n" + sally.OPEN)
    assert capabilities(g.p.pid) & NET_RAW
    for role in ("worker", "resolver"):
        assert not any(capabilities(pid) & NET_RAW for pid in g.children(role))
    g.finish()
    g = gateway(sally.OPEN)
    assert not capabilities(g.p.pid) & NET_RAW
    r = g.reload("egress mark 7\n" + sally.OPEN)
    assert r["event"] == b"reload-failed" and b"egress mark" in r["detail"]
    assert g.ctl("status").returncode == 0


def leave(g, echo, source):
    with socks5.Client(g.at, source) as c:
        assert c.greet(0) == 0
        c.send(socks5.request("127.0.0.1", echo.port))
        rep, addr, _ = c.reply()
        assert rep == socks5.OK
        return addr


def test_a_client_keeps_its_address(gateway, echo):
    g = gateway("egress from 127.0.0.33, 127.0.0.34, 127.0.0.35, ::1\n" + sally.OPEN)
    clients = [f"127.0.1.{n}" for n in range(1, 31)]
    first = [leave(g, echo, c) for c in clients]
    assert set(first) == {"127.0.0.33", "127.0.0.34", "127.0.0.35"}
    assert [leave(g, echo, c) for c in clients] == first
    # one that goes away moves its own clients alone
    g.reload("egress from 127.0.0.35, 127.0.0.33, ::1\n" + sally.OPEN)
    for was, c in zip(first, clients):
        assert leave(g, echo, c) == was or was == "127.0.0.34"


def test_addresses_in_turn(gateway, echo):
    g = gateway("egress from 127.0.0.33, 127.0.0.34 round-robin\n" + sally.OPEN, workers=1)
    found = [leave(g, echo, None) for _ in range(6)]
    assert found in (["127.0.0.33", "127.0.0.34"] * 3, ["127.0.0.34", "127.0.0.33"] * 3)
