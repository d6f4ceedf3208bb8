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
