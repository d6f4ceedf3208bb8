"""authd's acceptor by itself, with a real KDC and MIT's own GSSAPI as the client: mechanisms, rounds, levels, whom it
denies and what the verdict says, pieces in all shapes, hostile workers, replays, and a new keytab in mid-exchange."""
import hmac
import os
import random
import time

import gssapi
import pytest

import authd
import sally
from acceptor import CONTEXT, LEVEL, accepted, denied, establish, image, keys, negotiate, no_keys, piece, reply, send, token
from authd import abort, message
from realm import FLAGS, KRB5, SPNEGO, Realm

ENCTYPES = {17: 16, 18: 32, 19: 16, 20: 32}
PASS = "pass from any to any auth gssapi\n"


@pytest.fixture(scope="module")
def realm():
    r = Realm()
    yield r
    r.stop()


@pytest.fixture(scope="module")
def alice(realm):
    return realm.kinit()


@pytest.fixture
def start(realm):
    running = []

    def go(rules=PASS, options="", keytab=None, rcache=None, **how):
        with open(realm.conf) as f:
            a = authd.Authd("ACCEPTOR", realm=(f.read(), rcache), **how)
        running.append(a)
        a.policy(image(a, rules, options))
        if keytab is not False:
            assert a.keytab(keytab or realm.keytab)[1] == ""
        return a

    yield go
    for a in running:
        a.stop()


def seq_of(wrapped):
    assert wrapped[:2] == b"\5\4"
    return int.from_bytes(wrapped[8:16], "big")


@pytest.mark.parametrize("mech", [KRB5, SPNEGO], ids=["krb5", "spnego"])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_each_level(realm, alice, start, mech, level):
    a = start()
    w = a.worker()
    c = realm.client(alice, mech=mech)
    user, got, k = negotiate(a, w, c, level)
    assert (user, got) == (b"alice", level)
    assert (k["level"], k["acceptor"], k["enctype"]) == (level, 1, 18)
    assert 80000 < k["lifetime"] <= 86400 + 600
    assert all(any(one) for one in k["send"][:3] + k["receive"][:3]) and k["send"][:3] != k["receive"][:3]
    # the numbers go on where the client's do
    assert seq_of(c.wrap(b"x", True).message) == k["receive"][3]
    assert w.all(0.1) == [] and a.master.all() == []


def wrapped(enctype, kc, flags, seq, data, rrc=b"\0\0"):
    """A Wrap token without confidentiality."""
    kc = kc[:{17: 16, 18: 32, 19: 16, 20: 24}[enctype]]
    name, n = {17: ("sha1", 12), 18: ("sha1", 12), 19: ("sha256", 16), 20: ("sha384", 24)}[enctype]
    head = b"\5\4" + bytes([flags]) + b"\xff"
    seq = seq.to_bytes(8, "big")
    check = hmac.digest(kc, data + head + bytes(4) + seq, name)[:n]
    turn = int.from_bytes(rrc, "big") % (n + len(data))
    body = data + check
    return head + n.to_bytes(2, "big") + rrc + seq + body[len(body) - turn:] + body[:len(body) - turn]


@pytest.mark.parametrize("enctype", ENCTYPES)
def test_each_encryption_type(realm, start, enctype):
    a = start()
    conf = f"{realm.where}/krb5-{enctype}.conf"
    cache = realm.kinit(conf=conf)
    os.environ["KRB5_CONFIG"] = conf
    try:
        c = realm.client(cache)
        _, _, k = negotiate(a, a.worker(), c, 2)
    finally:
        os.environ["KRB5_CONFIG"] = realm.conf
    assert k["enctype"] == enctype
    n = ENCTYPES[enctype]
    for key in (k["send"][0], k["receive"][0]):
        assert any(key[:n]) and not any(key[n:])
    # a token of the client's has our checksum, and it takes one that we make (RFC 4121 section 4.2.4)
    theirs = c.wrap(b"data", False).message
    assert theirs == wrapped(enctype, k["receive"][2], theirs[2], k["receive"][3], b"data", theirs[6:8])
    ours = c.unwrap(wrapped(enctype, k["send"][2], 1 | 4 * k["subkey"], k["send"][3], b"data"))
    assert ours.message == b"data" and not ours.encrypted


def test_without_mutual_authentication_the_last_token_is_empty(realm, alice, start):
    a = start()
    w = a.worker()
    flags = FLAGS & ~int(gssapi.RequirementFlag.mutual_authentication)
    c = realm.client(alice, flags=flags)
    out = c.step()
    assert c.complete
    send(w, token(0, CONTEXT, out))
    assert reply(w, 0, CONTEXT) == b""
    send(w, token(0, LEVEL, c.wrap(b"\2", False).message))
    assert c.unwrap(reply(w, 0, LEVEL)).message == b"\2"
    k = keys(w)
    assert k["subkey"] == 0 and accepted(a, w) == (b"alice", 2)
    assert seq_of(c.wrap(b"x", True).message) == k["receive"][3]


def test_an_empty_first_token_is_spnegos_hint(realm, alice, start):
    a = start()
    w = a.worker()
    send(w, token(0, CONTEXT, b""))
    assert reply(w, 0, CONTEXT)[:1] == b"\x60"  # NegTokenInit2 from the acceptor
    assert w.all(0.1) == [] and a.master.all() == []
    c = realm.client(alice, mech=SPNEGO)
    assert negotiate(a, w, c, 2)[:2] == (b"alice", 2)


def test_delegated_credentials_change_nothing(realm, start):
    a = start()
    cache = realm.kinit("alice", "-f")
    c = realm.client(cache, flags=FLAGS | gssapi.RequirementFlag.delegate_to_peer)
    assert negotiate(a, a.worker(), c, 2)[:2] == (b"alice", 2)


CONF = PASS.replace("auth gssapi", "auth gssapi protection confidentiality")


@pytest.mark.parametrize("rules, asked, level", [
    (CONF, 1, 2), (CONF, 3, 2), (CONF, 0, 2), (PASS, 0, 1), (PASS + CONF, 1, 2),
    ("block from 192.0.2.0/24 to any\n" + CONF, 1, 1), ("block from any to 192.0.2.9\n" + CONF, 1, 2),
    ("pass from any to any user bob auth gssapi protection confidentiality\n" + PASS, 1, 1),
    ("group g { alice }\npass from any to any group g auth gssapi protection confidentiality\n" + PASS, 1, 2),
    ("pass from 198.51.100.0/24 to any auth gssapi protection confidentiality\n" + PASS, 1, 1),
    (PASS.replace("auth gssapi", "auth gssapi protection integrity"), 1, 1),
])
def test_the_rules_choose_the_level(realm, alice, start, rules, asked, level):
    a = start(rules)
    assert negotiate(a, a.worker(), realm.client(alice), asked)[1] == level


def test_level_zero_where_it_is_allowed(realm, alice, start):
    a = start(options="allow clear")
    w = a.worker()
    user, level, k = negotiate(a, w, realm.client(alice), 0)
    assert (user, level) == (b"alice", 0) and no_keys(k)
    assert 80000 < k["lifetime"] <= 86400 + 600
    a.policy(image(a, CONF, "allow clear", 2), 2)
    assert negotiate(a, w, realm.client(alice), 0, slot=1)[1] == 2


@pytest.mark.parametrize("octet", [4, 255])
def test_a_level_that_is_none_is_denied(realm, alice, start, octet):
    a = start()
    w = a.worker()
    c = realm.client(alice)
    establish(w, c)
    send(w, token(0, LEVEL, c.wrap(bytes([octet]), False).message))
    assert denied(a, w) == ("LEVEL", b"alice@SALLYPORT.TEST")


def test_level_messages_that_are_not_as_they_must_be(realm, alice, start):
    a = start()
    w = a.worker()

    def case(slot, make):
        c = realm.client(alice)
        establish(w, c, slot)
        send(w, token(slot, LEVEL, make(c)))
        return denied(a, w, slot)[0]

    assert case(0, lambda c: c.wrap(b"\2", True).message) == "LEVEL"  # enciphered
    assert case(1, lambda c: c.wrap(b"\2\2", False).message) == "LEVEL"
    assert case(2, lambda c: c.wrap(b"", False).message) == "LEVEL"
    assert case(3, lambda c: b"\2") == "GSSAPI"  # NEC's, which is not allowed
    assert case(4, lambda c: b"") == "GSSAPI"
    assert case(5, lambda c: b"\0" * 65535) == "GSSAPI"

    def flipped(c):
        t = bytearray(c.wrap(b"\2", False).message)
        t[16] ^= 1
        return bytes(t)
    assert case(6, flipped) == "GSSAPI"

    def second(c):
        c.wrap(b"\1", False)
        return c.wrap(b"\2", False).message
    assert case(7, second) == "GSSAPI"  # one before it is missing
    assert negotiate(a, w, realm.client(alice), 2, slot=8)[1] == 2  # all that is as it must be


@pytest.mark.parametrize("asked, level", [(0, 1), (1, 1), (2, 2), (3, 3)])
def test_nec_where_it_is_allowed(realm, alice, start, asked, level):
    a = start(options="allow nec")
    w = a.worker()
    c = realm.client(alice)
    establish(w, c)
    send(w, token(0, LEVEL, bytes([asked])))
    assert reply(w, 0, LEVEL) == bytes([level])
    k = keys(w)
    assert accepted(a, w) == (b"alice", level)
    assert seq_of(c.wrap(b"x", False).message) == k["receive"][3]


def test_nec_with_level_zero_and_wrapped_beside_it(realm, alice, start):
    a = start(options="allow { clear, nec }")
    w = a.worker()
    establish(w, realm.client(alice))
    send(w, token(0, LEVEL, b"\0"))
    assert reply(w, 0, LEVEL) == b"\0" and no_keys(keys(w)) and accepted(a, w) == (b"alice", 0)
    assert negotiate(a, w, realm.client(alice), 2, slot=1)[1] == 2


def test_services(realm, alice, start):
    a = start(options="service socks")
    w = a.worker()
    assert negotiate(a, w, realm.client(alice, "socks@localhost"), 2)[1] == 2
    for n, mech in enumerate((KRB5, SPNEGO), 1):
        c = realm.client(alice, "host@gateway.test", mech)
        send(w, token(n, CONTEXT, c.step()))
        assert denied(a, w, n) == ("SERVICE", b"alice@SALLYPORT.TEST")
    a.policy(image(a, PASS, "", 2), 2)
    assert negotiate(a, w, realm.client(alice, "host@gateway.test"), 2, slot=4)[1] == 2


@pytest.mark.parametrize("mech", [KRB5, SPNEGO], ids=["krb5", "spnego"])
def test_a_service_that_the_keytab_has_not(realm, alice, start, mech):
    realm.admin("addprinc -randkey socks/elsewhere.test")
    a = start()
    w = a.worker()
    send(w, token(0, CONTEXT, realm.client(alice, "socks@elsewhere.test", mech).step()))
    assert denied(a, w) == ("SERVICE", b"")


def test_an_encryption_type_that_is_none_of_aes(realm, start):
    other = Realm()  # whose KDC gives session keys of Camellia
    try:
        with open(other.conf) as f:
            text = "".join(line for line in f if "_enctypes" not in line)
        with open(other.conf, "w") as f:
            f.write(text.replace("[libdefaults]", "[libdefaults]\n"
                                 "\tdefault_tgs_enctypes = camellia256-cts-cmac aes256-cts\n"
                                 "\tpermitted_enctypes = aes256-cts camellia256-cts-cmac"))
        other.admin("setstr socks/gateway.test session_enctypes camellia256-cts-cmac")
        other.restart()
        a = start(keytab=False)
        with open(other.conf) as f, open(f"{a.dir}/root/krb5.conf", "w") as g:
            g.write(f.read())
        assert a.keytab(other.keytab)[1] == ""
        w = a.worker()
        send(w, token(0, CONTEXT, other.client(other.kinit()).step()))
        assert denied(a, w) == ("ENCTYPE", b"alice@SALLYPORT.TEST")
    finally:
        other.stop()
        os.environ["KRB5_CONFIG"] = realm.conf


def test_principals_and_users(realm, start):
    a = start()
    w = a.worker()
    carol = realm.kinit("carol")
    c = realm.client(carol)
    send(w, token(0, CONTEXT, c.step()))
    assert denied(a, w) == ("NO_NAME", b"carol/admin@SALLYPORT.TEST")  # auth_to_local's default: one component
    a.policy(image(a, PASS, "names principal", 2), 2)
    assert negotiate(a, w, realm.client(carol), 2, slot=1)[0] == b"carol/admin@SALLYPORT.TEST"


def test_names_that_are_too_long(realm, start):
    realm.admin(f"addprinc -pw x {'n' * 256}", f"addprinc -pw x {'m' * 255}",
                f"ktadd -norandkey -k {realm.where}/long.keytab {'n' * 256} {'m' * 255}")
    a = start()
    w = a.worker()
    send(w, token(0, CONTEXT, realm.client(realm.kinit("long", principal="n" * 256)).step()))
    assert denied(a, w) == ("NO_NAME", b"n" * 255)
    assert negotiate(a, w, realm.client(realm.kinit("long", principal="m" * 255)), 2, slot=1)[0] == b"m" * 255


@pytest.mark.parametrize("mech", [KRB5, SPNEGO], ids=["krb5", "spnego"])
def test_a_ticket_that_has_ended(realm, start, mech):
    a = start()
    w = a.worker()
    conf = open(realm.conf).read().replace("[libdefaults]", "[libdefaults]\n\tclockskew = 1")
    with open(f"{a.dir}/root/krb5.conf", "w") as f:
        f.write(conf)
    os.utime(f"{a.dir}/root/krb5.conf", (0, 0))
    assert a.keytab(realm.keytab)[1] == ""
    c = realm.client(realm.kinit("alice", "-l", "3s"), mech=mech)
    t = c.step()
    time.sleep(5)
    send(w, token(0, CONTEXT, t))
    assert denied(a, w)[0] in ("TICKET", "SKEW")


@pytest.mark.parametrize("mech", [KRB5, SPNEGO], ids=["krb5", "spnego"])
def test_a_client_whose_clock_is_wrong(realm, alice, start, mech):
    a = start()
    w = a.worker()
    with open(f"{a.dir}/root/krb5.conf") as f:
        conf = f.read().replace("[libdefaults]", "[libdefaults]\n\tclockskew = 1")
    c = realm.client(alice, mech=mech)
    late, good = c.step(), realm.client(alice, mech=mech)
    with open(f"{a.dir}/root/krb5.conf", "w") as f:
        f.write(conf)
    os.utime(f"{a.dir}/root/krb5.conf", (0, 0))
    time.sleep(3)
    assert a.keytab(realm.keytab)[1] == ""
    send(w, token(0, CONTEXT, late))
    assert denied(a, w)[0] == "SKEW"
    assert negotiate(a, w, good, 2, slot=1)[1] == 2


@pytest.mark.parametrize("mech", [KRB5, SPNEGO], ids=["krb5", "spnego"])
def test_a_replay_is_refused_also_after_a_restart(realm, alice, start, mech):
    a = start()
    w = a.worker()
    t = realm.client(alice, mech=mech).step()
    send(w, token(0, CONTEXT, t))
    assert reply(w, 0, CONTEXT)
    send(w, token(1, CONTEXT, t))
    assert denied(a, w, 1)[0] == "REPLAY"
    with open(f"{a.dir}/root/rcache", "rb") as f:
        kept = f.read()
    b = start(rcache=kept)
    w = b.worker()
    send(w, token(0, CONTEXT, t))
    assert denied(b, w)[0] == "REPLAY"
    b = start()  # without what was kept it would be taken
    w = b.worker()
    send(w, token(0, CONTEXT, t))
    assert reply(w, 0, CONTEXT)


def test_tokens_that_are_none(realm, alice, start):
    a = start()
    w = a.worker()
    rng = random.Random(1)
    good = realm.client(alice).step()
    for n in range(40):
        bad = bytearray(good)
        if n < 20:
            bad = bad[:n * len(bad) // 20]
        else:
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        if not bad:
            continue
        send(w, token(n, CONTEXT, bytes(bad)))
        assert denied(a, w, n)[0] in ("GSSAPI", "SERVICE", "SKEW", "REPLAY", "ENCTYPE", "FAILED")
    send(w, token(90, CONTEXT, os.urandom(65535)))
    assert denied(a, w, 90)[0] == "GSSAPI"
    assert negotiate(a, w, realm.client(alice), 2, slot=91)[1] == 2


@pytest.mark.parametrize("size", [1, 7, 100, 4095, 4096])
def test_pieces_of_all_sizes(realm, alice, start, size):
    a = start()
    w = a.worker()
    a2 = realm.client(alice)
    assert negotiate(a, w, a2, 3, size=size)[1] == 3


def test_exchanges_that_are_woven(realm, alice, start):
    a = start()
    w = a.worker()
    tokens = [token(n, CONTEXT, realm.client(alice).step(), size=97) for n in range(20)]
    for row in zip(*tokens):
        w.send(*row)
    for row in range(len(min(tokens, key=len)), max(map(len, tokens))):
        w.send(*[t[row] for t in tokens if row < len(t)])
    got = {w.get("AUTH_REPLY")[:4] for _ in range(20)}
    assert len(got) == 20


def test_too_many_rounds(realm, alice, start):
    a = start()
    w = a.worker()
    for n in range(12):
        send(w, token(0, CONTEXT, b""))
        name, p = w.get()
        if name == "AUTH_RESULT":
            break
    assert n <= 10 and a.master.verdict()[2] == "GSSAPI"


HOSTILE = {
    "a middle piece first": lambda t: [piece(5, CONTEXT, b"x", 1, 3)],
    "a piece left out": lambda t: [piece(5, CONTEXT, b"x", 0, 9), piece(5, CONTEXT, b"x", 2, 9)],
    "a piece twice": lambda t: [piece(5, CONTEXT, b"x", 0, 9), piece(5, CONTEXT, b"x", 0, 9)],
    "another total": lambda t: [piece(5, CONTEXT, b"x", 0, 9), piece(5, CONTEXT, b"x", 1, 8)],
    "another kind": lambda t: [piece(5, CONTEXT, b"x", 0, 9), piece(5, LEVEL, b"x", 1, 9)],
    "more than the total": lambda t: [piece(5, CONTEXT, b"xxx", 0, 2)],
    "an empty piece": lambda t: [piece(5, CONTEXT, b"", 0, 2)],
    "a total past the most": lambda t: [piece(5, CONTEXT, b"x", 0, 65536)],
    "an offset past the total": lambda t: [piece(5, CONTEXT, b"", 3, 2)],
    "kind 0": lambda t: [piece(5, 0, b"x")],
    "kind 3": lambda t: [piece(5, 3, b"x")],
    "a slot out of range": lambda t: [piece(65536, CONTEXT, b"x")],
    "generation 0": lambda t: [piece(5, CONTEXT, b"x", gen=0)],
    "a slot that is under way": lambda t: [piece(5, CONTEXT, b"x", 0, 9), piece(5, CONTEXT, b"x", 0, 9, gen=2)],
    "a piece while the token is processed": lambda t: [piece(5, CONTEXT, t), piece(5, CONTEXT, t)],
    "a password": lambda t: [authd.ask(5, b"alice", b"alices")],
    "a client of no family": lambda t: [piece(5, CONTEXT, b"x")[:24] + b"\x09" + piece(5, CONTEXT, b"x")[25:]],
    "too short": lambda t: [message("AUTH_TOKEN", bytes(40))],
    "a piece past the most": lambda t: [message("AUTH_TOKEN", bytes(48) + bytes(4097))],
    "a piece after the abort": lambda t: [piece(5, CONTEXT, b"x", 0, 9), abort(5), piece(5, CONTEXT, b"x", 1, 9)],
    "an abort twice": lambda t: [piece(5, CONTEXT, b"x", 0, 9) + abort(5) + abort(5)],
    "a keytab": lambda t: [message("KEYTAB", bytes(8))],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_a_hostile_worker_sends_ends_its_channel_alone(realm, alice, start, what):
    a = start()
    bad, good = a.worker(), a.worker()
    assert negotiate(a, bad, realm.client(alice), 2)[1] == 2  # so far it is one like any other
    bad.send(*HOSTILE[what](realm.client(alice).step()))
    assert bad.ended()
    name, payload = a.master.get()
    while name == "VERDICT":
        name, payload = a.master.get()
    assert name == "PEER_FAULT" and int.from_bytes(payload[:4], "little") == bad.spawn
    assert negotiate(a, good, realm.client(alice), 2)[1] == 2


def test_a_kind_of_token_that_is_not_due_is_the_clients_fault(realm, alice, start):
    """A worker cannot know which is: it passes on what the client sends, and must not die of it."""
    a = start()
    w = a.worker()
    send(w, token(0, LEVEL, b"\2"))  # before any context
    assert denied(a, w)[0] == "GSSAPI"
    send(w, token(1, LEVEL, bytes(10000)))
    assert denied(a, w, 1)[0] == "GSSAPI"
    c = realm.client(alice)
    establish(w, c, 2)
    send(w, token(2, CONTEXT, realm.client(alice).step()))  # where the level should be
    assert denied(a, w, 2) == ("GSSAPI", b"alice@SALLYPORT.TEST")
    assert negotiate(a, w, realm.client(alice), 2, slot=3)[1] == 2


def test_what_crosses_an_answer_is_dropped(realm, alice, start):
    a = start()
    w = a.worker()
    send(w, token(3, CONTEXT, b"junk"))
    assert denied(a, w, 3)[0] == "GSSAPI"
    w.send(piece(3, CONTEXT, b"x", 0, 9), piece(3, CONTEXT, b"x", 1, 9), piece(3, LEVEL, b"\2"), abort(3))
    assert w.all(0.2) == [] and a.master.all() == []
    assert negotiate(a, w, realm.client(alice), 2, slot=3, gen=2)[1] == 2  # the slot's next session


def test_aborts_in_each_state(realm, alice, start):
    a = start()
    w = a.worker()
    w.send(piece(0, CONTEXT, b"x", 0, 9), abort(0))  # in mid-token
    assert denied(a, w, 0)[0] == "ABORTED"
    w.send(piece(1, CONTEXT, realm.client(alice).step()), abort(1))  # while it waits for its turn
    assert denied(a, w, 1)[0] == "ABORTED"
    c = realm.client(alice)
    establish(w, c, 2)
    w.send(abort(2))  # between rounds
    assert denied(a, w, 2) == ("ABORTED", b"alice@SALLYPORT.TEST")
    c = realm.client(alice)
    establish(w, c, 3)
    w.send(*token(3, LEVEL, c.wrap(b"\2", False).message), abort(3))
    assert denied(a, w, 3)[0] == "ABORTED"
    w.send(abort(3), abort(9))
    assert w.all(0.1) == [] and a.master.all() == []
    assert negotiate(a, w, realm.client(alice), 2, slot=4)[1] == 2


def test_the_worker_learns_a_verdict_only_after_the_master_has_it(realm, alice, start):
    a = start(sndbuf=20000)  # doubled by the kernel; a packet of the largest size fits
    w = a.worker()
    many = 600
    for n in range(many):
        send(w, token(n, CONTEXT, b"junk", source=f"10.0.{n // 250}.{n % 250}"))
    time.sleep(1)
    taken, verdicts, end = len(w.all()), 0, time.monotonic() + 30
    assert taken < many - 100  # the master's socket is full: the rest waits
    while verdicts < many:
        taken += len(w.all())
        some = a.master.all()
        assert all(name == "VERDICT" for name, _ in some)
        verdicts += len(some)
        assert taken <= verdicts  # what the worker has been told was in the master's socket by then
        assert time.monotonic() < end, verdicts
    assert taken + len(w.all(1)) == many


def test_stalled_tokens_take_no_ones_room(realm, alice, start):
    a = start()
    w = a.worker()
    for n in range(40):  # of one source: 64 KiB but one octet each, and no end
        t = bytes(65534)
        for m in token(n, CONTEXT, t + b"x", source="198.51.100.1")[:-1]:
            w.send(m)
    busy = set()
    for name, p in w.all(0.5):
        assert name == "AUTH_RESULT" and p[8] == 0
        busy.add(int.from_bytes(p[:4], "little"))
    assert 20 <= len(busy) < 40
    assert {a.master.as_verdict(p)[2] for _, p in a.master.all()} == {"BUSY"}
    assert negotiate(a, w, realm.client(alice), 2, slot=100)[1] == 2


def test_before_policy_and_keytab_tokens_wait(realm, alice, start):
    a = start(keytab=False)
    w = a.worker()
    send(w, token(0, CONTEXT, realm.client(alice).step()))
    assert w.all(0.3) == []
    assert a.keytab(realm.keytab) == (12, "")
    assert reply(w, 0, CONTEXT)


def test_a_keytab_that_was_never_right_denies_everyone(realm, alice, start, tmp_path):
    a = start(keytab=False)
    w = a.worker()
    (tmp_path / "k").write_bytes(b"\5\1")
    keys_, what = a.keytab(f"{tmp_path}/k")
    assert keys_ == 0 and "0x502" in what
    send(w, token(0, CONTEXT, realm.client(alice).step()))
    assert denied(a, w)[0] == "FAILED"


def test_a_new_keytab_in_mid_exchange(realm, start, tmp_path):
    a = start()
    w = a.worker()
    cache = realm.kinit("bob")
    c = realm.client(cache)
    establish(w, c, 0)
    half = realm.client(cache).step()
    first = token(1, CONTEXT, half, size=100)
    send(w, first[:3])
    with open(realm.keytab, "rb") as f:
        (tmp_path / "bad").write_bytes(f.read()[:-3])
    assert a.keytab(f"{tmp_path}/bad") == (12, "it is damaged")
    send(w, first[3:])
    assert reply(w, 1, CONTEXT)  # with the keys that were there before
    realm.admin("addprinc -randkey socks/new.test", f"ktadd -norandkey -k {tmp_path}/new socks/new.test")
    assert a.keytab(f"{tmp_path}/new") == (4, "")
    send(w, token(0, LEVEL, c.wrap(b"\2", False).message))
    assert c.unwrap(reply(w, 0, LEVEL)).message == b"\2"  # it goes on with what it began with
    keys(w)
    assert accepted(a, w)[0] == b"bob"
    assert negotiate(a, w, realm.client(cache, "socks@new.test"), 2, slot=2)[1] == 2
    send(w, token(3, CONTEXT, realm.client(cache).step()))
    assert denied(a, w, 3)[0] == "SERVICE"


@pytest.mark.skipif(sally.SANITIZE, reason="the proofs run on the plain build")
def test_the_sandbox_is_on(realm, start):
    a = start()
    with open(f"/proc/{a.p.pid}/status") as f:
        status = dict(line.split(":", 1) for line in f.read().splitlines())
    assert status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1"
    assert int(status["CapEff"], 16) == 0 and status["Uid"].split() == ["61234"] * 4
    assert os.readlink(f"/proc/{a.p.pid}/root") == f"{a.dir}/root"
