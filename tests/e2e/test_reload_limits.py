"""What a reload cannot do, what it must not take, and what a stop gives back at once."""
import os
import pty
import signal
import socket
import subprocess
import time

import peers
import sally
import socks5

USERS = 'auth password file "@DIR@/users"\npass from any to { any, 127.0.0.0/8 } auth password\n'


def serves(g, echo):
    return socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0


def test_what_a_running_gateway_cannot_change_stays(gateway, echo):
    """A root directory that is not there would keep every later worker from starting."""
    g = gateway(workers=1, expect_lost=1)
    assert g.reload("process worker chroot \"/nonexistent\"\n" + sally.OPEN)["event"] in (b"reload", b"reload-failed")
    os.kill(g.children("worker")[0], signal.SIGKILL)
    g.record("child-lost")
    peers.wait_for(lambda: g.children("worker"), why=g.story)
    assert serves(g, echo)


def test_changes_for_the_next_start_are_told_while_they_stand(gateway):
    g = gateway()
    other = sally.OPEN.replace("pass", "process worker uid 64999\npass", 1)
    assert g.reload(other)["event"] == b"reload"
    assert len([r for r in g.records("notice") if b"process worker" in r["detail"]]) == 1
    assert g.reload(sally.OPEN)["event"] == b"reload"
    assert g.reload(sally.OPEN)["event"] == b"reload"
    assert len([r for r in g.records("notice") if b"process worker" in r["detail"]]) == 1


def test_a_broken_users_file_fails_the_reload_too(gateway, echo):
    g = gateway(USERS, before=lambda g: g.write_users(sally.user_line("alice", "a")))
    with open(g.users, "a") as f:
        f.write("kaputt\n")
    failed = g.reload()
    assert failed["event"] == b"reload-failed" and b"users:2: " in failed["detail"]
    assert b"trouble: the last reload failed" in g.ctl("status").stdout
    assert socks5.open_session(g.at, "127.0.0.1", echo.port, b"alice", b"a")[1][0] == 0
    g.write_users(sally.user_line("alice", "a"))
    assert g.reload()["event"] == b"reload"
    assert b"trouble" not in g.ctl("status").stdout


def test_a_stop_frees_the_ports_before_the_last_records_are_sent(gateway):
    """A log that takes nothing is waited for; the next gateway may start meanwhile."""
    g = gateway('log syslog socket "@DIR@/nobody"\n' + sally.OPEN)
    g.p.send_signal(signal.SIGTERM)

    def is_free():
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(g.at)
                return True
            except OSError:
                return False

    began = time.monotonic()
    peers.wait_for(is_free, why=g.story)
    free_after = time.monotonic() - began
    g.p.wait(20)
    assert free_after < time.monotonic() - began, "it waited for its log first"


def test_directories_made_above_the_run_directory_go_too(gateway):
    g = gateway(ready=False)
    g.head = g.head.replace(g.run, f"{g.dir}/deep/er/run")
    g.run = f"{g.dir}/deep/er/run"
    g.configure(sally.OPEN)
    g.start()
    assert os.path.isdir(g.run)
    assert g.stop() == 0
    assert not os.path.exists(f"{g.dir}/deep")


def test_it_ends_with_its_terminal(gateway):
    """SIGHUP is a reload, but where the terminal that it was started from is gone it is the end."""
    g = gateway(ready=False)
    master, slave = pty.openpty()
    p = subprocess.Popen(["setsid", "--ctty", f"{g.build}/sallyportd", "-d", "-f", g.conf], stdin=slave, stdout=slave,
                         stderr=slave, env=sally.environment())
    os.close(slave)
    try:
        g.record("start")
        p.send_signal(signal.SIGHUP)  # the terminal is there: a reload
        g.record("reload")
        assert p.poll() is None
        os.close(master)
        master = None
        assert p.wait(20) == 0
        assert g.records("stop")
    finally:
        if master is not None:
            os.close(master)
        if p.poll() is None:
            p.kill()
            p.wait()
