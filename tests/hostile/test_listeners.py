"""BIND by a worker that lies, or that plays with the listener which it was given: it gets none but by a rule with the
command, in its ports, and for its own session; and with it, it can do nothing but accept."""
import errno
import socket

import pytest

import sally
from puppets import Killed, Stage, addrport, end, message, start
from test_messages import CLIENT, GATEWAY, NOWHERE, REFUSED, TARGET, attempt, close, connected, open_, session, survives_none

BIND = 2
PORTS = (41000, 41001)
TEXT = (f"bind ports {PORTS[0]}-{PORTS[1]}\n"
        "block from any to 127.0.0.9\n"
        "pass connect from any to { any, 127.0.0.0/8 } auth none\n"
        "pass bind from any to { any, 127.0.0.0/8 } auth none\n")
BLOCK, PASS_CONNECT, PASS_BIND, DEFAULT = 0, 1, 2, 0xffffffff
PEER = addrport("127.0.0.1", 5555)
STRANGERS_MAX = 16  # common/msg.h


@pytest.fixture
def stage():
    with Stage() as s:
        yield s


def listen(p, slot=0, gen=1, version=None, rule=PASS_BIND, asked=TARGET):
    return message("LISTEN", slot, gen, p.version() if version is None else version, rule, *asked, 0)


def stranger(p, slot=0, gen=1, version=None, rule=DEFAULT, peer=PEER):
    return message("STRANGER", slot, gen, p.version() if version is None else version, rule, *peer, 0)


def listening(p, slot=0, gen=1):
    """An honest one: its descriptor in the puppet, and its port."""
    fields, _ = p.ask(open_(p, slot, gen, command=BIND) + listen(p, slot, gen), "LISTENING")
    assert fields[:2] == (slot, gen)
    return p.given("LISTENING"), fields[4]


def asked(*packets):
    return lambda p: [open_(p, command=BIND), *(make(p) for make in packets)]


def waiting(*packets):
    def act(p):
        listening(p)
        return [make(p) for make in packets]
    return act


def of_a_connection(*packets):
    def act(p):
        session(p, rule=PASS_CONNECT)
        return [make(p) for make in packets]
    return act


CASES = [
    ("a listener of no session", lambda p: [listen(p)]),
    ("a listener that nobody asked for", lambda p: [open_(p), listen(p)]),
    ("a listener of a connection", of_a_connection(listen)),
    ("a second listener", waiting(listen)),
    ("a listener by a block rule", asked(lambda p: listen(p, rule=BLOCK))),
    ("a listener by a rule for connections", asked(lambda p: listen(p, rule=PASS_CONNECT))),
    ("a listener by default", asked(lambda p: listen(p, rule=DEFAULT))),
    ("a listener by no rule", asked(lambda p: listen(p, rule=77))),
    ("a listener of an unknown policy", asked(lambda p: listen(p, version=77))),
    ("a listener for nobody", asked(lambda p: listen(p, asked=NOWHERE))),
    ("a listener of another generation", asked(lambda p: listen(p, gen=2))),
    ("a listener for another's session", asked(lambda p: listen(p, slot=9))),
    ("a peer without a listener", asked(lambda p: attempt(p, rule=PASS_BIND))),
    ("a peer by a rule for connections", waiting(lambda p: attempt(p, rule=PASS_CONNECT))),
    ("a peer by a block rule", waiting(lambda p: attempt(p, rule=BLOCK))),
    ("a peer of whom nothing was told", waiting(lambda p: connected(target=PEER))),
    ("another peer than was told", waiting(lambda p: attempt(p, rule=PASS_BIND), lambda p: connected(target=PEER))),
    ("a stranger without a listener", asked(stranger)),
    ("a stranger of a connection", of_a_connection(stranger)),
    ("a stranger without an address", waiting(lambda p: stranger(p, peer=NOWHERE))),
    ("a stranger by no rule", waiting(lambda p: stranger(p, rule=77))),
    ("more strangers than may be told", waiting(*[stranger] * (STRANGERS_MAX + 1))),
    ("the listener, the wrong way", lambda p: [message("LISTENING", 0, 1, *TARGET, *TARGET)]),
]


def test_lies(stage, gateway):
    n = len(CASES)
    text = TEXT.replace(f"{PORTS[0]}-{PORTS[1]}", "41000-41999")
    g, cast = start(gateway, stage, text, {"worker": n + 1}, workers=n + 2)
    honest, cast = cast[0], cast[1:]
    listening(honest)
    for (what, act), p in zip(CASES, cast):
        survives_none(p, act(p))
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and (REFUSED in r["detail"] or b"may send" in r["detail"]), (what, r)
    # all that they had listened on is closed
    honest.send(close(honest))
    assert g.record("session-close", worker=honest.spawn, command="bind")
    for p in (cast[i] for i, c in enumerate(CASES) if c[0].startswith("a second")):
        assert g.record("session-close", worker=p.spawn)["reason"] == b"child-lost"
    end(g, [honest], n)


def test_ports_are_the_configurations(stage, gateway):
    g, (p,) = start(gateway, stage, TEXT, {"worker": 1}, workers=1)
    ports = [listening(p, slot)[1] for slot in range(2)]
    assert sorted(ports) == list(PORTS)
    fields, _ = p.ask(open_(p, 2, command=BIND) + listen(p, 2), "REFUSE")
    assert fields[:2] == (2, 1)
    p.send(close(p, 2))
    assert g.record("session-refused", worker=p.spawn)["reason"] == b"no-bind-port"
    end(g, [p], 0)


@pytest.mark.parametrize("act", ["listen", "of its own", "reuseport", "dup"])
def test_with_the_listener_it_can_only_accept(stage, gateway, act):
    """Without a filter (SANITIZE) nothing is killed, but refused."""
    g, (p,) = start(gateway, stage, TEXT, {"worker": 1}, workers=1)
    fd, port = listening(p)
    with socket.create_connection(("127.0.0.1", port)) as s:
        taken, error = p.sys("accept4", fd, 0, 0, 0o2004000)
        assert taken >= 0, errno.errorcode[error]
        assert p.sys("close", taken) == (0, 0)
        assert s.recv(1) == b""
    tried = {
        "listen": ("listen", fd, 100),
        "of its own": ("listen", None, 100),
        "reuseport": ("setsockopt", fd, 1, 15, "h:01000000", 4),
        "dup": ("dup", fd),
    }[act]
    if tried[1] is None:
        made, _ = p.sys("socket", 2, 0o2004001, 0)
        tried = (tried[0], made, tried[2])
    try:
        assert p.sys(*tried)[0] == -1 and sally.SANITIZE
    except Killed:
        pass
    else:
        end(g, [p], 0)
        return
    assert g.record("session-close", worker=p.spawn)["reason"] == b"child-lost"
    end(g, [], 1)
