"""Session keys live in the worker that serves the session only, and are wiped at its end: the memory of every process of
the gateway is searched for keys that the test derives for itself."""
import os
import re
import subprocess

import pytest

import gss5
import peers
import sally
import socks5
from gss5 import Client, configuration

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another's memory")
CIPHER = {17: "AES-128-CBC", 18: "AES-256-CBC"}
USAGES = {"acceptor seal": 22, "initiator seal": 24}
KINDS = {"kc": 0x99, "ke": 0xaa, "ki": 0x55}


def derive(enctype, key, usage, kind):
    """RFC 3961's DK, by openssl."""
    constant = usage.to_bytes(4, "big") + bytes([kind])
    out = subprocess.run(["openssl", "kdf", "-binary", "-keylen", str(len(key)), "-kdfopt", f"cipher:{CIPHER[enctype]}",
                          "-kdfopt", f"hexkey:{key.hex()}", "-kdfopt", f"hexconstant:{constant.hex()}", "KRB5KDF"],
                         capture_output=True, check=True)
    assert len(out.stdout) == len(key)
    return out.stdout


def keys_of(c, enctype):
    """{what: octets}; the context is used up by it."""
    lucid = gss5.gssapi.raw.krb5_export_lucid_sec_context(c.ctx, 1)
    data = lucid.cfx_kd
    found = {"session key": bytes(data.ctx_key)}
    base = found["session key"]
    if data.acceptor_subkey:
        base = found["acceptor's subkey"] = bytes(data.acceptor_subkey)
    for name, usage in USAGES.items():
        for kind, octet in KINDS.items():
            found[f"{name}, {kind}"] = derive(enctype, base, usage, octet)
    return found


def memory(pid):
    """{mapping: its octets} of all that a process has written to, or may."""
    got = {}
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            m = re.match(r"(\w+)-(\w+) (\S+) ", line)
            if "w" in m[3] or "[heap]" in line:
                start, end = int(m[1], 16), int(m[2], 16)
                try:
                    mem.seek(start)
                    got[line.strip()] = mem.read(end - start)
                except (OSError, ValueError):
                    pass
    return got


def where(g, keys):
    """{process: {key: where it is}}."""
    found = {}
    for pid in [g.master(), *g.children()]:
        here = {name: [m for m, octets in memory(pid).items() if key in octets] for name, key in keys.items()}
        here = {name: places for name, places in here.items() if places}
        if here:
            found[f"{sally.comm(pid)} {pid}"] = here
    return found


@pytest.mark.skipif(sally.SANITIZE, reason="ASan keeps what is freed")
@pytest.mark.parametrize("end", ["closed", "a bad token", "reset", "target closed", "before the request"])
@pytest.mark.parametrize("enctype", [17, 18])
def test_keys_are_in_one_worker_while_the_session_lives(gateway, realm, serve, enctype, end):
    g = gateway(configuration(realm))
    held = serve(peers.Held)
    c = Client(g.at, realm.kinit(enctype=enctype), 2)
    target = None
    if end != "before the request":
        assert c.connect(held.host, held.port)[0] == socks5.OK
        c.send(b"hello")
        target = held.next()
        assert target.recv(10) == b"hello"
        target.sendall(b"hello")
        assert c.read(5) == b"hello"
    keys = keys_of(c, enctype)
    living = where(g, keys)
    # the control: what enciphers and checks is in exactly one process, a worker; of what it comes from, nothing anywhere
    assert len(living) == 1 and list(living)[0].startswith("worker"), living
    names = set().union(*living.values())
    assert {"acceptor seal, ke", "initiator seal, ke"} <= names and not names & {"session key", "acceptor's subkey"}, names
    if end == "a bad token":
        c.raw_send(gss5.frame(gss5.DATA, os.urandom(100)))
        assert c.raw_ended()
    elif end == "target closed":
        target.close()
        c.half_close()
    elif end == "reset":
        c.reset()
    c.close()
    if target:
        target.close()
    if end == "before the request":
        peers.wait_for(lambda: not where(g, keys), 5, lambda: where(g, keys))
    else:
        g.record("session-close")
        assert where(g, keys) == {}


def test_keys_never_reach_what_is_written(gateway, realm, echo):
    g = gateway(configuration(realm), args=["-v"])
    c = Client(g.at, realm.kinit(enctype=18), 1)
    assert c.connect(echo.host, echo.port)[0] == socks5.OK
    keys = keys_of(c, 18)
    c.close()
    g.record("session-close")
    assert g.stop() == 0
    for root, _, files in os.walk(g.dir):
        for name in files:
            path = f"{root}/{name}"
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    octets = f.read()
                assert not [k for k in keys.values() if k in octets or k.hex().encode() in octets.lower()], path
