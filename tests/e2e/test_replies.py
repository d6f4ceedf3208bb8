"""Each REP code on its cause (RFC 1928 section 6), and a failure reply that always arrives whole.
Routes are changed here: this file runs in a network namespace of its own."""
import socket
import subprocess
import time

import pytest

import peers
import sally
import socks5
from socks5 import Client

TARGETS = "pass connect from any to { any, 127.0.0.0/8, ::1, 169.254.0.0/16 } auth none\n"


def ip(*args):
    subprocess.run(["ip", *args], check=True, timeout=10)


@pytest.fixture(scope="module", autouse=True)
def routes():
    """192.0.2/24 prohibited, 198.51.100/24 unreachable host, 203.0.113/24 and the rest: no route."""
    ip("route", "add", "prohibit", "192.0.2.0/24")
    ip("route", "add", "unreachable", "198.51.100.0/24")
    ip("-6", "route", "add", "unreachable", "2001:db8:1::/48")
    ip("-6", "route", "add", "prohibit", "2001:db8:2::/48")
    # a link on which nobody answers ARP or neighbour solicitations
    ip("link", "add", "quiet0", "type", "veth", "peer", "name", "quiet1")
    ip("addr", "add", "10.99.0.1/24", "dev", "quiet0")
    ip("link", "set", "quiet0", "up")
    ip("link", "set", "quiet1", "up")
    yield
    ip("link", "del", "quiet0")


@pytest.fixture
def g(gateway):
    return gateway("timeout { connect 3s }\n" + TARGETS)


def ask(g, host, port=80):
    c = Client(g.at)
    assert c.greet(0) == 0
    began = time.monotonic()
    reply = c.connect(host, port)
    took = time.monotonic() - began
    rest = c.rest() if reply[0] else None
    assert not rest
    c.close()
    return reply, took


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "127.5.5.5"])
def test_refused(g, host):
    assert ask(g, host, peers.free_port())[0][0] == socks5.REFUSED
    r = g.record("session-close", reason="connection-refused")
    assert r["error"] == b"ECONNREFUSED"


@pytest.mark.parametrize("host", ["203.0.113.5", "2001:db8:9::1"])
def test_network_unreachable(g, host):
    assert ask(g, host)[0][0] == socks5.NET
    g.record("session-close", reason="network-unreachable")


@pytest.mark.parametrize("host", ["198.51.100.5", "2001:db8:1::1"])
def test_host_unreachable(g, host):
    assert ask(g, host)[0][0] == socks5.HOST
    g.record("session-close", reason="host-unreachable")


def test_host_unreachable_when_nobody_answers_arp(gateway):
    g = gateway("timeout { connect 10s }\n" + TARGETS)
    assert ask(g, "10.99.0.77")[0][0] == socks5.HOST


@pytest.mark.parametrize("host", ["192.0.2.5", "2001:db8:2::1"])
def test_prohibited_by_a_route(g, host):
    # EACCES: an administrator of the network forbids it; no code but 1, 2 or 4 says so
    assert ask(g, host)[0][0] in (socks5.GENERAL, socks5.NOT_ALLOWED, socks5.HOST)


def test_name_that_does_not_exist(gateway, serve):
    serve(peers.Dns, {})
    g = gateway("resolver 127.0.0.1\n" + TARGETS)
    assert ask(g, b"nowhere.example")[0][0] == socks5.HOST
    r = g.record("session-refused", reason="name-not-found")
    assert r["asked"] == b"nowhere.example:80"


def test_time_out_is_ttl_expired(g, serve):
    full = serve(peers.Full)
    reply, took = ask(g, full.host, full.port)
    assert reply[0] == socks5.TTL
    assert 2.5 < took < 6
    g.record("session-close", reason="connect-timeout")


def test_not_allowed(gateway, echo):
    g = gateway("pass connect from any to 127.0.0.2 auth none\n")
    reply, took = ask(g, "127.0.0.1", echo.port)
    assert reply[0] == socks5.NOT_ALLOWED
    r = g.record("session-refused", reason="blocked")
    assert r["rule"] == b"default"
    assert not echo.peers


def test_a_failure_names_no_address(g):
    assert ask(g, "127.0.0.1", peers.free_port())[0][1:] == ("0.0.0.0", 0)


def test_a_failure_reply_is_whole_though_the_client_has_sent_more(gateway, echo):
    """Closing with unread octets makes TCP send RST, which eats the reply on its way: the gateway must read
    them first, within bounds."""
    g = gateway("pass connect from any to 127.0.0.2 auth none\n")
    for extra in (1, 100, 5_000, 200_000):
        for _ in range(5):
            with Client(g.at) as c:
                c.send(socks5.greeting(0) + socks5.request("127.0.0.1", echo.port) + b"z" * extra)
                time.sleep(0.02)
                assert c.method() == 0
                assert c.reply()[0] == socks5.NOT_ALLOWED
                assert c.rest() == b""


def test_method_ff_is_whole_though_the_client_has_sent_more(gateway, echo):
    g = gateway()
    for extra in (1, 5_000, 200_000):
        with Client(g.at) as c:
            c.send(socks5.greeting(2) + b"z" * extra)
            time.sleep(0.02)
            assert c.rest() == b"\5\xff"


def test_a_client_that_never_stops_sending_after_a_failure_is_closed(gateway, echo):
    g = gateway("pass connect from any to 127.0.0.2 auth none\n")
    with Client(g.at) as c:
        c.send(socks5.greeting(0) + socks5.request("127.0.0.1", echo.port))
        end = time.monotonic() + 60
        try:
            while time.monotonic() < end:
                c.send(b"z" * 4096)
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() < end, "it read on without end"


def test_egress_address_that_is_not_here_is_a_failure(gateway, echo):
    g = gateway("egress from 192.0.2.77\n" + sally.OPEN)
    assert ask(g, "127.0.0.1", echo.port)[0][0] == socks5.GENERAL
    g.record("session-refused", reason="no-egress")


def test_egress_address_is_used(gateway, echo):
    g = gateway("egress from 127.0.0.33\n" + sally.OPEN)
    c, (rep, addr, port) = socks5.open_session(g.at, "127.0.0.1", echo.port)
    assert rep == socks5.OK
    assert addr == "127.0.0.33" and echo.peer() == (addr, port)
    c.close()
    assert g.record("session-close")["outgoing"] == f"127.0.0.33:{port}".encode()


def test_egress_address_of_a_rule(gateway, echo):
    g = gateway("egress from 127.0.0.33\npass connect from any to 127.0.0.1 auth none egress from 127.0.0.44\n")
    _, (rep, addr, port) = socks5.open_session(g.at, "127.0.0.1", echo.port)
    assert (rep, addr) == (socks5.OK, "127.0.0.44")


def test_the_special_addresses_need_to_be_named(gateway, serve):
    echo = serve(peers.Echo, "::")  # listens on all
    four = serve(peers.Echo, "0.0.0.0")
    ip("addr", "add", "10.77.0.1/32", "dev", "lo")
    g = gateway("pass connect from any to any auth none\n")
    spellings = ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::ffff:127.0.0.1", "::127.0.0.1", "::1", "::", "64:ff9b::7f00:1",
                 "2002:7f00:1::", "10.77.0.1", "::ffff:10.77.0.1", "169.254.1.1", "224.0.0.1", "255.255.255.255", "ff02::1",
                 "fe80::1"]
    for host in spellings:
        assert ask(g, host, four.port)[0][0] == socks5.NOT_ALLOWED, host
    names = [b"127.0.0.1", b"localhost", b"LOCALHOST.", b"::1", b"[::1]", b"127.0.0.1.", b"0.0.0.0", b"10.77.0.1", b"0x7f.1",
             b"2130706433", b"127.1", b"0177.0.0.1", b"::ffff:7f00:1"]
    for host in names:
        assert ask(g, host, four.port)[0][0] in (socks5.NOT_ALLOWED, socks5.HOST), host
    assert not echo.peers and not four.peers
