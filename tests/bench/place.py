"""The place of a run: network, process and mount namespaces of its own, with directories for temporary files that are nobody
else's. So no port collides with the machine's, and whatever ends the run, a signal too, ends all that it started and leaves
none of its files."""
import contextlib
import os
import resource
import signal
import subprocess
import sys

STEP = "BENCH_PLACE"  # of enter(), in the environment
TEMPORARY = "/run", "/tmp", "/var/tmp"
DESCRIPTORS = 65536  # two a session, in one process
SYSCTL = {
    "net/ipv4/ip_local_port_range": "1024 65535",  # those of closed connections stay taken for a minute
    "net/unix/max_dgram_qlen": "512",  # of rsyslogd's socket; as systemd has it from boot
}
# Debian's default, or what is next to it, where a new network namespace may not have that: the sizes of windows decide what
# is sent. With BBR timers do, whose work counts for whomever they interrupt: bulk varied by half so, from round to round.
CONGESTION = "cubic", "reno"


def enter(*keep):
    """Returns in a process that is the first of its namespaces, with these directories where they were. The caller's own
    process stays outside, and ends as that one does, or by a signal, with it."""
    step = os.environ.get(STEP)
    if step is None:
        os.environ[STEP] = "watch"
        os.execvp("unshare", ["unshare", "--net", "--pid", "--mount", sys.executable, *sys.argv])
    if step == "watch":
        sys.exit(watch())
    forget()
    furnish(keep)
    allow()


def ends():
    """The signals that end a run: not those that whoever started it has set aside, as nohup does."""
    return {s for s in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) != signal.SIG_IGN}


def watch():
    """Runs the first process, and returns its status. A signal is not for that one: with it the kernel ends all others."""
    heard = {*ends(), signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    first = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", sys.executable, *sys.argv], start_new_session=True,
                             env=dict(os.environ, **{STEP: "inside"}))
    while first.poll() is None:
        number = signal.sigwait(heard)
        if number != signal.SIGCHLD:
            first.kill()
            first.wait()
            print("make bench: interrupted", file=sys.stderr, flush=True)
            return 128 + number
    return first.returncode if first.returncode >= 0 else 128 - first.returncode


def forget():
    """In the first process: what came before it had a session of its own is watch()'s to see. Then all is as it was."""
    heard = {*ends(), signal.SIGCHLD}
    for number in heard:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)
    for number in heard:
        signal.signal(number, signal.SIG_DFL)


def furnish(keep):
    """Mounts what is its own. A checkout or a build folder may be where temporary files are: it is mounted there again."""
    hidden = [d for d in keep if any(os.path.commonpath([d, t]) == t for t in TEMPORARY)]
    held = [(d, os.open(d, os.O_PATH)) for d in hidden]
    mount("-t", "proc", "proc", "/proc")
    for directory in TEMPORARY:
        mount("-t", "tmpfs", "tmpfs", directory)
    for directory, fd in held:
        os.makedirs(directory, exist_ok=True)
        mount("--no-canonicalize", "--bind", f"/proc/self/fd/{fd}", directory, pass_fds=[fd])
        os.close(fd)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def mount(*args, **how):
    subprocess.run(["mount", *args], check=True, **how)


def sysctl(name, value):
    with open(f"/proc/sys/{name}", "w") as f:
        f.write(value + "\n")


def allow():
    """As many ports, descriptors and records under way as a load needs; and the same TCP on all machines."""
    for name, value in SYSCTL.items():
        sysctl(name, value)
    for name in CONGESTION:
        with contextlib.suppress(PermissionError, FileNotFoundError):  # no rights to it; no such module
            sysctl("net/ipv4/tcp_congestion_control", name)
            break
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(hard, DESCRIPTORS)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
