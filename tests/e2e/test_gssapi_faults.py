"""Clients of GSSAPI that break the rules, and a gateway's part that dies: tokens that are changed, repeated, left out, cut
or foreign, contexts that are none, and slowness. Each ends its connection with the reason in the audit trail, nothing of
it reaches the target, and the next client is served."""
import os
import select
import struct
import time

import pytest

import gss5
import peers
import socks5
from gss5 import Client, configuration, frame


@pytest.fixture(scope="module")
def alice(realm):
    return realm.kinit().fetch()


@pytest.fixture
def g(gateway, realm):
    return gateway(configuration(realm))


class Sink(peers.Held):
    """What came of a session, when it has ended."""

    def all(self):
        s, got = self.next(), b""
        try:
            while True:
                more = s.recv(65536)
                if not more:
                    return got
                got += more
        except ConnectionResetError:
            return got


@pytest.fixture
def sink(serve):
    return serve(Sink)


def begin(g, alice, sink, level):
    c = Client(g.at, alice, level)
    assert c.connect(sink.host, sink.port)[0] == socks5.OK
    c.send(b"good")
    return c


def bit(token, at, mask=1):
    token = bytearray(token)
    token[at] ^= mask
    return bytes(token)


def token_of(c, data=b"evil", conf=None):
    return c.wrap(data, conf)[4:]


def with_seq(token, step):
    seq, = struct.unpack("!Q", token[8:16])
    return token[:8] + struct.pack("!Q", (seq + step) % 2**64) + token[16:]


def reflected(c):
    """What the gateway sent is sent back to it."""
    c.raw_send(c.wrap(socks5.request("127.0.0.1", 9)))
    return c.read_frame()[1]


# what: (how the token is made, the reasons that tell it)
BAD, CHECK, SEQUENCE, LEVEL = "bad-token", "bad-checksum", "bad-sequence", "wrong-protection"
TOKEN_FAULTS = {
    "empty": (lambda c: b"", [BAD]),
    "one octet": (lambda c: b"\5", [BAD]),
    "15 octets": (lambda c: token_of(c)[:15], [BAD]),
    "a header only": (lambda c: token_of(c)[:16], [BAD, CHECK]),
    "noise": (lambda c: os.urandom(200), [BAD]),
    "65,535 octets of noise": (lambda c: os.urandom(65535), [BAD]),
    "another TOK_ID": (lambda c: bit(token_of(c), 1), [BAD]),
    "a MIC token": (lambda c: c.ctx.get_signature(b"evil"), [BAD]),
    "flag: sent by the acceptor": (lambda c: bit(token_of(c), 2, 1), [BAD]),
    "flag: sealed": (lambda c: bit(token_of(c), 2, 2), [BAD, CHECK, LEVEL]),
    "flag: acceptor's subkey": (lambda c: bit(token_of(c), 2, 4), [BAD, CHECK]),
    "the filler octet": (lambda c: bit(token_of(c), 3), [BAD]),
    "EC": (lambda c: bit(token_of(c), 5), [BAD, CHECK]),
    "EC, large": (lambda c: bit(token_of(c), 4, 0x80), [BAD, CHECK]),
    "RRC": (lambda c: bit(token_of(c), 7), [BAD, CHECK]),
    "the sequence number, one more": (lambda c: with_seq(token_of(c), 1), [CHECK, SEQUENCE]),
    "the sequence number, one less": (lambda c: with_seq(token_of(c), -1), [CHECK, SEQUENCE]),
    "the first octet of the data": (lambda c: bit(token_of(c), 16), [CHECK]),
    "the last octet": (lambda c: bit(token_of(c), -1), [CHECK]),
    "an octet in the middle": (lambda c: bit(token_of(c, bytes(1000)), 500, 0x10), [CHECK]),
    "cut by one": (lambda c: token_of(c)[:-1], [BAD, CHECK]),
    "longer by one": (lambda c: token_of(c) + b"\0", [BAD, CHECK]),
}


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("what", TOKEN_FAULTS)
def test_a_bad_token_ends_the_session(g, alice, sink, level, what):
    make, reasons = TOKEN_FAULTS[what]
    with begin(g, alice, sink, level) as c:
        c.raw_send(frame(gss5.DATA, make(c)) + c.wrap(b"evil"))
        assert c.raw_ended()
    r = g.record("session-close")
    assert r["reason"].decode() in reasons, r
    assert r["up"] == b"4" and sink.all() == b"good"
    with begin(g, alice, sink, level):
        pass


def order(*which):
    def make(c):
        tokens = [c.wrap(b"evil%d" % n) for n in range(4)]
        return b"".join(tokens[n] for n in which)
    return make


ORDERS = {"repeated": (order(0, 0, 1), b"evil0"), "repeated later": (order(0, 1, 2, 0), b"evil0evil1evil2"),
          "one left out": (order(0, 2, 3), b"evil0"), "swapped": (order(1, 0), b""), "the first left out": (order(1), b"")}


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("what", ORDERS)
def test_the_order_of_tokens(g, alice, sink, level, what):
    """On a connection each in order and none missing; those before the fault count."""
    make, good = ORDERS[what]
    with begin(g, alice, sink, level) as c:
        c.raw_send(make(c))
        assert c.raw_ended()
    assert g.record("session-close")["reason"] == b"bad-sequence"
    assert sink.all() == b"good" + good


@pytest.mark.parametrize("level", [1, 2])
def test_tokens_of_others(g, alice, sink, level):
    """Of another session, also of the same user and place in the sequence; and the gateway's own, sent back."""
    with begin(g, alice, sink, level) as c, begin(g, alice, sink, level) as other:
        token = other.wrap(b"more")
        c.raw_send(token)
        assert c.raw_ended()
        assert g.record("session-close")["reason"] in (b"bad-checksum", b"bad-sequence")
        assert sink.all() == b"good"
        other.raw_send(token)
    assert sink.all() == b"goodmore"
    with Client(g.at, alice, level) as c:
        c.raw_send(c.wrap(socks5.request(sink.host, sink.port)))
        c.raw_send(frame(*c.read_frame()))
        assert c.raw_rest() == b""
    g.record("session-close", reason="bad-token")


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 20, 60, -1])
def test_an_end_inside_a_token(g, alice, sink, level, cut):
    with begin(g, alice, sink, level) as c:
        c.raw_send(c.wrap(bytes(200))[:cut])
        c.half_close()
        assert c.raw_ended()
    assert g.record("session-close")["reason"] == b"truncated-token"
    assert sink.all() == b"good"


FRAMES = {
    "version 2": lambda c: b"\2" + c.wrap(b"evil")[1:],
    "version 0": lambda c: b"\0" + c.wrap(b"evil")[1:],
    "a context's": lambda c: frame(gss5.CONTEXT, token_of(c)),
    "a level's": lambda c: frame(gss5.LEVEL, token_of(c)),
    "mtyp 0": lambda c: frame(0, token_of(c)),
    "mtyp 4": lambda c: frame(4, token_of(c)),
    "an abort": lambda c: b"\1\xff",
    "SOCKS": lambda c: socks5.request("127.0.0.1", 9),
    "text": lambda c: b"GET / HTTP/1.0\r\n\r\n",
}


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("what", FRAMES)
def test_framing(g, alice, sink, level, what):
    with begin(g, alice, sink, level) as c:
        c.raw_send(FRAMES[what](c))
        assert c.raw_ended()
    assert g.record("session-close")["reason"] == b"bad-framing"
    assert sink.all() == b"good"


@pytest.mark.parametrize("level", [1, 2])
def test_faults_in_place_of_the_request(g, alice, sink, level):
    makers = [lambda c: frame(gss5.DATA, bit(token_of(c, socks5.request(sink.host, sink.port)), -1)),
              lambda c: c.wrap(b"") and c.wrap(socks5.request(sink.host, sink.port)),
              lambda c: frame(gss5.LEVEL, token_of(c)), lambda c: b"\1\xff", lambda c: frame(gss5.DATA, b"")]
    for make in makers:
        with Client(g.at, alice, level) as c:
            c.raw_send(make(c))
            assert c.raw_rest() == b""
    assert not sink.clients and not g.records("session-open")


# --- contexts that are none ---

CONTEXTS = {
    "an empty token, twice": lambda t: frame(1, b"") + frame(1, b""),
    "noise": lambda t: frame(1, os.urandom(300)),
    "65,535 octets of noise": lambda t: frame(1, os.urandom(65535)),
    "zeros": lambda t: frame(1, bytes(1000)),
    "changed": lambda t: frame(1, bit(t, -1)),
    "changed in its head": lambda t: frame(1, bit(t, 5)),
    "cut": lambda t: frame(1, t[:-40]),
    "longer": lambda t: frame(1, t + bytes(50)),
    "a length that lies": lambda t: frame(1, bytes([0x60, 0x84, 0xff, 0xff, 0xff, 0xff]) + t[4:]),
    "a level's first": lambda t: frame(2, t),
    "data first": lambda t: frame(3, t),
    "version 5": lambda t: b"\5" + frame(1, t)[1:],
    "an unknown kind": lambda t: frame(9, t),
    "an abort": lambda t: b"\1\xff",
    "SOCKS": lambda t: socks5.request("127.0.0.1", 9),
    "a password": lambda t: socks5.credentials(b"alice", b"alice-pw"),
}


@pytest.mark.parametrize("what", CONTEXTS)
def test_no_context(g, alice, echo, what):
    with Client(g.at, alice, upto="method") as c:
        c.context()
        c.raw_send(CONTEXTS[what](c.step()))
        got = c.raw_rest()
        # an empty first token is answered with the mechanisms there are
        assert got.endswith(b"\1\xff") or (got == b"" and what in ("an abort", "SOCKS", "a password", "version 5", "an unknown kind",
                                                                   "a level's first", "data first")), got
    assert not g.records("auth-ok") and not g.records("session-open")
    c, reply = gss5.open_session(g.at, alice, echo.host, echo.port)
    c.close()
    assert reply[0] == socks5.OK


def test_a_refusal_is_recorded(g, alice):
    with Client(g.at, alice, upto="method") as c:
        c.raw_send(frame(1, b"no token at all"))
        assert c.raw_rest() == b"\1\xff"
    r = g.record("auth-failed")
    assert (r["method"], r["reason"]) == (b"gssapi", b"gssapi-refused") and r["client"].startswith(b"127.0.0.1:")


# --- slowness ---

def test_time_outs(gateway, realm, alice):
    """The handshake has one deadline, however far it has come and however busy the client looks."""
    g = gateway("timeout { handshake 2s }\n" + configuration(realm))
    began = time.monotonic()
    clients = [Client(g.at, alice, upto=u) for u in ("method", "context", "level")]
    half = Client(g.at, alice, upto="method")
    half.context()
    half.raw_send(frame(1, half.step())[:-1])
    dribble = Client(g.at, alice, upto="method")
    dribble.raw_send(struct.pack("!BBH", 1, 1, 65535))
    while not select.select([dribble.s], [], [], 0.05)[0]:
        assert time.monotonic() - began < 4, "it goes on"
        dribble.raw_send(b"\x60")
    assert time.monotonic() - began > 1.5
    for c in [*clients, half, dribble]:
        assert c.raw_rest() in (b"", b"\1\xff")
        c.close()
    with Client(g.at, alice):
        pass


def test_many_that_stall_leave_the_others_alone(g, alice, echo):
    """Each with a token begun that never ends."""
    stalled = []
    for n in range(200):
        c = Client(g.at, alice, upto="method", source=f"127.0.1.{n % 100 + 1}")
        c.raw_send(struct.pack("!BBH", 1, 1, 65535) + b"\x60" * 5000)
        stalled.append(c)
    began = time.monotonic()
    c, reply = gss5.open_session(g.at, alice, echo.host, echo.port, 2)
    assert reply[0] == socks5.OK and time.monotonic() - began < 2
    c.close()
    for c in stalled:
        c.reset()
    c, reply = gss5.open_session(g.at, alice, echo.host, echo.port, 2)
    assert reply[0] == socks5.OK
    c.close()


# --- the acceptor dies ---

MOMENTS = ["before the token", "inside the token", "after the context", "with the level under way"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_authd_killed_in_mid_exchange(gateway, realm, alice, echo, moment):
    g = gateway(configuration(realm), expect_lost=1)
    old = gss5.open_session(g.at, alice, echo.host, echo.port, 2)[0]
    authd, = g.children("authd")
    with Client(g.at, alice, upto="method" if "token" in moment else "context") as c:
        token = frame(1, c.context() and c.step()) if "token" in moment else b""
        if moment == "inside the token":
            c.raw_send(token[:300])
            time.sleep(0.2)
        if moment == "with the level under way":
            os.kill(authd, 19)  # stopped: the level's token waits for it
            c.raw_send(frame(2, c.ctx.wrap(b"\1", False).message))
            time.sleep(0.2)
        os.kill(authd, 9)
        assert g.record("child-lost")["process"] == b"acceptor"
        if moment == "before the token":
            c.raw_send(token)
        elif moment == "inside the token":
            c.raw_send(token[300:])
        elif moment == "after the context":
            c.raw_send(frame(2, c.ctx.wrap(b"\1", False).message))
        if moment == "before the token":  # the new one may have it
            c.s.settimeout(10)
            got = c.raw_read(2)
            assert got in (b"\1\xff", b"\1\1")
        else:
            assert c.raw_rest() in (b"", b"\1\xff")
    assert not g.records("session-open")[1:]
    old.send(b"the keys are the worker's")  # a session that has them goes on
    assert old.read(25) == b"the keys are the worker's"
    old.close()
    peers.wait_for(lambda: not gss5.refused(g.at, alice), 15, g.story)
