/*
 * The audit trail: one record an event, one line a record, in logfmt or @cee: JSON, to each log of
 * the configuration. The tables here make the lines and the list in sallyport-audit(7).
 *
 * Children send typed fields; only the master formats, stamps and escapes. Octets outside
 * 0x21-0x7e, quotes and backslashes are escaped, so a line holds exactly what happened, whatever a
 * client sent.
 *
 *     event=session-open seq=12 time=2026-11-23T18:22:03.123Z user=alice asked="x\x20y:80"
 *     @cee: {"event":"session-open","seq":12,"time":"...","user":"alice","asked":"x\u0020y:80"}
 */
#ifndef MASTER_AUDIT_H
#define MASTER_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <syslog.h>

#include "common/addr.h"
#include "master/conf.h"

/* X(FIELD, key, kind, what it says): in the order in which they stand in a line. Kinds: S octets
 * (quoted where they hold anything but letters, digits and ._:/@+-, or nothing), T likewise, but a
 * space stands for itself: words for people, never a client's; W a word of the gateway's own, N a
 * number, A address and port. Every record begins with event=, seq= and time=. */
#define AUDIT_FIELDS(X)                                                                            \
	X(FIELD_ID, "id", W, "session: instance-worker-slot-generation, never reused")             \
	X(FIELD_WORKER, "worker", N, "spawn number of the worker")                                 \
	X(FIELD_ROLE, "process", W,                                                                \
	    "role of a process: worker, resolver, password, pam, acceptor, initiator")             \
	X(FIELD_PID, "pid", N, "process id")                                                       \
	X(FIELD_USER, "user", S, "user as authenticated; in auth-failed as claimed")               \
	X(FIELD_CLAIM, "claim", S,                                                                 \
	    "USERID of a SOCKS4 client: what it says of itself, never checked")                    \
	X(FIELD_SOCKS, "socks", N, "version of the protocol, where it is 4")                       \
	X(FIELD_METHOD, "method", W, "method: none, password, gssapi")                             \
	X(FIELD_PROTECTION, "protection", W,                                                       \
	    "GSSAPI: level agreed with the client: clear, integrity, confidentiality, selective")  \
	X(FIELD_CLIENT, "client", A, "address and port of the client")                             \
	X(FIELD_GATEWAY, "gateway", A, "address and port on which the client reached the gateway") \
	X(FIELD_COMMAND, "command", W,                                                             \
	    "command of the request: connect, bind, udp, or the number of CMD")                    \
	X(FIELD_ASKED, "asked", S, "name or address, and port, that the client asked for")         \
	X(FIELD_TARGET, "target", A, "address and port that was connected to, or tried last")      \
	X(FIELD_VIA, "via", W,                                                                     \
	    "upstream whose client the gateway was; target is then its address")                   \
	X(FIELD_OUTGOING, "outgoing", A, "address and port of the outgoing socket, or BIND's")     \
	X(FIELD_RULE, "rule", S, "file:line of the rule that decided; default: no rule matched")   \
	X(FIELD_UP, "up", N, "octets from client to target")                                       \
	X(FIELD_DOWN, "down", N, "octets from target to client")                                   \
	X(FIELD_DATAGRAMS_UP, "datagrams-up", N,                                                   \
	    "UDP ASSOCIATE: datagrams from client to targets")                                     \
	X(FIELD_DATAGRAMS_DOWN, "datagrams-down", N, "UDP ASSOCIATE: datagrams to the client")     \
	X(FIELD_DROPS, "drops", T, "UDP ASSOCIATE: datagrams dropped, as cause:count, see DROPS")  \
	X(FIELD_DURATION, "duration", N,                                                           \
	    "milliseconds since the request; of a session that ended, up to 3 more")               \
	X(FIELD_REASON, "reason", W, "why: see REASONS; in auth-failed the verdict")               \
	X(FIELD_ERROR, "error", W, "symbolic errno behind the reason")                             \
	X(FIELD_COUNT_, "count", N, "how many events this record stands for")                      \
	X(FIELD_VERSION, "version", N, "version of the policy in force")                           \
	X(FIELD_FILE, "file", S, "configuration or log file")                                      \
	X(FIELD_DETAIL, "detail", T, "further words")

enum audit_field {
#define X(id, key, kind, help) id,
	AUDIT_FIELDS(X)
#undef X
	    FIELD_COUNT
};

/* X(EVENT, name, syslog severity, may be capped as caused before authentication, what it says) */
#define AUDIT_EVENTS(X)                                                                                      \
	X(EVENT_OPEN, "session-open", LOG_INFO, false, "a session is granted, and connects")                 \
	X(EVENT_UPDATE, "session-update", LOG_INFO, false, "octets so far of a long session")                \
	X(EVENT_TARGET, "session-target", LOG_INFO, false, "an association sends to a new target")           \
	X(EVENT_TARGET_REFUSED, "target-refused", LOG_NOTICE, false,                                         \
	    "an association may not send to a target; told once a target")                                   \
	X(EVENT_STRANGER, "peer-refused", LOG_NOTICE, false,                                                 \
	    "BIND: a host that came was not the expected one, or is blocked; told once a host")              \
	X(EVENT_CLOSE, "session-close", LOG_INFO, false, "a session has ended")                              \
	X(EVENT_REFUSED, "session-refused", LOG_NOTICE, false,                                               \
	    "a request was not served: by the rules or a limit, or it failed before a connection was tried") \
	X(EVENT_EARLY, "client-refused", LOG_NOTICE, true,                                                   \
	    "a client was turned away before a request; one record a source and reason, counted")            \
	X(EVENT_AUTH_OK, "auth-ok", LOG_INFO, false, "a user was authenticated")                             \
	X(EVENT_AUTH_FAILED, "auth-failed", LOG_NOTICE, true, "an authentication failed")                    \
	X(EVENT_START, "start", LOG_NOTICE, false, "the gateway has started")                                \
	X(EVENT_STOP, "stop", LOG_NOTICE, false, "the gateway has stopped")                                  \
	X(EVENT_RELOAD, "reload", LOG_NOTICE, false, "a new configuration is in force")                      \
	X(EVENT_RELOAD_FAILED, "reload-failed", LOG_ERR, false,                                              \
	    "a configuration had errors: the old one stays")                                                 \
	X(EVENT_CHILD_LOST, "child-lost", LOG_ERR, false, "a process ended and is replaced")                 \
	X(EVENT_SANDBOX, "sandbox", LOG_WARNING, false,                                                      \
	    "layers that this kernel or user cannot have")                                                   \
	X(EVENT_LOST, "records-lost", LOG_ERR, false,                                                        \
	    "records that a log could not take: counted")                                                    \
	X(EVENT_NOTICE, "notice", LOG_NOTICE, false, "something an operator should know: in detail")

enum audit_event {
#define X(id, name, severity, capped, help) id,
	AUDIT_EVENTS(X)
#undef X
	    EVENT_COUNT
};

/* A record under construction; only pointers are kept until audit_write. */
struct audit_rec {
	enum audit_event event;
	uint32_t set;     /* bit per field */
	int severity;     /* raised by `log` on a rule; starts as the table's */
	uint64_t time_ms; /* CLOCK_REALTIME; 0: log_record stamps it */
	struct {
		const void *p; /* S, T, W: octets; A: struct addrport */
		size_t len;
		uint64_t n;
	} v[FIELD_COUNT];
};

void audit_begin(struct audit_rec *r, enum audit_event e);
/* What is longer than AUDIT_OCTETS_MAX is cut there; nothing that a client sends is as long. */
void audit_str(struct audit_rec *r, enum audit_field f, const void *octets, size_t len);
void audit_word(struct audit_rec *r, enum audit_field f, const char *word); /* NULL: left out */
void audit_num(struct audit_rec *r, enum audit_field f, uint64_t n);
void audit_addr(struct audit_rec *r, enum audit_field f, const struct addrport *ap);
/* Nothing is copied: all that is given must stay until the record is written. An address of family
 * ADDR_NONE is left out. */

/* Octets of one S or T value; and of a line: every record fits, with all of its fields escaped. */
#define AUDIT_OCTETS_MAX 512
#define AUDIT_LINE_MAX   28672

/* Formats into buf; the length without NUL. `seq` is the record's number. No newline.
 * Pure: the tests call it. */
size_t audit_format(
    const struct audit_rec *r, enum conf_log_format f, uint64_t seq, char *buf, size_t size);

const char *audit_event_name(enum audit_event e);
/* The event may be capped: a client can cause it before authentication. */
bool audit_event_capped(enum audit_event e);

/* Prints the events, fields, reasons and verdicts as mdoc lists, for the man page. */
void audit_print_tables(FILE *out);

#endif
