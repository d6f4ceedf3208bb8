"""Every MUST, SHOULD and MAY of RFC 1928, RFC 1929 and RFC 1961, in capitals or not, and what they expect or recommend, each with
the tests that show it. `tests/run` looks up what became of these and prints the table; a test that is not there, or
failed, is a failure. A test is "test_x: its name" of tests/unit/test_x.c, or "e2e/test_x.py: its name"."""
from collections import namedtuple

Clause = namedtuple("Clause", "rfc section text tests without")

FORM = "departed from: a principal of Kerberos's has a type, which that of no type leaves to a guess"
LAST = "Kerberos with mutual authentication is complete on the server's token, and then has none"
DELEGATION = "departed from: an upstream has no use for the user's tickets, and could use them all"
ORDER = "departed from: the request and the replies go over TCP; datagrams are judged by a window whatever was asked"
PEOPLE = "asked of people, not of programs"


def clause(rfc, section, text, *tests, without=None):
    assert bool(tests) != bool(without), text
    return Clause(rfc, section, text, tests, without)


def c1928(section, text, *tests, **why):
    return clause(1928, section, text, *tests, **why)


def c1929(section, text, *tests, **why):
    return clause(1929, section, text, *tests, **why)


def c1961(section, text, *tests, **why):
    return clause(1961, section, text, *tests, **why)


GSSAPI, LEVELS, FAULTS, DATAGRAMS, MEMORY = (
    f"e2e/test_gssapi{name}.py: " for name in ("", "_levels", "_faults", "_udp", "_memory"))
UPSTREAM = "e2e/test_upstream_gssapi.py: "  # as a client


CLAUSES = [
    c1928("3", "the client must open a TCP connection to the SOCKS port",
          "e2e/test_clients.py: test_curl", "e2e/test_clauses.py: test_only_tcp_is_served"),
    c1928("3", "METHOD X'FF': the client MUST close the connection",
          "e2e/test_protocol.py: test_no_acceptable_method_gets_ff_and_a_close",
          "e2e/test_replies.py: test_method_ff_is_whole_though_the_client_has_sent_more"),
    c1928("3", "developers of METHODs should contact IANA", without=PEOPLE),
    c1928("3", "MUST support GSSAPI", GSSAPI + "test_a_session", GSSAPI + "test_encryption_types"),
    c1928("3", "SHOULD support USERNAME/PASSWORD",
          "e2e/test_password.py: test_right_and_wrong", "e2e/test_clients.py: test_curl_with_a_password"),
    c1928("4", "encapsulating method: requests MUST be encapsulated",
          GSSAPI + "test_a_session", LEVELS + "test_a_client_that_does_not_go_on_at_the_answered_level_is_closed",
          FAULTS + "test_faults_in_place_of_the_request"),
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
    c1928("6", "data for the client: MUST be encapsulated as the method has it",
          GSSAPI + "test_64_mib_both_ways", GSSAPI + "test_both_replies_of_bind", GSSAPI + "test_failures_are_encapsulated"),
    c1928("7", "a client MUST send its datagrams to BND.PORT",
          "e2e/test_clauses.py: test_datagrams_go_to_the_address_in_the_reply", "e2e/test_library.py: test_the_example_runs"),
    c1928("7", "encapsulating method: datagrams MUST be encapsulated",
          DATAGRAMS + "test_each_level_and_encryption_type", DATAGRAMS + "test_what_does_not_unwrap_is_dropped"),
    c1928("7", "what it will not relay is dropped silently",
          "e2e/test_clauses.py: test_what_is_not_relayed_is_dropped_silently"),
    c1928("7", "a reply datagram MUST be given the UDP request header",
          "e2e/test_clauses.py: test_replies_carry_the_header", "test_datagram: test_gateway"),
    c1928("7", "... and any method-dependent encapsulation", DATAGRAMS + "test_each_level_and_encryption_type"),
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
    c1961("3.1", "client and server should be locally authenticated first", without=PEOPLE),
    c1961("3.1", "the client should import the server's name, in the default name space", without=FORM),
    c1961("3.1", "the name should be treated as opaque; no assumptions about it",
          UPSTREAM + "test_a_service_that_is_none_and_a_user_who_may_not"),
    c1961("3.2", "the client should then call gss_init_sec_context",
          UPSTREAM + "test_connect_with_a_ticket", UPSTREAM + "test_a_keytab_of_the_gateways_own"),
    c1961("3.2", "the client must require mutual authentication, replay protection, sequence",
          UPSTREAM + "test_what_an_upstream_is_asked_for"),
    c1961("3.2", "... and delegation", without=DELEGATION),
    c1961("3.2", "... and what it delegates is not kept", GSSAPI + "test_delegated_credentials_are_dropped"),
    c1961("3.2", "the sequence flag should only be passed for TCP", without=ORDER),
    c1961("3.3", "the client must pass each token on, until it is complete",
          UPSTREAM + "test_connect_with_a_ticket", "test_upstream: test_gssapi"),
    c1961("3.3", "complete: the client should respond with any output token", without=LAST),
    c1961("3.3", "... or should proceed to send the protected request",
          UPSTREAM + "test_what_an_upstream_is_asked_for", UPSTREAM + "test_the_answered_level_holds_towards_an_upstream"),
    c1961("3.4", "a token is up to 2^16 - 1 octets", FAULTS + "test_no_context", GSSAPI + "test_the_largest_token",
          UPSTREAM + "test_a_context_that_fails_ends_the_connection"),
    c1961("3.5", "a client that failed must close its connection", UPSTREAM + "test_a_context_that_fails_ends_the_connection"),
    c1961("3.6", "the server must pass the token to gss_accept_sec_context",
          GSSAPI + "test_a_session", GSSAPI + "test_everything_octet_by_octet"),
    c1961("3.6", "CONTINUE_NEEDED: it should return the output token and take the next",
          GSSAPI + "test_rounds", GSSAPI + "test_spnego_in_several_rounds"),
    c1961("3.6", "COMPLETE: an output token should be returned", GSSAPI + "test_rounds"),
    c1961("3.6", "none: a zero length token should be sent", GSSAPI + "test_rounds", GSSAPI + "test_spnego_in_several_rounds"),
    c1961("3.7", "the server uses the same message type", GSSAPI + "test_rounds"),
    c1961("3.8", "refused for any reason: X'01 FF'", FAULTS + "test_no_context", FAULTS + "test_a_refusal_is_recorded",
          LEVELS + "test_no_level"),
    c1961("4.1", "the protection must fit the data and the threats: a criterion of the rules",
          LEVELS + "test_protection_is_a_criterion", LEVELS + "test_a_reload_may_demand_more_than_was_agreed"),
    c1961("4.2", "the server's answer may or may not take the request into account",
          LEVELS + "test_what_is_asked_is_answered", LEVELS + "test_a_rule_that_demands_confidentiality_gets_it"),
    c1961("4.2", "the level must be 1, 2 or 3",
          LEVELS + "test_no_level", LEVELS + "test_clear_is_not_allowed_by_itself"),
    c1961("4.4", "the level is wrapped with conf_req FALSE",
          LEVELS + "test_what_is_asked_is_answered", LEVELS + "test_nec_is_not_allowed_by_itself",
          UPSTREAM + "test_what_an_upstream_is_asked_for"),
    c1961("4.4", "a client that does not accept the answer must close",
          UPSTREAM + "test_an_answered_level_that_is_too_low_ends_the_connection"),
    c1961("4.4", "... and one that goes on at another level is closed",
          LEVELS + "test_a_client_that_does_not_go_on_at_the_answered_level_is_closed"),
    c1961("5", "gss_wrap and gss_unwrap shall be used",
          GSSAPI + "test_encryption_types", GSSAPI + "test_64_mib_both_ways", GSSAPI + "test_the_smallest_tokens",
          UPSTREAM + "test_the_answered_level_holds_towards_an_upstream"),
    c1961("5", "the default quality of protection shall be specified", GSSAPI + "test_encryption_types"),
    c1961("5", "level 1: conf_req MUST always be FALSE",
          LEVELS + "test_tokens_of_another_protection_end_the_session", GSSAPI + "test_a_session",
          UPSTREAM + "test_the_answered_level_holds_towards_an_upstream"),
    c1961("5", "level 2: conf_req MUST always be TRUE",
          LEVELS + "test_tokens_of_another_protection_end_the_session", GSSAPI + "test_a_session",
          UPSTREAM + "test_the_answered_level_holds_towards_an_upstream"),
    c1961("5", "level 3: a message's own, by local configuration", LEVELS + "test_selective_takes_either",
          UPSTREAM + "test_the_answered_level_holds_towards_an_upstream"),
    c1961("5", "all encapsulated messages are prefixed by the framing",
          FAULTS + "test_framing", DATAGRAMS + "test_what_does_not_unwrap_is_dropped"),
    c1961("6", "no termination message; the context is deleted at the end",
          MEMORY + "test_keys_are_in_one_worker_while_the_session_lives"),
    c1961("9", "the protection must be consistent with the user's policy", without=PEOPLE),
    c1961("9", "constraints on mechanisms may be imposed: krb5 with AES, alone or in SPNEGO",
          GSSAPI + "test_spnego_in_several_rounds", FAULTS + "test_no_context"),
]
