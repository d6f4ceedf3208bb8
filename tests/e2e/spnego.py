"""SPNEGO (RFC 4178) by hand around a krb5 context of MIT's, for the negotiations that MIT's own initiator does not begin: the
wanted mechanism not the first of the list, or no optimistic token. Each has a round more than the usual, and where the
first was not taken, a checksum of the list each way, which uses up a sequence number."""
KRB5 = bytes.fromhex("06092a864886f712010202")
UNKNOWN = bytes.fromhex("06092a864886f712010263")  # a mechanism that nobody has
SPNEGO = bytes.fromhex("06062b0601050502")
ACCEPTED, INCOMPLETE, REJECT, REQUEST_MIC = range(4)


def der(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    return bytes([tag]) + (bytes([n]) if n < 128 else bytes([0x82]) + n.to_bytes(2, "big")) + body


def items(octets):
    """{tag: body} of what is inside a constructed value."""
    found = {}
    while octets:
        n, at = octets[1], 2
        if n & 0x80:
            at += n & 0x7f
            n = int.from_bytes(octets[2:at], "big")
        found[octets[0]] = octets[at:at + n]
        octets = octets[at + n:]
    return found


def init(mechanisms, token=None):
    inner = der(0xa0, der(0x30, *mechanisms))
    if token is not None:
        inner += der(0xa2, der(0x04, token))
    return der(0x60, SPNEGO, der(0xa0, der(0x30, inner)))


def response(token=None, mic=None):
    inner = b""
    if token is not None:
        inner += der(0xa2, der(0x04, token))
    if mic is not None:
        inner += der(0xa3, der(0x04, mic))
    return der(0xa1, der(0x30, inner))


def parse(octets):
    """(state, token, MIC) of the acceptor's answer; nothing of an empty one, which only says that it is ready."""
    if not octets:
        return None, None, None
    fields = items(items(items(octets)[0xa1])[0x30])
    state = items(fields[0xa0])[0x0a][0] if 0xa0 in fields else None
    return state, *(items(fields[t])[0x04] if t in fields else None for t in (0xa2, 0xa3))


def establish(client, mechanisms, optimistic=None):
    """Establishes client.ctx, a krb5 context, as SPNEGO with this list and this first token; the states answered."""
    listed = der(0x30, *mechanisms)
    first = mechanisms[0] == KRB5
    states = []

    def say(token):
        state, inner, mic = parse(client.exchange(token))
        states.append(state)
        return inner, mic

    inner, mic = say(init(mechanisms, optimistic))
    inner, mic = say(response(client.step(inner)))
    assert client.step(inner) is None and client.ctx.complete
    if not first:
        if mic is not None:
            client.ctx.verify_signature(listed, mic)
        inner, again = say(response(mic=client.ctx.get_signature(listed)))
        if again is not None:
            client.ctx.verify_signature(listed, again)
        assert (mic is None) != (again is None)
    assert states[-1] in (ACCEPTED, None)
    return states
