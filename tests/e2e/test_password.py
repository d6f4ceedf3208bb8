"""Authentication by password: the users file and sallyportctl passwd, PAM, what the logs may hold, and that no slow
check delays another client. Time distributions are compared in test_password_alone.py."""
import datetime
import os
import re
import shutil
import subprocess
import time

import pytest

import peers
import records
import sally
import socks5
from socks5 import Client

RULES = "pass connect from any to { any, 127.0.0.0/8, ::1 } auth password\n"
FILE = 'auth password file "@DIR@/users"\n' + RULES
PASSWORD = "correct horse battery staple"


def login(g, user, password, at=None, source=None):
    """The status octet: 0 is success."""
    with Client(at or g.at, source=source, seconds=60) as c:
        assert c.greet(2) == 2
        return c.login(user, password)


@pytest.fixture
def g(gateway):
    return gateway(FILE, before=lambda g: g.write_users(
        sally.user_line("alice", PASSWORD), sally.user_line("bob", "bobs", groups=["web"]),
        sally.user_line("lock", "locked", locked=True), sally.user_line("old", "expired", expires="2020-01-01"),
        sally.user_line("new", "serves", expires="2999-12-31")))


def test_right_and_wrong(g, echo):
    c, reply = socks5.open_session(g.at, "127.0.0.1", echo.port, b"alice", PASSWORD.encode())
    assert reply[0] == 0
    c.close()
    assert g.record("auth-ok")["user"] == b"alice"
    assert g.record("session-close")["user"] == b"alice"
    assert g.record("session-close")["method"] == b"password"
    for user, password, why in ((b"alice", b"wrong", "wrong-password"), (b"nobody", b"x", "unknown-user"),
                                (b"lock", b"locked", "locked"), (b"old", b"expired", "expired")):
        with Client(g.at, seconds=60) as c:
            assert c.greet(2) == 2
            assert c.login(user, password) != 0
            assert c.rest() == b""  # RFC 1929 section 2: the connection must close
        r = g.record("auth-failed", reason=why)
        assert r["user"] == user and r["client"].startswith(b"127.0.0.1:")
    assert login(g, b"new", b"serves") == 0


def test_a_prefix_or_more_of_the_password_is_wrong(g):
    for wrong in (PASSWORD[:-1], PASSWORD + "x", PASSWORD.upper()):
        assert login(g, b"alice", wrong.encode()) != 0


def test_every_octet_in_names_and_passwords(gateway):
    g = gateway(FILE, before=lambda g: g.write_users(sally.user_line("line feed", "a\nb")))
    assert login(g, b"line feed", b"a\nb") == 0  # sallyportctl takes one line only; the protocol any octet
    octets = bytes(range(1, 256))
    password = octets.replace(b"\n", b"")
    p = g.ctl("passwd", "-f", g.users, "add", octets, stdin=password + b"\n")
    assert p.returncode == 0, p.stderr
    peers.wait_for(lambda: login(g, octets, password) == 0, 10)
    # NUL too, which an argument cannot hold but standard input and RFC 1929 can
    p = g.ctl("passwd", "-f", g.users, "add", "nul", stdin=b"\0" + password + b"\n")
    assert p.returncode == 0, p.stderr
    peers.wait_for(lambda: login(g, b"nul", b"\0" + password) == 0, 10)
    assert login(g, b"nul", bytes([1, 1]) + password[:-1]) != 0


def test_255_octets_each(gateway):
    g = gateway(FILE, before=lambda g: g.write_users(sally.user_line("u" * 255, "p" * 255)))
    assert login(g, b"u" * 255, b"p" * 255) == 0
    assert login(g, b"u" * 255, b"p" * 254) != 0


def test_passwords_appear_nowhere(gateway, echo):
    g = gateway(FILE, args=["-v"], before=lambda g: g.write_users(sally.user_line("alice", "VerySecretOne")))
    socks5.open_session(g.at, "127.0.0.1", echo.port, b"alice", b"VerySecretOne")[0].close()
    login(g, b"alice", b"VerySecretTwo")
    with Client(g.at) as c:  # coalesced, and cut
        c.send(socks5.greeting(2) + socks5.credentials(b"alice", b"VerySecretTwo") + b"VerySecretTwo")
        c.rest()
    with Client(g.at) as c:
        c.send(socks5.greeting(2) + socks5.credentials(b"alice", b"VerySecretTwo")[:-2])
    g.record("auth-failed")
    assert g.stop() == 0
    for name in os.listdir(g.dir):
        path = f"{g.dir}/{name}"
        if os.path.isfile(path):
            with open(path, "rb") as f:
                assert b"VerySecret" not in f.read(), name
    for root, _, files in os.walk(g.run):
        for name in files:
            with open(f"{root}/{name}", "rb") as f:
                assert b"VerySecret" not in f.read(), name


def test_the_users_file_must_be_roots_and_unreadable_to_others(gateway):
    for mode, owner in ((0o644, 0), (0o640, sally.NOBODY), (0o660, 0), (0o600, sally.NOBODY)):
        g = gateway(FILE, ready=False)
        g.write_users(sally.user_line("alice", PASSWORD))
        os.chmod(g.users, mode)
        os.chown(g.users, owner, 0)
        status, err = g.fails_to_start()
        assert status == 1 and "users" in err, err
    g = gateway(FILE, ready=False)
    status, err = g.fails_to_start()
    assert status == 1 and "users" in err  # it does not exist


def test_a_link_for_a_users_file_is_refused(gateway):
    g = gateway(FILE, ready=False)
    g.write_users(sally.user_line("alice", PASSWORD))
    os.rename(g.users, g.users + ".real")
    os.symlink(g.users + ".real", g.users)
    status, err = g.fails_to_start()
    assert status == 1, err


def test_a_broken_users_file_is_refused(gateway):
    g = gateway(FILE, ready=False)
    with open(g.users, "w", opener=lambda p, fl: os.open(p, fl, 0o600)) as f:
        f.write("alice\n")
    status, err = g.fails_to_start()
    assert status == 1 and "users" in err and "1" in err, err


def ctl(g, *args, stdin=b""):
    p = g.ctl("passwd", "-f", g.users, *args, stdin=stdin)
    assert p.returncode == 0, (args, p.stdout, p.stderr)
    return p.stdout


def test_sallyportctl_passwd_takes_effect_without_a_restart(g, echo):
    ctl(g, "add", "carol", stdin=b"first one\n")
    peers.wait_for(lambda: login(g, b"carol", b"first one") == 0, 10)
    with open(g.users) as f:
        line = [l for l in f if l.startswith("carol:")][0]
    assert line.split(":")[1].startswith("$y$")  # yescrypt
    assert os.stat(g.users).st_mode & 0o077 == 0
    ctl(g, "change", "carol", stdin=b"second one\n")
    peers.wait_for(lambda: login(g, b"carol", b"second one") == 0, 10)
    assert login(g, b"carol", b"first one") != 0
    ctl(g, "lock", "carol")
    peers.wait_for(lambda: login(g, b"carol", b"second one") != 0, 20)
    ctl(g, "unlock", "carol")
    peers.wait_for(lambda: login(g, b"carol", b"second one") == 0, 30)
    ctl(g, "expire", "carol", "2001-01-01")
    peers.wait_for(lambda: login(g, b"carol", b"second one") != 0, 20)
    listing = ctl(g, "list")
    assert b"carol" in listing and b"alice" in listing and b"$" not in listing
    ctl(g, "remove", "carol")
    assert b"carol" not in ctl(g, "list")
    assert g.ctl("passwd", "-f", g.users, "remove", "carol").returncode != 0


def test_groups_of_the_users_file_and_of_the_configuration(gateway, echo):
    g = gateway('auth password file "@DIR@/users"\ngroup web { carol }\n'
                "pass connect from any to 127.0.0.1 group web auth password\n",
                before=lambda g: g.write_users(sally.user_line("bob", "b", groups=["web", "more"]),
                                               sally.user_line("carol", "c"), sally.user_line("dave", "d", groups=["webs"])))
    for user, password, rep in ((b"bob", b"b", 0), (b"carol", b"c", 0), (b"dave", b"d", socks5.NOT_ALLOWED)):
        assert socks5.open_session(g.at, "127.0.0.1", echo.port, user, password)[1][0] == rep


def test_a_weaker_method_never_meets_a_rule_that_asks_for_one(gateway, serve):
    """The class of CVE-2024-54662: the rule asks for a password, the client comes without."""
    echo, free = serve(peers.Echo), serve(peers.Echo, "127.0.0.2")
    g = gateway('auth password file "@DIR@/users"\nauth prefer none, password\n'
                "pass connect from any to 127.0.0.2 auth none\n"
                "pass connect from any to 127.0.0.1 auth password\n"
                "pass connect from any to 127.0.0.1 user alice\n"
                "pass connect from any to 127.0.0.1\n",
                before=lambda g: g.write_users(sally.user_line("alice", "a")))
    for methods in ((0,), (0, 2), (2, 0)):
        with Client(g.at) as c:
            assert c.greet(*methods) == 0
            assert c.connect("127.0.0.1", echo.port)[0] == socks5.NOT_ALLOWED
        with Client(g.at) as c:
            c.greet(*methods)
            assert c.connect("127.0.0.2", free.port)[0] == 0
    with Client(g.at) as c:
        assert c.greet(2) == 2
        assert c.login(b"alice", b"a") == 0
        assert c.connect("127.0.0.1", echo.port)[0] == 0
    peers.wait_for(lambda: len(echo.peers) == 1)


def test_the_request_may_not_come_before_the_verdict(g, echo):
    """Everything is sent at once with a wrong password: nothing is connected."""
    with Client(g.at) as c:
        c.send(socks5.greeting(2) + socks5.credentials(b"alice", b"wrong") + socks5.request("127.0.0.1", echo.port))
        got = c.rest()
        assert got[:2] == b"\5\2" and got[2] == 1 and got[3] != 0 and len(got) == 4
    with Client(g.at) as c:  # the login left out
        assert c.greet(2) == 2
        c.send(socks5.request("127.0.0.1", echo.port))
        got = c.rest()
        assert got == b"" or (got[0] == 1 and got[1] != 0)
    assert not echo.peers


def test_one_source_guessing_locks_nobody_out_from_elsewhere(g):
    with_failures = [Client(g.at, source="127.0.0.66", seconds=60) for _ in range(30)]
    for c in with_failures:
        c.send(socks5.greeting(2) + socks5.credentials(b"alice", b"wrong"))
    time.sleep(0.2)
    began = time.monotonic()
    assert login(g, b"alice", PASSWORD.encode(), source="127.0.0.7") == 0
    assert time.monotonic() - began < 3
    for c in with_failures:
        c.close()


def test_failures_slow_the_next_try(g):
    def took(password):
        began = time.monotonic()
        login(g, b"alice", password, source="127.0.0.77")
        return time.monotonic() - began
    first = took(b"wrong")
    for _ in range(3):
        last = took(b"wrong")
    assert last > first + 0.2, (first, last)


def test_a_flood_of_logins_gets_answers_in_bounded_time(g):
    clients = []
    for n in range(150):
        c = Client(g.at, source=f"127.0.1.{n % 200 + 1}", seconds=60)
        c.send(socks5.greeting(2) + socks5.credentials(b"user%d" % n, b"wrong"))
        clients.append(c)
    began = time.monotonic()
    for c in clients:
        got = c.rest()
        assert got[:2] == b"\5\2" and got[3:] not in (b"", b"\0")
    assert time.monotonic() - began < 45
    assert login(g, b"alice", PASSWORD.encode(), source="127.0.0.9") == 0


def test_a_killed_authd_is_replaced_and_its_users_are_still_known(gateway):
    g = gateway(FILE, expect_lost=1, before=lambda g: g.write_users(sally.user_line("alice", "a")))
    os.kill(g.children("authd")[0], 9)
    assert g.record("child-lost")["process"] == b"password"
    peers.wait_for(lambda: login(g, b"alice", b"a") == 0, 15)


def test_fail2ban_finds_the_address(g):
    login(g, b"alice", b"wrong", source="127.0.0.88")
    login(g, b'evil" client=10.0.0.1:5 x="\n', b"wrong", source="127.0.0.89")
    login(g, b"alice", PASSWORD.encode(), source="127.0.0.90")
    peers.wait_for(lambda: len(g.records("auth-failed")) >= 2, why=g.story)
    filters = [os.path.join(r, f) for r, _, fs in os.walk(f"{sally.TOP}/etc/fail2ban") for f in fs
               if "filter" in r or f.endswith("filter.conf")]
    assert filters
    p = subprocess.run(["fail2ban-regex", "-o", "ip", g.log, filters[0]], capture_output=True, text=True, timeout=60)
    found = re.findall(r"\d+\.\d+\.\d+\.\d+", p.stdout)
    assert sorted(set(found)) == ["127.0.0.88", "127.0.0.89"], p.stdout + p.stderr


# --- PAM ---

@pytest.fixture
def accounts():
    """Users of the machine that exist only in this mount namespace."""
    import tempfile
    tmp = tempfile.mkdtemp(prefix="sp.", dir="/tmp")
    names = ["passwd", "shadow", "group", "gshadow"]
    for name in names:
        if os.path.exists(f"/etc/{name}"):
            shutil.copy2(f"/etc/{name}", f"{tmp}/{name}")
            st = os.stat(f"/etc/{name}")
            os.chown(f"{tmp}/{name}", st.st_uid, st.st_gid)
            subprocess.run(["mount", "--bind", f"{tmp}/{name}", f"/etc/{name}"], check=True)
    os.mkdir(f"{tmp}/pam.d")
    for f in os.listdir("/etc/pam.d"):
        shutil.copy(f"/etc/pam.d/{f}", f"{tmp}/pam.d/{f}")
    with open(f"{tmp}/pam.d/sallyport-test", "w") as f:
        f.write("auth required pam_unix.so\naccount required pam_unix.so\n")
    subprocess.run(["mount", "--bind", f"{tmp}/pam.d", "/etc/pam.d"], check=True)
    import crypt

    def add(name, password, uid, expire="", group="", lock=False):
        hashed = ("!" if lock else "") + crypt.crypt(password, "$5$rounds=1000$saltsalt")
        with open("/etc/passwd", "a") as f:
            f.write(f"{name}:x:{uid}:{uid}::/:/usr/sbin/nologin\n")
        with open("/etc/group", "a") as f:
            f.write(f"{name}:x:{uid}:\n" + (f"{group}:x:{uid + 1000}:{name}\n" if group else ""))
        with open("/etc/shadow", "a") as f:
            f.write(f"{name}:{hashed}:19000:0:99999:7::{expire}:\n")
    yield add
    subprocess.run(["umount", "/etc/pam.d"], check=True)
    for name in names:
        if os.path.exists(f"{tmp}/{name}"):
            subprocess.run(["umount", f"/etc/{name}"], check=True)
    shutil.rmtree(tmp)


def test_pam_with_its_account_phase_and_groups(gateway, accounts, echo):
    today = (datetime.date.today() - datetime.date(1970, 1, 1)).days
    accounts("sptanna", "annas", 31001, group="sptweb")
    accounts("sptben", "bens", 31002)
    accounts("sptold", "olds", 31003, expire=str(today - 10), group="")
    accounts("sptlock", "locks", 31004, lock=True)
    g = gateway('auth password pam "sallyport-test"\n'
                "pass connect from any to 127.0.0.1 group sptweb auth password\n")
    assert socks5.open_session(g.at, "127.0.0.1", echo.port, b"sptanna", b"annas")[1][0] == 0
    assert socks5.open_session(g.at, "127.0.0.1", echo.port, b"sptben", b"bens")[1][0] == socks5.NOT_ALLOWED
    for user, password in ((b"sptanna", b"wrong"), (b"sptold", b"olds"), (b"sptlock", b"locks"), (b"sptno", b"x")):
        assert login(g, user, password) != 0, user
    assert g.record("auth-failed", user="sptold")
    log = open(g.log, "rb").read()
    for secret in (b"annas", b"bens", b"olds", b"locks"):
        assert secret not in log.replace(b"sptanna", b"")
    assert records.read(g.log)
