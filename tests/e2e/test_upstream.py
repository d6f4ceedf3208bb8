"""Upstreams without GSSAPI: one gateway as the client of another. CONNECT, names that the first never looks up,
passwords, fail-over, BIND, datagrams, and upstreams that say what no server of RFC 1928 would."""
import os
import socket
import struct
import threading
import time

import pytest

import peers
import sally
import socks5
from peers import wait_for
from socks5 import BIND, Client, open_session

HOME = "{ any, 127.0.0.0/8, ::1 }"
FAR = f"pass connect, bind, udp from any to {HOME} auth none\n"


def via(*ports, rule=f"pass connect, bind, udp from any to {HOME} auth none via", more=""):
    """A configuration with an upstream at each port, all of them used by one rule."""
    names = [f"up{i}" for i in range(len(ports))]
    return "".join(f'upstream {n} socks5 "127.0.0.1" port {p} {more}\n' for n, p in zip(names, ports)) + (
        f"{rule} {{ {', '.join(names)} }}\n")


class Script:
    """An upstream that says what it is told to: pieces, each behind as many octets of the client's as stand before it."""

    def __init__(self, *script, host="127.0.0.1"):
        self.script, self.heard, self.came = script, [], 0
        self.s = peers.listener(host)
        self.port = self.s.getsockname()[1]

    def start(self):
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            self.came += 1
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def one(self, c):
        c.settimeout(10)
        got = b""
        try:
            for expect, say in self.script:
                while len(got) < expect:
                    more = c.recv(expect - len(got))
                    if not more:
                        return
                    got += more
                got = b""
                self.heard.append(got)
                if say is None:
                    c.close()
                    return
                c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for piece in say if isinstance(say, list) else [say]:
                    c.sendall(piece)
                    if isinstance(say, list):
                        time.sleep(0.005)
            while c.recv(4096):
                pass
        except OSError:
            pass
        finally:
            c.close()

    def stop(self):
        peers.wake(self.s) if hasattr(peers, "wake") else None
        self.s.close()


def test_connect_goes_by_the_upstream(gateway, echo):
    far = gateway(FAR)
    near = gateway(via(far.port))
    c, reply = open_session(near.at, "127.0.0.1", echo.port)
    there = wait_for(lambda: far.records("session-open"))[0]
    assert reply[0] == 0
    c.send(b"x" * 100000)
    assert c.read(100000) == b"x" * 100000
    c.close()
    r, theirs = near.record("session-close"), far.record("session-close")
    assert (r["via"], r["target"], r["up"], r["down"]) == (b"up0", b"127.0.0.1:%d" % far.port, b"100000", b"100000")
    assert r["asked"] == b"127.0.0.1:%d" % echo.port and there["target"] == b"127.0.0.1:%d" % echo.port
    # BND is the upstream's: the address from which the target is reached (RFC 1928 section 6)
    assert theirs["outgoing"] == b"%s:%d" % (reply[1].encode(), reply[2]) and "via" not in theirs


def test_a_name_is_not_looked_up_where_it_leaves_by_an_upstream(gateway, serve, echo):
    mine = serve(peers.Dns, {"direct.example": {"A": ["127.0.0.1"]}}, host="127.0.0.2")
    theirs = serve(peers.Dns, {"far.example": {"A": ["127.0.0.1"]}}, host="127.0.0.3")
    far = gateway("resolver 127.0.0.3\n" + FAR)
    near = gateway("resolver 127.0.0.2\n" + f"pass connect from any to direct.example auth none\n"
                   + via(far.port) + "pass connect from any to 127.0.0.0/8 auth none\n")
    c, reply = open_session(near.at, b"Far.Example.", echo.port)
    assert reply[0] == 0
    c.close()
    r = near.record("session-close")
    assert (r["via"], r["asked"]) == (b"up0", b"Far.Example.:%d" % echo.port)
    assert far.record("session-open")["asked"] == b"far.example:%d" % echo.port
    assert {n for n, *_ in theirs.asked} == {"far.example"} and mine.asked == []
    # the control: the same resolver is asked for a name that leaves directly
    c, reply = open_session(near.at, b"direct.example", echo.port)
    c.close()
    assert {n for n, *_ in mine.asked} == {"direct.example"}


def test_a_block_of_addresses_before_via_refuses_names(gateway, echo):
    far = gateway(FAR)
    near = gateway("block from any to 10.0.0.0/8\n" + via(far.port))
    c, reply = open_session(near.at, b"localhost", echo.port)
    assert reply[0] == socks5.NOT_ALLOWED
    c.close()
    r = near.record("session-refused")
    assert r["reason"] == b"blocked" and r["rule"].endswith(b":%d" % (near.head.count("\n") + 1))
    c, reply = open_session(near.at, "127.0.0.1", echo.port)  # an address is judged as always
    assert reply[0] == 0
    c.close()


def test_what_the_upstream_refuses_is_final_and_told(gateway, serve):
    far = gateway("block from any to any port 7\n" + FAR)
    spare = gateway(FAR)
    near = gateway(via(far.port, spare.port, rule=f"pass connect from any to {HOME} auth none via"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 9), 5)
    for port, rep, reason in ((7, socks5.NOT_ALLOWED, b"upstream-refused"), (9, socks5.REFUSED, b"connection-refused")):
        c, reply = open_session(near.at, "127.0.0.1", port)
        assert reply == (rep, "0.0.0.0", 0)
        assert c.rest() == b""
        c.close()
        r = wait_for(lambda: near.records("session-close", reason=reason.decode()), why=near.story)[0]
        assert r["via"] == b"up0"
    assert spare.records("session-open") == []


def with_password(g, text="far:se:cret\n"):
    """Writes the credentials file of an upstream."""
    with open(f"{g.dir}/up.pw", "w", opener=lambda p, fl: os.open(p, fl, 0o600)) as f:
        f.write(text)


FAR_PASSWORD = f'auth password file "@DIR@/users"\npass connect, bind, udp from any to {HOME} user far auth password\n'


def far_with_users(gateway):
    return gateway(FAR_PASSWORD, before=lambda g: g.write_users(sally.user_line("far", "se:cret")))


@pytest.mark.parametrize("user", [None, sally.NOBODY])
def test_a_password_is_the_initiators_alone(gateway, echo, user):
    def prepare(g):
        with_password(g)
        if user:
            os.chown(f"{g.dir}/up.pw", user, user)
    far = far_with_users(gateway)
    near = gateway(via(far.port, more='auth password file "@DIR@/up.pw"'), before=prepare, user=user)
    assert near.children("authd") and len(near.children("authd")) == 1
    for _ in range(2):
        c, reply = open_session(near.at, "127.0.0.1", echo.port)
        assert reply[0] == 0
        c.send(b"hello")
        assert c.read(5) == b"hello"
        c.close()
    assert far.record("session-open")["user"] == b"far"
    assert near.record("session-close")["via"] == b"up0"


def test_a_wrong_password_fails_over_and_is_told(gateway, echo):
    far, spare = far_with_users(gateway), gateway(FAR)
    near = gateway(f'upstream a socks5 "127.0.0.1" port {far.port} auth password file "@DIR@/up.pw"\n'
                   f'upstream b socks5 "127.0.0.1" port {spare.port}\n'
                   f"pass connect from any to 127.0.0.0/8 port {echo.port} auth none via {{ a, b }}\n"
                   f"pass connect from any to 127.0.0.0/8 auth none via a\n",
                   before=lambda g: with_password(g, "far:wrong\n"))
    c, reply = open_session(near.at, "127.0.0.1", echo.port)
    assert reply[0] == 0
    c.close()
    assert near.record("session-close")["via"] == b"b"
    c, reply = open_session(near.at, "127.0.0.1", 9)
    assert reply[0] == socks5.GENERAL
    c.close()
    assert near.record("session-close", reason="upstream-auth-failed")["via"] == b"a"
    # mended by a reload
    with_password(near)
    near.reload()

    def asked():
        c, reply = open_session(near.at, "127.0.0.1", 9)
        c.close()
        return reply[0]
    # the new password reaches the initiator on a channel of its own: a request may come before it
    wait_for(lambda: asked() == socks5.REFUSED, 20, near.story)


def test_an_upstream_that_fails_is_passed_over_for_a_while(gateway, serve, echo):
    gone = peers.free_port()
    far = gateway(FAR)
    near = gateway(via(gone, far.port), workers=1)
    for _ in range(3):
        c, reply = open_session(near.at, "127.0.0.1", echo.port)
        assert reply[0] == 0
        c.close()
    assert len(wait_for(lambda: len(near.records("session-close")) == 3 and near.records("session-close"))) == 3
    assert {r["via"] for r in near.records("session-close")} == {b"up1"}
    # Only the first tried it: an upstream there is not asked until its rest is over, and then it is.
    back = Script((3, b"\5\xff"))
    back.s.close()
    back.s = peers.listener(port=gone)
    back.start()
    try:
        c, reply = open_session(near.at, "127.0.0.1", echo.port)
        c.close()
        assert reply[0] == 0 and back.came == 0
        time.sleep(2.2)
        c, reply = open_session(near.at, "127.0.0.1", echo.port)
        c.close()
        assert reply[0] == 0 and back.came == 1
    finally:
        back.stop()


def test_where_all_fail_all_are_tried_again(gateway):
    near = gateway(via(peers.free_port(), peers.free_port()), workers=1)
    for _ in range(3):
        c, reply = open_session(near.at, "127.0.0.1", 9)
        assert reply == (socks5.GENERAL, "0.0.0.0", 0)
        c.close()
    rs = wait_for(lambda: len(near.records("session-close")) == 3 and near.records("session-close"), why=near.story)
    assert {r["reason"] for r in rs} == {b"upstream-failed"} and {r["error"] for r in rs} == {b"ECONNREFUSED"}


OK_REPLY = b"\5\0\0\1\x7f\0\0\1\0\7"


@pytest.mark.parametrize("script, rep", [
    ([(3, b"\5\xff")], socks5.GENERAL),                          # it takes none of the methods
    ([(3, b"\5\2")], socks5.GENERAL),                            # one that was not offered
    ([(3, b"\4\0")], socks5.GENERAL),                            # another version
    ([(3, b"HTTP/1.1 400 Bad Request\r\n\r\n")], socks5.GENERAL),
    ([(3, None)], socks5.GENERAL),                               # it closes
    ([(3, b"\5\0"), (10, None)], socks5.GENERAL),
    ([(3, b"\5\0"), (10, b"\4" + OK_REPLY[1:])], socks5.GENERAL),
    ([(3, b"\5\0"), (10, b"\5\0\0\2" + OK_REPLY[4:])], socks5.GENERAL),  # no such ATYP
    ([(3, b"\5\0"), (10, b"\5\x63\0\1\0\0\0\0\0\0")], socks5.GENERAL),   # no such REP
    ([(3, b"\5\0"), (10, b"\5\4\0\1\0\0\0\0\0\0")], socks5.HOST),
    ([(3, b"\5\0"), (10, b"\5\6\0\1\0\0\0\0\0\0")], socks5.TTL),
    ([(3, b"\5\0"), (10, b"\5\7\0\3\0\0\0")], socks5.COMMAND),           # with an empty name
    ([(3, b"\5\0"), (10, OK_REPLY + b"early data")], 0),
    ([(3, [b"\5", b"\0"]), (10, [bytes([o]) for o in OK_REPLY + b"early data"])], 0),
    ([(3, b"\5\0"), (10, b"\5\0\0\3\4host\0\7" + b"early data")], 0),
    ([(3, b"\5\0"), (10, b"\5\0\0\4" + bytes(15) + b"\1\0\7" + b"early data")], 0),
], ids=lambda v: None)
def test_what_an_upstream_may_say(gateway, serve, script, rep):
    up = serve(Script, *script)
    near = gateway(via(up.port))
    c, reply = open_session(near.at, "127.0.0.1", 9)
    assert reply[0] == rep
    assert rep != 0 or c.read(10) == b"early data"
    if rep:
        assert c.rest() == b""
    c.close()
    near.record("session-close")


def test_an_upstream_that_is_silent_costs_the_time_and_no_more(gateway, serve):
    up = serve(Script, (1 << 20, b""))
    near = gateway("timeout connect 1s\n" + via(up.port))
    began = time.monotonic()
    c, reply = open_session(near.at, "127.0.0.1", 9)
    assert reply[0] == socks5.GENERAL and 0.8 < time.monotonic() - began < 5
    c.close()
    assert near.record("session-close")["error"] == b"ETIMEDOUT"


def test_a_silent_upstream_leaves_time_for_the_next(gateway, serve, echo):
    up, far = serve(Script, (1 << 20, b"")), gateway(FAR)
    near = gateway(via(up.port, far.port))
    began = time.monotonic()
    c, reply = open_session(near.at, "127.0.0.1", echo.port)
    assert reply[0] == 0 and 4 < time.monotonic() - began < 12
    c.close()


def test_an_upstream_that_dies_ends_the_session(gateway, echo):
    far = gateway(FAR)
    near = gateway(via(far.port))
    c, reply = open_session(near.at, "127.0.0.1", echo.port)
    c.send(b"x")
    assert c.read(1) == b"x"
    far.kill()
    assert c.ended()
    c.close()
    assert near.record("session-close")["reason"] in (b"target-closed", b"target-reset")


def test_the_clients_early_octets_go_on(gateway, echo):
    far = gateway(FAR)
    near = gateway(via(far.port))
    c = Client(near.at)
    c.send(socks5.greeting(0) + socks5.request("127.0.0.1", echo.port) + b"at once")
    assert c.method() == 0 and c.reply()[0] == 0
    assert c.read(7) == b"at once"
    c.close()


def test_bind_by_the_upstream(gateway):
    far = gateway(FAR)
    near = gateway(via(far.port))
    c = Client(near.at)
    assert c.greet(0) == 0
    rep, host, port = c.connect("127.0.0.1", 0, command=BIND)
    assert rep == 0
    assert far.record("session-open")["outgoing"] == b"%s:%d" % (host.encode(), port)
    with socket.create_connection((host, port), 10) as peer:
        assert c.reply() == (0, *peer.getsockname())
        peer.sendall(b"from the peer")
        assert c.read(13) == b"from the peer"
        c.send(b"to it")
        assert peer.recv(5) == b"to it"
    c.close()
    assert near.record("session-close")["via"] == b"up0"


def test_bind_ends_where_nobody_comes(gateway):
    far = gateway("timeout bind 1s\n" + FAR)
    near = gateway(via(far.port))
    c = Client(near.at)
    c.greet(0)
    assert c.connect("127.0.0.1", 0, command=BIND)[0] == 0
    assert c.reply()[0] == socks5.TTL
    c.close()
    assert near.record("session-close")["reason"] == b"bind-timeout"


def test_what_the_configuration_refuses():
    head = "listen on 127.0.0.1 port 1080\n"
    for text, want in (
            ("pass from any auth none via hq\n", 'upstream "hq" is not defined'),
            ('upstream hq socks5 "127.0.0.1" port 1080\n', "is this gateway itself"),
            ('upstream hq socks5 "127.0.0.1" port 1\n' * 2, "is defined a second time"),
            ('upstream hq socks5 "127.0.0.1" port 1\nblock from any via hq\n', "via stands in a block rule"),
            ('upstream hq socks5 "127.0.0.1" port 1\npass from any auth none via { hq, hq }\n', "stands twice"),
            ('upstream hq socks5 "127.0.0.1" port 1 auth password file "/nonexistent"\n', "cannot use /nonexistent"),
            ('upstream hq socks5 "224.0.0.1" port 1\n', "is no host's address"),
            ('upstream "h q" socks5 "127.0.0.1" port 1\n', "is no upstream's name"),
            ('upstream hq socks5 "127.0.0.1" port 1 auth gssapi ccache "FILE:/x" keytab "/nonexistent"\n',
             "a keytab and a ccache")):
        status, said = sally.check(head + text)
        assert status != 0 and want in said, (text, said)
    for text, want in (
            ('upstream hq socks5 "127.0.0.1" port 1\nblock from any to 10.0.0.0/8\npass from any to any auth none via hq\n',
             "blocks every name"),
            ('upstream hq socks5 "127.0.0.1" port 1\npass from any to 10.0.0.0/8 auth none via hq\n',
             "via passes every name")):
        status, said = sally.check(head + text)
        assert status == 0 and want in said, (text, said)


def test_datagrams_by_the_upstream(gateway, serve):
    there = serve(peers.UdpEcho)
    theirs = serve(peers.Dns, {"far.example": {"A": ["127.0.0.1"]}}, host="127.0.0.3")
    mine = serve(peers.Dns, {"far.example": {"A": ["127.0.0.9"]}}, host="127.0.0.2")
    far = gateway("resolver 127.0.0.3\n" + FAR)
    near = gateway("resolver 127.0.0.2\nblock udp from any to any port 7\n" + via(far.port))
    a = socks5.Association(near.at)
    for host in ("127.0.0.1", b"far.example", "127.0.0.1"):
        a.send(host, there.port, b"ping")
        assert a.receive() == (0, "127.0.0.1", there.port, b"ping")
    a.send("127.0.0.1", 7, b"blocked")
    big = b"x" * 60000
    a.send("127.0.0.1", there.port, big)
    assert a.receive()[3] == big
    a.close()
    r, theirs_r = near.record("session-close"), far.record("session-close")
    assert (r["datagrams-up"], r["datagrams-down"], r["up"], r["via"]) == (b"4", b"4", b"60012", b"up0")
    assert r["drops"] == b"rules:1"
    assert (theirs_r["datagrams-up"], theirs_r["up"]) == (b"4", b"60012")
    targets = near.records("session-target")
    assert [t["asked"] for t in targets] == [b"127.0.0.1:%d" % there.port, b"far.example:%d" % there.port]
    assert {t["via"] for t in targets} == {b"up0"}
    assert mine.asked == [] and {n for n, *_ in theirs.asked} == {"far.example"}


def test_an_association_ends_with_the_upstreams(gateway, serve):
    there, far = serve(peers.UdpEcho), gateway(FAR)
    near = gateway(via(far.port))
    a = socks5.Association(near.at)
    a.send("127.0.0.1", there.port, b"ping")
    assert a.receive()[3] == b"ping"
    far.kill()
    assert a.tcp.ended()
    a.close()
    assert near.record("session-close")["reason"] in (b"target-closed", b"target-reset")
    b = gateway(FAR)
    near2 = gateway(via(b.port))
    a = socks5.Association(near2.at)
    a.close()
    near2.record("session-close")
    assert b.record("session-close")["reason"] == b"client-closed"


def test_one_association_both_ways(gateway, serve):
    """Rules decide for each target: some go directly, others by the upstream."""
    there, far = serve(peers.UdpEcho), gateway(FAR)
    here = serve(peers.UdpEcho, "127.0.0.2")
    near = gateway("pass udp from any to 127.0.0.2 auth none\n" + via(far.port))
    a = socks5.Association(near.at)
    for host, port in (("127.0.0.2", here.port), ("127.0.0.1", there.port)):
        a.send(host, port, b"ping")
        assert a.receive() == (0, host, port, b"ping")
    a.close()
    near.record("session-close")
    assert [t.get("via") for t in near.records("session-target")] == [None, b"up0"]


@pytest.mark.parametrize("where", ["127.0.0.5", "224.0.0.1", None])
def test_an_upstream_cannot_have_datagrams_sent_to_this_machine(gateway, serve, where):
    """BND.ADDR is foreign: only the address connected to, or one that is not special."""
    victim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    victim.bind(("127.0.0.1" if where is None else "0.0.0.0", 0))
    victim.settimeout(1)
    port = victim.getsockname()[1]
    said = b"\5\0\0\1" + socket.inet_aton(where or "0.0.0.0") + struct.pack("!H", port)
    up = serve(Script, (3, b"\5\0"), (10, said))
    near = gateway(via(up.port))
    c = Client(near.at)
    c.greet(0)
    c.send(socks5.request("0.0.0.0", 0, command=socks5.UDP))
    rep, host, at = c.reply()
    if where is None:  # the control: a wildcard is the address connected to
        assert rep == 0
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.sendto(socks5.datagram("127.0.0.9", 9, b"ping"), (host, at))
        assert victim.recv(100) == socks5.datagram("127.0.0.9", 9, b"ping")
    else:
        assert rep == socks5.GENERAL
    c.close()
