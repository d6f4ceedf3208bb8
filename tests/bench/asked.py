"""What a run is asked for: the environment's WORK, SERVERS, PAIRS, STRETCH, MIB and SAVE, with a message for what is wrong."""
import dataclasses
import math
import os
import sys

import works

GSSAPI = {f"gssapi-{kind}": kind for kind in ("bulk", "handshakes", "parts")}
WORKS = [*(w.name for of_kind in works.KINDS.values() for w in of_kind), "idle", "start", *GSSAPI]


@dataclasses.dataclass(frozen=True)
class Asked:
    works: list  # names
    servers: list
    pairs: int
    seconds: float
    mib: int
    part: bool  # not all works, or not all servers
    save: bool


def refuse(why):
    print(f"make bench: {why}", file=sys.stderr)
    sys.exit(2)


def words(name):
    """Those of an environment variable."""
    return os.environ.get(name, "").split()


def chosen(name, all_of, fits):
    """Those of `all_of` that the variable names; all, where it does not."""
    wanted = words(name)
    strangers = [w for w in wanted if not any(fits(w, a) for a in all_of)]
    if strangers:
        refuse(f"{name}: {' '.join(strangers)} is none of {' '.join(all_of)}")
    return [a for a in all_of if not wanted or any(fits(w, a) for w in wanted)]


def number(name, default, kind, most):
    text = os.environ.get(name) or str(default)
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= most:
        refuse(f"{name} is '{text}', expected a {'whole ' if kind is int else ''}number above 0, at most {most}")
    return value


def is_of(word, work):
    """A word names a work, or a kind of works."""
    return work == word or work.startswith(word + "-")


def able(work):
    """The servers that a work can be measured on."""
    if work in GSSAPI:
        return ["sallyport"]
    return [name for name, server in works.SERVERS.items() if work.partition("-")[0] not in server.lacks]


def asked():
    names = chosen("SERVERS", list(works.SERVERS), lambda w, name: w == name)
    of_works = chosen("WORK", WORKS, is_of)
    for word in words("WORK"):
        needed = [n for n in works.SERVERS if any(n in able(w) for w in of_works if is_of(word, w))]
        if not set(needed) & set(names):
            refuse(f"WORK={word} needs {' or '.join(needed)} in SERVERS")
    pairs, seconds, mib = number("PAIRS", 5, int, 1000), number("STRETCH", 0.4, float, 60), number("MIB", 128, int, 1024)
    if os.geteuid() != 0:
        refuse("the gateway's sandbox needs root, expected to be called by root (sudo make bench)")
    return Asked(of_works, names, pairs, seconds, mib, part=len(of_works) < len(WORKS) or len(names) < len(works.SERVERS),
                 save=os.environ.get("SAVE") == "1")
