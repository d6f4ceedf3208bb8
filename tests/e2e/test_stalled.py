"""Processes of the gateway that stop working without dying, and a gateway that runs out of descriptors: what does not
need them is served on, and the end still comes."""
import os
import re
import signal
import time

import peers
import sally
import socks5

NAMES = "resolver 127.0.0.1\ntimeout { connect 2s, handshake 4s }\n" + sally.OPEN


def stop_all(g, name):
    for pid in g.children(name):
        os.kill(pid, signal.SIGSTOP)


def test_a_resolver_that_stalls_holds_up_names_only(gateway, serve, echo):
    serve(peers.Dns, {"www.example.com": {"A": ["127.0.0.1"]}})
    g = gateway(NAMES, expect_lost=1)  # killed at the end
    stop_all(g, "resolver")
    began = time.monotonic()
    waiting = socks5.Client(g.at)
    waiting.send(socks5.greeting(0) + socks5.request(b"www.example.com", echo.port))
    assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0
    assert socks5.open_session(g.at, b"localhost", echo.port)[1][0] == 0
    assert time.monotonic() - began < 1.5
    assert waiting.method() == 0 and waiting.reply()[0] != 0
    assert time.monotonic() - began < 6


def test_an_authd_that_stalls_holds_up_passwords_only(gateway, echo):
    g = gateway('auth password file "@DIR@/users"\nauth prefer none, password\ntimeout { handshake 3s }\n'
                "pass connect from 127.0.0.1 to 127.0.0.1 auth none\npass connect from 127.0.0.2 to 127.0.0.1 auth password\n",
                expect_lost=1, before=lambda g: g.write_users(sally.user_line("alice", "a")))
    stop_all(g, "authd")
    began = time.monotonic()
    waiting = socks5.Client(g.at, source="127.0.0.2")
    assert waiting.greet(2) == 2
    waiting.send(socks5.credentials(b"alice", b"a"))
    assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0
    assert time.monotonic() - began < 1.5
    rest = waiting.rest()
    assert rest == b"" or rest[1] != 0
    assert time.monotonic() - began < 8


def test_the_end_comes_though_children_stall(gateway, echo):
    g = gateway('auth password file "@DIR@/users"\n' + sally.OPEN, expect_lost=4,
                before=lambda g: g.write_users(sally.user_line("alice", "a")))
    held, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    held.send(b"12345")
    held.read(5)
    peers.wait_for(lambda: b"down=5" in g.ctl("sessions").stdout, why=g.story)  # counted right after it is sent
    for name in ("worker", "resolver", "authd"):
        stop_all(g, name)
    assert g.stop(seconds=25) == 0
    closed = g.records("session-close")
    assert [(r["up"], r["down"]) for r in closed] == [(b"5", b"5")]
    assert g.records()[-1]["event"] == b"stop"


def test_a_worker_that_stalls_does_not_stop_a_reload(gateway, echo):
    g = gateway(workers=1, expect_lost=1)
    stop_all(g, "worker")
    assert g.reload("# changed\n" + sally.OPEN)["event"] == b"reload"
    for pid in g.children("worker"):
        os.kill(pid, signal.SIGCONT)
    assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0


def test_out_of_descriptors(gateway, echo):
    """accept(2) answers EMFILE: clients are turned away or wait, no process spins, and service comes back."""
    g = gateway(workers=1, wrapper=["prlimit", "--nofile=80:80"])
    clients = []
    for _ in range(120):
        c = socks5.Client(g.at, seconds=3)
        c.send(socks5.greeting(0) + socks5.request("127.0.0.1", echo.port))
        clients.append(c)
    time.sleep(1)
    before = cpu(g)
    time.sleep(2)
    assert cpu(g) - before < 1.0, "a process spins"
    for c in clients:
        c.close()
    peers.wait_for(lambda: serves(g, echo), 20)


def serves(g, echo):
    try:
        return socks5.open_session(g.at, "127.0.0.1", echo.port, seconds=3)[1][0] == 0
    except (OSError, socks5.Closed, AssertionError):
        return False


def cpu(g):
    """Seconds of processor time that the gateway's processes have had."""
    total = 0
    for pid in [g.master(), *g.children()]:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def test_the_limit_of_descriptors_is_raised(gateway):
    """A shell's soft limit of 1024 is no limit of a gateway."""
    g = gateway(wrapper=["prlimit", "--nofile=256:4096"])
    for pid in g.children("worker"):
        with open(f"/proc/{pid}/limits") as f:
            assert re.search(r"^Max open files +4096 +4096", f.read(), re.M)
