"""sallyportctl passwd by itself: its commands, the terminal, the lock, what it refuses and what it leaves alone."""
import crypt
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest

import sally

CTL = f"{sally.BUILD}/sallyportctl"
QUICK = ["-m", "sha256crypt"]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "users")


def run(path, *args, stdin=b"", quick=True):
    return subprocess.run([CTL, "passwd", "-f", path, *(QUICK if quick else []), *args], input=stdin,
                          capture_output=True, timeout=60)


def ok(path, *args, **how):
    p = run(path, *args, **how)
    assert p.returncode == 0, p.stderr
    return p.stdout.decode()


def refused(path, *args, status=1, **how):
    before = content(path)
    p = run(path, *args, **how)
    assert p.returncode == status and p.stderr and b"Sanitizer" not in p.stderr, (p.returncode, p.stderr)
    assert content(path) == before  # and nothing is changed
    assert not [f for f in os.listdir(os.path.dirname(path)) if f.endswith(".tmp")]
    assert p.stderr.startswith(b"sallyportctl: ")
    return p.stderr.decode()


def content(path):
    if not os.path.exists(path):
        return None
    with open(path) as f:
        return f.read()


def fields(path, user):
    with open(path) as f:
        return [line.rstrip("\n").split(":") for line in f if line.startswith(user + ":")][0]


def put(path, text, mode=0o600):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def test_a_life_of_a_user(path):
    ok(path, "add", "alice", "-g", "web,staff", "-e", "2030-01-31", stdin=b"first\n")
    name, hashed, groups, expires = fields(path, "alice")
    assert crypt.crypt("first", hashed) == hashed and (groups, expires) == ("web,staff", "2030-01-31")
    assert os.stat(path).st_mode & 0o7777 == 0o600
    ok(path, "change", "alice", stdin=b"second")
    name, again, groups, expires = fields(path, "alice")
    assert crypt.crypt("second", again) == again != hashed and (groups, expires) == ("web,staff", "2030-01-31")
    ok(path, "lock", "alice")
    assert fields(path, "alice") == ["alice", again, "web,staff", "2030-01-31", "locked"]
    ok(path, "lock", "alice")
    ok(path, "expire", "alice", "never")
    ok(path, "groups", "alice", "")
    assert fields(path, "alice") == ["alice", again, "", "", "locked"]
    ok(path, "change", "alice", stdin=b"third")  # another password does not unlock
    assert fields(path, "alice")[4] == "locked"
    ok(path, "unlock", "alice")
    ok(path, "groups", "alice", "a b,%,:")
    assert fields(path, "alice")[2:] == ["a%20b,%25,%3A", ""]
    assert ok(path, "list") == "alice groups=a%20b,%25,%3A\n"
    ok(path, "remove", "alice")
    assert content(path) == ""


def test_the_default_method_and_the_others(path):
    for method, prefix in ((None, "$y$"), ("yescrypt", "$y$"), ("gost-yescrypt", "$gy$"), ("scrypt", "$7$"),
                           ("bcrypt", "$2b$"), ("sha512crypt", "$6$"), ("sha256crypt", "$5$")):
        user = f"user-{method}"
        ok(path, *(["-m", method] if method else []), "add", user, stdin=b"p", quick=False)
        assert fields(path, user)[1].startswith(prefix)
    refused(path, "-m", "des", "add", "x", stdin=b"p", quick=False, status=2)
    refused(path, "-m", "bcrypt", "add", "x", stdin=b"p" * 73, quick=False)  # it would cut it
    ok(path, "-m", "bcrypt", "add", "x", stdin=b"p" * 72, quick=False)


def test_comments_and_order_stay(path):
    line = "%s:$5$salt$hash:g:2030-01-01\n"
    put(path, "# first: comment\n\n" + line % "a" + "#b:x::\n" + line % "b" + "\n" + line % "c" + "# last")
    ok(path, "lock", "b")
    ok(path, "add", "d", stdin=b"p")
    got = content(path)
    head = "# first: comment\n\n" + line % "a" + "#b:x::\n" + "b:$5$salt$hash:g:2030-01-01:locked\n\n" + line % "c" + "# last\n"
    assert got.startswith(head) and re.fullmatch(r"d:\$5\$\S+::\n", got[len(head):])
    ok(path, "remove", "a")
    assert content(path).startswith("# first: comment\n\n#b:x::\n")


def test_owner_and_mode_stay(path):
    put(path, "a:x::\n", 0o640)
    if os.getuid() == 0:
        os.chown(path, 0, 42)
    ok(path, "lock", "a")
    st = os.stat(path)
    assert st.st_mode & 0o7777 == 0o640 and (os.getuid() != 0 or (st.st_uid, st.st_gid) == (0, 42))


def test_what_is_refused(path):
    put(path, "alice:x::\n")
    assert "alice" in refused(path, "add", "alice", stdin=b"p")
    for args in (("change", "bob"), ("remove", "bob"), ("lock", "bob"), ("unlock", "bob"), ("groups", "bob", "g"),
                 ("expire", "bob", "never")):
        assert "bob" in refused(path, *args, stdin=b"p")
    for date in ("2030-02-30", "tomorrow", "", "2030-01-01:locked", "2030-01-01\nroot:x::", "30-1-1"):
        assert "YYYY-MM-DD" in refused(path, "expire", "alice", date, status=2)
        assert "YYYY-MM-DD" in refused(path, "add", "new", "-e", date, stdin=b"p", status=2)
    for groups in (",", "a,", ",a", "a,,b", "g" * 256, ",".join("g" * 253 + str(n) for n in range(10, 27)), "a,b,a", "a,a"):
        refused(path, "groups", "alice", groups, status=2)
    for password in (b"", b"\n", b"p" * 256, b"p" * 256 + b"\n", b"p" * 10000):
        assert "255" in refused(path, "add", "new", stdin=password)
    refused(path, "add", "", stdin=b"p", status=2)
    refused(path, "add", "u" * 256, stdin=b"p", status=2)
    for password in (b"a\n\n", b"\na", b"one\ntwo\n"):
        assert "more than one line" in refused(path, "add", "new", stdin=password)


def test_a_date_that_is_past_warns(path):
    put(path, "alice:x::\n")
    assert b"warning: 2020-01-31 is past" in run(path, "expire", "alice", "2020-01-31").stderr
    assert content(path) == "alice:x::2020-01-31\n"
    assert run(path, "expire", "alice", "2999-12-31").stderr == b""


def test_help_and_what_is_no_command():
    p = subprocess.run([CTL, "passwd", "-h"], capture_output=True, text=True)
    assert (p.returncode, p.stderr) == (0, "") and "expire USER" in p.stdout
    for args, status, text in ((["foo"], 2, "sallyportctl: unknown command foo\n"), (["status", "x"], 2, "unexpected argument x"), ([], 2, "usage"),
                               (["-x"], 2, "usage"), (["-s", "/nonexistent", "status"], 1, "/nonexistent")):
        p = subprocess.run([CTL, *args], capture_output=True, text=True)
        assert p.returncode == status and text in p.stderr and p.stdout == "", (args, p)
    assert "passwd" in subprocess.run([CTL, "foo"], capture_output=True, text=True).stderr
    for program in (CTL, f"{sally.BUILD}/sallyportd"):
        assert "usage: " in subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
        p = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        assert p.stdout == subprocess.run([program, "-V"], capture_output=True, text=True).stdout


def test_the_default_socket_follows_the_user():
    """The rule of sallyportd: root's is in /run, another's in $XDG_RUNTIME_DIR or /tmp."""
    for user, env, where in ((0, "/x", "/run/sallyport/control"), (sally.NOBODY, "/x", "/x/sallyport/control"),
                             (sally.NOBODY, "", f"/tmp/sallyport-{sally.NOBODY}/control")):
        with open(CTL, "rb") as f:  # it may lie where the user cannot look
            p = subprocess.run(["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", f"/proc/self/fd/{f.fileno()}", "status"],
                               pass_fds=[f.fileno()], capture_output=True, text=True, env=sally.environment(XDG_RUNTIME_DIR=env))
        assert p.returncode == 1 and f"sallyportctl: {where}: " in p.stderr.replace(f"{f.name}: ", ""), p.stderr


@pytest.mark.parametrize("args, says", [([], "a command is missing"), (["nonsense"], "unknown command passwd nonsense"), (["add"], "add USER"),
                                        (["add", "a", "b"], "unexpected argument b"), (["list", "x"], "unexpected argument x"),
                                        (["groups", "a"], "groups USER"), (["expire", "a"], "expire USER"), (["remove"], "remove USER"),
                                        (["lock", "a", "-g", "x"], "-g and -e go with add"), (["-m"], "option -m needs a value"),
                                        (["add", "-x"], "unknown option -x"), (["add", "--nothing"], "unknown option --nothing")])
def test_usage(path, args, says):
    put(path, "a:x::\n")
    said = refused(path, *args, stdin=b"p", status=2)
    assert says in said and "usage" in said


def test_names_are_octets_and_options_stand_anywhere(path):
    every = bytes(range(1, 256))
    ok(path, "add", every, stdin=b"p")
    ok(path, "add", "-g", "web", "--", b"-g", stdin=b"p")
    ok(path, "add", b"last", "-g", "x", "-e", "2031-01-01", stdin=b"p\n")
    lines = ok(path, "list").splitlines()
    assert lines == [sally.escaped(every), "-g groups=web", "last groups=x expires=2031-01-01"]
    ok(path, "remove", every)
    ok(path, "remove", "--", "-g")
    assert len(ok(path, "list").splitlines()) == 1


def test_a_password_is_all_of_standard_input_but_one_newline(path):
    for n, (given, password) in enumerate(((b"a\n", "a"), (b"a", "a"), (b" a b \n", " a b "))):
        ok(path, "add", f"u{n}", stdin=given)
        hashed = fields(path, f"u{n}")[1]
        assert crypt.crypt(password, hashed) == hashed
    ok(path, "add", "long", stdin=b"p" * 255 + b"\n")


def test_unsafe_and_wrong_files(path, tmp_path):
    good = "alice:x::\n"
    for mode in (0o644, 0o666, 0o660, 0o602):
        put(path, good, mode)
        refused(path, "lock", "alice")
        refused(path, "list")
    put(path, good)
    ok(path, "list")  # the positive control
    put(path, good + "bob\n")
    assert f"{path}:2:" in refused(path, "lock", "alice")
    os.rename(path, path + ".real")
    os.symlink(path + ".real", path)
    assert "is a symbolic link" in refused(path, "list")
    os.unlink(path)
    os.mkfifo(path)
    p = run(path, "list")
    assert p.returncode == 1
    os.unlink(path)
    refused(path, "list")
    refused(path, "change", "alice", stdin=b"p")
    p = run(f"{tmp_path}/none/users", "add", "x", stdin=b"p")
    assert p.returncode == 1 and b"directory" in p.stderr
    if os.getuid() == 0:
        put(path, good)
        os.chown(path, 65534, 0)
        assert "root" in refused(path, "lock", "alice")


def test_a_leftover_of_a_killed_one_is_no_obstacle(path, tmp_path):
    put(path, "alice:x::\n")
    put(f"{tmp_path}/.users.tmp", "leftover")
    ok(path, "lock", "alice")
    assert content(path) == "alice:x:::locked\n" and os.listdir(tmp_path) == ["users"]


def test_two_at_once_both_count(path):
    put(path, "")
    running = [subprocess.Popen([CTL, "passwd", "-f", path, *QUICK, "add", f"user{n}"], stdin=subprocess.PIPE)
               for n in range(12)]
    for p in running:
        p.stdin.write(b"p")
        p.stdin.close()
    assert [p.wait(60) for p in running] == [0] * 12
    assert len(ok(path, "list").splitlines()) == 12


def test_it_waits_for_the_lock(path, tmp_path):
    put(path, "alice:x::\n")
    d = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(d, fcntl.LOCK_EX)
    p = subprocess.Popen([CTL, "passwd", "-f", path, "lock", "alice"])
    time.sleep(0.3)
    assert p.poll() is None and content(path) == "alice:x::\n"
    os.close(d)
    assert p.wait(20) == 0 and content(path) == "alice:x:::locked\n"


def on_terminal(path, *lines):
    """Runs `add alice` on a terminal of its own and types the lines, each at its prompt. (status, what was seen)"""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(CTL, [CTL, "passwd", "-f", path, *QUICK, "add", "alice"])
    seen, typed = b"", 0
    end = time.monotonic() + 30
    try:
        while time.monotonic() < end:
            if not select.select([fd], [], [], 1)[0]:
                continue
            try:
                seen += os.read(fd, 4096)
            except OSError:
                break
            if typed < len(lines) and seen.count(b": ") > typed:
                time.sleep(0.05)
                os.write(fd, lines[typed] + b"\n")
                typed += 1
    finally:
        os.close(fd)
        if time.monotonic() >= end:
            os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


def test_the_terminal_asks_twice_and_shows_nothing(path):
    status, seen = on_terminal(path, b"pass word", b"pass word")
    assert status == 0, seen
    assert b"alice" in seen and b"pass word" not in seen
    hashed = fields(path, "alice")[1]
    assert crypt.crypt("pass word", hashed) == hashed


def test_the_terminal_refuses_two_that_differ_and_none(path):
    for lines in ((b"one", b"two"), (b"", b""), (b"p" * 256, b"p" * 256)):
        status, seen = on_terminal(path, *lines)
        assert status == 1 and not os.path.exists(path), seen
