"""README.md lists the system calls that one connection costs: a worker and the master, traced, make those and no more."""
import collections
import os
import re
import subprocess
import tempfile
import time

import pytest

import peers
import sally
import socks5

pytestmark = [pytest.mark.skipif(sally.SANITIZE, reason="a sanitizer's build makes calls of its own"),
              pytest.mark.skipif(os.geteuid() != 0, reason="only root traces them: they are not dumpable")]
PAUSE = 0.05  # lets one step be over in all processes before the next, as for a client that is alone
QUIET = 0.3   # after the closing record: what follows it
WAITING = {"epoll_wait", "restart_syscall"}  # how often they wait is a matter of time; the second is the tracer's
NUMBERS = re.compile(r"(\d+)(?: or (\d+))?")


def listed():
    """The README's table: {process: [(names, least, most)]}; names that share a row share its number."""
    with open(f"{sally.TOP}/README.md") as f:
        section = f.read().partition("\n## System calls of a connection\n")[2].partition("\n## ")[0]
    table = collections.defaultdict(list)
    for process, calls, alone in re.findall(r"^\| (worker|master) \| ([^|]*) \| ([^|]*) \|", section, re.M):
        m = NUMBERS.fullmatch(alone.strip())
        names = frozenset(re.findall(r"`(\w+)`", calls))
        assert m and names, (process, calls, alone)
        table[process].append((names, int(m[1]), int(m[2] or m[1])))
    assert set(table) == {"worker", "master"}, "no table"
    return table


def compare(table, counts):
    """({call: how many more than it lists}, {call: how many fewer}); a call that it does not list is one more."""
    more, fewer = {}, {}
    for names, least, most in table:
        n = sum(counts[name] for name in names)
        label = " ".join(sorted(names))
        if n > most:
            more[label] = n - most
        if n < least:
            fewer[label] = least - n
    known = frozenset().union(*(names for names, _, _ in table))
    more.update({name: n for name, n in counts.items() if name not in known})
    return more, fewer


def connection(g, echo, pieces=1, **who):
    """64 octets there and back; the client closes first. Over once its closing record is there."""
    closed = len(g.records("session-close"))
    with socks5.Client(g.at) as c:
        time.sleep(PAUSE)
        assert c.greet(2 if who else 0) == (2 if who else 0)
        time.sleep(PAUSE)
        assert not who or c.login(**who) == 0
        assert c.connect("127.0.0.1", echo.port)[0] == socks5.OK
        time.sleep(PAUSE)
        for _ in range(pieces):
            c.send(b"x" * (64 // pieces))
            assert c.read(64 // pieces) == b"x" * (64 // pieces)
            time.sleep(PAUSE)
    peers.wait_for(lambda: len(g.records("session-close")) > closed, why=g.story)
    time.sleep(QUIET)


def traced(g, act):
    """{process: Counter of calls by name} of a gateway's one worker and its master while act() runs."""
    pids = {"worker": g.children("worker")[0], "master": g.master()}
    with tempfile.TemporaryDirectory(prefix="sp.", dir="/tmp") as tmp:
        with open(f"{tmp}/said", "w+b") as said:
            p = subprocess.Popen(["strace", "-f", "-o", f"{tmp}/calls", *(f"-p{pid}" for pid in pids.values())],
                                 stdin=subprocess.DEVNULL, stderr=said)

            def attached():
                with open(f"{tmp}/said", "rb") as f:
                    return f.read().count(b" attached") == len(pids) or p.poll() is not None

            try:
                peers.wait_for(attached, why="strace did not attach")
                assert p.poll() is None, open(f"{tmp}/said").read()
                act()
            finally:
                p.terminate()
                p.wait(10)
        with open(f"{tmp}/calls") as f:
            calls = re.findall(r"^(\d+) +(\w+)\(", f.read(), re.M)
    return {process: collections.Counter(name for of, name in calls if int(of) == pid and name not in WAITING)
            for process, pid in pids.items()}


def test_a_connection_makes_the_calls_that_the_readme_lists(gateway, echo):
    g = gateway(workers=1)
    connection(g, echo)  # the first finds nothing warm
    table, seen = listed(), []
    for _ in range(3):  # a machine that stands still may let two steps fall together, which saves calls; none adds any
        counts = traced(g, lambda: connection(g, echo))
        found = {process: compare(table[process], counts[process]) for process in table}
        seen.append(found)
        assert not any(more for more, _ in found.values()), f"more than the README lists: {found}"
        if not any(fewer for _, fewer in found.values()):
            return
    raise AssertionError(f"fewer than the README lists: {seen}")


def test_octets_in_two_pieces_take_more(gateway, echo):
    """The counts can tell a single call."""
    g = gateway(workers=1)
    connection(g, echo)
    counts = traced(g, lambda: connection(g, echo, pieces=2))
    more = compare(listed()["worker"], counts["worker"])[0]
    assert more == {"recvfrom": 2, "sendto": 2, "setsockopt": 1}, counts  # TCP_NODELAY, as small data are to come


def test_a_password_takes_more(gateway, echo):
    """It is read, answered, and checked by another process."""
    g = gateway('auth password file "@DIR@/users"\npass connect from any to { any, 127.0.0.0/8 } auth password\n', workers=1,
                before=lambda g: g.write_users(sally.user_line("alice", "secret")))
    who = {"user": b"alice", "password": b"secret"}
    connection(g, echo, **who)
    counts = traced(g, lambda: connection(g, echo, **who))
    table = listed()
    assert compare(table["worker"], counts["worker"])[0].keys() >= {"recvfrom", "sendto", "sendmsg", "recvmsg"}, counts
    assert compare(table["master"], counts["master"])[0], counts
