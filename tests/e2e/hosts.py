"""Hosts joined by cables: network namespaces and veth pairs, so that addresses differ and routes matter."""
import contextlib
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def run(*argv, **how):
    subprocess.run(argv, check=True, capture_output=True, timeout=20, **how)


class Hosts:
    """`cables`: (host, address/length, host, address/length), all addresses of one end in a list or alone. Every host
    knows the nets on its own cables, and what route() tells it."""

    def __init__(self, *cables):
        self.names = sorted({c[i] for c in cables for i in (0, 2)})
        self.prefix = f"sp{os.getpid()}-"
        self.cables = cables

    def start(self):
        os.makedirs("/run/netns", exist_ok=True)
        for name in self.names:
            run("ip", "netns", "add", self.prefix + name)
            self.ip(name, "link", "set", "lo", "up")
        for n, (a, a_addrs, b, b_addrs) in enumerate(self.cables):
            run("ip", "link", "add", f"c{n}a", "netns", self.prefix + a, "type", "veth", "peer", "name", f"c{n}b",
                "netns", self.prefix + b)
            for host, end, addrs in ((a, "a", a_addrs), (b, "b", b_addrs)):
                for addr in [addrs] if isinstance(addrs, str) else addrs:
                    self.ip(host, "addr", "add", addr, "dev", f"c{n}{end}", *(["nodad"] if ":" in addr else []))
                self.ip(host, "link", "set", f"c{n}{end}", "up")
        return self

    def stop(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", self.prefix + name], capture_output=True, timeout=20)

    def ip(self, host, *argv):
        run("ip", "-n", self.prefix + host, *argv)

    def route(self, host, net, via):
        self.ip(host, "route", "add", net, "via", via)

    def masquerade(self, host, out):
        """What leaves by that cable has the host's own address: NAT."""
        with self.on(host):
            run("nft", "-f", "-", input=b"table ip nat {\nchain post {\n"
                b"type nat hook postrouting priority 100\noifname %s masquerade\n}\n}\n" % out.encode())
            with open("/proc/sys/net/ipv4/ip_forward", "w") as f:
                f.write("1")

    def inside(self, host):
        """The command that puts a program there."""
        return ["nsenter", f"--net=/run/netns/{self.prefix}{host}"]

    @contextlib.contextmanager
    def on(self, host):
        """Sockets made in here, by this thread, are that host's."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.prefix}{host}") as there:
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                assert libc.setns(home.fileno(), CLONE_NEWNET) == 0
