"""SOCKS4 and 4a: off they are refused in their own words; allowed they serve what needs no authentication, and
what a client says of itself is recorded and never believed."""
import os
import socket
import subprocess
import tempfile
import time

import pytest

import peers
import sally
import socks4
import socks5
from socks4 import GRANTED, REFUSAL, REJECTED, Client, request

ALLOW = "socks4 allow\n" + sally.OPEN
NOBODY_WITHOUT_PASSWORD = ('auth password file "@DIR@/users"\n'
                           "pass connect from any to { any, 127.0.0.0/8 } auth password\n")


@pytest.fixture(scope="module", autouse=True)
def names():
    """/etc/hosts and /etc/resolv.conf of this file's own mount namespace: "six" has only an IPv6 address."""
    with tempfile.TemporaryDirectory(prefix="sp.", dir="/tmp") as tmp:
        for name, text in (("hosts", "127.0.0.1 localhost\n::1 six\n"), ("resolv.conf", "nameserver 127.0.0.1\n")):
            with open(f"{tmp}/{name}", "w") as f:
                f.write(text)
            subprocess.run(["mount", "--bind", f"{tmp}/{name}", os.path.realpath(f"/etc/{name}")], check=True)
        yield
        for name in ("hosts", "resolv.conf"):
            subprocess.run(["umount", os.path.realpath(f"/etc/{name}")], check=True)


@pytest.fixture
def g(gateway):
    return gateway(ALLOW)


def curl(scheme, port, url, user=""):
    return subprocess.run(["curl", "-sS", "-x", f"{scheme}://{user}127.0.0.1:{port}", url], capture_output=True, timeout=60)


def refused(at, octets):
    """It gets version 4's refusal whole and then an orderly end."""
    with Client(at) as c:
        c.send(octets)
        assert c.rest() == REFUSAL


# --- real clients ---

@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_curl(g, web, scheme):
    p = curl(scheme, g.port, f"http://127.0.0.1:{web.port}/")
    assert p.returncode == 0 and b"you are 127.0.0.1" in p.stdout, p.stderr
    r = g.record("session-close")
    assert (r["socks"], r["method"], r["asked"]) == (b"4", b"none", b"127.0.0.1:%d" % web.port)
    assert "user" not in r and "claim" not in r


def test_curl_leaves_the_name_to_4a(g, web):
    assert curl("socks4a", g.port, f"http://localhost:{web.port}/", "mel@").returncode == 0
    assert curl("socks4", g.port, f"http://localhost:{web.port}/", "mel@").returncode == 0
    peers.wait_for(lambda: len(g.records("session-close")) == 2, why=g.story)
    assert [r["asked"] for r in g.records("session-close")] == [b"localhost:%d" % web.port, b"127.0.0.1:%d" % web.port]
    assert {r["claim"] for r in g.records("session-open", "session-close")} == {b"mel"}


def test_curl_sees_the_refusal(gateway, web):
    p = curl("socks4", gateway().port, f"http://127.0.0.1:{web.port}/")
    assert p.returncode == 97 and b"(91)" in p.stderr, p.stderr
    assert not web.requests


# --- served ---

def test_connect_carries_octets_both_ways(g, echo):
    with Client(g.at) as c:
        code, addr, port = c.ask("127.0.0.1", echo.port, b"mel")
        assert code == GRANTED
        assert (addr, port) == echo.peer()
        c.send(b"hello")
        assert c.read(5) == b"hello"


def test_from_an_ipv6_client(g, echo):
    with Client(g.at6) as c:
        assert c.ask("127.0.0.1", echo.port)[0] == GRANTED


@pytest.mark.parametrize("name", [b"six", b"::1"])
def test_an_ipv6_target_has_no_address_in_the_reply(g, serve, name):
    six = serve(peers.Echo, "::1")
    with Client(g.at) as c:
        assert c.ask(name, six.port) == (GRANTED, "0.0.0.0", six.peer()[1])
        c.send(b"hello")
        assert c.read(5) == b"hello"


def test_a_name_of_the_dns(gateway, serve, echo):
    serve(peers.Dns, {"www.example.com": {"A": ["127.0.0.1"]}})
    g = gateway("resolver 127.0.0.1\n" + ALLOW)
    with Client(g.at) as c:
        assert c.ask(b"WWW.example.com.", echo.port)[0] == GRANTED
    assert g.record("session-close")["asked"] == b"WWW.example.com.:%d" % echo.port
    with Client(g.at) as c:
        assert c.ask(b"no.example.com", echo.port)[0] == REJECTED


@pytest.mark.parametrize("host", ["127.0.0.1", b"localhost"])
def test_cut_at_every_octet(g, echo, host):
    whole = request(host, echo.port, b"mel") + b"xy"
    for cut in range(1, len(whole)):
        with Client(g.at) as c:
            c.send(whole[:cut])
            time.sleep(0.01)
            c.send(whole[cut:])
            assert c.reply()[0] == GRANTED
            assert c.read(2) == b"xy"
            c.half_close()
            assert c.rest() == b""


def test_one_octet_at_a_time(g, echo):
    with Client(g.at) as c:
        c.send_slowly(request(b"localhost", echo.port, b"mel") + b"xy", 1, 0.004)
        assert c.reply()[0] == GRANTED
        assert c.read(2) == b"xy"


def test_much_data_with_the_request(g, serve):
    sink = serve(peers.Sink)
    with Client(g.at) as c:
        c.send(request("127.0.0.1", sink.port) + b"z" * 200_000)
        c.half_close()
        assert c.reply()[0] == GRANTED
        assert int.from_bytes(c.rest(), "big") == 200_000


def test_socks5_beside_it(g, echo):
    assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == socks5.OK
    assert "socks" not in g.record("session-open")


# --- BIND: the first reply says where, the second who ---

BINDING = "socks4 allow\npass connect, bind from any to { any, 127.0.0.0/8, ::1 } auth none\n"


def binds(at, host, source, claim=b"mel"):
    """A peer comes in from `source`, and octets pass both ways: the two replies' codes and hosts."""
    with Client(at) as c:
        code, addr, port = c.ask(host, 0, claim, command=socks5.BIND)
        assert code == GRANTED and port > 0
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with socket.socket(family) as s:
            s.bind((source, 0))
            # 0.0.0.0 is the gateway's own address, as SOCKS4 says
            s.connect((at[0] if addr == "0.0.0.0" else addr, port))
            second = c.reply()
            assert second[0] == GRANTED and second[2] == s.getsockname()[1]
            s.sendall(b"inwards")
            assert c.read(7) == b"inwards"
            c.send(b"outwards")
            assert s.recv(8) == b"outwards"
        return addr, second[1]


@pytest.mark.parametrize("host", ["127.0.0.5", "0.0.0.0", b"127.0.0.5"])
def test_bind(gateway, host):
    g = gateway(BINDING)
    assert binds(g.at, host, "127.0.0.5") == ("127.0.0.1", "127.0.0.5")
    r = g.record("session-close")
    assert (r["command"], r["socks"], r["claim"]) == (b"bind", b"4", b"mel")
    assert r["target"].startswith(b"127.0.0.5:")


@pytest.mark.parametrize("host", [b"six", "0.0.0.0"])
def test_bind_over_ipv6(gateway, host):
    g = gateway(BINDING)
    assert binds(g.at6, host, "::1") == ("0.0.0.0", "0.0.0.0")


def test_bind_turns_strangers_away(gateway):
    g = gateway(BINDING)
    with Client(g.at) as c:
        _, addr, port = c.ask("127.0.0.5", 0, command=socks5.BIND)
        with socket.create_connection((addr, port), source_address=("127.0.0.6", 0)) as s:
            s.settimeout(20)
            assert s.recv(1) == b""
        with socket.create_connection((addr, port), source_address=("127.0.0.5", 0)):
            assert c.reply()[:2] == (GRANTED, "127.0.0.5")


def test_bind_ends_in_time(gateway):
    g = gateway("timeout { bind 1s }\n" + BINDING)
    with Client(g.at) as c:
        assert c.ask("127.0.0.5", 0, command=socks5.BIND)[0] == GRANTED
        assert c.rest() == REFUSAL
    g.record("session-close", reason="bind-timeout", socks="4")


def test_bind_needs_a_rule(g):
    refused(g.at, request("127.0.0.5", 0, b"mel", command=socks5.BIND))
    assert g.record("session-refused", command="bind")["reason"] == b"blocked"


# --- refused ---

@pytest.mark.parametrize("text", ["", "socks4 deny\n"])
def test_off(gateway, text):
    g = gateway(text + sally.OPEN)
    refused(g.at, b"\4")  # told at once
    refused(g.at, request("127.0.0.1", 80, b"mel") + b"x" * 100_000)  # and whole, whatever follows
    r = g.record("client-refused")
    assert (r["reason"], r["detail"]) == (b"version-not-supported", b"version:4")
    assert not g.records("session-open", "session-refused")


def test_switched_by_reload(g, gateway, echo):
    def ask():
        with Client(g.at) as c:
            return c.ask("127.0.0.1", echo.port)[0]
    assert ask() == GRANTED
    assert g.reload(sally.OPEN)["event"] == b"reload"
    peers.wait_for(lambda: ask() == REJECTED, why=g.story)
    assert g.reload(ALLOW)["event"] == b"reload"
    peers.wait_for(lambda: ask() == GRANTED, why=g.story)


def test_rules_that_need_authentication(gateway, echo):
    g = gateway("socks4 allow\n" + NOBODY_WITHOUT_PASSWORD, before=lambda g: g.write_users(sally.user_line("alice", "a")))
    refused(g.at, b"\4")
    refused(g.at, request("127.0.0.1", echo.port, b"alice"))
    r = g.record("client-refused")
    assert (r["reason"], r["detail"]) == (b"no-acceptable-method", b"offered:0x1")
    assert socks5.open_session(g.at, "127.0.0.1", echo.port, b"alice", b"a")[1][0] == socks5.OK


def test_a_claim_opens_nothing(gateway, serve, echo):
    """Where one rule is for everyone and another for alice, "alice" in USERID gets what everyone gets."""
    other = serve(peers.Echo, "127.0.0.2")
    g = gateway('socks4 allow\nauth password file "@DIR@/users"\n'
                "pass connect from any to 127.0.0.2 auth none\n"
                "pass connect from any to 127.0.0.1 user alice auth password\n"
                "pass connect from any to 127.0.0.1\n", before=lambda g: g.write_users(sally.user_line("alice", "a")))
    with Client(g.at) as c:
        assert c.ask("127.0.0.2", other.port, b"alice")[0] == GRANTED
    refused(g.at, request("127.0.0.1", echo.port, b"alice"))
    r = g.record("session-refused")
    assert (r["reason"], r["claim"], r["socks"]) == (b"blocked", b"alice", b"4")
    assert not [r for r in g.records() if "user" in r]


def test_what_the_rules_block(gateway, echo):
    g = gateway("socks4 allow\nblock from any to any port 9\n" + sally.OPEN)
    for host in ("127.0.0.1", b"localhost", b"www.example.com"):
        refused(g.at, request(host, 9))
    peers.wait_for(lambda: len(g.records("session-refused", reason="blocked")) == 3, why=g.story)


def test_other_spellings_of_an_address(gateway, echo):
    """As in SOCKS5: 0.0.0.0 is loopback, a name that spells an address is none."""
    g = gateway("socks4 allow\npass connect from any to any auth none\n")
    for host in ("127.0.0.1", "0.0.0.0", b"127.0.0.1", b"127.0.0.1.", b"[::1]", b"::ffff:127.0.0.1", b"0x7f.1", b"2130706433",
                 b"localhost", b"0"):
        refused(g.at, request(host, echo.port))
    assert not echo.peers


def test_failures_have_one_code(g):
    refused(g.at, request("127.0.0.1", peers.free_port()))
    assert g.record("session-close", "session-refused")["reason"] == b"connection-refused"


@pytest.mark.parametrize("command", [0, 3, 4, 90, 255])
def test_commands_that_there_are_not(g, command):
    refused(g.at, request("127.0.0.1", 9, b"mel", command=command))
    r = g.record("session-refused")
    assert (r["reason"], r["claim"]) == (b"command-not-supported", b"mel")


@pytest.mark.parametrize("what, octets", [
    ("a USERID without end", request("127.0.0.1", 9)[:8] + b"u" * 256),
    ("a name without end", request(b"", 9)[:-1] + b"n" * 256),
    ("no name", request(b"", 9)),
], ids=lambda v: v if isinstance(v, str) else "")
def test_malformed(g, what, octets):
    refused(g.at, octets)
    assert g.record("client-refused")["reason"] == b"protocol-error"


def test_the_longest(g, echo):
    with Client(g.at) as c:
        assert c.ask("127.0.0.1", echo.port, b"u" * 255)[0] == GRANTED
    assert g.record("session-close")["claim"] == b"u" * 255


def test_the_handshake_has_an_absolute_deadline(gateway):
    g = gateway("timeout { handshake 2s }\n" + ALLOW)
    with Client(g.at) as c:
        began = time.monotonic()
        try:
            for octet in request("127.0.0.1", 9, b"a claim that takes too long"):
                c.send(bytes([octet]))
                time.sleep(0.5)
        except OSError:
            pass
        assert 1.5 < time.monotonic() - began < 6
    g.record("client-refused", reason="handshake-timeout")


# --- the audit trail ---

@pytest.mark.parametrize("fmt", ["logfmt", "json"])
def test_a_claim_of_any_octets_comes_back_as_it_was(gateway, echo, fmt):
    g = gateway(ALLOW, log=fmt)
    claims = [bytes([c]) for c in range(1, 256)] + [bytes(range(1, 256)), b'a" user="root', b"\\x41\\", b"\n<0>event=auth-ok"]
    for claim in claims:
        with Client(g.at) as c:
            assert c.ask("127.0.0.1", echo.port, claim)[0] == GRANTED
    peers.wait_for(lambda: len(g.records("session-close")) == len(claims), 60, g.story)
    opened = sorted(g.records("session-open"), key=lambda r: int(r["seq"]))
    assert [r["claim"] for r in opened] == claims
    assert {r["claim"] for r in g.records("session-close")} == set(claims)
    assert not [r for r in g.records() if "user" in r or r["event"] == b"auth-ok"]
