"""Workers that lie to authd's initiator: each such message costs its sender its life, and others are served on. And to
the master about upstreams: an attempt is at the upstream that its rule names, or it is the last."""
import os

import pytest

from peers import wait_for
from puppets import NUMBER, Stage, addrport, end, message, raw, start

TEXT = ('upstream hq socks5 "127.0.0.1" port 9 auth password file "@DIR@/pw"\n'
        'upstream tickets socks5 "127.0.0.1" port 9 auth gssapi ccache "FILE:/nonexistent"\n'
        "pass connect from any to { any, 127.0.0.0/8 } port 1-100 auth none via hq\n"
        "pass connect from any to { any, 127.0.0.0/8 } auth none\n")
VIA, DIRECT = 0, 1
NOBODY = addrport(None, 0)
CLIENT, GATEWAY, TARGET = addrport("127.0.0.1", 5), addrport("127.0.0.1", 1080), addrport("127.0.0.1", 80)
UPSTREAM = addrport("127.0.0.1", 9)
CONTEXT, LEVEL, PASSWORD = 1, 2, 3
MANY = 40000


@pytest.fixture
def stage():
    with Stage() as s:
        yield s


def files(g):
    with open(f"{g.dir}/pw", "w", opener=lambda p, fl: os.open(p, fl, 0o600)) as f:
        f.write("far:secret\n")


def begin(slot=0, gen=1, name=b"tickets", name_len=None):
    return message("UPSTREAM_BEGIN", slot, gen, len(name) if name_len is None else name_len, tail=name)


def token(slot=0, gen=1, total=4, at=0, kind=CONTEXT, octets=b"abcd"):
    return message("AUTH_TOKEN", slot, gen, total, at, *NOBODY, kind, tail=octets)


def cases():
    """Made once the numbers of messages are known."""
    return [
        ("no generation", [begin(gen=0)]),
        ("a slot that is none", [begin(slot=0xfffffff0)]),
        ("a name past the end", [begin(name_len=200)]),
        ("a name before the end", [begin(name_len=3)]),
        ("a name that is too long", [begin(name=b"x" * 64)]),
        ("no name", [begin(name_len=0)]),
        ("a slot asked for twice", [begin() + begin()]),
        ("a piece past the token's end", [token(total=3)]),
        ("a token that is too long", [token(total=70000)]),
        ("an empty piece", [token(octets=b"")]),
        ("a kind that is none of a worker's", [token(kind=PASSWORD)]),
        ("a result, the wrong way", [message("UPSTREAM_RESULT", 0, 1, 1, 0)]),
        ("a password", [message("AUTH_PASSWORD", 0, 1, *CLIENT, 1, 1, tail=b"ab")]),
        ("a lookup", [message("LOOKUP", 1, 1, 1, tail=b"a")]),
        ("a policy", [raw(NUMBER["POLICY"], bytes(8))]),
        ("half a message", [begin()[:12]]),
        ("a packet past every limit", [bytes(MANY)]),
    ]


def test_worker_to_initiator(stage, gateway):
    n = 17  # cases
    g, cast = start(gateway, stage, TEXT, {"worker": n + 1}, workers=n + 2, before=files)
    honest, cast = cast[0], cast[1:]
    services = g.children("resolver") + g.children("authd")
    assert len(cases()) == n
    for (what, packets), p in zip(cases(), cast):
        for packet in packets:
            p.send(packet, to=p.given("PEER", role="initiator"))
        wait_for(lambda: p.recv(ms=200) is None, 10, f"{what}: the puppet lives on")
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and b"broke the rules towards initiator" in r["detail"], (what, r)
    assert g.children("resolver") + g.children("authd") == services, "a service was lost"
    to = honest.given("PEER", role="initiator")
    # what an honest worker asks is answered, once; one that has gone away meanwhile is told so
    fields, octets = honest.ask(begin(name=b"hq"), "AUTH_REPLY", to=to)
    assert octets == b"\1\3far\6secret" and fields[2:4] == (12, 0)
    assert honest.ask(begin(gen=2, name=b"tickets"), "UPSTREAM_RESULT", to=to)[0][:2] == (0, 2)
    assert honest.ask(begin(gen=3, name=b"no.such"), "UPSTREAM_RESULT", to=to)[0][:2] == (0, 3)
    honest.send(message("AUTH_ABORT", 5, 1) + token(slot=5), to=to)  # of no exchange: it crossed an answer
    assert honest.ask(begin(gen=4, name=b"hq"), "AUTH_REPLY", to=to)[1] == octets
    end(g, [honest], n)


def test_worker_to_master(stage, gateway):
    def open_(p, gen=1):
        return message("OPEN", 0, gen, p.version(), 0, 1, 1, 0, *CLIENT, *GATEWAY, *TARGET, 0, 0, 5)

    def attempt(p, gen=1, rule=VIA, target=UPSTREAM, upstream=1):
        return message("ATTEMPT", 0, gen, p.version(), rule, *target, upstream)
    lies = [{"upstream": 0}, {"upstream": 2}, {"upstream": 9}, {"target": TARGET}, {"rule": DIRECT},
            {"target": addrport("127.0.0.2", 9)}]
    g, cast = start(gateway, stage, TEXT, {"worker": len(lies) + 1}, workers=len(lies) + 2, before=files)
    honest, cast = cast[0], cast[1:]
    for lie, p in zip(lies, cast):
        p.send(open_(p) + attempt(p, **lie))
        wait_for(lambda: p.recv(ms=200) is None, 10, f"{lie}: the puppet lives on")
        assert b"refused" in g.record("child-lost", worker=p.spawn)["detail"]
    assert honest.ask(open_(honest) + attempt(honest), "GRANT")[0] == (0, 1)
    assert g.record("session-open", worker=honest.spawn)["via"] == b"hq"
    end(g, [honest], len(lies))
