"""authd by itself: every verdict, the order of the two answers, aborts, what a hostile worker sends, fairness between
sources and between workers, the throttle, and what is left of a password in memory. (Times: test_authd_alone.py.)"""
import crypt
import datetime
import re
import shutil
import subprocess
import time

import pytest

import authd
import sally
from authd import abort, ask, message


def day(n):
    return (datetime.datetime.now(datetime.timezone.utc).date() + datetime.timedelta(days=n)).isoformat()


def slow_hash(password, cost=5):
    """yescrypt: a check that takes long enough to be waited for."""
    return crypt.crypt(password, {5: "$y$j9T$", 8: "$y$jCT$"}[cost] + "abcdefghijklmnop")


@pytest.fixture
def start():
    running = []

    def go(users=None, **how):
        a = authd.Authd(**how)
        running.append(a)
        if users is not None:
            assert a.users(users)[1] == 0
        return a

    yield go
    for a in running:
        a.stop()


def users(**more):
    lines = [sally.user_line("alice", "alices", groups=["web", "staff"]), sally.user_line("lock", "locked", locked=True),
             sally.user_line("old", "olds", expires="2020-01-01"), sally.user_line("last", "lasts", expires=day(0)),
             sally.user_line("gone", "gones", expires=day(-1)), "broken:*:web:", "odd:$y$nonsense::"]
    return "\n".join(lines) + "\n"


def test_every_verdict(start):
    a = start(users())
    w = a.worker()
    cases = [(b"alice", b"alices", "ACCEPT"), (b"alice", b"alice", "WRONG"), (b"alice", b"alicess", "WRONG"),
             (b"nobody", b"x", "UNKNOWN"), (b"alice\0", b"alices", "UNKNOWN"), (b"ALICE", b"alices", "UNKNOWN"),
             (b"lock", b"locked", "LOCKED"), (b"lock", b"wrong", "WRONG"), (b"old", b"olds", "EXPIRED"),
             (b"old", b"wrong", "WRONG"), (b"last", b"lasts", "ACCEPT"), (b"gone", b"gones", "EXPIRED"),
             (b"broken", b"*", "WRONG"), (b"odd", b"x", "WRONG"), (b"alice", b"alices\0", "WRONG")]
    for n, (user, password, verdict) in enumerate(cases):
        got = a.check(w, user, password, source=f"10.0.{n}.1", slot=n)
        assert got[0] == verdict, (user, got)
        if verdict == "ACCEPT":
            assert got[2] == user
    assert a.check(w, b"alice", b"alices", source="10.1.0.1")[3] == [b"web", b"staff"]
    assert a.check(w, b"alice", b"alices", source=None)[0] == "ACCEPT"  # a client without an address


def test_any_octet_in_names_and_passwords(start, tmp_path):
    a = start()
    every = bytes(range(256)).replace(b"\n", b"")  # sallyportctl takes one line
    made = []
    for n, (user, password) in enumerate(((bytes(range(1, 256)), every[1:]), (b"u" * 255, b"\0" * 255),
                                          (b"\n:,%#", b"a\0b\1c"), (b"\xff", b"\xff"), (b"z", b"\1\2"))):
        p = subprocess.run([f"{sally.BUILD}/sallyportctl", "passwd", "-f", f"{tmp_path}/users", "-m", "sha256crypt",
                            "add", "--", user], input=password + b"\n", capture_output=True, timeout=60)
        assert p.returncode == 0, p.stderr
        made.append((user, password))
    assert a.users_file(f"{tmp_path}/users") == (len(made), 0, "")
    w = a.worker()
    for n, (user, password) in enumerate(made):
        assert a.check(w, user, password, source=f"10.0.{n}.1")[2] == user
        # cut at a NUL it would be the same
        assert a.check(w, user, password[:-1] + b"!", source=f"10.0.{n}.2")[0] == "WRONG"
        if b"\0" in password[1:]:
            assert a.check(w, user, password[:password.index(b"\0", 1)], source=f"10.0.{n}.3")[0] == "WRONG"


def test_nothing_is_answered_before_there_are_users_and_all_after(start):
    a = start()
    w = a.worker()
    w.send(ask(1, b"alice", b"alices"))
    assert w.all(0.3) == []
    assert a.users(users())[1] == 0
    assert w.result()[1] is True


def test_users_are_replaced_whole_or_not_at_all(start):
    a = start(users())
    w = a.worker()
    good = sally.user_line("bob", "bobs")
    for text, line in ((good + "\nx\n", 2), (f"# c\n\n{good}\n{good}\n", 4), ("a:b:c:2030-02-30\n", 1)):
        n, at, what = a.users(text)
        assert (n, at) == (7, line) and what
        assert a.check(w, b"bob", b"bobs", source=f"10.0.{line}.1")[0] == "UNKNOWN"
        assert a.check(w, b"alice", b"alices", source=f"10.0.{line}.2")[0] == "ACCEPT"
    assert a.users(good) == (1, 0, "")
    assert a.check(w, b"bob", b"bobs")[0] == "ACCEPT"
    assert a.check(w, b"alice", b"alices")[0] == "UNKNOWN"


def test_a_users_file_that_was_never_right_denies_everyone(start):
    a = start()
    w = a.worker()
    assert a.users("x\n")[:2] == (0, 1)
    assert a.check(w, b"alice", b"alices")[0] == "FAILED"
    assert a.users(users())[1] == 0
    assert a.check(w, b"alice", b"alices")[0] == "ACCEPT"


def test_the_worker_learns_a_verdict_only_after_the_master_has_it(start):
    a = start(users(), sndbuf=4608)
    w = a.worker()
    for n in range(120):
        w.send(ask(n, b"alice", b"alices", source=f"10.0.0.{n + 1}"))
    time.sleep(3)
    taken = len(w.all())
    assert taken < 110  # the master's socket is full: the rest waits
    seen = 0
    while seen < 120:
        a.master.verdict()
        seen += 1
        taken += len(w.all())
        # what it has read, and what the socket still holds, is as much as the worker knows
        assert taken <= seen + 60
    assert taken + len(w.all(1)) == 120


def test_aborts(start):
    a = start(f"alice:{slow_hash('alices', 8)}::\n")
    w = a.worker()
    w.send(ask(1, b"alice", b"alices"), abort(1))  # before its check began
    assert w.result()[:2] == (1, False) and a.master.verdict()[2] == "ABORTED"
    w.send(ask(2, b"alice", b"alices"))
    time.sleep(0.1)
    w.send(abort(2))  # while it runs
    assert w.result()[:2] == (2, False) and a.master.verdict()[2] == "ABORTED"
    w.send(abort(2), abort(77), abort(77))  # crossed: nothing to say
    w.send(ask(2, b"alice", b"alices", gen=2), abort(2, gen=1))  # the generation before
    assert w.result()[:2] == (2, True) and a.master.verdict()[2] == "ACCEPT"
    assert w.all(0.2) == [] and a.master.all() == []


def test_an_abort_does_not_spare_the_throttle(start):
    a = start(users())
    w = a.worker()
    for n in range(4):  # what was checked counts, whether or not the client stayed
        w.send(ask(n, b"alice", b"wrong"))
        w.result()
        a.master.verdict()
    began = time.monotonic()
    a.check(w, b"alice", b"alices")
    assert time.monotonic() - began > 1


HOSTILE = {
    "a slot that is under way": ask(9, b"slow", b"slows") + ask(9, b"slow", b"slows"),
    "another generation of a slot under way": ask(9, b"slow", b"slows") + ask(9, b"slow", b"slows", gen=2),
    "generation 0": ask(3, b"alice", b"alices", gen=0),
    "no user": ask(3, b"", b"alices"),
    "no password": ask(3, b"alice", b""),
    "lengths below what there is": ask(3, b"alice", b"alices", lengths=(5, 5)),
    "lengths above what there is": ask(3, b"alice", b"alices", lengths=(5, 255)),
    "lengths that wrap": ask(3, b"alice", b"alices", lengths=(255, 12)),
    "an address of no family": ask(3, b"alice", b"alices").replace(authd.addrport(), b"\x09" + authd.addrport()[1:]),
    "a verdict of its own": message("VERDICT", bytes(48)),
    "an open": message("OPEN", bytes(112)),
    "a users file": message("USERS", b""),
    "a stop": message("STOP", b""),
    "a number that is none": b"\xff\xff\0\0\0\0\0\0",
    "half a head": ask(3, b"alice", b"alices") + b"\x14\0\0\0",
    "a packet cut": ask(3, b"alice", b"alices")[:-8],
    "an abort twice": ask(9, b"slow", b"slows"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_worker_that_breaks_the_rules_is_closed_and_reported(start, what):
    a = start(users() + f"slow:{slow_hash('slows', 8)}::\n")
    bad, good = a.worker(), a.worker()
    assert a.check(bad, b"alice", b"alices")[0] == "ACCEPT"
    bad.send(HOSTILE[what])
    if what == "an abort twice":
        time.sleep(0.1)
        bad.send(abort(9), abort(9))
    assert bad.ended()
    name, payload = a.master.get()
    while name == "VERDICT":  # of an exchange before the fault
        name, payload = a.master.get()
    assert name == "PEER_FAULT" and int.from_bytes(payload[:4], "little") == bad.spawn
    assert a.check(good, b"alice", b"alices")[0] == "ACCEPT"
    again = a.worker()
    assert a.check(again, b"alice", b"alices")[0] == "ACCEPT"


def test_a_worker_that_goes_takes_its_exchanges_with_it(start):
    a = start(users() + f"slow:{slow_hash('slows', 8)}::\n")
    bad, good = a.worker(), a.worker()
    bad.send(*[ask(n, b"slow", b"slows", source=f"10.0.0.{n}") for n in range(1, 60)])
    time.sleep(0.2)
    bad.sock.close()
    began = time.monotonic()
    good.send(ask(0, b"alice", b"alices"))
    assert good.result()[:2] == (0, True)
    assert time.monotonic() - began < 5
    verdicts = [a.master.as_verdict(p) for _, p in a.master.all(0.5)]
    assert [v[2] for v in verdicts if v[1] == good.spawn] == ["ACCEPT"]
    assert len(verdicts) < 30, "what ran, ran to its end; of the 59 the rest is gone"


def test_a_descriptor_from_a_worker_is_refused(start):
    a = start(users())
    bad = a.worker()
    with open("/dev/null") as f:
        bad.send(ask(1, b"alice", b"alices"), fd=f.fileno())
    assert bad.ended()
    assert a.master.get()[0] == "PEER_FAULT"


def drain(w, n):
    """n results with the time at which each came."""
    return [(w.result(seconds=60), time.monotonic()) for _ in range(n)]


def test_one_source_has_its_share_and_the_rest_is_told_so_at_once(start):
    a = start(f"alice:{slow_hash('alices')}::\n")
    w = a.worker()
    began = time.monotonic()
    w.send(*[ask(n, b"alice", b"alices", source="10.0.0.1") for n in range(100)])
    w.send(ask(500, b"alice", b"alices", source="10.0.0.2"))
    got = drain(w, 101)
    verdicts = [a.master.verdict() for _ in range(101)]
    busy = [v for v in verdicts if v[2] == "BUSY"]
    assert 60 <= len(busy) <= 68 and all(v[0] < 100 for v in busy)
    denied = [t for (slot, accepted, *_), t in got if not accepted]
    assert len(denied) == len(busy) and max(denied) - began < 1
    # the other source is served among the first, though it came last
    order = [slot for (slot, accepted, *_), _ in got if accepted]
    assert order.index(500) < 6, order


def test_ipv6_sources_are_counted_by_their_64(start):
    a = start(f"alice:{slow_hash('alices')}::\n")
    w = a.worker()
    w.send(*[ask(n, b"alice", b"alices", source=f"2001:db8::{n + 1:x}") for n in range(60)])
    w.send(*[ask(100 + n, b"alice", b"alices", source=f"2001:db8:0:{n + 1:x}::1") for n in range(20)])
    drain(w, 80)
    busy = [v[0] for v in (a.master.verdict() for _ in range(80)) if v[2] == "BUSY"]
    assert 20 <= len(busy) <= 28 and max(busy) < 100


def test_a_flooding_worker_does_not_hold_up_the_others(start):
    a = start(f"alice:{slow_hash('alices')}::\n")
    bad, good = a.worker(), a.worker()
    for n in range(0, 2000, 50):
        bad.send(*[ask(m, b"alice", b"alices", source=f"10.1.{m // 250}.{m % 250}") for m in range(n, n + 50)])
    good.send(ask(1, b"alice", b"alices"))
    before = 0  # checks of the flood that came first: by order, since the machine may be slow
    while (v := a.master.verdict(seconds=60))[1] != good.spawn:
        before += v[2] == "ACCEPT"
    assert before < 64, f"{before} of some 200 that waited"
    bad.sock.close()


def test_a_full_queue_still_takes_a_source_that_has_nothing_in_it(start):
    a = start(f"alice:{slow_hash('alices')}::\n", workers=1)
    w = a.worker()
    for source in range(12):  # 12 times 32: more than 256
        w.send(*[ask(source * 32 + n, b"alice", b"alices", source=f"10.0.0.{source}") for n in range(32)])
    w.send(ask(1000, b"alice", b"alices", source="10.9.9.9"))
    while True:
        slot, accepted, *_ = w.result(seconds=60)
        if slot == 1000:
            assert accepted
            break
    a.master.all()


def test_failures_slow_the_same_source_and_user_and_no_other(start):
    a = start(users())
    w = a.worker()

    def took(user, password, source):
        return a.check(w, user, password, source)[4]

    def least(rounds):
        """A machine that stands still for a moment makes a wait longer, none makes one shorter."""
        return [min(x) for x in zip(*rounds)]

    known, ghost = [], []
    for n in range(5):
        known.append([took(b"alice", b"wrong", f"10.0.{n}.1") for _ in range(4)])
        assert took(b"alice", b"alices", f"10.0.{n}.1") >= 1.5  # right, but it waits for its turn
        ghost.append([took(b"nobody", b"wrong", f"10.0.{n}.3") for _ in range(4)])
        times, unknown = least(known), least(ghost)
        if times[0] < 0.2 and all(abs(k - u) < 0.2 for k, u in zip(times, unknown)):
            break
    assert times[0] < 0.2 and times[1] >= 0.2 and times[2] >= 0.45 and times[3] >= 0.9, known
    assert all(abs(k - u) < 0.2 for k, u in zip(times, unknown)), (known, ghost)  # who is not there is slowed just so
    assert min(took(b"alice", b"alices", f"10.1.0.{n}") for n in range(3)) < 0.2  # from elsewhere


def test_tries_sent_at_once_wait_for_each_other(start):
    a = start(users())
    w = a.worker()
    w.send(*[ask(n, b"alice", b"wrong", source="10.0.0.1") for n in range(12)])
    began = time.monotonic()
    got = drain(w, 12)
    spread = [t - began for _, t in got]
    assert spread[-1] > 3 and spread[-1] < 12, spread  # held back, but none for longer than 8 s
    assert [v[2] for v in (a.master.verdict() for _ in range(12))] == ["WRONG"] * 12


def test_what_waits_for_the_throttle_holds_up_no_one(start):
    a = start(users())
    w = a.worker()
    for source in range(40):
        w.send(*[ask(source * 20 + n, b"alice", b"wrong", source=f"10.0.1.{source}") for n in range(20)])
    time.sleep(1)
    began = time.monotonic()
    w.send(ask(5000, b"alice", b"alices", source="10.9.9.9"))
    while w.result()[0] != 5000:
        pass
    assert time.monotonic() - began < 1


@pytest.mark.skipif(sally.SANITIZE, reason="a sanitizer keeps freed memory, and maps terabytes")
def test_no_password_stays_in_memory(start):
    a = start(users())
    w = a.worker()
    secret = b"AVerySpecialSecret"
    a.check(w, b"alice", secret, source="10.0.0.1")
    a.check(w, b"alice", b"alices", source="10.0.0.2")
    w.send(ask(3, b"alice", secret, source="10.0.0.1"), abort(3))
    w.result()
    a.master.verdict()

    def found(octets):
        hits = 0
        with open(f"/proc/{a.p.pid}/maps") as maps, open(f"/proc/{a.p.pid}/mem", "rb", 0) as mem:
            for line in maps:
                m = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) .*?(\[v\w+\])?$", line)
                if not m[3].startswith("rw") or m[4]:
                    continue
                mem.seek(int(m[1], 16))
                hits += mem.read(int(m[2], 16) - int(m[1], 16)).count(octets)
        return hits

    w.send(ask(4, b"alice", secret, source="10.0.0.1"))  # held by the throttle: positive control
    time.sleep(0.1)
    assert found(secret) == 1
    w.result()
    time.sleep(0.1)
    assert found(secret) == 0


@pytest.mark.parametrize("name, payload", [("GRANT", bytes(8)), ("PEER", bytes(8)), ("USERS", b"")])
def test_a_wrong_message_of_the_master_is_fatal(name, payload):
    a = authd.Authd()
    a.master.send(message(name, payload))  # to another role, or without its descriptor
    assert a.p.wait(10) != 0
    a.master.sock.close()
    shutil.rmtree(a.dir)
