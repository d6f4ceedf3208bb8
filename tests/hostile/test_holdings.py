"""What every process holds, looked at from outside: who it is, what it may, where its root is, what it has open."""
import os
import re
import stat

import pytest

import sally

PLAIN = ('auth password file "@DIR@/users"\n'
         "pass connect from any to { any, 127.0.0.0/8 } user alice auth password\n")
WITH_PAM = ('auth password pam "login"\n'
            "pass connect from any to { any, 127.0.0.0/8 } user alice auth password\n")
KEPT = sum(1 << n for n in (0, 1, 5, 6, 7, 8, 10, 18))  # CHOWN DAC_OVERRIDE KILL SETGID SETUID SETPCAP NET_BIND_SERVICE
#                                                       SYS_CHROOT
CAPS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="uid, chroot and capabilities take root")


class Holding:
    def __init__(self, pid):
        with open(f"/proc/{pid}/status") as f:
            fields = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            self.name = f.read().split(b"\0")[0].decode().rpartition("/")[2].replace("sallyport-", "")
        self.pid = pid
        self.uid = [int(n) for n in fields["Uid"].split()]
        self.gid = [int(n) for n in fields["Gid"].split()]
        self.groups = [int(n) for n in fields["Groups"].split()]
        self.caps = {c: int(fields[c], 16) for c in CAPS}
        self.no_new_privs, self.seccomp = int(fields["NoNewPrivs"]), int(fields["Seccomp"])
        self.root = os.readlink(f"/proc/{pid}/root")
        self.open = {}
        for n in os.listdir(f"/proc/{pid}/fd"):
            try:
                kind = stat.S_IFMT(os.stat(f"/proc/{pid}/fd/{n}").st_mode)
                self.open[int(n)] = (kind, os.readlink(f"/proc/{pid}/fd/{n}"))
            except FileNotFoundError:
                pass
        with open(f"/proc/{pid}/limits") as f:
            limits = f.read()
        self.processes = re.search(r"Max processes +(\S+)", limits)[1]
        self.core = re.search(r"Max core file size +(\S+)", limits)[1]

    def kinds(self):
        count = {}
        for number, (kind, path) in sorted(self.open.items()):
            what = path.split(":")[0] if kind == stat.S_IFSOCK or path.startswith(("anon", "pipe")) else path
            what = re.sub(r"anon_inode:|[\[\]]", "", path) if path.startswith("anon") else what
            what = "file" if kind == stat.S_IFREG and not path.startswith("/memfd") else what
            count[what] = count.get(what, 0) + 1
        return " ".join(k if n == 1 else f"{n}*{k}" for k, n in count.items())

    def row(self):
        caps = "/".join(f"{self.caps[c]:x}" for c in CAPS)
        return (self.name, self.uid[0], self.gid[0], ",".join(map(str, self.groups)) or "-", caps, self.no_new_privs,
                self.seccomp, self.root, self.processes, self.kinds())


def look(g, capsys):
    held = [Holding(pid) for pid in [g.master()] + g.children()]
    with capsys.disabled():
        print()
        for row in [("process", "uid", "gid", "groups", "inh/prm/eff/bnd/amb", "nnp", "seccomp", "root", "nproc",
                     "open")] + [h.row() for h in held]:
            print("table: {:10} {:>6} {:>6} {:>6} {:>22} {:>3} {:>7} {:30} {:>9} {}".format(*map(str, row)))
    return held


def check_files(h, allowed=(0, 1, 2)):
    """Nothing that leads to a file system but the standard descriptors."""
    for number, (kind, path) in h.open.items():
        if number not in allowed:
            assert kind in (stat.S_IFSOCK, 0) or path.startswith(("anon_inode:", "/memfd:", "pipe:")), \
                f"{h.name} holds {number}: {path}"
    assert h.open[0][1] == h.open[1][1] == "/dev/null" or h.name == "sallyportd", h.open
    assert h.open[3][0] == stat.S_IFSOCK or h.name == "sallyportd"


def check_confined(h, root):
    assert set(h.uid) == {h.uid[0]} and h.uid[0] != 0 and set(h.gid) == {h.gid[0]} and h.gid[0] != 0, h.row()
    assert all(v == 0 for v in h.caps.values()), h.row()
    assert (h.no_new_privs, h.seccomp, h.root, h.core) == (1, 2, root, "0"), h.row()


@as_root
def test_as_root(gateway, capsys):
    g = gateway(PLAIN, before=lambda g: g.write_users(sally.user_line("alice", "x")))
    held = {}
    for h in look(g, capsys):
        held.setdefault(h.name, []).append(h)
    assert {n: len(v) for n, v in held.items()} == {"sallyportd": 1, "worker": 2, "resolver": 1, "password": 1}
    for name in ("worker", "resolver", "password"):
        for h in held[name]:
            check_confined(h, f"{g.run}/empty")
            check_files(h)
            assert h.groups == [] and h.processes == "0"
    uids = [held[n][0].uid[0] for n in ("worker", "resolver", "password")]
    assert len(set(uids)) == 3, f"roles share a uid: {uids}"
    assert os.listdir(f"{g.run}/empty") == [] and os.stat(f"{g.run}/empty").st_uid == 0
    master = held["sallyportd"][0]
    assert master.uid == [0] * 4 and (master.no_new_privs, master.seccomp) == (1, 2)
    assert master.caps["CapEff"] == master.caps["CapPrm"] == KEPT & master.caps["CapPrm"], master.row()
    assert master.caps["CapBnd"] & ~KEPT == 0 and master.caps["CapInh"] == master.caps["CapAmb"] == 0, master.row()


@as_root
def test_layers_off(gateway, capsys):
    """The control: what is looked at is the layers' doing."""
    off = "".join(f"sandbox {layer} off\n" for layer in ("chroot", "uid", "capabilities", "no_new_privs", "seccomp"))
    g = gateway(off + sally.OPEN)
    for h in look(g, capsys):
        assert (h.uid[0], h.root, h.no_new_privs, h.seccomp) == (0, "/", 0, 0), h.row()
        assert h.caps["CapEff"] & ~KEPT, h.row()


@as_root
def test_pam(gateway, capsys):
    g = gateway(WITH_PAM)
    h = [h for h in look(g, capsys) if h.name == "pam"][0]
    with open("/etc/group") as f:
        shadow = [int(line.split(":")[2]) for line in f if line.startswith("shadow:")]
    check_confined(h, "/")
    check_files(h)
    assert h.groups == shadow and int(h.processes) <= 100


def test_without_root(gateway, capsys):
    g = gateway(user=sally.NOBODY if os.geteuid() == 0 else None)
    for h in look(g, capsys):
        assert h.uid[0] != 0 and h.caps["CapEff"] == h.caps["CapPrm"] == 0, h.row()
        assert (h.no_new_privs, h.seccomp, h.root) == (1, 2, "/"), h.row()
        assert h.name == "sallyportd" or h.processes == "0"
    said = g.records("sandbox")
    assert len(said) == 1
    for layer in (b"chroot", b"uid", b"capabilities"):
        assert layer in said[0]["detail"], said
    assert b"seccomp" not in said[0]["detail"], said
