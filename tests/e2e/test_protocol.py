"""RFC 1928 and RFC 1929 on the wire: negotiation, requests, replies, and messages cut at every octet."""
import socket
import struct
import time

import pytest

import peers
import sally
import socks5
from socks5 import Client, greeting, request

USERS = ("auth password file \"@DIR@/users\"\n"
         "pass connect from any to { any, 127.0.0.0/8, ::1 } auth password\n")


@pytest.fixture
def open_gateway(gateway):
    return gateway()


@pytest.fixture
def password_gateway(gateway):
    return gateway(USERS, before=lambda g: g.write_users(sally.user_line("alice", "secret")))


def test_connect_carries_octets_both_ways(open_gateway, echo):
    c, (rep, addr, port) = socks5.open_session(open_gateway.at, "127.0.0.1", echo.port)
    assert rep == socks5.OK
    c.send(b"hello")
    assert c.read(5) == b"hello"
    # BND.ADDR and BND.PORT are the outgoing socket's own (RFC 1928 section 6)
    assert (addr, port) == echo.peer()


def test_connect_over_ipv6_from_ipv6(open_gateway, serve):
    echo = serve(peers.Echo, "::1")
    c, (rep, addr, port) = socks5.open_session(open_gateway.at6, "::1", echo.port)
    assert rep == socks5.OK
    assert (addr, port) == echo.peer()
    c.send(b"hello")
    assert c.read(5) == b"hello"


def test_the_families_of_client_and_target_may_differ(open_gateway, serve, echo):
    six = serve(peers.Echo, "::1")
    for at, host, port in ((open_gateway.at, "::1", six.port), (open_gateway.at6, "127.0.0.1", echo.port)):
        c, reply = socks5.open_session(at, host, port)
        assert reply[0] == socks5.OK
        c.send(b"x")
        assert c.read(1) == b"x"


def test_no_acceptable_method_gets_ff_and_a_close(open_gateway):
    for methods in ((2,), (1, 2, 3), (0x80, 0xfe), (0xff,), ()):
        with Client(open_gateway.at) as c:
            c.send(greeting(*methods))
            assert c.rest() == b"\5\xff"


def test_all_255_methods_may_be_offered(open_gateway):
    with Client(open_gateway.at) as c:
        c.send(b"\5\xff" + bytes(range(1, 256)))
        assert c.rest() == b"\5\xff"
    with Client(open_gateway.at) as c:
        c.send(b"\5\xff" + bytes(range(254, -1, -1)))
        assert c.read(2) == b"\5\0"


def test_none_is_not_acceptable_where_every_rule_asks_for_a_password(password_gateway):
    with Client(password_gateway.at) as c:
        c.send(greeting(0))
        assert c.rest() == b"\5\xff"


@pytest.mark.parametrize("first", [b"GET / HTTP/1.0\r\n\r\n", b"\0", b"\x16\3\1\2\0", b"\6\1\0"])
def test_another_protocol_is_turned_away(open_gateway, first):
    with Client(open_gateway.at) as c:
        c.send(first)
        assert c.rest() in (b"", b"\5\xff")
    # and the gateway serves on
    assert Client(open_gateway.at).greet(0) == 0


@pytest.mark.parametrize("command", [0, 4, 0x80, 0xff])
def test_commands_not_supported(open_gateway, command):
    with Client(open_gateway.at) as c:
        c.greet(0)
        c.send(request("127.0.0.1", 9, command=command))
        assert c.reply()[0] == socks5.COMMAND
        assert c.rest() == b""


@pytest.mark.parametrize("atyp", [0, 2, 5, 0xff])
def test_address_types_not_supported(open_gateway, atyp):
    with Client(open_gateway.at) as c:
        c.greet(0)
        c.send(b"\5\1\0" + bytes([atyp]) + b"\x7f\0\0\1\0\x50")
        assert c.reply()[0] == socks5.ATYP
        assert c.rest() == b""


@pytest.mark.parametrize("bad", [b"\4\1\0\1\x7f\0\0\1\0\x50", b"\5\1\0\3\0\0\x50", b"\5\1\0\3\3a\0b\0\x50"])
def test_a_broken_request_never_connects(open_gateway, bad):
    with Client(open_gateway.at) as c:
        c.greet(0)
        c.send(bad)
        rest = c.rest()
        assert rest == b"" or rest[1] != socks5.OK


def test_a_reserved_octet_that_is_not_zero_is_tolerated(open_gateway, echo):
    with Client(open_gateway.at) as c:
        c.greet(0)
        assert c.connect("127.0.0.1", echo.port, rsv=0x5a)[0] == socks5.OK


def conversation(port, user=None, data=b"first data"):
    login = socks5.credentials(b"alice", b"secret") if user else b""
    return greeting(2 if user else 0) + login + request("127.0.0.1", port) + data


def expect(c, user=None, data=b"first data"):
    assert c.method() == (2 if user else 0)
    if user:
        assert c.read(2) == b"\1\0"
    assert c.reply()[0] == socks5.OK
    assert c.read(len(data)) == data
    c.half_close()
    assert c.rest() == b""


def cut_everywhere(gateway, whole, user=None):
    for cut in range(1, len(whole)):
        with Client(gateway.at) as c:
            c.send(whole[:cut])
            time.sleep(0.01)
            c.send(whole[cut:])
            expect(c, user, b"xy")


@pytest.mark.parametrize("user", [None, "alice"])
def test_everything_in_one_write(open_gateway, password_gateway, echo, user):
    with Client((password_gateway if user else open_gateway).at) as c:
        c.send(conversation(echo.port, user))
        expect(c, user)


@pytest.mark.parametrize("user", [None, "alice"])
def test_one_octet_at_a_time(open_gateway, password_gateway, echo, user):
    with Client((password_gateway if user else open_gateway).at) as c:
        c.send_slowly(conversation(echo.port, user), 1, 0.004)
        expect(c, user)


@pytest.mark.parametrize("user", [None, "alice"])
def test_cut_at_every_octet(open_gateway, password_gateway, echo, user):
    gateway = password_gateway if user else open_gateway
    cut_everywhere(gateway, conversation(echo.port, user, b"xy"), user)


def test_a_name_request_cut_at_every_octet(open_gateway, echo):
    cut_everywhere(open_gateway, greeting(0) + request(b"localhost", echo.port) + b"xy")


def test_a_client_that_goes_away_at_every_octet(open_gateway, echo):
    whole = conversation(echo.port)
    for cut in range(len(whole)):
        for way in ("close", "reset", "half"):
            c = Client(open_gateway.at)
            c.send(whole[:cut])
            if way == "half":
                c.half_close()
                try:
                    c.rest()
                except OSError:
                    pass
            elif way == "reset":
                c.reset()
            c.close()
    with Client(open_gateway.at) as c:
        c.send(whole)
        expect(c)


def test_data_sent_with_the_request_waits_for_the_target(open_gateway, serve):
    sink = serve(peers.Sink)
    data = b"z" * 200_000
    with Client(open_gateway.at) as c:
        c.send(greeting(0) + request("127.0.0.1", sink.port))
        c.send(data)
        c.half_close()
        assert c.method() == 0
        assert c.reply()[0] == socks5.OK
        assert struct.unpack("!Q", c.rest())[0] == len(data)


def test_the_handshake_has_an_absolute_deadline(gateway):
    g = gateway("timeout { handshake 2s }\n" + sally.OPEN)
    with Client(g.at) as c:
        began = time.monotonic()
        c.greet(0)
        try:
            for octet in request("127.0.0.1", 9)[:-1]:  # each octet in time, the whole never
                c.send(bytes([octet]))
                time.sleep(0.5)
            left = c.rest()
        except OSError:
            left = b""
        took = time.monotonic() - began
        assert 1.5 < took < 6, took
        assert left == b"" or left[1] != socks5.OK
    assert Client(g.at).greet(0) == 0
    g.record("client-refused", reason="handshake-timeout")


def test_a_silent_client_is_closed(gateway):
    g = gateway("timeout { handshake 1s }\n" + sally.OPEN)
    with Client(g.at) as c:
        began = time.monotonic()
        assert c.rest() == b""
        assert 0.8 < time.monotonic() - began < 5


def test_many_silent_clients_do_not_keep_another_out(open_gateway, echo):
    idle = [Client(open_gateway.at) for _ in range(300)]
    began = time.monotonic()
    c, reply = socks5.open_session(open_gateway.at, "127.0.0.1", echo.port)
    assert reply[0] == socks5.OK
    assert time.monotonic() - began < 2
    for i in idle:
        i.close()


@pytest.mark.parametrize("sent", [b"\2\5alice\6secret", b"\1\0\6secret", b"\1\5alice\0"])
def test_broken_credentials_are_refused(password_gateway, sent):
    with Client(password_gateway.at) as c:
        assert c.greet(2) == 2
        c.send(sent)
        rest = c.rest()
        assert rest == b"" or (rest[0] == 1 and rest[1] != 0 and len(rest) == 2)


def test_out_of_band_octets_do_no_harm(open_gateway, echo):
    c, reply = socks5.open_session(open_gateway.at, "127.0.0.1", echo.port)
    c.s.send(b"!", socket.MSG_OOB)
    c.send(b"after")
    got = c.read(5)
    assert got[-5:].endswith(b"fter") or got == b"after"
