"""What is said to an authd that is an acceptor, as master and worker (authd.py): tokens in pieces, whole exchanges, and what
comes of them."""
import struct
import subprocess

import sally
from authd import addrport, message

CONTEXT, LEVEL = 1, 2  # kinds of tokens


def image(a, rules, options="", version=1):
    path = f"{a.dir}/conf"
    with open(path, "w") as f:
        f.write(f'listen on 127.0.0.1 port 1080\nauth gssapi keytab "/k" {options}\n{rules}')
    return subprocess.run([f"{sally.BUILD}/e2e/policy_image", path, str(version)], check=True,
                          stdout=subprocess.PIPE).stdout


def piece(slot, kind, data, at=0, total=None, gen=1, source="192.0.2.1"):
    total = len(data) if total is None else total
    return message("AUTH_TOKEN", struct.pack("=IIII", slot, gen, total, at) + addrport(source) +
                   struct.pack("=B3x", kind) + data)


def token(slot, kind, data, size=4096, **how):
    """All pieces of a token."""
    return [piece(slot, kind, data[n:n + size], n, len(data), **how) for n in range(0, max(len(data), 1), size)]


def send(w, messages):
    """In packets that are not too long."""
    for n in range(0, len(messages), 7):
        w.send(*messages[n:n + 7])


def reply(w, slot, kind, seconds=20):
    """A token of authd's, put together."""
    data, total = b"", None
    while total is None or len(data) < total:
        p = w.get("AUTH_REPLY", seconds)
        s, _, total, at = struct.unpack_from("=IIII", p)
        assert (s, p[44], at, p[16:44]) == (slot, kind, len(data), bytes(28)), p[:48]
        assert len(p) > 48 or total == 0
        data += p[48:]
    assert len(data) == total
    return data


def establish(w, client, slot=0, **how):
    """All rounds of the context."""
    out = client.step()
    rounds = 0
    while not client.complete or out:
        send(w, token(slot, CONTEXT, out or b"", **how))
        back = reply(w, slot, CONTEXT)
        rounds += 1
        out = client.step(back) if not client.complete else None
    return rounds


def denied(a, w, slot=0, seconds=20):
    """(verdict, user) of an exchange that is denied."""
    s, accepted, user, groups = w.result(seconds)
    assert (s, accepted, user, groups) == (slot, False, b"", [])
    v = a.master.verdict()
    assert v[0] == slot and v[1] == w.spawn
    return v[2], v[3]


def keys(w):
    p = w.get("AUTH_KEYS")
    slot, gen, lifetime, _, enctype, level, acceptor, subkey, _ = struct.unpack_from("=IIIIIBBBB", p)
    off = 24
    both = []
    for _ in range(2):
        both.append((p[off:off + 32], p[off + 32:off + 64], p[off + 64:off + 96],
                     int.from_bytes(p[off + 96:off + 104], "little")))
        off += 104
    assert off == len(p)
    return dict(slot=slot, lifetime=lifetime, enctype=enctype, level=level, acceptor=acceptor, subkey=subkey,
                send=both[0], receive=both[1])


def no_keys(k):
    """Level 0: a ticket's end, and nothing else."""
    return (k["enctype"], k["level"], k["acceptor"], k["subkey"]) == (0, 0, 0, 0) and not any(
        any(d) if isinstance(d, bytes) else d for d in k["send"] + k["receive"])


def accepted(a, w, slot=0):
    """(user, verdict's level, result's level) of one that is accepted; its result is the next message."""
    p = w.get("AUTH_RESULT")
    s, _, yes, method, ul, level, gl = struct.unpack_from("=IIBBBBI", p)
    assert (s, yes, method, gl) == (slot, 1, 2, 0)
    m = a.master.get("VERDICT")
    v = a.master.as_verdict(m)
    assert v[0] == slot and v[1] == w.spawn and v[2] == "ACCEPT" and v[3] == p[16:16 + ul] and m[13] == 2
    assert m[15] == level
    return p[16:16 + ul], level


def negotiate(a, w, client, asked, slot=0, **how):
    """The whole exchange: (user, level, keys or None)."""
    establish(w, client, slot, **how)
    send(w, token(slot, LEVEL, client.wrap(bytes([asked]), False).message, **how))
    answer = client.unwrap(reply(w, slot, LEVEL))
    assert not answer.encrypted and len(answer.message) == 1
    k = keys(w)
    user, level = accepted(a, w, slot)
    assert level == answer.message[0]
    return user, level, k
