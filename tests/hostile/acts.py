"""What an attacker's code tries in a process that it has taken over: (name, act, refused how without the filter).

An act is a function of the puppet and of a sibling's pid; it returns (result, errno), and Killed
passes through. `fine` are the
errnos that also count as done where nothing stands in the way: the kernel was reached and had not the thing."""
import errno
import os
import socket
import struct

from puppets import KILLED, Killed

AF_INET, AF_INET6 = 2, 10
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
FLAGS = 0o2004000  # SOCK_NONBLOCK | SOCK_CLOEXEC
AT_FDCWD = -100
MAP = 0x22  # MAP_PRIVATE | MAP_ANONYMOUS
NO_PROTOCOL = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT)


def sys(name, *args):
    return lambda p, pid: p.sys(name, *(pid if a is SIBLING else a for a in args))


SIBLING = object()


def make_socket(domain, kind, protocol):
    return sys("socket", domain, kind | FLAGS, protocol)


def listen(p, _):
    fd, error = tcp(p)
    return (-1, error) if fd < 0 else p.sys("listen", fd, 8)


def tcp(p):
    return p.sys("socket", AF_INET, STREAM | FLAGS, 0)


def sockaddr(host, port):
    return "h:" + (struct.pack("<H", AF_INET) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)).hex()


def fast_open(p, _):
    fd, error = tcp(p)
    if fd < 0:
        return -1, error
    return p.sys("sendto", fd, "s:x", 1, 0x20004000, sockaddr("127.0.0.1", 9), 16)


def fast_open_connect(p, _):
    fd, error = tcp(p)
    return (-1, error) if fd < 0 else p.sys("setsockopt", fd, 6, 30, "h:01000000", 4)


def option(level, name, value="h:01000000", length=4):
    def act(p, _):
        fd, error = tcp(p)
        return (-1, error) if fd < 0 else p.sys("setsockopt", fd, level, name, value, length)
    return act


def make_executable(p, _):
    at, error = p.sys("mmap", 0, 4096, 3, MAP, -1, 0)
    return (-1, error) if at == -1 else p.sys("mprotect", at, 4096, 5)


def steal_descriptor(p, pid):
    got = p.sys("pidfd_open", pid, 0)
    if got[0] < 0:
        return got
    return p.sys("pidfd_getfd", got[0], 3, 0)


def read_memory(p, pid):
    nowhere = "h:" + struct.pack("<QQ", 8, 8).hex()  # what it could read would fault: the right is the question
    return p.sys("process_vm_readv", pid, nowhere, 1, nowhere, 1, 0)


def run_from_memory(p, _):
    got = p.sys("memfd_create", "s:x", 1)
    if got[0] < 0:
        return got
    return p.sys("execveat", got[0], "s:", 0, 0, 0x1000)  # empty: ENOEXEC is as far as it gets


def fork(p, _):
    return p.numbers("fork")


def spoil_counts(p, _):
    """Shrinks a mapped file of its own; the page of counts is sealed besides (test_messages.py)."""
    got = p.sys("memfd_create", "s:x", 0)
    return got if got[0] < 0 else p.sys("ftruncate", got[0], 0)


ACTS = [
    ("open a file", sys("openat", AT_FDCWD, "s:/etc/passwd", os.O_RDONLY, 0), ()),
    ("open by openat2", sys("openat2", AT_FDCWD, "s:/etc/passwd", "z:24", 24), ()),
    ("make a file", sys("openat", AT_FDCWD, "s:/tmp", 0o20200000 | os.O_RDWR, 0o600), (errno.EOPNOTSUPP,)),
    ("fork", fork, ()),
    ("clone3", sys("clone3", "z:64", 0), (errno.EINVAL,)),
    ("ptrace a sibling", sys("ptrace", 0x4206, SIBLING, 0, 0), ()),
    ("read a sibling's memory", read_memory, (errno.EFAULT,)),
    ("signal a sibling", sys("kill", SIBLING, 0), ()),
    ("signal by pidfd", sys("pidfd_open", SIBLING, 0), ()),
    ("take a sibling's descriptor", steal_descriptor, ()),
    ("mptcp", make_socket(AF_INET, STREAM, 262), NO_PROTOCOL),
    ("sctp", make_socket(AF_INET, STREAM, 132), NO_PROTOCOL),
    ("udp-lite", make_socket(AF_INET, DGRAM, 136), NO_PROTOCOL),
    ("icmp", make_socket(AF_INET, DGRAM, 1), NO_PROTOCOL + (errno.EACCES,)),
    ("raw", make_socket(AF_INET, RAW, 6), ()),
    ("netlink", make_socket(16, RAW, 0), ()),
    ("unix", make_socket(1, STREAM, 0), ()),
    ("packet", make_socket(17, RAW, 0), NO_PROTOCOL),
    ("vsock", make_socket(40, STREAM, 0), NO_PROTOCOL),
    ("alg", make_socket(38, SEQPACKET, 0), NO_PROTOCOL),
    ("listen", listen, ()),
    ("fast open", fast_open, (errno.EINPROGRESS, errno.ECONNREFUSED)),
    ("fast open by connect", fast_open_connect, ()),
    ("SO_REUSEPORT", option(1, 15), ()),
    ("SO_MARK", option(1, 36), ()),
    ("TCP_ULP", option(6, 31, "s:tls", 3), (errno.ENOTCONN, errno.ENOENT)),
    ("IP_TRANSPARENT", option(0, 19), ()),
    ("mprotect PROT_EXEC", make_executable, ()),
    ("mmap PROT_EXEC", sys("mmap", 0, 4096, 7, MAP, -1, 0), ()),
    ("io_uring", sys("io_uring_setup", 1, "z:120"), (errno.ENOSYS,)),
    ("bpf", sys("bpf", 0, "h:0200000004000000040000000100000000000000", 20), (errno.ENOSYS, errno.EINVAL)),
    ("memfd_create", sys("memfd_create", "s:x", 0), ()),
    ("execveat", run_from_memory, (errno.ENOEXEC, errno.EACCES)),
    ("userfaultfd", sys("userfaultfd", 0o2000000), (errno.ENOSYS,)),
    ("perf_event_open", sys("perf_event_open", "z:128", 0, -1, -1, 0), (errno.ENOSYS, errno.ENOENT, errno.EINVAL)),
    ("prctl", sys("prctl", 4, 0, 0, 0, 0), ()),
    ("unshare", sys("unshare", 0), ()),
    ("ftruncate", spoil_counts, ()),
    ("ioctl", sys("ioctl", 3, 0x541b, "z:8"), ()),
]


def do(act, puppet, sibling):
    try:
        return act(puppet, sibling)
    except Killed:
        return KILLED


def done(result, fine):
    return result != KILLED and (result[0] != -1 or result[1] in fine)


def word(result):
    if result == KILLED:
        return KILLED
    return "done" if result[0] != -1 else errno.errorcode.get(result[1], str(result[1]))
