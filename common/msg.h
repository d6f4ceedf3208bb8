/*
 * Every message that passes between two processes of the gateway: one table names its sender,
 * receiver, size and whether it carries a descriptor, and one function checks against it.
 *
 * A packet on a channel (SOCK_SEQPACKET, common/chan.h) is a run of messages, each a struct
 * msg_head followed by its payload, padded with zeros to eight octets; a message that carries a
 * descriptor is alone in its packet. Payloads are fixed-width structs without pointers, zeroed
 * before they are filled; where the table's maximum is above its minimum, the struct is followed by
 * octets whose lengths its fields give, and the receiver checks that they add up to the payload
 * exactly.
 *
 * Identity is the socket a message came in on, never a field in it.
 */
#ifndef COMMON_MSG_H
#define COMMON_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/msg_auth.h"
#include "common/sid.h"

enum role {
	ROLE_MASTER,
	ROLE_WORKER,
	ROLE_RESOLVER,
	ROLE_PASSWORD,
	ROLE_PAM,
	ROLE_ACCEPTOR,
	ROLE_INITIATOR,
	ROLE_COUNT
};

#define ROLE_BIT(r) (1u << (r))
/* Those that say who a client is. */
#define ROLES_AUTHD  (ROLE_BIT(ROLE_PASSWORD) | ROLE_BIT(ROLE_PAM) | ROLE_BIT(ROLE_ACCEPTOR))
#define ROLES_GSSAPI (ROLE_BIT(ROLE_ACCEPTOR) | ROLE_BIT(ROLE_INITIATOR))
#define ROLES_CHILD \
	(ROLE_BIT(ROLE_WORKER) | ROLE_BIT(ROLE_RESOLVER) | ROLES_AUTHD | ROLE_BIT(ROLE_INITIATOR))
#define ROLES_MASTER ROLE_BIT(ROLE_MASTER)
#define ROLES_WORKER ROLE_BIT(ROLE_WORKER)

/* "worker", "resolver", "password", ...; as in the configuration's `process` and the audit trail.
 */
const char *role_name(enum role r);

/* --- limits, in octets unless said otherwise --- */

#define USER_MAX     255  /* RFC 1929 section 2: ULEN is one octet */
#define PASSWORD_MAX 255  /* PLEN likewise */
#define NAME_MAX_LEN 255  /* RFC 1928 section 5: one octet of length */
#define CLAIM_MAX    255  /* of SOCKS4's USERID; a longer one is refused */
#define GROUPS_MAX   4096 /* packed group list: each a length octet and the name */
#define ANSWER_ADDRS 32   /* addresses of one family that an answer carries; more are left out */
#define PATH_MAX_MSG 256  /* a path in a message, NUL included */

#define TOKEN_MAX       65535 /* RFC 1961 section 3.4: LEN is two octets */
#define TOKEN_PIECE_MAX 4096  /* a token travels between processes in pieces of at most so many */

#define TARGETS_REFUSED_MAX 64 /* targets of an association that the rules refuse: told so many */

/* --- vocabulary shared by the processes (values travel; append only) --- */

enum method { METHOD_NONE, METHOD_PASSWORD, METHOD_GSSAPI, METHOD_COUNT };
enum command { COMMAND_NONE, COMMAND_CONNECT, COMMAND_BIND, COMMAND_UDP, COMMAND_COUNT };

#define METHOD_BIT(m)  (1u << (m))
#define COMMAND_BIT(c) (1u << (c))

/* Why a session ended, was refused, or a client was turned away; the audit trail's `reason`. */
#define REASONS(X)                                                                                 \
	X(REASON_NONE, "none", "no reason given")                                                  \
	X(REASON_CLIENT_CLOSED, "client-closed", "the client closed the connection")               \
	X(REASON_TARGET_CLOSED, "target-closed", "the target closed the connection")               \
	X(REASON_CLIENT_RESET, "client-reset", "the client reset the connection or it failed")     \
	X(REASON_TARGET_RESET, "target-reset", "the target reset the connection or it failed")     \
	X(REASON_IDLE, "idle-timeout", "nothing was sent for `timeout idle`")                      \
	X(REASON_HALF_CLOSED, "half-closed-timeout",                                               \
	    "one side had closed and nothing was sent for `timeout half-closed`")                  \
	X(REASON_HANDSHAKE, "handshake-timeout",                                                   \
	    "the request was not there in `timeout handshake`")                                    \
	X(REASON_CONNECT, "connect-timeout", "no address answered in `timeout connect`")           \
	X(REASON_REFUSED, "connection-refused", "the target refused the connection")               \
	X(REASON_NET_UNREACHABLE, "network-unreachable", "no route to the target's network")       \
	X(REASON_HOST_UNREACHABLE, "host-unreachable", "the target's host cannot be reached")      \
	X(REASON_NO_NAME, "name-not-found", "the name does not exist or has no address")           \
	X(REASON_NAME_FAILED, "name-failed", "the name servers failed or did not answer")          \
	X(REASON_RULES, "blocked", "a block rule, or no pass rule, decided")                       \
	X(REASON_SOURCE, "source-blocked", "no rule could serve this source")                      \
	X(REASON_NO_METHOD, "no-acceptable-method", "no method offered that a rule could use")     \
	X(REASON_AUTH, "authentication-failed", "authd denied or could not be asked")              \
	X(REASON_COMMAND, "command-not-supported", "CMD is unknown or not supported")              \
	X(REASON_ATYP, "address-type-not-supported", "ATYP is unknown")                            \
	X(REASON_PROTOCOL, "protocol-error", "the client's octets are not SOCKS")                  \
	X(REASON_VERSION, "version-not-supported",                                                 \
	    "the client's version octet is not 5, or is 4 without `socks4 allow`")                 \
	X(REASON_LIMIT_SESSIONS, "limit-sessions", "`limit sessions` is reached")                  \
	X(REASON_LIMIT_USER, "limit-sessions-per-user", "`limit sessions per user` is reached")    \
	X(REASON_LIMIT_SLOTS, "limit-slots", "the worker has no free session slot")                \
	X(REASON_LIMIT_AUDIT, "audit-full", "the audit trail cannot take more records now")        \
	X(REASON_BIND_TIMEOUT, "bind-timeout", "no peer came in `timeout bind`")                   \
	X(REASON_BIND_PORTS, "no-bind-port",                                                       \
	    "no port of `bind ports` is free, or the rule allows none")                            \
	X(REASON_UDP_PORTS, "no-udp-port", "no port of `udp ports` is free")                       \
	X(REASON_LIMIT_ASSOCIATIONS, "limit-associations", "`limit associations` is reached")      \
	X(REASON_EGRESS, "no-egress", "no egress address of the target's family, or not bindable") \
	X(REASON_GENERAL, "general-failure", "the gateway could not do it (see errno)")            \
	X(REASON_SHUTDOWN, "shutdown", "the gateway was stopped")                                  \
	X(REASON_CHILD_LOST, "child-lost", "the process that served it was lost")                  \
	X(REASON_MASTER_LOST, "master-lost",                                                       \
	    "the gateway's master was lost; found at the next start")                              \
	X(REASON_LIMIT_BINDS, "limit-binds", "as many clients wait for a peer as may")             \
	X(REASON_ENCAP_FRAME, "bad-framing",                                                       \
	    "octets that are no message of RFC 1961 where all are encapsulated")                   \
	X(REASON_ENCAP_TOKEN, "bad-token",                                                         \
	    "a token that is none of RFC 4121, or not of this context")                            \
	X(REASON_ENCAP_CHECK, "bad-checksum", "a token that was changed on its way, or forged")    \
	X(REASON_ENCAP_SEQUENCE, "bad-sequence",                                                   \
	    "a token that was left out, repeated or reordered")                                    \
	X(REASON_ENCAP_LEVEL, "wrong-protection",                                                  \
	    "a token without the protection that was agreed")                                      \
	X(REASON_ENCAP_CUT, "truncated-token", "the connection ended inside a token")              \
	X(REASON_TICKET, "ticket-expired", "the client's Kerberos ticket has ended")               \
	X(REASON_UPSTREAM, "upstream-failed",                                                      \
	    "no upstream could be used, or it failed without saying why")                          \
	X(REASON_UPSTREAM_RULES, "upstream-refused", "the upstream's rules do not allow it")       \
	X(REASON_UPSTREAM_AUTH, "upstream-auth-failed",                                            \
	    "the upstream refused the method or the credentials, or is not who it should be")      \
	X(REASON_UPSTREAM_CREDENTIALS, "upstream-no-credentials",                                  \
	    "there are no valid credentials for the upstream: none, or expired")

enum reason {
#define X(id, text, help) id,
	REASONS(X)
#undef X
	    REASON_COUNT
};
const char *reason_name(enum reason r);

/* Why a datagram was dropped; the audit trail's `drops`. */
#define DROPS(X)                                                                                 \
	X(DROP_SOURCE, "source",                                                                 \
	    "it came to the relay from another address or port than the client's")               \
	X(DROP_HEADER, "header", "its header is not that of RFC 1928 section 7")                 \
	X(DROP_FRAGMENT, "fragment", "fragments are off, out of order, too late or too many")    \
	X(DROP_RULES, "rules", "the rules block its target")                                     \
	X(DROP_NAME, "name", "its target's name has no address")                                 \
	X(DROP_TARGETS, "targets", "the association has as many targets as it may")              \
	X(DROP_QUEUE, "queue", "more octets wait than may")                                      \
	X(DROP_SIZE, "size", "it does not fit a datagram, or one with its header")               \
	X(DROP_SEND, "send", "the kernel or an ICMP error refused it")                           \
	X(DROP_REPLY, "reply", "it came from a host that the client has sent nothing to")        \
	X(DROP_TOKEN, "token", "it does not unwrap: forged, changed or not protected as agreed") \
	X(DROP_REPLAY, "replay", "its token has come before, or is too old to know")

enum drop {
#define X(id, text, help) id,
	DROPS(X)
#undef X
	    DROP_COUNT
};
const char *drop_name(enum drop d);

/* What authd found; the audit trail of authentications. Clients learn only success or failure. */
#define VERDICTS(X)                                                                           \
	X(VERDICT_NONE, "none", "no verdict")                                                 \
	X(VERDICT_ACCEPT, "accepted", "the credentials are right")                            \
	X(VERDICT_UNKNOWN, "unknown-user", "no such user")                                    \
	X(VERDICT_WRONG, "wrong-password", "the password is wrong")                           \
	X(VERDICT_LOCKED, "locked", "the account is locked")                                  \
	X(VERDICT_EXPIRED, "expired", "the account has expired")                              \
	X(VERDICT_BUSY, "busy", "too many checks are waiting")                                \
	X(VERDICT_ABORTED, "aborted", "the client went away first")                           \
	X(VERDICT_FAILED, "failed", "the check itself failed")                                \
	X(VERDICT_GSSAPI, "gssapi-refused", "GSSAPI refused the client's token")              \
	X(VERDICT_REPLAY, "gssapi-replay", "the client's token has been used before")         \
	X(VERDICT_SKEW, "clock-skew", "the client's clock is too far from ours")              \
	X(VERDICT_TICKET, "ticket-expired",                                                   \
	    "the client's ticket has expired, or is not yet valid")                           \
	X(VERDICT_SERVICE, "wrong-service", "the ticket is for a service that is not served") \
	X(VERDICT_ENCTYPE, "wrong-enctype", "the context's encryption type is none of AES")   \
	X(VERDICT_LEVEL, "wrong-level", "the protection level asked for is none that may be") \
	X(VERDICT_NO_NAME, "no-local-name", "auth_to_local gives the principal no user name")

enum verdict_code {
#define X(id, text, help) id,
	VERDICTS(X)
#undef X
	    VERDICT_COUNT
};
const char *verdict_name(enum verdict_code v);

/* Sandbox layers, in the order in which they are entered. */
#define LAYERS(X)                                 \
	X(LAYER_CHROOT, "chroot")                 \
	X(LAYER_UID, "uid")                       \
	X(LAYER_CAPABILITIES, "capabilities")     \
	X(LAYER_NO_NEW_PRIVS, "no_new_privs")     \
	X(LAYER_MDWE, "mdwe")                     \
	X(LAYER_LANDLOCK, "landlock")             \
	X(LAYER_LANDLOCK_NET, "landlock-net")     \
	X(LAYER_LANDLOCK_SCOPE, "landlock-scope") \
	X(LAYER_SECCOMP, "seccomp")

enum layer {
#define X(id, text) id,
	LAYERS(X)
#undef X
	    LAYER_COUNT
};
const char *layer_name(enum layer l);

enum layer_mode { LAYER_REQUIRE, LAYER_TRY, LAYER_OFF };

/* --- payloads; those of authentication are in common/msg_auth.h --- */

/* Master to child, first on every channel: what to become. Answered by READY or FAILED. */
struct msg_init {
	uint32_t role;  /* enum role, checked against the binary's own */
	uint32_t spawn; /* this process's number, never reused in an instance */
	uint32_t uid;   /* 0: stay (no root) */
	uint32_t gid;
	uint32_t slots;              /* worker: its session slots */
	uint32_t workers;            /* how many workers there are */
	uint8_t layers[LAYER_COUNT]; /* enum layer_mode */
	uint8_t zero[7];
	char chroot[PATH_MAX_MSG]; /* "" : none */
	char pam_service[64];      /* pam role */
	/* Acceptor: where its krb5.conf (that it reads) and rcache (that it writes) are; the same
	 * as chroot where that is entered. Initiator: its krb5.conf. "" for all others. */
	char directory[PATH_MAX_MSG];
};

struct msg_ready {
	uint32_t lacking; /* bit per enum layer: tried and not to be had */
	uint32_t zero;
};

/* Child to master: it could not start or go on; then it exits. */
struct msg_failed {
	uint32_t layer; /* enum layer, or LAYER_COUNT: not a layer */
	int32_t error;  /* errno */
	char what[56]; /* a constant of the child's code, NUL-terminated: escaped like any octets */
};

/* Master to child, with the sealed memfd: the policy from now on. Answered by POLICY_ACK. */
struct msg_policy {
	uint32_t version;
	uint32_t size;
};
struct msg_policy_ack {
	uint32_t version; /* the sender names no older from now on */
	uint32_t zero;
};

/* Master to child, with a socket: a channel to another child. A new one for a role replaces the
 * old one. */
struct msg_peer {
	uint32_t role;
	uint32_t spawn;
};
/* Child to master: this peer broke the rules; its channel is closed. The master replaces it. */
struct msg_peer_fault {
	uint32_t spawn;
	uint32_t zero;
};

/* Master to worker, with a memfd sealed against resizing: struct counts per slot (common/counts.h).
 */
struct msg_counts {
	uint32_t slots;
	uint32_t zero;
};

/* Master to worker, with a listening socket; and the end of one: stop accepting, close. */
struct msg_listener {
	uint32_t index; /* of the master's table of listeners; named again by UNLISTEN */
	uint32_t zero;
	struct addrport addr; /* as bound; a wildcard stays one */
	uint32_t zero2;
};
struct msg_unlisten {
	uint32_t index;
	uint32_t zero;
};

/* Master to authd (password), with the open users file. Answered by USERS_ACK. */
struct msg_users_ack {
	uint32_t users; /* loaded */
	uint32_t line;  /* of the first error; 0: loaded whole. With an error the old ones stay. */
	char what[120]; /* the error, NUL-terminated */
};

/* Worker to master, once per session that reached a request: what was asked. user_len octets of
 * user, name_len of name and claim_len of SOCKS4's USERID follow. */
struct msg_open {
	struct sid sid;
	uint32_t version; /* of the policy image */
	uint8_t method;   /* enum method */
	uint8_t command;  /* enum command; COMMAND_NONE with command_raw where unknown */
	uint8_t command_raw;
	uint8_t user_len;
	struct addrport client;
	struct addrport gateway; /* local address of the client's connection */
	struct addrport asked;   /* ADDR_NONE where a name was asked for; the port always */
	uint8_t name_len;
	uint8_t claim_len; /* what a SOCKS4 client says of itself: recorded, never believed */
	uint8_t socks;     /* version of the protocol: 5 or 4 */
	uint8_t level;     /* enum level, as authd's verdict says; without GSSAPI LEVEL_CLEAR */
};

/* Worker to master, with open and before each further connect(2). */
struct msg_attempt {
	struct sid sid;
	uint32_t version;
	uint32_t rule;          /* index in that version's image */
	struct addrport target; /* with `via`: the upstream's */
	uint32_t via;           /* 1 + index of the upstream in that image; 0: none */
};

/* Worker to master, BIND, after open: a listener for a peer (RFC 1928 section 4). The master checks
 * the rule and the ports, makes it, and answers LISTENING, which is the grant too, or REFUSE. Each
 * peer that the rules let pass is then told by an ATTEMPT, and the one that is taken by CONNECTED.
 */
struct msg_listen {
	struct sid sid;
	uint32_t version;
	uint32_t rule;         /* the first pass rule that may match */
	struct addrport asked; /* DST.ADDR and DST.PORT */
	uint32_t zero;
};
/* Master to worker, with the listening socket. */
struct msg_listening {
	struct sid sid;
	struct addrport bound;      /* as it is */
	struct addrport advertised; /* for the first reply's BND.ADDR and BND.PORT */
};

/* Worker to master, BIND: a peer that came to the listener and was turned away, once a host. */
struct msg_stranger {
	struct sid sid;
	uint32_t version;
	uint32_t rule; /* that blocks it; RULE_NONE also where it is only not the expected one */
	struct addrport peer;
	uint32_t zero;
};
#define STRANGERS_MAX 16 /* that one session tells; more are turned away all the same */

/* Worker to master, UDP ASSOCIATE, after open and before its reply: answered by GRANT or REFUSE. */
struct msg_associate {
	struct sid sid;
	uint32_t version;
	uint32_t rule;         /* the first pass rule that may match */
	struct addrport relay; /* where the client sends its datagrams to */
	uint32_t zero;
};
/* Worker to master, before the first datagram to each new target of an association, and once for
 * each that the rules refuse (of these at most TARGETS_REFUSED_MAX). name_len octets follow: the
 * name that was asked for, if any; one that the rules refuse as such has no address. A target is
 * told again only where a newer policy decides otherwise. */
struct msg_target {
	struct sid sid;
	uint32_t version;
	uint32_t rule; /* that decided; RULE_NONE only where it blocks */
	struct addrport target;
	uint8_t passes; /* 0 or 1 */
	uint8_t name_len;
	uint8_t zero[2];
};

/* Worker to master: a socket with a mark of the configuration, which takes a capability to set.
 * Answered by MARKED, the same with the socket, unconnected; or, where the configuration in force
 * has no such mark any more, not at all. */
struct msg_marked {
	uint32_t mark;
	uint8_t family;    /* ADDR_V4 or ADDR_V6 */
	uint8_t datagrams; /* 0: TCP; 1: UDP */
	uint8_t zero[2];
};
#define EGRESS_MARKS_MAX 16   /* different ones in a configuration */
#define EGRESS_ASKED_MAX 1024 /* MARKs of a worker that the master has not answered */

/* Worker to master: BESIDE with a UDP socket that is bound, then TWIN with one that is not. The
 * second is bound to the address and port of the first, which takes an option that a worker may not
 * set (master/twins.h). Answered by TWINNED: whether it could be. */
struct msg_twin {
	struct sid sid; /* the worker's own business, as is: */
	uint32_t side;  /* 0: the client's; 1: a target's */
};
struct msg_twinned {
	struct msg_twin of;
	uint32_t done; /* 0 or 1 */
};

struct msg_grant {
	struct sid sid;
};
struct msg_refuse {
	struct sid sid;
	uint32_t reason; /* enum reason: which limit */
	uint32_t zero;
};

struct msg_connected {
	struct sid sid;
	struct addrport target;
	struct addrport outgoing; /* local address of the outgoing socket */
};

/* Exactly one for each open, refused or not. For a refused one `rule` and `version` say which block
 * rule decided (RULE_NONE: none matched). */
struct msg_close {
	struct sid sid;
	uint32_t reason;
	uint32_t version;
	uint32_t rule;
	int32_t error; /* errno behind the reason, or 0 */
	uint64_t up;   /* octets client to target */
	uint64_t down;
	uint64_t datagrams_up, datagrams_down; /* UDP ASSOCIATE */
	uint32_t drops[DROP_COUNT];
};
_Static_assert(DROP_COUNT % 2 == 0, "struct msg_close has no hidden octets");

/* Worker to master: a client that was turned away before any open. Aggregated by the master. */
struct msg_early {
	struct addrport client;
	struct addrport gateway;
	uint32_t reason;
	uint32_t detail; /* REASON_VERSION: the version octet; REASON_NO_METHOD: bitmask offered */
};

/* Worker to resolver. name_len octets of a normalised name follow. One ANSWER per family asked. */
struct msg_lookup {
	uint32_t id;      /* the worker's own */
	uint8_t families; /* bits: 1 A, 2 AAAA */
	uint8_t name_len;
	uint8_t zero[2];
};
#define LOOKUP_A    1u
#define LOOKUP_AAAA 2u

enum answer_status { ANSWER_OK, ANSWER_NO_NAME, ANSWER_NO_DATA, ANSWER_FAILED, ANSWER_STATUSES };

/* Resolver to worker. naddr struct addr follow. */
struct msg_answer {
	uint32_t id;
	uint8_t family; /* LOOKUP_A or LOOKUP_AAAA */
	uint8_t status; /* enum answer_status */
	uint8_t naddr;
	uint8_t zero;
	uint32_t ttl; /* s; also of a negative answer */
};

/*
 * The table. X(NAME, name, senders, receivers, fixed part, least and most octets behind it, carries
 * a descriptor)
 */
/* clang-format off */
#define MESSAGES(X) \
	X(INIT, init, ROLES_MASTER, ROLES_CHILD, sizeof(struct msg_init), 0, 0, false) \
	X(READY, ready, ROLES_CHILD, ROLES_MASTER, sizeof(struct msg_ready), 0, 0, false) \
	X(FAILED, failed, ROLES_CHILD, ROLES_MASTER, sizeof(struct msg_failed), 0, 0, false) \
	X(POLICY, policy, ROLES_MASTER, ROLES_CHILD, sizeof(struct msg_policy), 0, 0, true) \
	X(POLICY_ACK, policy_ack, ROLES_CHILD, ROLES_MASTER, sizeof(struct msg_policy_ack), 0, 0, false) \
	X(PEER, peer, ROLES_MASTER, ROLES_CHILD, sizeof(struct msg_peer), 0, 0, true) \
	X(PEER_FAULT, peer_fault, ROLES_CHILD, ROLES_MASTER, sizeof(struct msg_peer_fault), 0, 0, false) \
	X(COUNTS, counts, ROLES_MASTER, ROLES_WORKER, sizeof(struct msg_counts), 0, 0, true) \
	X(LISTENER, listener, ROLES_MASTER, ROLES_WORKER, sizeof(struct msg_listener), 0, 0, true) \
	X(UNLISTEN, unlisten, ROLES_MASTER, ROLES_WORKER, sizeof(struct msg_unlisten), 0, 0, false) \
	X(STOP, stop, ROLES_MASTER, ROLES_CHILD, 0, 0, 0, false) \
	X(USERS, users, ROLES_MASTER, ROLE_BIT(ROLE_PASSWORD), 0, 0, 0, true) \
	X(USERS_ACK, users_ack, ROLE_BIT(ROLE_PASSWORD), ROLES_MASTER, sizeof(struct msg_users_ack), 0, 0, false) \
	X(OPEN, open, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_open), 0, USER_MAX + NAME_MAX_LEN + CLAIM_MAX, false) \
	X(ATTEMPT, attempt, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_attempt), 0, 0, false) \
	X(LISTEN, listen, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_listen), 0, 0, false) \
	X(LISTENING, listening, ROLES_MASTER, ROLES_WORKER, sizeof(struct msg_listening), 0, 0, true) \
	X(STRANGER, stranger, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_stranger), 0, 0, false) \
	X(ASSOCIATE, associate, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_associate), 0, 0, false) \
	X(TARGET, target, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_target), 0, NAME_MAX_LEN, false) \
	X(MARK, mark, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_marked), 0, 0, false) \
	X(MARKED, marked, ROLES_MASTER, ROLES_WORKER, sizeof(struct msg_marked), 0, 0, true) \
	X(GRANT, grant, ROLES_MASTER, ROLES_WORKER, sizeof(struct msg_grant), 0, 0, false) \
	X(REFUSE, refuse, ROLES_MASTER, ROLES_WORKER, sizeof(struct msg_refuse), 0, 0, false) \
	X(CONNECTED, connected, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_connected), 0, 0, false) \
	X(CLOSE, close, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_close), 0, 0, false) \
	X(EARLY, early, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_early), 0, 0, false) \
	X(AUTH_PASSWORD, auth_password, ROLES_WORKER, ROLE_BIT(ROLE_PASSWORD) | ROLE_BIT(ROLE_PAM), sizeof(struct msg_auth_password), 2, USER_MAX + PASSWORD_MAX, false) \
	X(AUTH_ABORT, auth_abort, ROLES_WORKER, ROLES_AUTHD | ROLE_BIT(ROLE_INITIATOR), sizeof(struct msg_auth_abort), 0, 0, false) \
	X(AUTH_RESULT, auth_result, ROLES_AUTHD, ROLES_WORKER, sizeof(struct msg_auth_result), 0, USER_MAX + GROUPS_MAX, false) \
	X(VERDICT, verdict, ROLES_AUTHD, ROLES_MASTER, sizeof(struct msg_verdict), 0, USER_MAX, false) \
	X(AUTH_TOKEN, auth_token, ROLES_WORKER, ROLES_GSSAPI, sizeof(struct msg_auth_token), 0, TOKEN_PIECE_MAX, false) \
	X(AUTH_REPLY, auth_reply, ROLES_GSSAPI, ROLES_WORKER, sizeof(struct msg_auth_token), 0, TOKEN_PIECE_MAX, false) \
	X(AUTH_KEYS, auth_keys, ROLES_GSSAPI, ROLES_WORKER, sizeof(struct msg_auth_keys), 0, 0, false) \
	X(KEYTAB, keytab, ROLES_MASTER, ROLES_GSSAPI, sizeof(struct msg_keytab), 0, 0, true) \
	X(KEYTAB_ACK, keytab_ack, ROLES_GSSAPI, ROLES_MASTER, sizeof(struct msg_keytab_ack), 0, 0, false) \
	X(UPSTREAM_BEGIN, upstream_begin, ROLES_WORKER, ROLE_BIT(ROLE_INITIATOR), sizeof(struct msg_upstream_begin), 1, 255, false) \
	X(UPSTREAM_RESULT, upstream_result, ROLE_BIT(ROLE_INITIATOR), ROLES_WORKER, sizeof(struct msg_upstream_result), 0, 0, false) \
	X(LOOKUP, lookup, ROLES_WORKER, ROLE_BIT(ROLE_RESOLVER), sizeof(struct msg_lookup), 1, NAME_MAX_LEN, false) \
	X(ANSWER, answer, ROLE_BIT(ROLE_RESOLVER), ROLES_WORKER, sizeof(struct msg_answer), 0, ANSWER_ADDRS * sizeof(struct addr), false) \
	X(BESIDE, beside, ROLES_WORKER, ROLES_MASTER, 0, 0, 0, true) \
	X(TWIN, twin, ROLES_WORKER, ROLES_MASTER, sizeof(struct msg_twin), 0, 0, true) \
	X(TWINNED, twinned, ROLES_MASTER, ROLES_WORKER, sizeof(struct msg_twinned), 0, 0, false)
/* clang-format on */

enum msg_type {
#define X(NAME, name, from, to, fixed, least, most, fd) MSG_##NAME,
	MESSAGES(X)
#undef X
	    MSG_COUNT
};

struct msg_head {
	uint16_t type; /* enum msg_type */
	uint16_t len;  /* of the payload, without padding */
	uint32_t zero;
};

#define MSG_ALIGN      8
#define MSG_PAYLOAD    5120 /* at most; the table's maxima are checked against it at compile time */
#define MSG_PACKET_MAX 32768 /* a packet: a run of messages; SEQPACKET keeps it whole */

/* A message as received: payload points into the receive buffer, aligned to MSG_ALIGN, valid during
 * the callback. fd is -1 or a descriptor that the callback takes over (it must use or close it). */
struct msg {
	enum msg_type type;
	const void *payload;
	size_t len;
	int fd;
};

/* True if a message of this head may be sent by `from` to `to` with this size and descriptor. */
bool msg_allowed(const struct msg_head *h, enum role from, enum role to, bool has_fd);
/* Does this message carry a descriptor? */
bool msg_has_fd(enum msg_type t);
/* "open", "attempt", ...; "?" for a number that is none. */
const char *msg_name(unsigned type);

#endif
