"""Unknown, wrong, locked and expired cost the same time: their distributions are compared. Runs when nothing else
does."""
import statistics
import time

import sally
import socks5

ROUNDS = 12
SAMPLES = 4  # times ROUNDS at most
RATIO = 1.25  # of lower quartiles, as a neighbour of the machine slows some checks; a check that is left out would differ by a factor of thousands


def test_no_outcome_is_told_by_its_time(gateway):
    def users(g):
        for name, more in (("right", ()), ("lock", ("lock",)), ("old", ("expire", "2001-01-01"))):
            p = g.ctl("passwd", "-f", g.users, "add", name, stdin=b"the password\n")
            assert p.returncode == 0, p.stderr
            if more:
                p = g.ctl("passwd", "-f", g.users, more[0], name, *more[1:])
                assert p.returncode == 0, p.stderr

    g = gateway('auth password file "@DIR@/users"\npass connect from any to 127.0.0.1 auth password\n', before=users)
    cases = {"wrong": (b"right", b"not it"), "unknown": (b"nobody", b"not it"), "locked": (b"lock", b"the password"),
             "locked and wrong": (b"lock", b"not it"), "expired": (b"old", b"the password"),
             "expired and wrong": (b"old", b"not it")}
    took = {name: [] for name in cases}
    for n in range(ROUNDS * SAMPLES):  # a busy machine's noise goes with more rounds, a difference does not
        for i, (name, (user, password)) in enumerate(cases.items()):
            # a source of its own each time: failures of one source are slowed on purpose
            with socks5.Client(g.at, source=f"127.1.{n}.{i + 1}", seconds=60) as c:
                assert c.greet(2) == 2
                began = time.monotonic()
                assert c.login(user, password) != 0
                took[name].append(time.monotonic() - began)
        if n % ROUNDS != ROUNDS - 1:
            continue
        least = {name: statistics.quantiles(times, n=4)[0] for name, times in took.items()}
        low, high = min(least.values()), max(least.values())
        if high < low * RATIO + 0.01:
            break
    print("table:", {name: f"{m * 1000:.1f} ms" for name, m in least.items()})
    assert high < low * RATIO + 0.01, least


def test_a_slow_check_delays_no_session_without_one(gateway, serve):
    import peers
    free = serve(peers.Echo, "127.0.0.2")
    g = gateway('auth password file "@DIR@/users"\npass connect from any to 127.0.0.2 auth none\n'
                "pass connect from any to 127.0.0.1 auth password\nauth prefer none, password\n", workers=1,
                before=lambda g: g.ctl("passwd", "-f", g.users, "add", "right", stdin=b"the password\n"))
    busy = []
    for n in range(40):
        c = socks5.Client(g.at, source=f"127.2.0.{n + 1}", seconds=60)
        c.send(socks5.greeting(2) + socks5.credentials(b"right", b"wrong"))
        busy.append(c)
    for _ in range(10):
        began = time.monotonic()
        c, reply = socks5.open_session(g.at, "127.0.0.2", free.port)
        assert reply[0] == 0
        assert time.monotonic() - began < (2 if sally.SANITIZE else 0.7)
        c.close()
    for c in busy:
        c.close()
