"""UDP ASSOCIATE between hosts whose addresses differ: NAT, a gateway with several addresses, an IPv6-only side, a target
that answers from another address."""
import os
import socket

import pytest

import peers
from hosts import Hosts
from udp5 import Association, datagram, drops

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root")
PASS = "resolver 127.0.0.1\npass udp from any to any auth none\n"
ZONE = {"both.example": {"A": ["198.51.100.10"], "AAAA": ["fd00:6::10"]},
        "six.example": {"A": ["203.0.113.9"], "AAAA": ["fd00:6::10"]},  # that IPv4 address has no route
        "four.example": {"A": ["198.51.100.10"], "AAAA": ["2001:db8::9"]}}  # nor has that IPv6 address


@pytest.fixture
def net(serve):
    hosts = serve(Hosts,
                  ("client", "10.1.0.2/24", "nat", "10.1.0.1/24"),
                  ("nat", "10.2.0.2/24", "gw", "10.2.0.1/24"),
                  ("near", ["10.3.0.2/24", "fd00:3::2/64"], "gw", ["10.3.0.1/24", "fd00:3::1/64"]),
                  ("gw", "198.51.100.1/24", "target", ["198.51.100.10/24", "198.51.100.11/24"]),
                  ("gw", "fd00:6::1/64", "six", "fd00:6::10/64"))
    hosts.route("client", "default", "10.1.0.1")
    hosts.masquerade("nat", "c1a")
    return hosts


@pytest.fixture
def g(net, gateway, serve):
    with net.on("gw"):
        serve(peers.Dns, ZONE)
    return lambda text=PASS: gateway(text, hosts=("10.2.0.1", "10.3.0.1", "fd00:3::1"), wrapper=net.inside("gw"))


@pytest.fixture
def targets(net, serve):
    """Both echo at one port: the IPv4 host and the IPv6 host."""
    with net.on("target"):
        four = serve(peers.UdpEcho, "198.51.100.10")
    with net.on("six"):
        six = serve(peers.UdpEcho, "fd00:6::10", four.port)
    return four, six


def associate(net, host, gateway, port, **how):
    with net.on(host):
        return Association((gateway, port), **how)


def closed(g, a):
    a.close()
    return g.record("session-close")


def test_a_client_behind_nat(net, g, targets):
    """What it declares, its own address and port, is not what the gateway sees."""
    g, (four, _) = g(), targets
    a = associate(net, "client", "10.2.0.1", g.port, declare_own=True)
    assert a.reply[:2] == (0, "10.2.0.1")
    for i in range(3):
        assert a.ask("198.51.100.10", four.port, b"%d" % i) == ("198.51.100.10", four.port, b"%d" % i)
    assert {peer[0] for _, peer in four.seen} == {"198.51.100.1"}
    r = closed(g, a)
    assert r["client"].startswith(b"10.2.0.2:") and r["asked"].startswith(b"10.1.0.2:") and "drops" not in r


@pytest.mark.parametrize("host, gateway_address", [("client", "10.2.0.1"), ("near", "10.3.0.1"), ("near", "fd00:3::1")])
def test_the_relay_is_where_the_client_came_to(net, g, targets, host, gateway_address):
    g, (four, six) = g(), targets
    a = associate(net, host, gateway_address, g.port)
    assert a.reply[:2] == (0, gateway_address)
    assert a.ask("198.51.100.10", four.port, b"x") == ("198.51.100.10", four.port, b"x")
    assert a.ask("fd00:6::10", six.port, b"x") == ("fd00:6::10", six.port, b"x")
    assert "drops" not in closed(g, a)


def test_another_host_is_a_stranger(net, g, targets):
    g, (four, _) = g(), targets
    a = associate(net, "client", "10.2.0.1", g.port)
    with net.on("near"):
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    net.route("near", "10.2.0.0/24", "10.3.0.1")
    other.sendto(datagram("198.51.100.10", four.port, b"not mine"), a.relay)
    other.close()
    assert a.ask("198.51.100.10", four.port, b"x")[2] == b"x"
    assert drops(closed(g, a)) == {"source": 1}
    assert [o for o, _ in four.seen] == [b"x"]


@pytest.mark.parametrize("replies", ["connected", "any"])
def test_a_target_that_answers_from_another_address(net, g, replies):
    g = g(f"udp replies {replies}\n" + PASS)
    with net.on("target"):
        asked, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    asked.bind(("198.51.100.10", 0))
    other.bind(("198.51.100.11", asked.getsockname()[1]))
    asked.settimeout(10)
    a = associate(net, "client", "10.2.0.1", g.port)
    a.send("198.51.100.10", asked.getsockname()[1], b"x")
    _, outgoing = asked.recvfrom(10)
    other.sendto(b"from the other", outgoing)
    if replies == "any":
        assert a.recv() == ("198.51.100.11", asked.getsockname()[1], b"from the other")
    asked.sendto(b"from the asked", outgoing)
    assert a.recv()[2] == b"from the asked"
    assert drops(closed(g, a)) == ({} if replies == "any" else {"reply": 1})
    asked.close()
    other.close()


def test_names_go_where_there_is_a_way(net, g, targets):
    """The first datagram arrives already, though the family that is tried first has no route."""
    g, (four, six) = g(), targets
    a = associate(net, "near", "10.3.0.1", g.port)
    assert a.ask(b"six.example", six.port, b"1") == ("fd00:6::10", six.port, b"1")
    assert a.ask(b"four.example", four.port, b"2") == ("198.51.100.10", four.port, b"2")
    assert a.ask(b"both.example", six.port, b"3")[2] == b"3"
    assert "drops" not in closed(g, a)


def test_egress_decides_the_family(net, g, targets):
    g, (four, six) = g("egress from 198.51.100.1\n" + PASS), targets
    a = associate(net, "near", "10.3.0.1", g.port)
    assert a.ask(b"both.example", four.port, b"1") == ("198.51.100.10", four.port, b"1")
    a.send(b"six.example", six.port, b"2")  # its IPv4 address has no route, IPv6 no egress
    assert a.silent()
    assert drops(closed(g, a)) == {"send": 1} and not six.seen


def test_a_target_that_is_not_there(net, g, targets):
    """ICMP errors of a router or of the host's own: the association lives."""
    g, (four, _) = g(), targets
    a = associate(net, "near", "10.3.0.1", g.port)
    for host in ("198.51.100.99", "203.0.113.9", "fd00:6::99"):
        a.send(host, 53, b"x")
    a.send("198.51.100.10", 9, b"x")
    assert a.ask("198.51.100.10", four.port, b"x")[2] == b"x"
    assert drops(closed(g, a)) == {"send": 1}
