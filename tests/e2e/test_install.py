"""make install and make uninstall, the systemd files, and a gateway dropped into a bare chroot."""
import glob
import os
import re
import shutil
import subprocess
import tempfile
import time

import pytest

import peers
import sally
import socks5


def make(*args, seconds=600, status=0):
    more = ["SANITIZE=1"] if sally.SANITIZE else []
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "MFLAGS"}
    # -o all: what is tested is what was built, while others run it
    p = subprocess.run(["make", "-C", sally.TOP, "-o", "all", f"B={os.path.relpath(sally.BUILD, sally.TOP)}", *more, *args], capture_output=True,
                       text=True, timeout=seconds, env=env)
    assert p.returncode == status, p.stdout + p.stderr
    return p.stdout


def files(root):
    return sorted(os.path.relpath(os.path.join(d, f), root) for d, _, fs in os.walk(root) for f in fs)


@pytest.fixture
def dest():
    tmp = tempfile.mkdtemp(prefix="sp.", dir="/tmp")
    os.chmod(tmp, 0o755)
    yield tmp
    if os.path.ismount(f"{tmp}/proc"):
        subprocess.run(["umount", f"{tmp}/proc"], check=True)
    shutil.rmtree(tmp, ignore_errors=True)


def test_help():
    said = make("help")
    assert "Sallyport. `make run`" in said and "  make bench " in said and "  PREFIX, DESTDIR " in said and "#" not in said


def test_install_and_uninstall(dest):
    make("install", f"DESTDIR={dest}")
    have = files(dest)
    for need in ("usr/sbin/sallyportd", "usr/sbin/sallyportctl", "usr/libexec/sallyport/worker", "usr/libexec/sallyport/resolver",
                 "usr/libexec/sallyport/authd", "etc/sallyport/sallyport.conf", "usr/lib/systemd/system/sallyport.service",
                 "usr/lib/sysusers.d/sallyport.conf", "usr/lib/tmpfiles.d/sallyport.conf", "etc/logrotate.d/sallyport",
                 "usr/share/man/man8/sallyportd.8", "usr/share/man/man8/sallyportctl.8", "usr/share/man/man5/sallyport.conf.5",
                 "usr/share/man/man7/sallyport-audit.7", "usr/share/man/man3/sallyport.3",
                 "usr/include/sallyport.h", "usr/lib/libsallyport.a", "usr/share/doc/sallyport/examples/local.conf"):
        assert need in have, (need, have)
    assert any(f.startswith("etc/rsyslog.d/") for f in have) and any(f.startswith("etc/fail2ban/filter.d/") for f in have)
    for f in have:
        assert not os.stat(f"{dest}/{f}").st_mode & 0o022, f
    make("uninstall", f"DESTDIR={dest}")
    assert files(dest) == []


def test_install_keeps_what_an_operator_changed(dest):
    make("install", f"DESTDIR={dest}")
    conf = f"{dest}/etc/sallyport/sallyport.conf"
    with open(conf, "a") as f:
        f.write("# mine\n")
    assert "kept" in make("install", f"DESTDIR={dest}")
    with open(conf) as f:
        assert f.read().endswith("# mine\n")
    assert "kept" in make("uninstall", f"DESTDIR={dest}")
    assert files(dest) == ["etc/sallyport/sallyport.conf"]


def test_uninstall_names_all_that_it_keeps(dest):
    make("install", f"DESTDIR={dest}")
    for path, text in (("etc/sallyport/users", "alice:x::\n"), ("var/log/sallyport/audit.log", "x\n"), ("var/log/sallyport.log", "x\n"),
                       ("etc/passwd", "root:x:0:0::/:/bin/sh\nsallyport-worker:x:998:998::/:/bin/false\n")):
        with open(f"{dest}/{path}", "w") as f:
            f.write(text)
    said = make("uninstall", f"DESTDIR={dest}").splitlines()
    for line in (f"kept: {dest}/etc/sallyport/users", f"kept: {dest}/var/log/sallyport/audit.log", f"kept: {dest}/var/log/sallyport.log",
                 "kept: the system users sallyport-worker (userdel removes one)"):
        assert line in said, (line, said)
    assert files(dest) == ["etc/passwd", "etc/sallyport/users", "var/log/sallyport.log", "var/log/sallyport/audit.log"]


def test_make_run_on_another_port():
    said = make("-n", "run", "PORT=4321")
    assert "-D port=4321" in said and said.count("127.0.0.1:4321") == 4 and "1080" not in said, said
    assert "PORT=abc is no port" in make("run", "PORT=abc", status=2)


def test_who_writes_which_log():
    """rsyslog and the gateway never write the same file, and the snippets name the files that there are."""
    texts = {}
    for path in [f"{sally.TOP}/README.md", *glob.glob(f"{sally.TOP}/etc/**/*", recursive=True)]:
        if os.path.isfile(path):
            with open(path) as f:
                texts[os.path.relpath(path, sally.TOP)] = f.read()
    ours = {m for t in texts.values() for m in re.findall(r'log file "([^"]*)"', t)}
    assert ours == {"/var/log/sallyport/audit.log"}, ours
    theirs = re.findall(r'file="([^"]*)"', texts["etc/rsyslog/sallyport.conf"])
    assert theirs == ["/var/log/sallyport.log"]
    assert re.findall(r"^logpath\s*= (.*)$", texts["etc/fail2ban/jail.d/sallyport.conf"], re.M) == theirs
    assert "/var/log/sallyport.log /var/log/sallyport/*.log {" in texts["etc/logrotate/sallyport"]
    assert re.search(r"^d +/var/log/sallyport +0750 root root", texts["etc/systemd/sallyport.tmpfiles"], re.M)
    assert "LogsDirectory=sallyport\nLogsDirectoryMode=0750\n" in texts["etc/systemd/sallyport.service"]


def test_another_prefix(dest):
    make("install", f"DESTDIR={dest}", "PREFIX=/usr/local", "SYSCONFDIR=/usr/local/etc")
    assert all(f.startswith("usr/local/") for f in files(dest)), files(dest)
    with open(f"{dest}/usr/local/lib/systemd/system/sallyport.service") as f:
        assert "/usr/local/sbin/sallyportd" in f.read()
    for file in files(dest):
        with open(f"{dest}/{file}", "rb") as f:
            text = f.read()
        if not text.startswith(b"\x7fELF"):
            assert not re.search(rb"(?<!/local)/(sbin/sallyport|libexec/sallyport|share/doc/sallyport|etc/sallyport)", text), file
    with open(f"{dest}/usr/local/etc/logrotate.d/sallyport") as f:
        assert "/usr/local/sbin/sallyportctl reload" in f.read()
    make("uninstall", f"DESTDIR={dest}", "PREFIX=/usr/local", "SYSCONFDIR=/usr/local/etc")
    assert files(dest) == []


def test_the_installed_configuration_is_right(dest):
    make("install", f"DESTDIR={dest}")
    p = subprocess.run([f"{dest}/usr/sbin/sallyportd", "-n", "-f", f"{dest}/etc/sallyport/sallyport.conf"], capture_output=True,
                       text=True, timeout=30, env=sally.environment())
    # the users file is an operator's to make; nothing else may be wrong
    wrong = [l for l in p.stderr.splitlines() if re.match(r".*:\d+: ", l) and "users" not in l]
    assert not wrong, p.stderr


def test_in_a_bare_chroot(dest, echo):
    """Installed with DESTDIR into an empty directory, with the libraries that ldd names and nothing else."""
    make("install", f"DESTDIR={dest}")
    programs = [f"{dest}/usr/sbin/sallyportd", f"{dest}/usr/sbin/sallyportctl", *glob.glob(f"{dest}/usr/libexec/sallyport/*")]
    needed = set()
    for program in programs:
        out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        needed |= set(re.findall(r"(/\S+) \(0x", out))
    for library in needed:
        os.makedirs(f"{dest}{os.path.dirname(library)}", exist_ok=True)
        shutil.copy(library, f"{dest}{library}")
    if sally.SANITIZE:  # ASan reads its options from /proc; without them it looks for leaks, which needs ptrace
        os.makedirs(f"{dest}/proc", exist_ok=True)
        subprocess.run(["mount", "-t", "proc", "proc", f"{dest}/proc"], check=True)
    port = 1080
    with open(f"{sally.TOP}/etc/examples/chroot.conf") as f:
        text = f.read()
    with open(f"{dest}/etc/sallyport/sallyport.conf", "w") as f:
        f.write(text + "pass connect from 127.0.0.0/8 to 127.0.0.0/8 auth none\n")
    os.makedirs(f"{dest}/run", exist_ok=True)  # as chroot.conf says
    with open(f"{dest}/stderr", "wb") as err:
        p = subprocess.Popen(["chroot", dest, "/usr/sbin/sallyportd", "-d"], stderr=err, stdin=subprocess.DEVNULL, env=sally.environment())
    try:
        def up():
            assert p.poll() is None, open(f"{dest}/stderr").read()
            try:
                return socks5.Client(("127.0.0.1", port)).greet(0) == 0
            except ConnectionRefusedError:
                return False
        peers.wait_for(up, 20, lambda: open(f"{dest}/stderr").read())
        c, reply = socks5.open_session(("127.0.0.1", port), "127.0.0.1", echo.port)
        assert reply[0] == 0
        c.send(b"hello")
        assert c.read(5) == b"hello"
        assert subprocess.run(["chroot", dest, "/usr/sbin/sallyportctl", "status"], capture_output=True, timeout=10,
                              env=sally.environment()).returncode == 0
        c.close()
        time.sleep(0.2)
    finally:
        p.terminate()
        assert p.wait(20) == 0, open(f"{dest}/stderr").read()
    assert open(f"{dest}/var/log/sallyport/audit.log").read().count("event=session-close") == 1


def test_the_units_are_right(dest):
    """systemd's own checks, without a running systemd."""
    make("install", f"DESTDIR={dest}")
    unit = f"{dest}/usr/lib/systemd/system/sallyport.service"
    with open(unit) as f:
        text = f.read()
    for line in ("Type=notify", "NotifyAccess=main", "LogRateLimitIntervalSec=0"):
        assert line in text
    os.symlink("/bin", f"{dest}/bin") if not os.path.exists(f"{dest}/bin") else None
    if shutil.which("systemd-analyze"):
        p = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={dest}", "sallyport.service"],
                           capture_output=True, text=True, timeout=60)
        about = [l for l in p.stderr.splitlines() if "sallyport" in l and "Failed to prepare" not in l and "/bin/kill" not in l]
        assert not about, p.stderr
        p = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=45", "--no-pager", unit], capture_output=True,
                           text=True, timeout=60)
        assert p.returncode == 0, p.stdout[-3000:] + p.stderr
    if shutil.which("systemd-sysusers"):
        os.makedirs(f"{dest}/etc", exist_ok=True)
        p = subprocess.run(["systemd-sysusers", f"--root={dest}", "sallyport.conf"], capture_output=True, text=True, timeout=60)
        assert p.returncode == 0, p.stderr
        with open(f"{dest}/etc/passwd") as f:
            users = re.findall(r"^(sallyport-\w+):", f.read(), re.M)
        assert sorted(users) == [f"sallyport-{r}" for r in ("acceptor", "initiator", "pam", "password", "resolver", "worker")]
