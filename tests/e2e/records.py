"""The audit trail read back: logfmt and @cee: JSON lines to dicts of octets, as sallyport-audit(7) says."""
import json
import re

# key=word or key="octets"; inside quotes \xHH, \" and \\ (the escapes that the man page names)
PAIR = re.compile(rb'([a-z_-]+)=(?:"((?:[^"\\]|\\x[0-9a-f]{2}|\\["\\])*)"|([^ "]*))(?: |$)')
ESCAPE = re.compile(rb'\\(?:x([0-9a-f]{2})|(["\\]))')


def unescape(octets):
    return ESCAPE.sub(lambda m: bytes([int(m[1], 16)]) if m[1] else m[2], octets)


def logfmt(line):
    """A dict of str to octets; None where the line is not whole (a prefix before event= is skipped)."""
    at = line.find(b"event=")
    if at < 0:
        return None
    line = line[at:].rstrip(b"\n")
    got, end = {}, 0
    while end < len(line):
        m = PAIR.match(line, end)
        if not m:
            raise ValueError(f"not logfmt at {end}: {line!r}")
        key = m[1].decode()
        if key in got:
            raise ValueError(f"{key} twice: {line!r}")
        got[key] = unescape(m[2]) if m[2] is not None else m[3]
        end = m.end()
    return got


def cee(line):
    """Likewise from @cee: JSON, whose strings hold octets as the code points 0 to 255."""
    at = line.find(b"@cee:")
    if at < 0:
        return None

    def once(pairs):
        keys = [k for k, _ in pairs]
        if len(keys) != len(set(keys)):
            raise ValueError(f"a key twice: {line!r}")
        return dict(pairs)

    got = json.loads(line[at + 5:].decode("ascii"), object_pairs_hook=once)
    return {k: v.encode("latin-1") if isinstance(v, str) else str(v).encode() for k, v in got.items()}


def read(path):
    """All records of a log file, whichever format each line has."""
    try:
        with open(path, "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return []
    whole = data[:data.rfind(b"\n") + 1]
    found = (cee(l) or logfmt(l) for l in whole.splitlines())
    return [r for r in found if r]
