"""The first life of a server: start, SIGTERM, SIGINT, SIGHUP, children that die, ports in use, limits, without root."""
import glob
import os
import re
import signal
import socket
import subprocess
import time

import pytest

import peers
import sally
import socks5


def processes(g):
    return sorted(sally.comm(k) for k in g.children())


def test_start_and_end(gateway):
    g = gateway()
    start = g.record("start")
    assert start
    assert processes(g) == ["resolver", "worker", "worker"]
    assert g.stop() == 0
    assert g.records("stop")
    left = [f for f in os.listdir(g.run)] if os.path.isdir(g.run) else []
    assert not left, f"left behind in the run directory: {left}"


def policies(g):
    """The scheduling policies of its processes, by program."""
    return {(sally.comm(k), os.sched_getscheduler(k)) for k in [g.master(), *g.children()]}


def kernel():
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups()))


@pytest.mark.skipif(os.sched_getscheduler(0) != os.SCHED_OTHER or os.getpriority(os.PRIO_PROCESS, 0) != 0,
                    reason="the tests' own policy or nice value is another than the usual")
def test_master_and_workers_take_the_processor_from_nobody(gateway):
    g = gateway(expect_lost=1)
    own = os.SCHED_BATCH if kernel() >= (6, 6) else os.SCHED_OTHER
    expected = {("sallyportd", own), ("worker", own), ("resolver", os.SCHED_OTHER)}
    assert policies(g) == expected
    os.kill(g.children("worker")[0], signal.SIGKILL)
    g.record("child-lost")
    peers.wait_for(lambda: len(g.children("worker")) == 2, 10)
    assert policies(g) == expected, "a worker that takes another's place has its policy"


@pytest.mark.parametrize("wrapper", [["chrt", "-i", "0"], ["nice", "-n", "5"], ["setarch", "--uname-2.6"]],
                         ids=["another policy", "another nice value", "a kernel before 6.6"])
def test_a_policy_that_stays(gateway, wrapper):
    """Where the operator has chosen, and where the scheduler would let them wait for long."""
    own = os.SCHED_IDLE if "chrt" in wrapper else os.sched_getscheduler(0)
    g = gateway(wrapper=wrapper)
    assert policies(g) == {(program, own) for program in ("sallyportd", "worker", "resolver")}


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_every_session_gets_its_closing_record(gateway, echo, sig):
    g = gateway()
    clients = [socks5.open_session(g.at, "127.0.0.1", echo.port)[0] for _ in range(20)]
    for c in clients:
        c.send(b"x" * 100)
        c.read(100)
    assert g.stop(sig) == 0
    closed = g.records("session-close")
    assert len(closed) == 20
    assert {r["reason"] for r in closed} == {b"shutdown"}
    assert {(r["up"], r["down"]) for r in closed} == {(b"100", b"100")}
    assert g.records()[-1]["event"] == b"stop"


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_is_one_to_the_master(gateway, echo, sig):
    """As a terminal's Ctrl-C, and a machine that shuts down, send it."""
    g = gateway(wrapper=["setsid"])
    c, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    os.killpg(g.master(), sig)
    assert g.p.wait(20) == 0
    g.p = None
    assert [r["reason"] for r in g.records("session-close")] == [b"shutdown"]
    c.close()


def test_it_says_ready_reloading_and_stopping(gateway):
    g = gateway()
    g.reload()
    peers.wait_for(lambda: g.heard("RELOADING=1"), 5, lambda: str(g.said))
    peers.wait_for(lambda: g.said.count("READY=1") >= 2 or (g.heard("") and g.said.count("READY=1") >= 2), 5)
    g.p.send_signal(signal.SIGTERM)
    peers.wait_for(lambda: g.heard("STOPPING=1"), 5, lambda: str(g.said))


def test_reload_changes_the_rules_for_what_comes(gateway, echo):
    g = gateway("pass connect from any to 127.0.0.2 auth none\n")
    c, (rep, *_) = socks5.open_session(g.at, "127.0.0.1", echo.port)
    assert rep == socks5.NOT_ALLOWED
    r = g.reload(sally.OPEN)
    assert r["event"] == b"reload"
    peers.wait_for(lambda: socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0, 5)


def test_reload_with_an_error_leaves_the_old_one_in_force(gateway, echo):
    g = gateway()
    held, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    r = g.reload("pass conect from any\nblock everything\n")
    assert r["event"] == b"reload-failed"
    assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0
    held.send(b"x")
    assert held.read(1) == b"x"
    assert g.reload(sally.OPEN)["event"] == b"reload"


def test_reload_moves_listeners(gateway, echo):
    g = gateway()
    other = peers.free_port()
    held, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    assert g.reload(f"listen on 127.0.0.1 port {other}\n" + sally.OPEN)["event"] == b"reload"
    assert socks5.open_session(("127.0.0.1", other), "127.0.0.1", echo.port)[1][0] == 0
    g.reload(sally.OPEN)

    def gone():
        try:
            socket.create_connection(("127.0.0.1", other), 1).close()
            return False
        except ConnectionRefusedError:
            return True
    peers.wait_for(gone, 10)
    held.send(b"x")
    assert held.read(1) == b"x"


def test_reload_of_the_password_file(gateway, echo):
    g = gateway('auth password file "@DIR@/users"\npass connect from any to 127.0.0.1 auth password\n',
                before=lambda g: g.write_users(sally.user_line("alice", "a")))
    g.write_users(sally.user_line("bob", "b"))
    g.reload()

    def login():
        with socks5.Client(g.at, seconds=60) as c:
            return c.greet(2) == 2 and c.login(b"bob", b"b") == 0
    peers.wait_for(login, 10)


def test_many_reloads_under_traffic(gateway, echo):
    g = gateway()
    for n in range(15):
        g.reload(f"# {n}\n" + sally.OPEN)
        c, (rep, *_) = socks5.open_session(g.at, "127.0.0.1", echo.port)
        assert rep == 0
        c.close()
    peers.wait_for(lambda: len(g.records("session-close")) == 15, why=g.story)
    assert len(os.listdir(f"/proc/{g.master()}/fd")) < 60


def test_a_killed_worker_is_logged_and_replaced(gateway, echo):
    g = gateway(workers=1, expect_lost=1)
    c, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    c.send(b"x" * 50)
    c.read(50)
    peers.wait_for(lambda: b"down=50" in g.ctl("sessions").stdout, why=g.story)  # counted right after it is sent
    victim = g.children("worker")[0]
    os.kill(victim, signal.SIGKILL)
    lost = g.record("child-lost")
    assert lost["process"] == b"worker" and lost["pid"] == b"%d" % victim
    closed = g.record("session-close")
    assert (closed["reason"], closed["up"], closed["down"]) == (b"child-lost", b"50", b"50")
    began = time.monotonic()
    d, (rep, *_) = socks5.open_session(g.at, "127.0.0.1", echo.port)
    assert rep == 0 and time.monotonic() - began < 10
    assert g.children("worker") and victim not in g.children("worker")
    d.close()
    peers.wait_for(lambda: len(g.records("session-close")) == 2, why=g.story)


def test_clients_in_the_queue_of_a_killed_worker_are_served(gateway, echo):
    """The master keeps a duplicate of each listener: a crash resets no queued client."""
    g = gateway(workers=1, expect_lost=1)
    victim = g.children("worker")[0]
    os.kill(victim, signal.SIGSTOP)
    queued = [socks5.Client(g.at) for _ in range(10)]
    for c in queued:
        c.send(socks5.greeting(0) + socks5.request("127.0.0.1", echo.port))
    os.kill(victim, signal.SIGKILL)
    for c in queued:
        assert c.method() == 0 and c.reply()[0] == 0


def test_a_child_that_dies_again_and_again_is_not_started_in_a_hot_loop(gateway):
    g = gateway(workers=1, expect_lost=1000)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        for pid in g.children("worker"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
    assert 2 <= len(g.records("child-lost")) < 100, len(g.records("child-lost"))
    peers.wait_for(lambda: g.children("worker"), 30)


def test_without_its_master_no_child_stays(gateway):
    g = gateway()
    assert len(g.children()) == 3
    g.kill()


@pytest.mark.parametrize("folder", ["rules", "r" * 150])
def test_sessions_of_a_killed_master_get_their_record_at_the_next_start(gateway, echo, tmp_path, folder):
    """With the rule as it was then, however long its file's name is."""
    rules = tmp_path / folder / "rules.conf"
    rules.parent.mkdir()
    rules.write_text(sally.OPEN)
    g = gateway(f'include "{rules}"\n')
    c, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    opened = g.record("session-open")
    assert opened["rule"].startswith(f"{rules}:".encode())
    g.kill()
    rules.write_text("\n\n" + sally.OPEN)
    g.start()
    closed = g.record("session-close")
    assert closed["id"] == opened["id"] and closed["reason"] == b"master-lost"
    for key in ("rule", "asked", "client", "target"):
        assert closed[key] == opened[key], key
    c.close()


def test_a_port_in_use_says_so_and_names_the_option(gateway):
    with peers.listener() as taken:
        port = taken.getsockname()[1]
        g = gateway(f'listen on 127.0.0.1 port {port}\nrun directory "@DIR@/run"\nlog file "@DIR@/log"\n' + sally.OPEN,
                    whole=True, ready=False)
        status, err = g.fails_to_start()
        assert status == 1
        assert str(port) in err and "in use" in err and "listen on" in err, err


def test_a_port_in_use_by_a_second_gateway_says_so(gateway, echo):
    """SO_REUSEPORT would let it in silently."""
    first = gateway()
    second = gateway(f'listen on 127.0.0.1 port {first.port}\nrun directory "@DIR@/run"\nlog file "@DIR@/log"\n' + sally.OPEN,
                     whole=True, ready=False)
    status, err = second.fails_to_start()
    assert status == 1 and "in use" in err and "listen on" in err, err
    for _ in range(10):
        assert socks5.open_session(first.at, "127.0.0.1", echo.port)[1][0] == 0


def test_two_gateways_may_not_share_a_run_directory(gateway):
    first = gateway()
    second = gateway(f'listen on 127.0.0.1 port {peers.free_port()}\nrun directory "{first.run}"\n' + sally.OPEN,
                     whole=True, ready=False)
    status, err = second.fails_to_start()
    assert status == 1 and "run directory" in err, err


def test_two_gateways_side_by_side(gateway, echo):
    for g in (gateway(), gateway()):
        assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0


def test_limits(gateway, echo):
    g = gateway("limit { sessions 5 }\n" + sally.OPEN)
    clients = [socks5.open_session(g.at, "127.0.0.1", echo.port)[0] for _ in range(5)]
    c, (rep, *_) = socks5.open_session(g.at, "127.0.0.1", echo.port)
    assert rep in (socks5.GENERAL, socks5.NOT_ALLOWED)
    g.record("session-refused", reason="limit-sessions")
    clients[0].close()
    peers.wait_for(lambda: socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0, 5)


@pytest.mark.parametrize("limit", ["sessions 1", "sessions per user 1", "associations 1"])
def test_one_that_is_over_counts_no_longer(gateway, echo, limit):
    """To whichever worker the next client comes: who is within the limit is never refused."""
    udp = limit.startswith("associations")
    g = gateway(f'limit {{ {limit} }}\nauth password file "@DIR@/users"\n'
                "pass connect, udp from any to 127.0.0.1 auth password\n", workers=2,
                before=lambda g: g.write_users(sally.user_line("alice", "a")))
    for _ in range(60):
        with socks5.Client(g.at) as c:
            assert c.greet(2) == 2 and c.login(b"alice", b"a") == 0
            c.send(socks5.request("0.0.0.0", 0, socks5.UDP) if udp else socks5.request("127.0.0.1", echo.port))
            assert c.reply()[0] == 0, g.records()[-1]
            c.half_close()
            c.rest()  # the end came through: nothing is left of the session


def test_limit_per_user(gateway, echo):
    g = gateway('limit { sessions per user 2 }\nauth password file "@DIR@/users"\n'
                "pass connect from any to 127.0.0.1 auth password\n",
                before=lambda g: g.write_users(sally.user_line("alice", "a"), sally.user_line("bob", "b")))
    held = [socks5.open_session(g.at, "127.0.0.1", echo.port, b"alice", b"a") for _ in range(2)]
    assert [r[0] for _, r in held] == [0, 0]
    assert socks5.open_session(g.at, "127.0.0.1", echo.port, b"alice", b"a")[1][0] != 0
    assert socks5.open_session(g.at, "127.0.0.1", echo.port, b"bob", b"b")[1][0] == 0
    g.record("session-refused", reason="limit-sessions-per-user")


def test_without_root(gateway, echo):
    g = gateway(user=sally.NOBODY)
    assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0
    said = [l for l in g.stderr().splitlines() + [str(r) for r in g.records("sandbox")]]
    about = [l for l in said if "chroot" in l and "uid" in l]
    assert about, g.story()
    assert len(g.records("sandbox")) <= 1, "one warning"
    for pid in g.children():
        with open(f"/proc/{pid}/status") as f:
            status = f.read()
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.M) and re.search(r"^Seccomp:\s+2$", status, re.M)


def test_without_root_a_required_layer_stops_the_start(gateway):
    g = gateway("sandbox chroot require\n" + sally.OPEN, user=sally.NOBODY, ready=False)
    status, err = g.fails_to_start()
    assert status == 1 and "chroot" in err, err


def test_as_root_what_each_process_holds(gateway):
    g = gateway('auth password file "@DIR@/users"\npass connect from any to 127.0.0.1 auth password\n',
                before=lambda g: g.write_users(sally.user_line("alice", "a")))
    uids = set()
    for pid in g.children():
        with open(f"/proc/{pid}/status") as f:
            fields = dict(re.findall(r"^(\w+):[ \t]*(.*)$", f.read(), re.M))
        assert fields["Uid"].split()[0] != "0" and len(set(fields["Uid"].split())) == 1
        assert fields["Groups"].strip() == "" and int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0
        assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"
        assert os.listdir(f"/proc/{pid}/root") == []
        uids.add((sally.comm(pid), fields["Uid"].split()[0]))
    assert len({u for _, u in uids}) == 3, uids
    with open(f"/proc/{g.master()}/status") as f:
        assert int(re.search(r"^CapEff:\s*(\w+)$", f.read(), re.M)[1], 16) != (1 << 41) - 1


def test_ctl_status_sessions_and_reload(gateway, echo):
    g = gateway()
    c, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    p = g.ctl("status")
    assert p.returncode == 0 and p.stdout, p.stderr
    p = g.ctl("sessions")
    assert p.returncode == 0 and b"127.0.0.1:%d" % echo.port in p.stdout, (p.stdout, p.stderr)
    p = g.ctl("reload")
    assert p.returncode == 0, p.stderr
    g.record("reload")
    g.configure("nonsense\n")
    assert g.ctl("reload").returncode != 0
    assert g.ctl("frobnicate").returncode != 0
    with open("/dev/null") as _:
        st = os.stat(glob.glob(f"{g.run}/control*")[0])
    assert st.st_mode & 0o077 == 0


def test_ctl_is_not_for_others(gateway):
    g = gateway()
    p = subprocess.run(["setpriv", f"--reuid={sally.NOBODY}", f"--regid={sally.NOBODY}", "--clear-groups",
                        f"{sally.BUILD}/sallyportctl", "-s", f"{g.run}/control", "status"],
                       capture_output=True, timeout=20)
    assert p.returncode != 0


def test_a_client_of_the_control_socket_that_never_reads_or_says_nonsense(gateway, echo):
    g = gateway()
    path = f"{g.run}/control"
    idle = []
    for n in range(20):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.connect(path)
            if n % 2:
                s.sendall(os.urandom(5000))
        except OSError:
            pass
        idle.append(s)
    assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0
    for s in idle:
        s.close()
    assert g.ctl("status").returncode == 0


def test_it_goes_to_the_background_without_d(gateway):
    g = gateway(ready=False)
    pid = None
    try:
        p = subprocess.run([f"{sally.BUILD}/sallyportd", "-f", g.conf], capture_output=True, timeout=30, env=sally.environment())
        assert p.returncode == 0, p.stderr
        pid = peers.wait_for(lambda: [k for k in sally.children_of(1) if sally.comm(k) == "sallyportd"], 10)[0]
        assert socks5.Client(g.at).greet(0) == 0
    finally:
        if pid:
            os.kill(pid, signal.SIGTERM)
            peers.wait_for(lambda: not sally.alive(pid), 20)


def test_options(gateway):
    daemon = f"{sally.BUILD}/sallyportd"
    assert subprocess.run([daemon, "-h"], capture_output=True, timeout=10).returncode == 0
    p = subprocess.run([daemon, "-V"], capture_output=True, timeout=10)
    assert p.returncode == 0 and b"0.1" in p.stdout
    for wrong in (["-x"], ["-f"], ["-f", "/nonexistent"], ["-D", "novalue"], ["extra"]):
        p = subprocess.run([daemon, "-n", *wrong], capture_output=True, timeout=10)
        assert p.returncode != 0 and p.stderr, wrong
