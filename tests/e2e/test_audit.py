"""The audit trail end to end: what a record holds, in both formats, through a real rsyslog and in a file; every
octet in names and users comes back as it was."""
import os
import re
import stat
import subprocess
import time

import pytest

import peers
import records
import sally
import socks5

PASSWORD = 'auth password file "@DIR@/users"\npass connect from any to { any, 127.0.0.0/8, ::1 } auth password\n'
SESSION = {"event", "seq", "time", "id", "worker", "user", "method", "client", "gateway", "command", "asked", "target",
           "outgoing", "rule", "up", "down", "duration", "reason"}


def run_sessions(g, echo):
    c, reply = socks5.open_session(g.at, b"localhost", echo.port, b"alice", b"a")
    assert reply[0] == 0
    c.send(b"12345")
    assert c.read(5) == b"12345"
    client = c.s.getsockname()
    c.close()
    return client, reply


@pytest.mark.parametrize("fmt", ["logfmt", "json"])
def test_a_session_record_has_it_all(gateway, echo, fmt):
    g = gateway(PASSWORD, log=fmt, before=lambda g: g.write_users(sally.user_line("alice", "a")))
    client, reply = run_sessions(g, echo)
    r = g.record("session-close")
    assert SESSION <= set(r), SESSION - set(r)
    line = g.head.count("\n") + 2
    assert r["user"] == b"alice" and r["method"] == b"password" and r["command"] == b"connect"
    assert r["client"] == b"127.0.0.1:%d" % client[1]
    assert r["gateway"] == b"127.0.0.1:%d" % g.port
    assert r["asked"] == b"localhost:%d" % echo.port
    assert r["target"] == b"127.0.0.1:%d" % echo.port
    assert r["outgoing"].decode() == "%s:%d" % reply[1:]
    assert r["rule"].decode().endswith(f"sallyport.conf:{line}"), r["rule"]
    assert (r["up"], r["down"], r["reason"]) == (b"5", b"5", b"client-closed")
    assert 0 <= int(r["duration"]) < 20_000
    o = g.record("session-open")
    assert o["id"] == r["id"] and o["asked"] == r["asked"] and int(o["seq"]) < int(r["seq"])
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", r["time"])


@pytest.mark.parametrize("fmt", ["logfmt", "json"])
def test_all_256_octets_in_names_and_users(gateway, fmt):
    g = gateway('auth password file "@DIR@/users"\npass connect from any to any auth none, password\n'
                if False else
                'auth password file "@DIR@/users"\npass connect from any to any auth password\n'
                "pass connect from any to any auth none\n", log=fmt,
                before=lambda g: g.write_users(sally.user_line("alice", "a")))
    # users, as claimed: every octet, alone and in company
    users = [bytes([c]) for c in range(256)] + [bytes(range(255)), bytes(range(1, 256)), b'a" b="c', b"\\x41\\", b"\n\n"]
    for i, user in enumerate(users):
        with socks5.Client(g.at, source=f"127.3.{i // 200}.{i % 200 + 1}", seconds=60) as c:
            assert c.greet(2) == 2
            c.send(socks5.credentials(user, b"wrong"))
            c.rest()
    got = peers.wait_for(lambda: (lambda r: r if len(r) >= len(users) else None)(g.records("auth-failed")), 60, g.story)
    assert [r["user"] for r in sorted(got, key=lambda r: int(r["seq"]))] == users
    # names, as asked for
    names = [b"a" + bytes([c]) + b"z.example" for c in range(1, 256)] + [bytes(range(1, 46)) + b".example"]
    for name in names:
        with socks5.Client(g.at) as c:
            assert c.greet(0) == 0
            c.send(socks5.request(name, 80))
            c.rest()
    want = {n + b":80" for n in names}
    peers.wait_for(lambda: len(g.records("session-refused")) >= len(names), 60, g.story)
    asked = {r["asked"] for r in g.records("session-refused")}
    lowered = {w.lower() for w in want}
    assert {a.lower() for a in asked} >= lowered, sorted(lowered - {a.lower() for a in asked})[:5]
    with open(g.log, "rb") as f:
        raw = f.read()
    assert not set(raw) - set(range(0x20, 0x7f)) - {0x0a}
    for line in raw.splitlines():
        assert records.logfmt(line) or records.cee(line), line


@pytest.mark.parametrize("fmt", ["logfmt", "json"])
def test_through_a_real_rsyslog(gateway, serve, echo, fmt):
    syslog = serve(peers.Rsyslog, template="%syslogfacility-text% %syslogseverity-text% %programname% %msg%\\n")
    g = gateway(f'log syslog facility local3 socket "{syslog.socket}" format {fmt}\n' + PASSWORD,
                before=lambda g: g.write_users(sally.user_line("alice", "a")))
    run_sessions(g, echo)
    with socks5.Client(g.at) as c:
        c.greet(2)
        c.login(b"\n<0>forged: event=auth-ok\x00\xff", b"wrong")
    peers.wait_for(lambda: all(any(e in l for l in syslog.lines()) for e in (b"auth-failed", b"session-close")), 20, g.story)
    got = [records.cee(l) if fmt == "json" else records.logfmt(l) for l in syslog.lines()]
    assert all(got)
    assert all(l.startswith(b"local3 ") and b" sallyport" in l for l in syslog.lines()), syslog.lines()
    closed = [r for r in got if r["event"] == b"session-close"]
    assert closed and SESSION <= set(closed[0])
    failed = [r for r in got if r["event"] == b"auth-failed"]
    assert [r["user"] for r in failed] == [b"\n<0>forged: event=auth-ok\x00\xff"]
    assert not [r for r in got if r["event"] == b"auth-ok" and r["user"] != b"alice"]
    assert [r["seq"] for r in got] == [r["seq"] for r in g.records()][:len(got)]


def test_rsyslogs_own_parser_takes_the_json_apart(gateway, serve, echo):
    """mmjsonparse knows @cee: (rsyslog's cee cookie); skipped where it is not packaged with rsyslog."""
    import glob
    if not glob.glob("/usr/lib/*/rsyslog/mmjsonparse.so"):
        pytest.skip("no mmjsonparse")
    syslog = serve(peers.Rsyslog, extra='module(load="mmjsonparse")\naction(type="mmjsonparse")\n',
                   template="%$!event%|%$!user%|%$!asked%|%parsesuccess%\\n")
    g = gateway(f'log syslog socket "{syslog.socket}" format json\n' + PASSWORD,
                before=lambda g: g.write_users(sally.user_line("alice", "a")))
    run_sessions(g, echo)
    peers.wait_for(lambda: any(l.startswith(b"session-close|alice|localhost:%d|OK" % echo.port) for l in syslog.lines()),
                   20, lambda: repr(syslog.lines()))


def test_our_rsyslog_snippet_is_valid():
    import glob
    for snippet in glob.glob(f"{sally.TOP}/etc/rsyslog/*.conf"):
        with open(snippet) as f:
            text = f.read()
        with open("/tmp/rsyslog-test.conf", "w") as f:
            f.write('module(load="imuxsock")\n' + text)
        p = subprocess.run(["rsyslogd", "-N1", "-f", "/tmp/rsyslog-test.conf"], capture_output=True, text=True, timeout=30)
        os.unlink("/tmp/rsyslog-test.conf")
        assert p.returncode == 0, p.stderr


def test_a_syslog_that_is_not_there_yet_or_goes_away(gateway, serve, echo):
    syslog = serve(peers.Rsyslog)
    g = gateway(f'log syslog socket "{syslog.socket}" format logfmt\n' + sally.OPEN)
    socks5.open_session(g.at, "127.0.0.1", echo.port)[0].close()
    g.record("session-close")
    syslog.p.terminate()
    syslog.p.wait(10)
    socks5.open_session(g.at, "127.0.0.1", echo.port)[0].close()
    peers.wait_for(lambda: len(g.records("session-close")) == 2, why=g.story)
    syslog.start()
    peers.wait_for(lambda: sum(b"event=session-close" in l for l in syslog.lines()) == 2, 30,
                   lambda: repr(syslog.lines()) + g.story())


def test_updates_of_long_sessions(gateway, echo):
    g = gateway("log update 1s\n" + sally.OPEN)
    c, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    c.send(b"x" * 1000)
    c.read(1000)
    r = g.record("session-update", up=1000, down=1000)
    c.send(b"x")
    c.read(1)
    again = g.record("session-update", up=1001, down=1001)
    assert r["id"] == again["id"]
    c.close()
    g.record("session-close")


def test_refusals_are_recorded_with_their_rule(gateway, echo):
    g = gateway("block log from any to 127.0.0.9\n" + sally.OPEN)
    c, (rep, *_) = socks5.open_session(g.at, "127.0.0.9", echo.port)
    assert rep == socks5.NOT_ALLOWED
    r = g.record("session-refused")
    assert r["rule"].decode().endswith(f"sallyport.conf:{g.head.count(chr(10)) + 1}")
    assert r["reason"] == b"blocked" and r["asked"] == b"127.0.0.9:%d" % echo.port and r["method"] == b"none"


def test_clients_turned_away_early_are_counted_not_listed(gateway):
    g = gateway()
    for _ in range(500):
        with socks5.Client(g.at) as c:
            c.send(b"\4")
    peers.wait_for(lambda: sum(int(r.get("count", b"1")) for r in g.records("client-refused")) >= 500, 90, g.story)
    assert len(g.records("client-refused")) < 100


def test_a_source_no_rule_could_serve_is_turned_away_first(gateway, echo):
    g = gateway("pass connect from 127.0.0.1 to 127.0.0.0/8 auth none\n")
    for sent in (b"", socks5.greeting(0)):
        with socks5.Client(g.at, source="127.0.0.2") as c:
            try:
                c.send(sent)
                assert c.rest() == b""
            except OSError:
                pass
    assert g.record("client-refused", reason="source-blocked")["client"].startswith(b"127.0.0.2:")
    assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0


def test_the_log_file_is_the_gateways_alone_and_reopened_after_rotation(gateway, echo):
    g = gateway()
    mode = os.stat(g.log).st_mode
    assert not mode & stat.S_IRWXO and not mode & stat.S_IWGRP
    socks5.open_session(g.at, "127.0.0.1", echo.port)[0].close()
    g.record("session-close")
    os.rename(g.log, g.log + ".1")
    g.p.send_signal(1)
    peers.wait_for(lambda: os.path.exists(g.log), why=g.story)
    socks5.open_session(g.at, "127.0.0.1", echo.port)[0].close()
    g.record("session-close")
    numbers = [int(r["seq"]) for r in records.read(g.log + ".1") + records.read(g.log)]
    assert numbers == sorted(set(numbers)), numbers
    assert numbers[-1] - numbers[0] == len(numbers) - 1, numbers


def test_our_logrotate_snippet_is_valid():
    import glob
    found = [f for f in glob.glob(f"{sally.TOP}/etc/logrotate/*") if os.path.isfile(f)]
    assert found
    for snippet in found:
        # logrotate takes only files that root alone may write
        with open(snippet) as f, open("/tmp/logrotate-test", "w") as out:
            out.write(f.read())
        os.chmod("/tmp/logrotate-test", 0o644)
        p = subprocess.run(["logrotate", "-d", "-s", "/dev/null", "/tmp/logrotate-test"], capture_output=True, text=True, timeout=30)
        os.unlink("/tmp/logrotate-test")
        assert p.returncode == 0 and "error:" not in p.stderr, p.stderr


def test_json_and_logfmt_side_by_side(gateway, echo):
    g = gateway('log file "@DIR@/second" format json\n' + sally.OPEN)
    socks5.open_session(g.at, b"localhost", echo.port)[0].close()
    g.record("session-close")
    first, second = g.records(), records.read(f"{g.dir}/second")
    time.sleep(0.2)
    assert [sorted(r.items()) for r in first] == [sorted(r.items()) for r in records.read(f"{g.dir}/second")][:len(first)]
    assert second
