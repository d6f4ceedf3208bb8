"""Clauses of RFC 1928 and RFC 1929 that no other file shows by itself; tests/clauses.py has the table of all of them."""
import socket
import time

import pytest

import peers
import sally
import socks5
from socks5 import Association, Client

ANY = "{ any, 127.0.0.0/8, ::1 }"
RULES = f"pass connect, udp from any to {ANY} auth none\n"


@pytest.fixture
def g(gateway):
    return gateway(RULES)


@pytest.fixture
def udp_echo(serve):
    return serve(peers.UdpEcho)


def drops(g):
    """{cause: how many} of the closing record."""
    text = g.record("session-close").get("drops", b"").decode()
    return {k: int(n) for k, n in (d.split(":") for d in text.split(",") if d)}


def test_only_tcp_is_served(g):
    """Section 3: a greeting in a datagram to the SOCKS port gets nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.connect(g.at)
        with pytest.raises((ConnectionRefusedError, TimeoutError)):
            s.send(socks5.greeting(0))
            s.recv(100)


def raw_reply(g, octets):
    with Client(g.at) as c:
        assert c.greet(0) == 0
        c.send(octets)
        return c.read(4)


def test_reserved_octets_are_zero(g, udp_echo, echo):
    """Section 6, whatever RSV the request had."""
    for rsv in (0, 1, 0xff):
        for request in (socks5.request("127.0.0.1", echo.port, rsv=rsv), socks5.request("192.0.2.1", 1, command=99, rsv=rsv),
                        socks5.request("127.0.0.1", peers.free_port(), rsv=rsv), socks5.request("0.0.0.0", 0, socks5.UDP, rsv),
                        b"\5\1" + bytes([rsv]) + b"\7abcdef"):
            assert raw_reply(g, request)[2] == 0
    with Association(g.at) as a:
        a.send(udp_echo.host, udp_echo.port, b"x")
        assert a.s.recv(100)[:2] == b"\0\0"


# REP: what is configured besides the rules, and what is asked
FAILURES = {
    socks5.GENERAL: ("egress from 192.0.2.77\n" + RULES, socks5.request("127.0.0.1", 9)),
    socks5.NOT_ALLOWED: ("pass connect from any to 127.0.0.2 auth none\n", socks5.request("127.0.0.1", 9)),
    socks5.NET: (RULES, socks5.request("203.0.113.5", 9)),
    socks5.HOST: (RULES, socks5.request(b"not a name", 9)),
    socks5.REFUSED: (RULES, socks5.request("127.0.0.1", 9)),
    socks5.TTL: ("timeout { connect 1s }\n" + RULES, None),
    socks5.COMMAND: (RULES, socks5.request("127.0.0.1", 9, command=9)),
    socks5.ATYP: (RULES, b"\5\1\0\2"),
}


@pytest.mark.parametrize("rep", FAILURES)
def test_a_failure_ends_the_connection(gateway, serve, rep):
    """Section 6: the gateway closes, the client does not; within 10 seconds of what made it fail."""
    text, request = FAILURES[rep]
    g = gateway(text)
    if request is None:
        full = serve(peers.Full)
        request = socks5.request(full.host, full.port)
    with Client(g.at) as c:
        assert c.greet(0) == 0
        c.send(request)
        assert c.reply()[0] == rep
        began = time.monotonic()
        assert c.rest() == b""
        assert time.monotonic() - began < 9


def test_a_failed_status_ends_the_connection(gateway):
    """RFC 1929 section 2."""
    g = gateway('auth password file "@DIR@/users"\npass connect from any to any auth password\n',
                before=lambda g: g.write_users(sally.user_line("alice", "secret")))
    for user, password in ((b"alice", b"wrong"), (b"bob", b"secret")):
        with Client(g.at) as c:
            assert c.greet(2) == 2
            assert c.login(user, password) != 0
            assert c.rest() == b""


# --- UDP associations ---

@pytest.mark.parametrize("declared", [("0.0.0.0", 0), ("::", 0), (b"0.0.0.0", 0), ("192.0.2.1", 9), (b"host.example", 9)], ids=str)
def test_nothing_declared(g, udp_echo, declared):
    """Section 6: zeros; and what some clients send in their place."""
    with Association(g.at, declared) as a:
        a.send(udp_echo.host, udp_echo.port, b"hello")
        assert a.receive() == (0, udp_echo.host, udp_echo.port, b"hello")


def test_a_declared_port_limits_access(g, udp_echo):
    """Section 6: a datagram from the client's address, but not from the port that it declared, is dropped."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind(("127.0.0.1", 0))
        mine.settimeout(socks5.SECONDS)
        with Association(g.at, mine.getsockname()) as a:
            a.send(udp_echo.host, udp_echo.port, b"from elsewhere")
            mine.connect(a.relay)
            mine.send(socks5.datagram(udp_echo.host, udp_echo.port, b"declared"))
            assert socks5.parse_datagram(mine.recv(1000))[3] == b"declared"
    assert [octets for octets, _ in udp_echo.seen] == [b"declared"]
    assert drops(g) == {"source": 1}


@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
def test_datagrams_go_to_the_address_in_the_reply(gateway, udp_echo, six):
    """Sections 6 and 7: the address on which the client reached the gateway, and a port of `udp ports`."""
    g = gateway("udp ports 40000-40009\n" + RULES)
    with Association(g.at6 if six else g.at) as a:
        assert a.relay[0] == ("::1" if six else "127.0.0.1")
        assert 40000 <= a.relay[1] <= 40009
        a.send(udp_echo.host, udp_echo.port, b"hello")
        assert a.receive() == (0, udp_echo.host, udp_echo.port, b"hello")


def test_an_association_ends_with_its_connection(g, udp_echo):
    with Association(g.at) as a:
        a.send(udp_echo.host, udp_echo.port, b"hello")
        a.receive()
        a.tcp.close()
        g.record("session-close", reason="client-closed")

        def refused():
            try:
                a.send(udp_echo.host, udp_echo.port, b"more")
                time.sleep(0.02)
                a.send(udp_echo.host, udp_echo.port, b"more")
            except ConnectionRefusedError:
                return True
        peers.wait_for(refused)
    assert [octets for octets, _ in udp_echo.seen] == [b"hello"]


def test_only_the_client_is_heard(g, udp_echo):
    """Section 7: its address is that of its TCP connection; what comes from others is dropped and counted, before the
    client's first datagram and after it."""
    with Association(g.at, source="127.0.0.1") as a:
        for source in ("127.0.0.2", "127.8.8.8"):
            with a.socket(source) as other:
                other.send(socks5.datagram(udp_echo.host, udp_echo.port, b"other"))
        a.send(udp_echo.host, udp_echo.port, b"mine")
        assert a.receive()[3] == b"mine"
        with a.socket("127.0.0.2") as other, a.socket("127.0.0.1") as same_host:
            for s in (other, same_host):
                s.send(socks5.datagram(udp_echo.host, udp_echo.port, b"other"))
        a.send(udp_echo.host, udp_echo.port, b"mine too")
        assert a.receive()[3] == b"mine too"
    assert [octets for octets, _ in udp_echo.seen] == [b"mine", b"mine too"]
    assert drops(g) == {"source": 4}


def test_what_is_not_relayed_is_dropped_silently(gateway, udp_echo):
    """Section 7: "without any notification to the requesting client"; and the association lives on."""
    g = gateway("pass udp from any to 127.0.0.1 auth none\n")
    header = socks5.datagram("127.0.0.1", udp_echo.port, b"x")
    bad = [b"", header[:9], b"\0\1" + header[2:], b"\1\0" + header[2:], header[:3] + b"\2" + header[4:], b"\0\0\0\3\0\0\x35x"]
    with Association(g.at) as a:
        for octets in bad:
            a.s.send(octets)
        a.send("127.0.0.2", udp_echo.port, b"blocked")
        a.send(udp_echo.host, udp_echo.port, b"last")
        assert a.receive() == (0, udp_echo.host, udp_echo.port, b"last")
    assert [octets for octets, _ in udp_echo.seen] == [b"last"]
    assert drops(g) == {"header": len(bad), "rules": 1}


def test_replies_carry_the_header(g, serve):
    """Section 7: with the address that the answer really came from."""
    with Association(g.at) as a:
        for host in ("127.0.0.1", "127.0.0.7", "::1"):
            echo = serve(peers.UdpEcho, host)
            a.send(host, echo.port, b"to " + host.encode())
            assert a.receive() == (0, host, echo.port, b"to " + host.encode())
