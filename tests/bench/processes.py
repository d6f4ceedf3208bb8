"""What the processes of a server have used: CPU time and memory, of the process that was started and all below it."""
import os
import time

TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")  # ns
PPID, CUTIME, CSTIME = 1, 13, 14  # fields of /proc/PID/stat behind the name


def stat(pid):
    with open(f"/proc/{pid}/stat") as f:
        name, _, rest = f.read().rpartition(")")
    return name.partition("(")[2], rest.split()


def tree(root):
    """`root` and all below it: pid to (name, fields)."""
    everything, below = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                name, fields = stat(entry)
            except (FileNotFoundError, ProcessLookupError):
                continue
            everything[int(entry)] = name, fields
            below.setdefault(int(fields[PPID]), []).append(int(entry))
    found, left = {}, [root]
    while left:
        pid = left.pop()
        if pid in everything:
            found[pid] = everything[pid]
            left += below.get(pid, [])
    return found


def clock(pid):
    """ns of CPU of a process, threads that have ended included (clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime_ns(~pid << 3 | 2)
    except OSError:
        return 0


def cpu(root):
    """ns of CPU by the processes' names; children that have ended count, to a tick, for the one that waited for them."""
    used = {}
    for pid, (name, fields) in tree(root).items():
        ended = (int(fields[CUTIME]) + int(fields[CSTIME])) * TICK
        used[name] = used.get(name, 0) + clock(pid) + ended
    return used


def spent(before, after):
    return {name: after[name] - before.get(name, 0) for name in after}


def memory(root):
    """Octets of user memory: anonymous and shared pages, each divided by the number of processes that have it. What
    programs and libraries are read from is not in it, nor what the kernel has for sockets."""
    octets = 0
    for pid in tree(root):
        with open(f"/proc/{pid}/smaps_rollup") as f:
            octets += sum(int(l.split()[1]) * 1024 for l in f if l.startswith(("Pss_Anon:", "Pss_Shmem:")))
    return octets


def quiet(roots, most=3.0, step=0.05):
    """Waits until what these did for the last unit is done: they use next to no CPU any more."""
    end, before = time.monotonic() + most, None
    while time.monotonic() < end:
        now = sum(sum(cpu(r).values()) for r in roots)
        if before is not None and now - before < step * 1e9 / 100:
            return
        before = now
        time.sleep(step)
