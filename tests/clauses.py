"""Every MUST, SHOULD and MAY of RFC 1928 and RFC 1929, in capitals or not, and what they expect or recommend, each with
the tests that show it. `tests/run` looks up what became of these and prints the table; a test that is not there, or
failed, is a failure. A test is "test_x: its name" of tests/unit/test_x.c, or "e2e/test_x.py: its name"."""
from collections import namedtuple

Clause = namedtuple("Clause", "rfc section text tests without")

LATER = "a later issue"  # GSSAPI (RFC 1961), whose encapsulation several clauses are about
PEOPLE = "asked of people, not of programs"


def clause(rfc, section, text, *tests, without=None):
    assert bool(tests) != bool(without), text
    return Clause(rfc, section, text, tests, without)


def c1928(section, text, *tests, **why):
    return clause(1928, section, text, *tests, **why)


def c1929(section, text, *tests, **why):
    return clause(1929, section, text, *tests, **why)


CLAUSES = [
    c1928("3", "the client must open a TCP connection to the SOCKS port",
          "e2e/test_clients.py: test_curl", "e2e/test_clauses.py: test_only_tcp_is_served"),
    c1928("3", "METHOD X'FF': the client MUST close the connection",
          "e2e/test_protocol.py: test_no_acceptable_method_gets_ff_and_a_close",
          "e2e/test_replies.py: test_method_ff_is_whole_though_the_client_has_sent_more"),
    c1928("3", "developers of METHODs should contact IANA", without=PEOPLE),
    c1928("3", "MUST support GSSAPI", without=LATER),
    c1928("3", "SHOULD support USERNAME/PASSWORD",
          "e2e/test_password.py: test_right_and_wrong", "e2e/test_clients.py: test_curl_with_a_password"),
    c1928("4", "encapsulating method: requests MUST be encapsulated", without=LATER),
    c1928("6", "RSV must be set to X'00'",
          "e2e/test_clauses.py: test_reserved_octets_are_zero", "test_datagram: test_parse_reserved"),
    c1928("6", "CONNECT: BND.ADDR and BND.PORT are those assigned to connect to the target",
          "e2e/test_protocol.py: test_connect_carries_octets_both_ways", "e2e/test_replies.py: test_egress_address_is_used"),
    c1928("6", "expected: CONNECT is evaluated by DST and the client's address",
          "e2e/test_replies.py: test_not_allowed", "test_rules: test_criteria", "test_rules: test_source"),
    c1928("6", "BIND: two replies, with the address waited on and that of the peer",
          "e2e/test_bind.py: test_two_replies", "e2e/test_bind.py: test_time_out"),
    c1928("6", "expected: BIND is evaluated by DST.ADDR and DST.PORT",
          "e2e/test_bind.py: test_only_the_expected_peer", "e2e/test_bind.py: test_refused"),
    c1928("6", "the server MAY limit access by the address and port declared",
          "e2e/test_clauses.py: test_a_declared_port_limits_access"),
    c1928("6", "a client that does not know them MUST declare zeros",
          "e2e/test_clauses.py: test_nothing_declared"),
    c1928("6", "BND.PORT, BND.ADDR: where the client MUST send UDP requests",
          "e2e/test_clauses.py: test_datagrams_go_to_the_address_in_the_reply"),
    c1928("6", "an association terminates with its TCP connection",
          "e2e/test_clauses.py: test_an_association_ends_with_its_connection"),
    c1928("6", "after a failure the server MUST terminate the connection",
          "e2e/test_clauses.py: test_a_failure_ends_the_connection",
          "e2e/test_replies.py: test_a_client_that_never_stops_sending_after_a_failure_is_closed"),
    c1928("6", "this must be no more than 10 seconds after detecting the cause",
          "e2e/test_clauses.py: test_a_failure_ends_the_connection"),
    c1928("6", "after a success the client may now start passing data",
          "e2e/test_protocol.py: test_connect_carries_octets_both_ways",
          "e2e/test_protocol.py: test_data_sent_with_the_request_waits_for_the_target"),
    c1928("6", "data for the client: MUST be encapsulated as the method has it", without=LATER),
    c1928("7", "a client MUST send its datagrams to BND.PORT",
          "e2e/test_clauses.py: test_datagrams_go_to_the_address_in_the_reply", "e2e/test_library.py: test_the_example_runs"),
    c1928("7", "encapsulating method: datagrams MUST be encapsulated", without=LATER),
    c1928("7", "what it will not relay is dropped silently",
          "e2e/test_clauses.py: test_what_is_not_relayed_is_dropped_silently"),
    c1928("7", "a reply datagram MUST be given the UDP request header",
          "e2e/test_clauses.py: test_replies_carry_the_header", "test_datagram: test_gateway"),
    c1928("7", "... and any method-dependent encapsulation", without=LATER),
    c1928("7", "the relay MUST acquire the client's expected address",
          "e2e/test_clauses.py: test_only_the_client_is_heard"),
    c1928("7", "it MUST drop datagrams from any other address",
          "e2e/test_clauses.py: test_only_the_client_is_heard"),
    c1928("7", "FRAG: positions 1 to 127, high-order bit the end, X'00' standalone",
          "test_reassembly: in order", "test_reassembly: standalone", "test_reassembly: test_all_positions",
          "e2e/test_fragments.py: test_sequence"),
    c1928("7", "each receiver will have a queue and a timer",
          "e2e/test_fragments.py: test_each_association_has_a_queue_of_its_own"),
    c1928("7", "the queue must be reinitialized when the timer expires",
          "test_reassembly: the timer", "test_reassembly: anew after the timer", "e2e/test_fragments.py: test_the_timer"),
    c1928("7", "... or when a FRAG lower than the highest comes",
          "test_reassembly: lower than the highest", "test_reassembly: lower, and from the start",
          "test_reassembly: standalone in the middle", "test_reassembly: lower to another target"),
    c1928("7", "the reassembly timer MUST be no less than 5 seconds",
          "test_reassembly: 5 seconds", "test_reassembly: just before the timer", "e2e/test_fragments.py: test_the_timer"),
    c1928("7", "it is recommended that fragmentation be avoided",
          "e2e/test_fragments.py: test_answers_come_whole"),
    c1928("7", "without fragmentation: MUST drop any FRAG other than X'00'",
          "e2e/test_fragments.py: test_fragments_off"),
    c1928("7", "a programming interface MUST report less buffer space: 10, 262, 20",
          "test_datagram: test_space"),
    c1928("8", "careful consideration should be given to the methods", without=PEOPLE),
    c1929("2", "after a failure status the server MUST close the connection",
          "e2e/test_clauses.py: test_a_failed_status_ends_the_connection"),
    c1929("3", "not recommended where sniffing is possible", without=PEOPLE),
]
