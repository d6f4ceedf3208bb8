"""The sandbox, proven: every act of acts.py ends its process at once, and is done where the layers are off."""
import errno
import os
import signal

import pytest

import acts
import sally
from peers import wait_for
from puppets import KILLED, LAYERS, Alone, Killed, Stage, end, start

plain = pytest.mark.skipif(sally.SANITIZE, reason="the proofs run on the plain build: a sanitizer's has EPERM")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="uid, chroot and capabilities take root")
OFF = "".join(f"sandbox {layer} off\n" for layer in LAYERS)
SOCKETS = {"mptcp", "sctp", "udp-lite", "icmp", "raw", "netlink", "unix", "packet", "vsock", "alg"}


@pytest.fixture
def stage():
    with Stage() as s:
        yield s


def table(rows):
    print()
    for row in rows:
        print("table: " + "  ".join(f"{cell:28}" for cell in row))


def play(gateway, stage, text):
    """Every act, each by a worker of its own: {name: result}."""
    n = len(acts.ACTS)
    g, cast = start(gateway, stage, sally.OPEN + text, {"worker": n}, workers=n + 1)
    sibling = [pid for pid in g.children("worker") if pid not in [p.pid for p in cast]][0]
    return g, cast, {name: acts.do(act, p, sibling) for (name, act, _), p in zip(acts.ACTS, cast)}


@plain
@as_root
def test_worker(stage, gateway, capsys):
    n = len(acts.ACTS)
    g, cast, on = play(gateway, stage, "")
    for p in cast:  # refused, logged, replaced
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and b"SIGSYS" in r["detail"], r
    wait_for(lambda: len(g.children("worker")) == n + 1, 30, g.story)
    assert g.ctl("status").returncode == 0
    end(g, cast, n)
    g, cast, filter_off = play(gateway, stage, "sandbox seccomp off\n")
    end(g, cast, 0)
    g, cast, off = play(gateway, stage, OFF)
    end(g, cast, 0)
    with capsys.disabled():
        table([("act of a worker", "sandbox on", "seccomp off", "all layers off")] +
              [(name, acts.word(on[name]), acts.word(filter_off[name]), acts.word(off[name]))
               for name, _, _ in acts.ACTS])
    for name, _, fine in acts.ACTS:
        assert on[name] == KILLED, f"{name}: {on[name]}"
        assert acts.done(off[name], fine), f"{name} without the layers: {acts.word(off[name])}"
    # the layers below hold what matters most without the filter, too
    for name in ("open a file", "ptrace a sibling", "signal a sibling", "take a sibling's descriptor", "raw", "packet"):
        assert filter_off[name][0] == -1, f"{name}: {filter_off[name]}"


@plain
@as_root
@pytest.mark.parametrize("role", ["resolver", "password", "acceptor"])
def test_other_roles(stage, role, tmp_path):
    os.chmod(tmp_path, 0o755)
    for name, act, fine in acts.ACTS:
        free = Alone(stage, role, off=LAYERS)
        free.puppet.enter()
        result = acts.do(act, free.puppet, os.getpid())
        assert acts.done(result, fine), f"{name} of {role} without the layers: {acts.word(result)}"
        free.end()
        bound = Alone(stage, role, chroot=str(tmp_path))
        bound.puppet.enter()
        result, (sig, status) = acts.do(act, bound.puppet, os.getpid()), bound.end()
        if (role, name) in (("resolver", "open a file"), ("resolver", "make a file"), ("acceptor", "open a file")):
            assert result == (-1, errno.ENOENT), f"{name} of {role}: {acts.word(result)}"
        else:
            assert (result, sig) == (KILLED, signal.SIGSYS), f"{name} of {role}: {acts.word(result)}"


@plain
@pytest.mark.parametrize("role", ["resolver", "password"])
def test_loss_of_a_service(stage, gateway, role):
    """Their ends are logged with the reason, and they are replaced."""
    text = 'auth password file "@DIR@/users"\n' + sally.OPEN
    g, (p,) = start(gateway, stage, text, {role: 1},
                    before=lambda g: g.write_users(sally.user_line("alice", "x")))
    with pytest.raises(Killed):
        p.sys("memfd_create", "s:x", 0)
    r = g.record("child-lost", worker=p.spawn)
    assert r["process"].decode() == role and b"SIGSYS" in r["detail"], r
    wait_for(lambda: len(g.children()) == 4, 10, g.story)
    end(g, [], 1)


@plain
@as_root
def test_pam_role(stage, tmp_path):
    """It may run helpers; it may not reach out of itself."""
    refused = {"ptrace a sibling": errno.EPERM, "read a sibling's memory": errno.EPERM, "raw": errno.EPERM,
               "signal a sibling": errno.EPERM, "take a sibling's descriptor": errno.EPERM, "packet": errno.EPERM,
               "mprotect PROT_EXEC": errno.EACCES, "io_uring": errno.EPERM, "bpf": errno.EPERM, "unshare": errno.EPERM,
               "userfaultfd": errno.EPERM, "perf_event_open": errno.EPERM}
    bound = Alone(stage, "pam")
    bound.puppet.enter()
    results = {name: acts.do(act, bound.puppet, os.getpid()) for name, act, _ in acts.ACTS}
    for name, error in refused.items():
        assert results[name] == (-1, error), f"{name} of pam: {acts.word(results[name])}"
    for name in ("open a file", "fork"):
        assert acts.done(results[name], ()), f"{name} of pam: {acts.word(results[name])}"
    bound.end()


@plain
@as_root
@pytest.mark.parametrize("role", ["worker", "resolver", "password", "acceptor"])
def test_exec(stage, role):
    free = Alone(stage, role, off=LAYERS)
    free.puppet.enter()
    assert free.puppet.tell("exec", "/bin/false") == KILLED
    assert free.end() == (0, 1)  # it became another program
    bound = Alone(stage, role, off=("chroot", "landlock"))
    bound.puppet.enter()
    assert bound.puppet.tell("exec", "/bin/false") == KILLED
    assert bound.end() == (signal.SIGSYS, 0)


@plain
@as_root
def test_the_acceptor_has_one_directory(stage, tmp_path):
    """The directory that it begins in: Landlock leaves it what is there, to read and to write, and no new name."""
    os.chmod(tmp_path, 0o777)
    (tmp_path / "inside").write_text("x")
    os.chmod(tmp_path / "inside", 0o666)
    for off, outside in (((), errno.EACCES), (("landlock",), 0)):
        bound = Alone(stage, "acceptor", off=("chroot", *off))
        assert bound.puppet.sys("chdir", f"s:{tmp_path}") == (0, 0)
        bound.puppet.enter()
        for flags in (os.O_RDONLY, os.O_RDWR):
            assert acts.done(bound.puppet.sys("openat", acts.AT_FDCWD, "s:inside", flags, 0), ())
        result, error = bound.puppet.sys("openat", acts.AT_FDCWD, "s:/etc/passwd", os.O_RDONLY, 0)
        assert error == outside, f"{result} {error}"
        result, error = bound.puppet.sys("openat", acts.AT_FDCWD, "s:new", os.O_RDWR | os.O_CREAT, 0o600)
        assert error == outside, f"{result} {error}"
        bound.end()


@plain
@as_root
def test_layers_alone(stage, tmp_path):
    """With the filter off, each other layer still refuses what is its own; with that layer off too it is done."""
    os.chmod(tmp_path, 0o755)
    acts_of = {name: act for name, act, _ in acts.ACTS}
    cases = [("chroot", "open a file", errno.ENOENT), ("landlock", "open a file", errno.EACCES),
             ("mdwe", "mprotect PROT_EXEC", errno.EACCES), ("landlock-scope", "signal a sibling", errno.EPERM),
             ("uid", "signal a sibling", errno.EPERM), ("capabilities", "raw", errno.EPERM)]
    for layer, name, error in cases:
        others = [l for l in LAYERS if l not in (layer, "no_new_privs")]
        for off, expected in ((others, (-1, error)), (LAYERS, None)):
            one = Alone(stage, "worker", off=off, chroot=str(tmp_path))
            one.puppet.enter()
            result = acts.do(acts_of[name], one.puppet, os.getpid())
            one.end()
            assert result == expected if expected else acts.done(result, ()), f"{name} with {layer}: {result}"


@as_root
def test_a_required_layer(gateway):
    """One that cannot be had stops the start, and says which and why."""
    g = gateway(sally.OPEN + 'sandbox chroot require\nprocess worker chroot "/nonexistent"\n', ready=False,
                expect_lost=2)
    status, stderr = g.fails_to_start()
    assert status == 1 and "chroot" in stderr and "No such file" in stderr, stderr
    assert "sandbox chroot try" in stderr
