"""The resolver by itself, against name servers whose every octet these tests decide (nameserver.py); the master and the
workers are resolver.py."""
import os
import re
import socket
import struct
import time

import pytest

import peers
import sally
from nameserver import Server, a, one, rr, soa, wire
from resolver import A, AAAA, FAILED, NO_DATA, NO_NAME, OK, Resolver


@pytest.fixture
def resolver():
    running = []

    def start(*servers, **how):
        running.append(Resolver([s.at for s in servers], **how))
        return running[-1]

    yield start
    for r in running:
        r.end()


# --- answers ---

def test_addresses_of_both_families(resolver, serve):
    s = serve(Server, one)
    w = resolver(s).worker()
    id = w.ask(b"www.example", A | AAAA)
    assert sorted([w.answer(), w.answer()]) == [(id, A, OK, ["192.0.2.1"], 60), (id, AAAA, OK, ["2001:db8::1"], 60)]
    assert [q.name for q in s.asked] == [b"www.example"] * 2


def test_cnames_are_followed_in_any_order_and_the_least_ttl_counts(resolver, serve):
    chain = [rr(b"\xc0\x0c", 5, 90, wire(b"b.example")), rr(wire(b"B.example"), 5, 30, wire(b"c.example")),
             a("192.0.2.7", 600, wire(b"c.example")), a("192.0.2.99", 1, wire(b"other.example"))]

    def handler(q):
        return q.reply(chain if q.name == b"a.example" else chain[::-1])

    w = resolver(serve(Server, handler)).worker()
    for name in (b"a.example", b"z.example"):
        assert w.lookup(name) == (OK, ["192.0.2.7"], 30)


def test_negative_answers_carry_the_soas_ttl(resolver, serve):
    def handler(q):
        return {b"no.example": lambda: q.reply(authority=[soa(100, 40)], rcode=3),
                b"empty.example": lambda: q.reply(authority=[soa(20, 900)]),
                b"long.example": lambda: q.reply(authority=[soa(90000, 90000)], rcode=3),
                b"bare.example": lambda: q.reply(rcode=3)}[q.name]()

    w = resolver(serve(Server, handler)).worker()
    assert w.lookup(b"no.example") == (NO_NAME, [], 40)
    assert w.lookup(b"empty.example") == (NO_DATA, [], 20)
    assert w.lookup(b"long.example") == (NO_NAME, [], 300)
    assert w.lookup(b"bare.example") == (NO_NAME, [], 1)


def test_failures(resolver, serve):
    s = serve(Server, lambda q: q.reply(rcode=2) if q.name == b"broken.example" else None)
    w = resolver(s, timeout_ms=200, rounds=2).worker()
    assert w.lookup(b"broken.example")[0] == FAILED
    began = time.monotonic()
    assert w.lookup(b"silent.example")[0] == FAILED
    assert 0.5 < time.monotonic() - began < 2  # 200 and 400 ms


def test_a_truncated_answer_is_asked_for_by_tcp(resolver, serve):
    many = [a(f"192.0.2.{n}") for n in range(1, 41)]
    s = serve(Server, lambda q: q.reply(many) if q.tcp else q.reply(flags=0x8380))
    w = resolver(s).worker()
    status, found, ttl = w.lookup(b"many.example")
    assert (status, found) == (OK, [f"192.0.2.{n}" for n in range(1, 33)])  # ANSWER_ADDRS
    assert [q.tcp for q in s.asked] == [False, True]


def test_ttls_count_down_and_end(resolver, serve):
    s = serve(Server, lambda q: q.reply([a("192.0.2.1", {b"zero.example": 0, b"day.example": 1 << 30}.get(q.name, 3))]))
    w = resolver(s).worker()
    assert w.lookup(b"www.example")[2] == 3
    time.sleep(1.2)
    assert w.lookup(b"www.example")[2] == 2
    assert len(s.asked) == 1
    time.sleep(2)
    assert w.lookup(b"www.example")[2] == 3
    assert len(s.asked) == 2
    assert w.lookup(b"zero.example")[2] == 1
    assert w.lookup(b"day.example")[2] == 86400


def test_any_octets_of_a_name_travel_as_they_are(resolver, serve):
    s = serve(Server, one)
    w = resolver(s).worker()
    for name in (b"a\\b.example", b"a\\\\.example", b"\\.example", b"sp ace.example", b"\x01\xff\x80.example",
                 b"x" * 63 + b".example"):
        assert w.lookup(name)[0] == OK, name
        assert s.asked[-1].name == name
    # 255 octets of text are more than DNS has room for: not asked.
    asked = len(s.asked)
    assert w.lookup(b".".join([b"x" * 63] * 3 + [b"y" * 62]))[0] == NO_NAME
    assert len(s.asked) == asked
    assert w.lookup(b".".join([b"x" * 63] * 3 + [b"y" * 61]))[0] == OK


def test_an_ipv6_server(resolver, serve):
    w = resolver(serve(Server, one, "::1")).worker()
    assert w.lookup(b"www.example") == (OK, ["192.0.2.1"], 60)


def test_dnsmasq(resolver, serve):
    port = serve(Server, one).port + 1
    serve(peers.Dnsmasq, ["host-record=www.example,192.0.2.8,2001:db8::8,77", "cname=alias.example,www.example,55",
                          "host-record=four.example,192.0.2.9"], port=port)
    r = resolver()
    r.policy([("127.0.0.1", port)])
    w = r.worker()
    assert w.lookup(b"www.example") == (OK, ["192.0.2.8"], 77)
    assert w.lookup(b"www.example", AAAA) == (OK, ["2001:db8::8"], 77)
    assert w.lookup(b"alias.example") == (OK, ["192.0.2.8"], 55)
    assert w.lookup(b"four.example", AAAA)[0] == NO_DATA
    assert w.lookup(b"nowhere.example")[0] == NO_NAME


# --- servers that are slow, gone or replaced ---

def test_a_slow_answer_delays_no_other(resolver, serve):
    def handler(q):
        if q.name == b"slow.example":
            time.sleep(1)
        return one(q)

    w = resolver(serve(Server, handler), timeout_ms=3000).worker()
    slow = w.ask(b"slow.example")
    began = time.monotonic()
    assert w.lookup(b"fast.example")[0] == OK
    assert time.monotonic() - began < 0.5
    assert w.answer()[:3] == (slow, A, OK)


def test_equal_questions_of_several_workers_are_asked_once(resolver, serve):
    def handler(q):
        time.sleep(0.3)
        return one(q)

    s = serve(Server, handler)
    r = resolver(s, timeout_ms=3000)
    workers = [r.worker() for _ in range(3)]
    for w in workers:
        for _ in range(5):
            w.ask(b"www.example")
    for w in workers:
        assert {w.answer()[:3] for _ in range(5)} == {(n, A, OK) for n in range(1, 6)}
    assert len(s.asked) == 1


def test_the_next_server_is_asked_and_then_asked_first(resolver, serve):
    dead, good = serve(Server, lambda q: None), serve(Server, one)
    w = resolver(dead, good, timeout_ms=300).worker()
    assert w.lookup(b"one.example")[0] == OK
    began = time.monotonic()
    for n in range(10):
        assert w.lookup(b"n%d.example" % n)[0] == OK
    assert time.monotonic() - began < 0.3
    assert len(dead.asked) == 1


def test_new_servers_take_over_questions_under_way_and_empty_the_cache(resolver, serve):
    s1 = serve(Server, lambda q: one(q) if q.name == b"www.example" else None)
    s2 = serve(Server, lambda q: q.reply([a("192.0.2.2")]))
    r = resolver(s1, timeout_ms=30000)
    w = r.worker()
    assert w.lookup(b"www.example")[1] == ["192.0.2.1"]
    id = w.ask(b"waits.example")
    assert w.quiet()
    r.policy([s1.at], timeout_ms=30000)  # nothing new
    assert w.quiet() and w.lookup(b"www.example")[1] == ["192.0.2.1"]
    r.policy([s2.at], timeout_ms=30000)
    assert w.answer()[:4] == (id, A, OK, ["192.0.2.2"])
    assert w.lookup(b"www.example")[1] == ["192.0.2.2"]


def test_no_server_at_all(resolver):
    w = resolver().worker()
    assert w.lookup(b"www.example")[0] == FAILED


# --- hostile name servers, and forgers ---

def test_what_is_no_reply_to_the_question_is_no_answer(resolver, serve):
    loop = b"\xc0\x0c"
    bad = {
        b"garbage": lambda q: q.octets[:2] + os.urandom(200),
        b"short": lambda q: q.reply([a("192.0.2.1")])[:-1],
        b"head": lambda q: q.reply()[:7],
        b"pointer": lambda q: q.reply([rr(b"\xc0\x0c", 5, 60, b"\xc0" + bytes([12 + len(q.question) + 12]))]),
        b"forward": lambda q: q.reply([rr(b"\xc0\xff", 1, 60, b"\x7f\0\0\1")]),
        b"cname": lambda q: q.reply([rr(loop, 5, 60, loop)]),
        b"rdlength": lambda q: q.reply([rr(loop, 1, 60, b"\x7f\0\0\1\0")]),
        b"query": lambda q: q.reply([a("192.0.2.1")], flags=0x0100),
        b"count": lambda q: struct.pack("!6H", q.id, 0x8180, 1, 65535, 0, 0) + q.question,
    }
    s = serve(Server, lambda q: bad[q.name](q) if q.name in bad else one(q))
    w = resolver(s, timeout_ms=200, rounds=1).worker()
    for name in bad:
        assert w.lookup(name)[0] == FAILED, name
        assert w.lookup(b"good-after-" + name)[0] == OK


def test_forged_replies_are_passed_over(resolver, serve):
    elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def handler(q):
        forged = q.reply([a("192.0.2.66")])
        elsewhere.sendto(forged, ("127.0.0.1", q.port))
        time.sleep(0.05)
        return [b"", b"\0", q.reply([a("192.0.2.66")], id=q.id ^ 1),
                q.reply([a("192.0.2.66")], question=wire(b"x") + b"\0\1\0\1"), one(q)]

    with elsewhere:
        w = resolver(serve(Server, handler), rounds=1).worker()
        for n in range(20):
            assert w.lookup(b"n%d.example" % n)[1] == ["192.0.2.1"]


def test_upper_and_lower_case_are_random_and_checked(resolver, serve):
    def handler(q):
        lower = q.question[:-4].lower() + q.question[-4:]
        return q.reply([a("192.0.2.1" if q.question == lower else "192.0.2.66")], question=lower)

    s = serve(Server, handler)
    w = resolver(s).worker()
    assert w.lookup(b"a-long-enough-name.example")[1] == ["192.0.2.1"]
    assert len(s.asked) == 2 and s.asked[0].sent != s.asked[0].name and s.asked[1].sent == s.asked[1].name

    s = serve(Server, one)
    w = resolver(s).worker()
    for n in range(20):
        assert w.lookup(b"name-%d.example" % n)[0] == OK
    assert len({q.sent.split(b"-")[0] for q in s.asked}) > 5


@pytest.mark.skipif(os.getuid() != 0, reason="the sandbox hides /dev/urandom only with root or seccomp")
def test_ids_and_ports_of_two_sandboxed_starts_differ(resolver, serve):
    s = serve(Server, one)
    seen = []
    for _ in range(2):
        s.asked.clear()
        r = resolver(s)
        with open(f"/proc/{r.p.pid}/status") as f:
            if not sally.SANITIZE:
                assert "Seccomp:\t2" in f.read()
        assert os.readlink(f"/proc/{r.p.pid}/root") == r.root
        w = r.worker()
        for n in range(200):
            assert w.lookup(b"n%d.example" % n)[0] == OK
        seen.append([(q.id, q.port) for q in s.asked])
    ids = [[i for i, _ in run] for run in seen]
    assert len(set(ids[0]) & set(ids[1])) < 20  # of 65536, by chance 0.6
    assert all(len(set(x)) > 190 for x in ids)
    # Neither counting up nor a fixed step.
    assert all(len({(x - y) % 65536 for x, y in zip(run[1:], run)}) > 150 for run in ids)
    assert all(len({p for _, p in run}) > 20 for run in seen)


# --- workers that break the rules ---

def lookup(id=7, families=A, name=b"www.example", name_len=None, zero=0):
    return struct.pack("=IBBH", id, families, len(name) if name_len is None else name_len, zero) + name


FAULTS = {
    "upper case": [lookup(name=b"WWW.example")],
    "trailing dot": [lookup(name=b"www.example.")],
    "empty label": [lookup(name=b"www..example")],
    "NUL": [lookup(name=b"www\0.example")],
    "long label": [lookup(name=b"x" * 64)],
    "no family": [lookup(families=0)],
    "unknown family": [lookup(families=5)],
    "name shorter than said": [lookup(name_len=12)],
    "name longer than said": [lookup(name_len=10)],
    "no name": [lookup(name=b"")],
    "an id that is under way": [lookup(name=b"silent"), lookup(name=b"other")],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_worker_that_breaks_the_rules_is_reported(resolver, serve, fault):
    r = resolver(serve(Server, lambda q: None if q.name == b"silent" else one(q)), timeout_ms=30000)
    good, bad = r.worker(), r.worker()
    assert bad.lookup(b"before.example")[0] == OK  # the control
    for m in FAULTS[fault]:
        bad.send("LOOKUP", m)
    assert bad.read() is None
    assert r.read() == ("PEER_FAULT", struct.pack("=II", bad.spawn, 0))
    assert good.lookup(b"www.example")[0] == OK


@pytest.mark.parametrize("kind,payload", [("ANSWER", bytes(12)), ("PEER_FAULT", bytes(8)), ("STOP", b"")])
def test_a_worker_that_sends_anothers_message_is_reported(resolver, serve, kind, payload):
    r = resolver(serve(Server, one))
    bad = r.worker()
    bad.send(kind, payload)
    assert bad.read() is None
    assert r.read() == ("PEER_FAULT", struct.pack("=II", bad.spawn, 0))
    assert r.worker().lookup(b"www.example")[0] == OK


def test_an_id_may_be_used_again_once_answered(resolver, serve):
    w = resolver(serve(Server, one)).worker()
    for name in (b"a.example", b"b.example"):
        w.ask(name, id=5)
        assert w.answer()[:3] == (5, A, OK)


def test_a_worker_that_goes_leaves_the_others_served(resolver, serve):
    def handler(q):
        time.sleep(0.3)
        return one(q)

    r = resolver(serve(Server, handler), timeout_ms=3000)
    w, gone = r.worker(), r.worker()
    for n in range(50):
        gone.ask(b"n%d.example" % n, A | AAAA)
    w.ask(b"n1.example")
    gone.ours.close()
    assert w.answer()[2] == OK
    assert r.quiet()  # no fault


def test_a_flood_of_one_worker_is_bounded_and_the_others_are_served(resolver, serve):
    s = serve(Server, lambda q: None if q.name.startswith(b"never") else one(q))
    r = resolver(s, timeout_ms=60000, rounds=1, workers=128)  # 64 under way for each
    flood, w = r.worker(), r.worker()
    for n in range(64 + 4096 + 10):
        flood.ask(b"never-%d.example" % n, A)
    turned_away = [flood.answer() for _ in range(10)]
    assert {(x[2], x[4]) for x in turned_away} == {(FAILED, 0)}
    assert [x[0] for x in turned_away] == list(range(64 + 4096 + 1, 64 + 4096 + 11))
    assert flood.quiet()
    began = time.monotonic()
    for n in range(20):
        assert w.lookup(b"n%d.example" % n)[0] == OK
    assert time.monotonic() - began < 2
    assert len([q for q in s.asked if q.name.startswith(b"never")]) <= 64


def test_a_worker_that_never_reads_stops_only_itself(resolver, serve):
    s = serve(Server, lambda q: q.reply([a(f"192.0.2.{n}") for n in range(1, 33)]))
    r = resolver(s)
    deaf, w = r.worker(), r.worker()
    assert w.lookup(b"www.example")[0] == OK
    deaf.ours.setblocking(False)
    sent = 0
    try:
        while sent < 100000:
            deaf.ask(b"www.example", A)
            sent += 1
    except BlockingIOError:
        pass
    assert sent < 100000  # it is no longer read
    for n in range(20):
        assert w.lookup(b"n%d.example" % n)[0] == OK
    with open(f"/proc/{r.p.pid}/status") as f:
        rss = int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1))
    if not sally.SANITIZE:
        assert rss < 20000
    # It reads at last: everything it asked for comes.
    deaf.ours.setblocking(True)
    for n in range(sent):
        assert deaf.answer()[2] == OK


def test_answers_wait_for_a_worker_that_reads_late(resolver, serve):
    """More than a channel may hold is ready at once: it follows as the worker reads, and is no fault."""
    def handler(q):
        time.sleep(1.5)
        return q.reply([a(("192.0.2.%d" if q.type == 1 else "2001:db8::%d") % n) for n in range(1, 33)])

    r = resolver(serve(Server, handler), timeout_ms=5000)
    w = r.worker()
    for _ in range(5000):
        w.ask(b"www.example", A | AAAA)
    time.sleep(2)
    assert r.quiet(0)
    got = [w.answer() for _ in range(10000)]
    assert {(x[2], len(x[3])) for x in got} == {(OK, 32)}
    assert {x[:2] for x in got} == {(n, f) for n in range(1, 5001) for f in (A, AAAA)}
