"""UDP ASSOCIATE by a worker that lies: each lie costs it its life, and the trail says nothing of what it claimed. Beside
them an honest association, up to its limits."""
import pytest

from peers import wait_for
from puppets import Stage, addrport, end, message, start
from test_messages import CLIENT, GATEWAY, NOWHERE, REFUSED, TARGET, attempt, close, connected, open_, session, survives_none

UDP = 3
PORTS = (50000, 50009)
TEXT = (f"udp ports {PORTS[0]}-{PORTS[1]}\nlimit {{ targets per association 2, associations 1000 }}\n"
        "block from any to 127.0.0.9\n"
        "pass connect from any to { any, 127.0.0.0/8 } auth none\n"
        "pass udp from any to { any, 127.0.0.0/8 } auth none\n")
BLOCK, PASS_CONNECT, PASS_UDP, DEFAULT = 0, 1, 2, 0xffffffff
RELAY = addrport("127.0.0.1", PORTS[0])
REFUSED_MAX = 64  # TARGETS_REFUSED_MAX of common/msg.h


@pytest.fixture
def stage():
    with Stage() as s:
        yield s


def associate(p, slot=0, gen=1, version=None, rule=PASS_UDP, relay=RELAY):
    return message("ASSOCIATE", slot, gen, p.version() if version is None else version, rule, *relay, 0)


def target(p, slot=0, gen=1, version=None, rule=PASS_UDP, at=TARGET, passes=1, name=b"", name_len=None):
    return message("TARGET", slot, gen, p.version() if version is None else version, rule, *at, passes,
                   len(name) if name_len is None else name_len, tail=name)


def association(p, slot=0, gen=1):
    """An honest one, up to its grant."""
    fields, _ = p.ask(open_(p, slot, gen, command=UDP) + associate(p, slot, gen), "GRANT")
    assert fields == (slot, gen)


def asked(*packets):
    return lambda p: [open_(p, command=UDP), *(make(p) for make in packets)]


def granted(*packets):
    def act(p):
        association(p)
        return [make(p) for make in packets]
    return act


def connecting(*packets):
    def act(p):
        session(p, rule=PASS_CONNECT)
        return [make(p) for make in packets]
    return act


def port(n):
    return addrport("127.0.0.1", n)


CASES = [
    ("an association of no session", lambda p: [associate(p)]),
    ("an association without one having been asked for", lambda p: [open_(p), associate(p)]),
    ("an association of a connection", connecting(associate)),
    ("an association, repeated", granted(associate)),
    ("an association by a block rule", asked(lambda p: associate(p, rule=BLOCK))),
    ("an association by a rule for connections", asked(lambda p: associate(p, rule=PASS_CONNECT))),
    ("an association by default", asked(lambda p: associate(p, rule=DEFAULT))),
    ("an association by no rule", asked(lambda p: associate(p, rule=500))),
    ("an association of an unknown policy", asked(lambda p: associate(p, version=77))),
    ("a relay outside `udp ports`", asked(lambda p: associate(p, relay=port(PORTS[1] + 1)))),
    ("a relay without a port", asked(lambda p: associate(p, relay=port(0)))),
    ("a relay that is nowhere", asked(lambda p: associate(p, relay=NOWHERE))),
    ("an attempt in the name of an association", asked(attempt)),
    ("an attempt of an association", granted(attempt)),
    ("an association that connects", granted(lambda p: connected())),
    ("a target of no session", lambda p: [target(p)]),
    ("a target before the association", asked(target)),
    ("a target of a connection", connecting(target)),
    ("a target of another session", granted(lambda p: target(p, slot=1))),
    ("a target of another generation", granted(lambda p: target(p, gen=2))),
    ("a target after the end", granted(close, target)),
    ("a target, repeated", granted(target, target)),
    ("a target that passes by a block rule", granted(lambda p: target(p, rule=BLOCK))),
    ("a target that passes by a rule for connections", granted(lambda p: target(p, rule=PASS_CONNECT))),
    ("a target that passes by default", granted(lambda p: target(p, rule=DEFAULT))),
    ("a target refused by a pass rule", granted(lambda p: target(p, passes=0))),
    ("a target of an unknown policy", granted(lambda p: target(p, version=77))),
    ("a target that passes and does not", granted(lambda p: target(p, passes=2))),
    ("a target that is nowhere", granted(lambda p: target(p, at=NOWHERE, name=b"a.example"))),
    ("a refused target without address and name", granted(lambda p: target(p, at=NOWHERE, rule=BLOCK, passes=0))),
    ("a name longer than the message", granted(lambda p: target(p, name=b"a.example", name_len=200))),
    ("a name shorter than the message", granted(lambda p: target(p, name=b"a.example", name_len=2))),
    ("one target too many", granted(*(lambda p, n=n: target(p, at=port(n)) for n in (1, 2, 3)))),
    ("one refused target too many", granted(*(lambda p, n=n: target(p, at=port(n), rule=BLOCK, passes=0)
                                              for n in range(1, REFUSED_MAX + 2)))),
]


def test_lies_about_associations(stage, gateway):
    n = len(CASES)
    g, cast = start(gateway, stage, TEXT, {"worker": n + 1}, workers=n + 2)
    honest, cast = cast[0], cast[1:]
    association(honest)
    honest.send(target(honest) + target(honest, name=b"a.example"))
    for i in range(1, REFUSED_MAX + 1):
        honest.send(target(honest, at=port(i), rule=BLOCK if i % 2 else DEFAULT, passes=0))
    for (what, act), p in zip(CASES, cast):
        survives_none(p, act(p))
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and REFUSED in r["detail"], (what, r)
    honest.send(close(honest))
    r = g.record("session-close", worker=honest.spawn)
    assert r["reason"] == b"client-closed"
    assert len(g.records("session-target", worker=honest.spawn)) == 2
    assert len(g.records("target-refused", worker=honest.spawn)) == REFUSED_MAX
    # nothing is in the trail of what was refused
    assert len(g.records("session-target", worker=cast[-2].spawn)) == 2
    assert len(g.records("target-refused", worker=cast[-1].spawn)) == REFUSED_MAX
    for i, (what, _) in enumerate(CASES):
        if what == "a target, repeated":
            assert len(g.records("session-target", worker=cast[i].spawn)) == 1
    honest.s.close()
    wait_for(lambda: len(g.records("child-lost")) == n + 1, 10, g.story)
    wait_for(lambda: len(g.children("worker")) == n + 2, 30, g.story)
    end(g, [], n + 1)


def test_what_is_the_egress_guards_to_refuse(stage, gateway, capsys):
    """The worker makes its UDP sockets itself, so where it binds them is not the master's to check: only the hooks of the
    egress guard, which this version does not have, can refuse that."""
    g, (p,) = start(gateway, stage, TEXT, {"worker": 1})
    fd, _ = p.sys("socket", 2, 2 | 0o2004000, 17)
    assert fd >= 0
    outside = "h:" + (b"\2\0" + (PORTS[1] + 1).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)).hex()
    result, error = p.sys("bind", fd, outside, 16)
    with capsys.disabled():
        print("\ntable: a UDP socket outside `udp ports`: done; refused by the egress guard, in a later version")
    assert (result, error) == (0, 0)
    end(g, [p], 0)
