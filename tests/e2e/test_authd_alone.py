"""Times of authd's checks, measured where nothing else is in between: what a check finds is not told by how long it
takes. Runs when nothing else does."""
import crypt
import random
import statistics

import pytest

import authd

ROUNDS = 40
SAMPLES = 4  # times ROUNDS at most
RATIO = 1.15  # of the lower deciles


@pytest.fixture
def a():
    a = authd.Authd()
    yield a
    a.stop()


def decile(times):
    """What is taken where nobody disturbs: a neighbour of the machine slows some of the checks, and by chance more of one
    case's than of another's, where a median may fall on either side. A check that does more is slower in every one."""
    return statistics.quantiles(times, n=10)[0]


def line(name, setting, more=":"):
    return f"{name}:{crypt.crypt('the password', setting)}:{more}\n"


@pytest.mark.parametrize("setting", ["$y$j9T$abcdefghijklmnop", "$6$rounds=60000$saltsalt", "$2b$08$abcdefghijklmnopqrstuu"])
def test_unknown_wrong_locked_and_expired_take_the_same_time(a, setting):
    users = line("right", setting) + line("lock", setting, "::locked") + line("old", setting, ":2001-01-01")
    users += "unusable:*:::\n"
    users += line("another", "$5$rounds=1000$saltsalt")  # a kind that fewer have
    assert a.users(users) == (5, 0, "")
    w = a.worker()
    cases = {"right": (b"right", b"the password"), "wrong": (b"right", b"not it"), "unknown": (b"nobody", b"not it"),
             "unknown, long": (b"n" * 255, b"not it"), "locked": (b"lock", b"the password"),
             "locked and wrong": (b"lock", b"not it"), "expired": (b"old", b"the password"),
             "expired and wrong": (b"old", b"not it"), "hash unusable": (b"unusable", b"*")}
    took = {name: [] for name in cases}
    for more in range(SAMPLES):  # a busy machine's noise goes with more rounds, a difference does not
        for n in range(ROUNDS * more, ROUNDS * (more + 1)):
            for i, (name, (user, password)) in enumerate(random.sample(list(cases.items()), len(cases))):
                # a source of its own each time: the throttle is not what is measured
                took[name].append(a.check(w, user, password, source=f"10.{n}.{i}.1")[4])
        least = {name: decile(times) for name, times in took.items()}
        if max(least.values()) < min(least.values()) * RATIO:
            break
    print("table:", setting[:8], {name: f"{m * 1000:.2f} ms" for name, m in least.items()})
    assert min(least.values()) > 0.001  # it is the hash that is measured
    assert max(least.values()) < min(least.values()) * RATIO, least
    # The positive control: a check of another cost is told apart by this very measure.
    other = decile([a.check(w, b"another", b"not it", source=f"10.200.{n}.1")[4] for n in range(ROUNDS)])
    assert other * RATIO < min(least.values()), (other, least)
