"""authd's pam role against pam_unix and accounts that exist only in a mount namespace of that authd: the account
phase, groups, helpers that hang or die, and what a failure's time tells."""
import crypt
import datetime
import os
import shutil
import tempfile
import time

import pytest

import authd
import sally
from authd import OFF, ask

FAST = "$5$rounds=1000$saltsalt"
TODAY = (datetime.date.today() - datetime.date(1970, 1, 1)).days
BIND = ('set -e; for f in passwd shadow group gshadow pam.d; do if [ -e "/etc/$f" ]; then '
        'mount --bind "$ETC/$f" "/etc/$f"; fi; done; exec "$0" "$@"')


class Accounts:
    """A copy of the machine's account files, to be bound over /etc."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="sp.", dir="/tmp")
        os.chmod(self.dir, 0o755)
        for name in ("passwd", "shadow", "group", "gshadow"):
            if os.path.exists(f"/etc/{name}"):
                shutil.copy2(f"/etc/{name}", f"{self.dir}/{name}")
                st = os.stat(f"/etc/{name}")
                os.chown(f"{self.dir}/{name}", st.st_uid, st.st_gid)
        shutil.copytree("/etc/pam.d", f"{self.dir}/pam.d")
        self.service("spt", "auth required pam_unix.so", "account required pam_unix.so")
        self.uid = 31000
        self.said = f"{self.dir}/said"  # where scripts of pam_exec may write
        os.mkdir(self.said)
        os.chmod(self.said, 0o777)

    def service(self, name, *lines):
        with open(f"{self.dir}/pam.d/{name}", "w") as f:
            f.write("".join(line + "\n" for line in lines))

    def append(self, name, line):
        with open(f"{self.dir}/{name}", "a") as f:
            f.write(line + "\n")

    def add(self, name, password, groups=(), hashed=None, changed=19000, longest=99999, expire=""):
        self.uid += 1
        hashed = hashed or crypt.crypt(password, FAST)
        self.append("passwd", f"{name}:x:{self.uid}:{self.uid}::/:/usr/sbin/nologin")
        self.append("shadow", f"{name}:{hashed}:{changed}:0:{longest}:7::{expire}:")
        self.append("group", f"{name}:x:{self.uid}:")
        for group in groups:
            self.uid += 1
            self.append("group", f"{group}:x:{self.uid}:{name}")

    def script(self, text):
        path = f"{self.dir}/script"
        with open(path, "w") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)
        return path


@pytest.fixture
def accounts():
    a = Accounts()
    yield a
    shutil.rmtree(a.dir)


@pytest.fixture
def start(accounts):
    running = []

    def go(service="spt", **how):
        a = authd.Authd("PAM", service=service, uid=61235, **how,
                        wrapper=["env", f"ETC={accounts.dir}", "unshare", "-m", "sh", "-c", BIND])
        running.append(a)
        return a

    yield go
    for a in running:
        a.stop()


def test_every_verdict(start, accounts):
    accounts.add("sptanna", "annas", groups=["sptweb", "sptmore"])
    accounts.add("sptold", "olds", expire=str(TODAY - 10))
    accounts.add("sptlast", "lasts", expire=str(TODAY + 1))
    accounts.add("sptstale", "stales", changed=TODAY - 100, longest=10)  # its password must be changed
    accounts.add("sptlock", "", hashed="!" + crypt.crypt("locks", FAST))
    accounts.add("sptnone", "", hashed="*")
    accounts.append("passwd", "sptopen::31999:31999::/:/usr/sbin/nologin")
    a = start()
    w = a.worker()
    cases = [(b"sptanna", b"annas", ("ACCEPT",)), (b"sptanna", b"anna", ("WRONG",)), (b"sptnobody", b"x", ("UNKNOWN",)),
             (b"sptold", b"olds", ("EXPIRED",)), (b"sptlast", b"lasts", ("ACCEPT",)), (b"sptstale", b"stales", ("EXPIRED",)),
             (b"sptlock", b"locks", ("WRONG", "LOCKED")), (b"sptlock", b"!", ("WRONG", "LOCKED")),
             (b"sptnone", b"*", ("WRONG", "LOCKED")), (b"sptopen", b"x", ("WRONG",)),
             (b"sptanna\0", b"annas", ("WRONG",)), (b"sptanna", b"annas\0", ("WRONG",)),
             (b"sptanna", b"annas\0x", ("WRONG",)), (bytes(range(1, 256)), bytes(range(1, 256)), ("UNKNOWN",)),
             (b"root", b"x", ("WRONG", "LOCKED", "EXPIRED"))]
    for n, (user, password, verdicts) in enumerate(cases):
        got = a.check(w, user, password, source=f"10.0.{n}.1", slot=n)
        assert got[0] in verdicts, (user, got)
        if got[0] == "ACCEPT":
            assert got[2] == user
    assert sorted(a.check(w, b"sptanna", b"annas", source="10.1.0.1")[3]) == [b"sptanna", b"sptmore", b"sptweb"]


def test_a_service_that_denies_or_does_not_exist(start, accounts):
    accounts.add("sptanna", "annas")
    accounts.service("sptdeny", "auth required pam_unix.so", "account required pam_deny.so")
    accounts.service("other", "auth required pam_deny.so", "account required pam_deny.so")
    for service in ("sptdeny", "sptmissing"):
        a = start(service)
        got = a.check(a.worker(), b"sptanna", b"annas")
        assert got[0] in ("LOCKED", "WRONG", "FAILED") and not got[1], got


def test_the_modules_learn_who_and_from_where(start, accounts):
    accounts.add("sptanna", "annas")
    out = accounts.said
    script = accounts.script(f'echo "$PAM_USER $PAM_RHOST $PAM_SERVICE" > {out}/env; ls -l /proc/$$/fd > {out}/fds; '
                             f'cat > {out}/stdin; exit 0\n')
    accounts.service("sptexec", f"auth required pam_exec.so expose_authtok quiet {script}",
                     "auth required pam_unix.so use_first_pass", "account required pam_unix.so")
    a = start("sptexec")
    assert a.check(a.worker(), b"sptanna", b"annas", source="2001:db8::7")[0] == "ACCEPT"
    with open(f"{out}/env") as f:
        assert f.read() == "sptanna 2001:db8::7 sptexec\n"
    with open(f"{out}/stdin", "rb") as f:
        assert f.read().rstrip(b"\0") == b"annas"
    with open(f"{out}/fds") as f:
        assert "socket:" not in f.read()  # none of the gateway's channels
    # The positive control: the socket of the master is there in authd itself.
    assert "socket:" in " ".join(os.readlink(f"/proc/{a.p.pid}/fd/{n}") for n in os.listdir(f"/proc/{a.p.pid}/fd"))


def test_the_users_name_is_what_the_modules_make_of_it(start, accounts):
    accounts.add("sptanna", "annas")
    accounts.service("sptlower", "auth required pam_permit.so", "account required pam_permit.so")
    a = start("sptlower")
    got = a.check(a.worker(), b"nobody-here", b"x")
    assert got[0] == "ACCEPT" and got[2:4] == (b"nobody-here", [])  # not a user of the machine: no groups


def test_failures_tell_nothing_by_their_time(start, accounts):
    accounts.add("sptanna", "annas")
    accounts.add("sptold", "olds", expire="100")
    a = start()
    w = a.worker()
    for n, (user, password) in enumerate(((b"sptanna", b"x"), (b"sptnobody", b"x"), (b"sptold", b"olds"),
                                          (b"sptanna\0", b"x"))):
        took = a.check(w, user, password, source=f"10.0.0.{n + 1}")[4]
        assert 0.95 < took < 1.3, (user, took)
    assert a.check(w, b"sptanna", b"annas", source="10.0.1.1")[4] < 0.8


def test_helpers_are_bounded_and_fair_and_hold_up_no_one(start, accounts):
    accounts.add("sptanna", "annas")
    script = accounts.script("sleep 1; exit 0\n")
    accounts.service("sptslow", f"auth required pam_exec.so quiet {script}", "auth required pam_unix.so",
                     "account required pam_unix.so")
    a = start("sptslow")
    w = a.worker()
    w.send(*[ask(n, b"sptanna", b"annas", source="10.0.0.1") for n in range(28)])
    most, end = 0, time.monotonic() + 20
    while most < 8 and time.monotonic() < end:
        most = max(most, len(sally.children_of(a.p.pid)))
    w.send(ask(100, b"sptanna", b"annas", source="10.0.0.2"))
    before = 0  # by order, since the machine may be slow: those that ran, and the turns of the other source
    while w.result(seconds=30)[0] != 100:
        before += 1
        most = max(most, len(sally.children_of(a.p.pid)))
    assert most == 8 and before <= 20, f"{most} at once, {before} of 28 before"
    a.stop()


def test_a_helper_that_hangs_is_killed_with_what_it_started(start, accounts):
    accounts.add("sptanna", "annas")
    script = accounts.script(f'echo $$ > {accounts.said}/pid; exec sleep 300\n')
    accounts.service("spthang", f"auth required pam_exec.so quiet {script}", "account required pam_unix.so")
    a = start("spthang")
    w = a.worker()
    w.send(ask(3, b"sptanna", b"annas"))
    began = time.monotonic()
    assert w.result(seconds=30)[:2] == (3, False)
    assert 19 < time.monotonic() - began < 25
    assert a.master.verdict()[2] == "FAILED"
    with open(f"{accounts.said}/pid") as f:
        assert not sally.alive(int(f.read()))
    assert sally.children_of(a.p.pid) == []


def test_a_helper_that_dies_is_a_failure_of_the_check_alone(start, accounts):
    accounts.add("sptanna", "annas")
    script = accounts.script("kill -9 $PPID\n")
    accounts.service("sptdie", f"auth required pam_exec.so quiet {script}", "account required pam_unix.so")
    a = start("sptdie")
    w = a.worker()
    assert a.check(w, b"sptanna", b"annas", slot=3, source="10.0.0.1")[0] == "FAILED"
    assert a.check(w, b"sptanna", b"annas", slot=3, source="10.0.0.2")[0] == "FAILED"


def test_helpers_do_not_outlive_authd(start, accounts):
    accounts.add("sptanna", "annas")
    script = accounts.script(f"echo $$ > {accounts.said}/pid; exec sleep 300\n")
    accounts.service("sptslow", f"auth required pam_exec.so quiet {script}", "account required pam_unix.so")
    a = start("sptslow")
    a.worker().send(ask(1, b"sptanna", b"annas"))
    time.sleep(0.5)
    helpers = sally.children_of(a.p.pid)
    assert len(helpers) == 1
    with open(f"{accounts.said}/pid") as f:
        started = int(f.read())
    assert sally.alive(helpers[0]) and sally.alive(started)
    a.stop()
    time.sleep(0.3)
    assert not sally.alive(helpers[0]) and not sally.alive(started)


def test_without_the_sandbox_it_is_the_same(start, accounts):
    accounts.add("sptanna", "annas", groups=["sptweb"])
    a = start(layers={name: OFF for name in authd.LAYERS})
    w = a.worker()
    assert a.check(w, b"sptanna", b"annas")[:2] == ("ACCEPT", True)
    assert a.check(w, b"sptanna", b"wrong", source="10.0.0.1")[0] == "WRONG"
