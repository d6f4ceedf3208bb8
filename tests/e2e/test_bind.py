"""BIND (RFC 1928 sections 4 and 6): two replies, the expected peer alone, ports and addresses of the configuration."""
import os
import signal
import socket
import time

import pytest

import peers
import socks5
from peers import wait_for
from socks5 import BIND, Client

HOME = "{ any, 127.0.0.0/8, ::1 }"
PASS = f"pass bind from any to {HOME} auth none\n"
SECOND, THIRD = "127.0.0.2", "127.0.0.3"  # hosts of their own: all of 127/8 is this machine's


def ask(g, host="127.0.0.1", port=0, at=None):
    """A client that has asked for a listener: (client, first reply)."""
    c = Client(at or g.at)
    assert c.greet(0) == 0
    return c, c.connect(host, port, command=BIND)


def come(at, source=None):
    """A peer that connects to a listener."""
    s = socket.socket(socket.AF_INET6 if ":" in at[0] else socket.AF_INET)
    s.settimeout(socks5.SECONDS)
    if source:
        s.bind((source, 0))
    s.connect(at)
    return s


def turned_away(s):
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True
    finally:
        s.close()


def carries(c, s):
    s.sendall(b"from the peer")
    assert c.read(13) == b"from the peer"
    c.send(b"to the peer")
    assert s.recv(100) == b"to the peer"
    c.half_close()
    assert s.recv(1) == b""
    s.close()
    assert c.rest() == b""
    c.close()


def listens(port):
    """Is anything listening there?"""
    found = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as f:
            found += [l for l in f if l.split()[1].endswith(f":{port:04X}") and l.split()[3] == "0A"]
    return found


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::", b"127.0.0.1", "::ffff:127.0.0.1"], ids=repr)
def test_two_replies(gateway, host):
    g = gateway(PASS)
    at = g.at6 if host in ("::1", "::") else g.at
    c, first = ask(g, host, 7, at=at)
    assert first[:2] == (socks5.OK, at[0]) and first[2] != 0
    listening = g.record("session-open", command="bind")
    assert listening["outgoing"].endswith(b":%d" % first[2])
    s = come(first[1:])
    peer = s.getsockname()
    assert c.reply() == (socks5.OK, *peer[:2])
    wait_for(lambda: not listens(first[2]))  # one peer, then nobody
    carries(c, s)
    r = g.record("session-close", command="bind", reason="client-closed")
    assert (r["up"], r["down"]) == (b"11", b"13")
    assert r["target"].endswith(b":%d" % peer[1]) and r["rule"].endswith(b".conf:6")
    assert r["outgoing"] == listening["outgoing"] and r["asked"].endswith(b":7")


def test_only_the_expected_peer(gateway):
    g = gateway(PASS)
    c, first = ask(g, SECOND)
    at = ("127.0.0.1", first[2])
    for source in (THIRD, THIRD, "127.0.0.1"):
        assert turned_away(come(at, source))
    s = come(at, SECOND)
    assert c.reply()[:2] == (socks5.OK, SECOND)
    carries(c, s)
    g.record("session-close", command="bind")
    told = [r["target"].split(b":")[0] for r in g.records("peer-refused")]
    assert told == [THIRD.encode(), b"127.0.0.1"]  # once a host


def test_a_peer_that_the_rules_block(gateway):
    g = gateway(f"block from any to {THIRD}\n" + PASS)
    c, first = ask(g, "0.0.0.0")
    assert turned_away(come(first[1:], THIRD))
    assert g.record("peer-refused")["rule"].endswith(b".conf:6")
    s = come(first[1:], SECOND)
    assert c.reply()[:2] == (socks5.OK, SECOND)
    carries(c, s)


def test_any_peer_is_no_special_one(gateway):
    """All-zero is any peer that the rules let pass, and `any` names neither loopback nor the gateway itself."""
    g = gateway("timeout { bind 1s }\npass bind from any to any auth none\n")
    c, first = ask(g, "0.0.0.0")
    assert first[0] == socks5.OK
    assert turned_away(come(first[1:]))
    assert g.record("peer-refused")["rule"] == b"default"
    assert c.reply()[0] == socks5.TTL
    c.close()


def test_time_out(gateway):
    g = gateway("timeout { bind 1s }\n" + PASS)
    began = time.monotonic()
    c, first = ask(g)
    assert first[0] == socks5.OK
    assert c.reply() == (socks5.TTL, "0.0.0.0", 0)
    assert 0.8 < time.monotonic() - began < 5
    assert c.rest() == b""
    c.close()
    g.record("session-close", reason="bind-timeout")
    wait_for(lambda: not listens(first[2]))


def test_time_out_of_a_rule(gateway):
    g = gateway(PASS.replace("auth none", "auth none timeout bind 1s"))
    c, _ = ask(g)
    assert c.reply()[0] == socks5.TTL
    c.close()


@pytest.mark.parametrize("text,host,rep,reason", [
    ("pass connect from any to {any, 127.0.0.0/8} auth none\n", "127.0.0.1", socks5.NOT_ALLOWED, "blocked"),
    ("pass connect from any to {any, 127.0.0.0/8} auth none\n", "0.0.0.0", socks5.NOT_ALLOWED, "blocked"),
    ("pass bind from any to 127.0.0.2 auth none\n", "127.0.0.1", socks5.NOT_ALLOWED, "blocked"),
    ("pass bind from any to any auth none\n", "203.0.113.5", socks5.NET, "network-unreachable"),
    ("pass bind from any to any auth none\n", "2001:db8::5", socks5.NET, "network-unreachable"),
    ("egress from 127.0.0.5\n" + PASS, "::1", socks5.GENERAL, "no-egress"),
    ("egress from 127.0.0.5\n" + PASS, "::", socks5.GENERAL, "no-egress"),
    ("egress from 203.0.113.9\n" + PASS, "127.0.0.1", socks5.GENERAL, "no-egress"),
])
def test_refused(gateway, text, host, rep, reason):
    g = gateway(text)
    c, reply = ask(g, host)
    assert reply[0] == rep
    assert c.rest() == b""
    c.close()
    g.record("session-refused", reason=reason, command="bind")


def test_names(gateway, serve):
    serve(peers.Dns, {"two.example": {"A": [SECOND, THIRD]}, "bad.example": {"A": ["127.0.0.9"]}})
    g = gateway("resolver 127.0.0.1\nblock from any to 127.0.0.9\n"
                f"pass bind from any to {{ .example, {SECOND}, {THIRD}, 127.0.0.9 }} auth none\n")
    for source in (SECOND, THIRD):  # any of its addresses is expected, no other
        c, first = ask(g, b"two.example")
        assert first[0] == socks5.OK
        assert turned_away(come(first[1:], "127.0.0.4"))
        s = come(first[1:], source)
        assert c.reply()[:2] == (socks5.OK, source)
        carries(c, s)
    for name, rep in ((b"bad.example", socks5.NOT_ALLOWED), (b"nowhere.example", socks5.HOST),
                      (b"other.test", socks5.HOST)):
        c, reply = ask(g, name)
        assert reply[0] == rep, name
        c.close()


def test_family_of_a_name(gateway, serve):
    """The family that can be left by, then that by which the client came."""
    serve(peers.Dns, {"both.example": {"A": [SECOND], "AAAA": ["::1"]}})
    text = f"resolver 127.0.0.1\npass bind from any to {{ {SECOND}, ::1 }} auth none"
    for egress, at, home in (("", "at", "127.0.0.1"), ("", "at6", "::1"),
                             (" egress from 127.0.0.5", "at6", "127.0.0.5"), (" egress from ::1", "at", "::1")):
        g = gateway(text + egress + "\n")
        c, first = ask(g, b"both.example", at=getattr(g, at))
        assert first[:2] == (socks5.OK, home), (egress, at)
        c.close()


def test_ports_used_up(gateway):
    g = gateway("bind ports 40000-40002\n" + PASS)
    held = [ask(g) for _ in range(3)]
    assert sorted(first[2] for _, first in held) == [40000, 40001, 40002]
    c, reply = ask(g)
    assert reply[0] == socks5.GENERAL
    c.close()
    g.record("session-refused", reason="no-bind-port")
    # one whose peer has come needs its port no more; nor has one whose client has left
    c, first = held.pop()
    s = come(first[1:])
    assert c.reply()[0] == socks5.OK
    again, reply = ask(g)
    assert reply[0] == socks5.OK and reply[2] == first[2]
    carries(c, s)
    gone, first = held.pop()
    gone.close()
    wait_for(lambda: not listens(first[2]))
    g.record("session-close", reason="client-closed", command="bind")
    c, reply = ask(g)
    assert reply[0] == socks5.OK and reply[2] == first[2]
    for one in (c, again, *(h[0] for h in held)):
        one.close()


def test_port_below_1024_by_a_rule(gateway):
    g = gateway("bind ports 40000-40002\n"
                f"pass bind from any to 127.0.0.1 auth none bind port 20\npass bind from any to {HOME} auth none\n")
    c, first = ask(g)
    assert first[2] == 20
    taken, reply = ask(g)
    assert reply[0] == socks5.GENERAL  # the rule's ports stand instead of `bind ports`
    taken.close()
    s = come(first[1:])
    assert c.reply()[0] == socks5.OK
    c2, first = ask(g)  # while the first is still being relayed
    assert first[2] == 20
    s2 = come(first[1:])
    assert c2.reply()[0] == socks5.OK
    carries(c, s)
    carries(c2, s2)
    c, first = ask(g)  # and straight after: TIME-WAIT is no hindrance
    assert first[2] == 20
    c.close()
    c, first = ask(g, SECOND)
    assert 40000 <= first[2] <= 40002
    c.close()


def test_advertise(gateway):
    """What NAT in front of the gateway makes of its address; the port is what it is."""
    g = gateway("bind advertise 198.51.100.7, 2001:db8::7\n" + PASS)
    for at, told in ((g.at, "198.51.100.7"), (g.at6, "2001:db8::7")):
        c, first = ask(g, at[0])
        assert first[:2] == (socks5.OK, told)
        s = come((at[0], first[2]))
        assert c.reply() == (socks5.OK, *s.getsockname()[:2])
        carries(c, s)


def test_egress(gateway):
    g = gateway("egress from 127.0.0.5\n"
                f"pass bind from any to {SECOND} auth none egress from 127.0.0.6\n" + PASS)
    # whoever may come, the first rule that may match says how
    for host, home in (("127.0.0.1", "127.0.0.5"), (SECOND, "127.0.0.6"), ("0.0.0.0", "127.0.0.6")):
        c, first = ask(g, host)
        assert first[:2] == (socks5.OK, home)
        c.close()


def test_nobody_takes_the_port_over(gateway):
    g = gateway(PASS)
    c, first = ask(g)
    for host in ("127.0.0.1", "0.0.0.0"):
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, option, 1)
                with pytest.raises(OSError):
                    s.bind((host, first[2]))
                    s.listen()
    c.close()


def test_early_data_is_kept(gateway):
    g = gateway(PASS)
    with Client(g.at) as c:
        c.send(socks5.greeting(0) + socks5.request("127.0.0.1", 0, command=BIND) + b"with the request, ")
        assert c.method() == 0
        first = c.reply()
        c.send(b"before the peer")
        s = come(first[1:])
        assert c.reply()[0] == socks5.OK
        want = b"with the request, before the peer"
        got = b""
        while len(got) < len(want):
            got += s.recv(100)
        assert got == want
        s.close()


@pytest.mark.parametrize("leave", ["close", "reset", "half_close"])
def test_a_client_that_leaves_ends_the_wait(gateway, leave):
    g = gateway(PASS)
    c, first = ask(g)
    assert listens(first[2])
    getattr(c, leave)()
    g.record("session-close", command="bind", reason="client-reset" if leave == "reset" else "client-closed")
    wait_for(lambda: not listens(first[2]))
    c.close()


def test_reload_meanwhile(gateway):
    """The wait goes on by the policy that it began with."""
    g = gateway(PASS)
    c, first = ask(g)
    assert g.reload("block from any to any\n")["event"] == b"reload"
    s = come(first[1:])
    assert c.reply()[0] == socks5.OK
    carries(c, s)
    assert g.record("session-close", command="bind")["rule"].endswith(b".conf:6")


def test_worker_killed_meanwhile(gateway):
    g = gateway(PASS, workers=1, expect_lost=1)
    c, first = ask(g)
    os.kill(g.children("worker")[0], signal.SIGKILL)
    r = g.record("session-close", command="bind", reason="child-lost")
    assert r["outgoing"].endswith(b":%d" % first[2])
    wait_for(lambda: not listens(first[2]))
    c.close()
    wait_for(lambda: g.children("worker"), why=g.story)


def test_many_wait_at_once(gateway):
    g = gateway(PASS)
    held = [ask(g) for _ in range(100)]
    assert len({first[2] for _, first in held}) == 100
    for c, first in reversed(held):
        s = come(first[1:])
        assert c.reply()[0] == socks5.OK
        carries(c, s)
