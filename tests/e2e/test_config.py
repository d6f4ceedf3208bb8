"""sallyportd -n: every error with its file and line, what is wrong and what was expected. (The grammar's details are
in the unit tests; here is what an operator meets.)"""
import os
import re
import time

import pytest

import peers
import sally
import socks5

GOOD = 'listen on 127.0.0.1 port 1080\nrun directory "@DIR@/run"\n' + sally.OPEN


def test_a_good_one():
    status, err = sally.check(GOOD)
    assert (status, err) == (0, ""), err


def test_every_error_is_reported_with_its_line():
    text = ("listen on 127.0.0.1 port 99999\n"
            "pass conect from any\n"
            "\n"
            "frobnicate on\n"
            "pass connect from <missing> to any auth none\n"
            "timeout { idle -3 }\n"
            "pass connect from 10.0.0.0/33 to any auth none\n")
    status, err = sally.check(text)
    assert status == 1
    lines = [int(n) for n in re.findall(r"^sallyport\.conf:(\d+): .+", err, re.M)]
    for line in (1, 2, 4, 5, 6, 7):
        assert line in lines, (line, err)
    assert "expected" in err


@pytest.mark.parametrize("word", ["via hq", "via { hq, spare }"])
def test_an_upstream_must_be_defined(word):
    status, err = sally.check(GOOD + f"pass connect from any to any {word}\n")
    assert status == 1 and "sallyport.conf:" in err


@pytest.mark.parametrize("line", [
    'auth gssapi keytab "k"',
    "egress guard require", 'upstream hq socks5 "h" port 0', "workers 0", "workers 2\nworkers 3",
    'run directory "/a"\nrun directory "/b"', "table <t> { 10.0.0.0/8 }\ntable <t> { 10.0.0.0/8 }",
    "pass connect from any to any port 80-20 auth none", "pass connect from any to any port 0 auth none", 'include "/nonexistent"',
    'table <t> file "/nonexistent"', "x = $undefined", 'auth password file "/a"\nauth password pam "b"', "log syslog facility nowhere",
    "limit { sessions -1 }", "timeout { idle 1h idle 2h }", "listen on nowhere.invalid. port", '"unterminated'])
def test_each_of_these_is_an_error(line):
    status, err = sally.check(GOOD + line + "\n")
    assert status == 1, f"accepted: {line}"
    assert re.search(r"^\S+:\d+: .+", err, re.M), err


@pytest.mark.parametrize("line, says", [
    ('log file "@DIR@/none/log"', r":4: the log file's directory \S*none: No such file"),
    ('log file "@DIR@"', r":4: the log file \S* is there already, expected a regular file"),
    ('log file "/proc/self/exe"', r":4: the log file /proc/self/exe is a symbolic link"),
    ('process worker chroot "@DIR@/none"', r":4: chroot \S*none: No such file"),
    ('process worker chroot "none"', r":4: .* expected an absolute path"),
    ('auth password file "@DIR@/users"', r"users:2: fewer than four fields"),
    ("listen on fe80::1", r":4: .*needs an interface, expected fe80::1%eth0")])
def test_what_a_start_would_meet(line, says):
    umask = os.umask(0o077)  # for the users file
    try:
        status, err = sally.check(GOOD + line + "\n", users="a:x::\nb\n")
    finally:
        os.umask(umask)
    assert status == 1 and re.search(says, err), err


def test_its_log_users_and_chroot_are_right():
    umask = os.umask(0o077)
    try:
        assert sally.check(GOOD + 'log file "@DIR@/log"\nprocess worker chroot "@DIR@"\nauth password file "@DIR@/users"\n',
                           users="a:x::\n") == (0, "")
    finally:
        os.umask(umask)


def test_errors_of_included_files_name_them():
    status, err = sally.check(GOOD + 'include "@DIR@/more.conf"\n', **{"more.conf": "\n\nwrong\n"})
    assert status == 1 and "more.conf:3: " in err, err


def test_macros_from_the_command_line():
    text = GOOD + 'where = "10.0.0.0/8"\npass connect from any to $where auth none\n'
    assert sally.check(text)[0] == 0
    assert sally.check(text, "-D", "where=10.0.0.0/40")[0] == 1
    assert sally.check(GOOD + "pass connect from any to $more auth none\n", "-D", "more=192.0.2.1")[0] == 0


def test_a_table_of_100000_prefixes_loads_in_a_second_and_costs_nothing_noticeable(gateway, echo):
    prefixes = [f"{10 + i // 65536}.{i // 256 % 256}.{i % 256}.0/24" for i in range(100_000)]
    table = "\n".join(prefixes) + "\n127.0.0.1\n"
    began = time.monotonic()
    status, err = sally.check(GOOD + 'table <big> file "@DIR@/big"\npass connect from any to <big> auth none\n', big=table)
    took = time.monotonic() - began
    assert status == 0, err
    assert took < (10 if sally.SANITIZE else 1.0), took

    def write(g):
        with open(f"{g.dir}/big", "w") as f:
            f.write(table)
    g = gateway('table <big> file "@DIR@/big"\nblock from <big> to 127.0.0.99\npass connect from any to <big> auth none\n'
                "timeout { connect 2s }\n", before=write)
    plain = gateway()

    def rate(g):
        began = time.monotonic()
        for _ in range(100):
            c, reply = socks5.open_session(g.at, "127.0.0.1", echo.port)
            assert reply[0] == 0
            c.close()
        return time.monotonic() - began
    rate(g), rate(plain)
    assert rate(g) < 2.5 * rate(plain) + 0.1


def test_listening_on_an_interface_and_a_name(gateway, echo):
    port = peers.free_port()
    g = gateway(f'listen on lo port {port}\nrun directory "@DIR@/run"\nlog file "@DIR@/log"\n' + sally.OPEN, whole=True)
    for at in (("127.0.0.1", port), ("::1", port)):
        assert socks5.open_session(at, "127.0.0.1", echo.port)[1][0] == 0
    port = peers.free_port()
    h = gateway(f'listen on localhost port {port}\nrun directory "@DIR@/run"\nlog file "@DIR@/log"\n' + sally.OPEN, whole=True)
    assert socks5.open_session(("127.0.0.1", port), "127.0.0.1", echo.port)[1][0] == 0
    assert g.p and h.p


def test_freebind(gateway):
    import subprocess
    port = peers.free_port()
    text = f'listen on 10.123.0.1 port {port} freebind\nrun directory "@DIR@/run"\nlog file "@DIR@/log"\n' + sally.OPEN
    g = gateway(text.replace(" freebind", ""), whole=True, ready=False)
    status, err = g.fails_to_start()
    assert status == 1 and "freebind" in err, err
    g = gateway(text, whole=True)
    subprocess.run(["ip", "addr", "add", "10.123.0.1/32", "dev", "lo"], check=True)
    assert socks5.Client(("10.123.0.1", port)).greet(0) == 0
