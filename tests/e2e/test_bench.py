"""make bench, short of measuring: what it answers to a request that cannot be met, and that nothing is left of a run that is
interrupted, neither a process nor a file."""
import contextlib
import os
import signal
import subprocess

import pytest

import sally
from peers import wait_for

RUN = f"{sally.TOP}/tests/bench/run"
# -o and MAKE: what is measured is what was built
MAKE = ["make", "-C", sally.TOP, "-o", "need-bench", "MAKE=true", f"B={sally.BUILD}", "bench"]
ASKED = "WORK", "SERVERS", "PAIRS", "STRETCH", "MIB", "SAVE"


def environment(**asked):
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k not in ("MFLAGS", *ASKED)}
    return env | {"B": sally.BUILD} | asked


@pytest.mark.parametrize("asked, answer", [
    (dict(WORK="connect dial"), "WORK: dial is none of connect "),
    (dict(WORK="pingpong-65"), "WORK: pingpong-65 is none of "),
    (dict(SERVERS="floor ceiling"), "SERVERS: ceiling is none of floor sallyport microsocks dante none"),
    (dict(WORK="gssapi", SERVERS="floor"), "WORK=gssapi needs sallyport in SERVERS"),
    (dict(WORK="connect password", SERVERS="dante none"), "WORK=password needs floor or sallyport or microsocks in SERVERS"),
    (dict(PAIRS="1.5"), "PAIRS is '1.5', expected a whole number above 0"),
    (dict(PAIRS="0"), "PAIRS is '0', expected a whole number above 0"),
    (dict(STRETCH="inf"), "STRETCH is 'inf', expected a number above 0"),
    (dict(STRETCH="nan"), "STRETCH is 'nan', expected a number above 0"),
    (dict(STRETCH="-1"), "STRETCH is '-1', expected a number above 0"),
    (dict(MIB="many"), "MIB is 'many', expected a whole number above 0"),
], ids=lambda x: " ".join(f"{k}={v}" for k, v in x.items()) if isinstance(x, dict) else "")
def test_what_cannot_be(asked, answer):
    p = subprocess.run([RUN, "check"], env=environment(**asked), capture_output=True, text=True, timeout=60)
    assert p.returncode == 2
    assert p.stderr.startswith(f"make bench: {answer}") and p.stderr.count("\n") == 1


def test_without_root():
    who = ["setpriv", f"--reuid={sally.NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    p = subprocess.run([*who, RUN, "check"], env=environment(), capture_output=True, text=True, timeout=60)
    assert p.returncode == 2
    assert p.stderr.startswith("make bench: the gateway's sandbox needs root") and p.stderr.count("\n") == 1


def namespace(pid, name="pid"):
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}")
    except OSError:
        return None


class Bench:
    """make bench in a process group of its own, and what can be seen of it from outside."""

    def __init__(self, work):
        self.p = subprocess.Popen(MAKE, env=environment(WORK=work, SERVERS="sallyport"), start_new_session=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def around(self):
        """The process that make waits for, once it has the first one of its namespace below it."""
        return [k for k in sally.children_of(self.p.pid) if namespace(k, "pid_for_children") not in (None, namespace("self"))]

    def inside(self):
        """The processes of the namespace, by name."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end at any moment
                if namespace(pid) == self.namespace:
                    found[sally.comm(pid)] = pid
        return found

    def until(self, name):
        """Waits for a process of that name; returns what those of the run's temporary files are called that only it sees."""
        self.run = wait_for(self.around, 60)[0]
        self.namespace = namespace(self.run, "pid_for_children")
        wait_for(lambda: name in self.inside(), 60)
        return {*os.listdir(f"/proc/{self.inside()[name]}/root/tmp")} - {*os.listdir("/tmp")}

    def signal(self, to, number):
        if to == "group":
            os.killpg(self.p.pid, number)
        else:
            os.kill(self.p.pid if to == "make" else self.run, number)

    def end(self):
        return self.p.communicate(timeout=60)[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="the gateway's sandbox needs root")
@pytest.mark.parametrize("work, name, to, number", [
    ("start", "python3", "group", signal.SIGINT),
    ("start", "rsyslogd", "group", signal.SIGTERM),
    ("start", "sallyportd", "group", signal.SIGHUP),
    ("start", "rsyslogd", "make", signal.SIGTERM),
    ("start", "sallyportd", "run", signal.SIGKILL),
    ("gssapi-handshakes", "krb5kdc", "group", signal.SIGINT),
])
def test_nothing_stays(work, name, to, number):
    bench = Bench(work)
    files = bench.until(name)
    bench.signal(to, number)
    said = bench.end()
    if number == signal.SIGKILL:
        wait_for(lambda: not bench.inside(), 10)
    else:
        assert "make bench: interrupted\n" in said and f"Error {128 + number}" in said, said
    assert not bench.inside()
    assert "Traceback" not in said
    assert (name == "python3") == (not files)
    assert not files & {*os.listdir("/tmp"), *os.listdir("/var/tmp")}
