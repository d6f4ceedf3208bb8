"""What a run was on: the machine, and the versions of what was measured there."""
import datetime
import os
import subprocess

PACKAGES = "microsocks", "dante-server", "rsyslog", "libgssapi-krb5-2", "libssl3"


def machine():
    with open("/proc/cpuinfo") as f:
        model = [l.partition(":")[2].strip() for l in f if l.startswith("model name")][0]
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as f:
        congestion = f.read().strip()
    return f"{datetime.date.today()}, {model}, {os.cpu_count()} CPUs, Linux {os.uname().release}, TCP {congestion}"


def said(*argv):
    """A program's output; nothing where it is missing or fails."""
    try:
        return subprocess.run(argv, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def versions(top):
    """The checkout's commit, with -dirty where files differ from it, and the packages of the others."""
    commit = said("git", "-c", "safe.directory=*", "-C", top, "describe", "--always", "--dirty")
    packages = said("dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES).splitlines()
    return ", ".join([f"sallyport {commit or 'of an unknown commit'}", *packages])
