"""Gateways for tests: each has a directory of its own with its configuration, run directory, log and standard
error, is waited for until it says READY, and is looked over when it ends."""
import crypt
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

import records
from peers import free_port, wait_for

TOP = os.environ.get("SALLYPORT_TOP") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SALLYPORT_BUILD") or os.path.join(TOP, "build")
SANITIZE = bool(os.environ.get("SANITIZE"))
PROGRAMS = ["sallyportd", "sallyportctl", "worker", "resolver", "authd"]
OPEN = "pass connect from any to { any, 127.0.0.0/8, ::1 } auth none\n"  # all of it, without authentication
TROUBLE = re.compile(rb"ERROR: AddressSanitizer|runtime error:|ERROR: LeakSanitizer|stack smashing|"
                     rb"buffer overflow detected|Assertion .* failed|free\(\): |malloc\(\): ")
NOBODY = 65534


def children_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as f:
                    fields = f.read().rpartition(")")[2].split()
                if int(fields[1]) == pid and fields[0] != "Z":
                    found.append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return sorted(found)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def comm(pid):
    with open(f"/proc/{pid}/comm") as f:
        return f.read().strip()


def environment(**more):
    env = dict(os.environ, **more)
    env.pop("NOTIFY_SOCKET", None)
    # leaks are looked for in the unit programs: LeakSanitizer needs ptrace, which no sandbox gives
    env["ASAN_OPTIONS"] = "detect_leaks=0:abort_on_error=0:exitcode=99"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    return env


def escaped(octets):
    """As the users file has names."""
    return "".join(chr(c) if 0x21 <= c <= 0x7e and c not in b":,%#" else f"%{c:02X}" for c in octets)


def user_line(name, password, groups=(), expires="", locked=False):
    """A line of the users file, hashed with few rounds so that tests are not about hashing."""
    hashed = crypt.crypt(password, "$5$rounds=1000$saltsalt")
    fields = [escaped(name.encode("latin-1")), hashed, ",".join(groups), expires]
    return ":".join(fields + (["locked"] if locked else []))


class Gateway:
    def __init__(self, text=OPEN, whole=False, workers=2, log="logfmt", hosts=("127.0.0.1", "::1"),
                 wrapper=(), user=None, args=(), env=None, build=BUILD, expect_lost=0):
        """`text`: the configuration after the lines that place this gateway (`whole`: all of it; then `port`, `run` and
        the log are the caller's to find). `wrapper`: a command to start it with. `user`: a uid to run as."""
        self.dir = tempfile.mkdtemp(prefix="sp.", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.run, self.log = f"{self.dir}/run", f"{self.dir}/log"
        self.conf, self.stderr_path = f"{self.dir}/sallyport.conf", f"{self.dir}/stderr"
        self.users = f"{self.dir}/users"
        self.port = free_port()
        self.at, self.at6 = ("127.0.0.1", self.port), ("::1", self.port)
        self.wrapper, self.user, self.args, self.build = list(wrapper), user, list(args), build
        self.env, self.expect_lost = env or {}, expect_lost
        self.p = None
        self.expect_status = 0
        self.head = "" if whole else "".join(f"listen on {h} port {self.port}\n" for h in hosts) + (
            f'run directory "{self.run}"\nworkers {workers}\n') + (
            f'log file "{self.log}" format {log}\n' if log else "")
        self.configure(text)
        if user is not None:
            self.build = f"{self.dir}/build"
            os.mkdir(self.build)
            for program in PROGRAMS:
                shutil.copy(f"{build}/{program}", self.build)
            os.chown(self.dir, user, user)
            self.wrapper = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *self.wrapper]

    # --- configuration ---

    def configure(self, text):
        self.text = text.replace("@DIR@", self.dir).replace("@PORT@", str(self.port))
        with open(self.conf, "w", encoding="latin-1") as f:
            f.write(self.head + self.text)

    def write_users(self, *lines):
        """Puts user_line()s into the users file, at once."""
        with open(self.users + ".new", "w", opener=lambda p, fl: os.open(p, fl, 0o600)) as f:
            f.write("".join(line + "\n" for line in lines))
        os.rename(self.users + ".new", self.users)

    def reload(self, text=None):
        """SIGHUP, perhaps with a new configuration; returns the record that answers it."""
        if text is not None:
            self.configure(text)
        before = len(self.records("reload", "reload-failed"))
        self.p.send_signal(signal.SIGHUP)
        return wait_for(lambda: self.records("reload", "reload-failed")[before:], why=self.story)[0]

    # --- life ---

    def command(self):
        return [*self.wrapper, f"{self.build}/sallyportd", "-d", *self.args, "-f", self.conf]

    def launch(self):
        """Starts it without waiting; `said` fills with what it tells the service manager."""
        if os.path.exists(f"{self.dir}/notify"):  # a second start
            self.notify.close()
            os.unlink(f"{self.dir}/notify")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(f"{self.dir}/notify")
        os.chmod(f"{self.dir}/notify", 0o777)
        self.notify.setblocking(False)
        self.said = []
        self.p = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=open(f"{self.dir}/stdout", "wb"),
                                  stderr=open(self.stderr_path, "wb"), cwd="/",
                                  env=environment() | {"NOTIFY_SOCKET": f"{self.dir}/notify"} | self.env)
        return self

    def heard(self, word):
        try:
            while True:
                self.said += self.notify.recv(4096).decode().split("\n")
        except BlockingIOError:
            pass
        return word in self.said

    def standing(self):
        """Where each of its processes is in the kernel."""
        def read(pid, name):
            try:
                with open(f"/proc/{pid}/{name}") as f:
                    return f.read().strip()
            except OSError as e:
                return e.strerror
        return [(pid, *(read(pid, name) for name in ("comm", "wchan", "syscall"))) for pid in [self.p.pid, *self.children()]]

    def start(self, seconds=40):
        self.launch()
        wait_for(lambda: self.heard("READY=1") or self.p.poll() is not None, seconds,
                 lambda: f"it did not become ready: {self.standing()}\n" + self.story())
        assert self.p.poll() is None, f"it ended with {self.p.returncode}\n" + self.story()
        return self

    def fails_to_start(self, seconds=30):
        """Starts what must not start: returns (exit status, standard error)."""
        self.launch()
        wait_for(lambda: self.p.poll() is not None or self.heard("READY=1"), seconds, self.story)
        assert not self.heard("READY=1"), "it started\n" + self.story()
        status = self.p.wait(5)
        self.p = None
        return status, self.stderr()

    def kill(self):
        """Ends it as a crash would."""
        kids = self.children()
        self.p.kill()
        self.p.wait()
        self.p, self.expect_status = None, 0
        wait_for(lambda: not [k for k in kids if alive(k)], 5, lambda: f"children that outlive it: {kids}")

    def stop(self, sig=signal.SIGTERM, seconds=20):
        """Ends it and returns its exit status; its children must be gone with it."""
        if self.p is None:
            return None
        kids = self.children()
        if self.p.poll() is None:
            self.p.send_signal(sig)
        try:
            status = self.p.wait(seconds)
        except subprocess.TimeoutExpired:
            for pid in [self.p.pid, *kids]:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)
            self.p.wait()
            raise AssertionError("it did not end in time\n" + self.story())
        self.p = None
        wait_for(lambda: not [k for k in kids if alive(k)], 5, lambda: f"children that outlive it: {kids}")
        return status

    def finish(self):
        try:
            status = self.stop() if self.p is not None else self.expect_status
            stderr = self.stderr(raw=True)
            assert not TROUBLE.search(stderr), self.story()
            lost = self.records("child-lost")
            assert len(lost) <= self.expect_lost, f"children were lost: {lost}\n" + self.story()
            assert status == self.expect_status, f"it ended with {status}\n" + self.story()
        finally:
            if os.environ.get("KEEP"):
                print("kept:", self.dir)
            else:
                shutil.rmtree(self.dir, ignore_errors=True)

    def children(self, name=None):
        if self.p is None or self.p.poll() is not None:
            return []
        return [k for k in children_of(self.master()) if name is None or comm(k) == name]

    def master(self):
        """The pid of sallyportd itself, which a wrapper may have for a child."""
        pid = self.p.pid
        for _ in range(4):
            if comm(pid) == "sallyportd":
                return pid
            below = children_of(pid)
            if not below:
                break
            pid = below[0]
        return self.p.pid

    # --- what it said ---

    def stderr(self, raw=False):
        try:
            with open(self.stderr_path, "rb") as f:
                data = f.read()
        except FileNotFoundError:
            data = b""
        return data if raw else data.decode("utf-8", "backslashreplace")

    def story(self):
        log = b""
        if os.path.exists(self.log):
            with open(self.log, "rb") as f:
                log = f.read()[-8000:]
        return f"--- standard error\n{self.stderr()[-8000:]}\n--- log\n{log.decode('utf-8', 'backslashreplace')}"

    def records(self, *events, **fields):
        """The audit records so far, of these events, with these fields' values (text)."""
        found = records.read(self.log)
        return [r for r in found if (not events or r["event"].decode() in events)
                and all(r.get(k, b"").decode("latin-1") == str(v) for k, v in fields.items())]

    def record(self, *events, seconds=20, **fields):
        """Waits for the first such record."""
        return wait_for(lambda: self.records(*events, **fields), seconds,
                        lambda: f"no {events} with {fields}\n" + self.story())[0]

    def ctl(self, *args, stdin=b"", seconds=30):
        return subprocess.run([f"{self.build}/sallyportctl", "-s", f"{self.run}/control", *args], input=stdin,
                              capture_output=True, timeout=seconds, env=environment())


def check(text, *args, name="sallyport.conf", **files):
    """sallyportd -n on a configuration: (exit status, standard error with the directory cut out)."""
    with tempfile.TemporaryDirectory(prefix="sp.", dir="/tmp") as tmp:
        for file, content in {name: text, **files}.items():
            with open(f"{tmp}/{file}", "w", encoding="latin-1") as f:
                f.write(content.replace("@DIR@", tmp))
        p = subprocess.run([f"{BUILD}/sallyportd", "-n", *args, "-f", f"{tmp}/{name}"], capture_output=True,
                           timeout=60, env=environment())
        assert not TROUBLE.search(p.stderr), p.stderr.decode()
        return p.returncode, p.stderr.decode("utf-8", "backslashreplace").replace(tmp + "/", "")

