/*
 * Payloads of the messages about authentication, of clients and at upstreams: part of common/msg.h,
 * which has their table, and all that is said there of payloads holds.
 */
#ifndef COMMON_MSG_AUTH_H
#define COMMON_MSG_AUTH_H

#include <stdint.h>

#include "common/addr.h"
#include "common/encap.h"
#include "common/sid.h"

/* Worker to authd: user_len octets of user name, then password_len of password. Answered by exactly
 * one AUTH_RESULT, also after AUTH_ABORT. */
struct msg_auth_password {
	struct sid sid;
	struct addrport client;
	uint8_t user_len;     /* 1.. */
	uint8_t password_len; /* 1.. */
	uint8_t zero[2];
};
struct msg_auth_abort {
	struct sid sid;
};
/* Authd to worker. Accepted: user_len octets of the canonical user, groups_len of packed groups. */
struct msg_auth_result {
	struct sid sid;
	uint8_t accepted; /* 0 or 1; why not is the master's to know */
	uint8_t method;
	uint8_t user_len;
	uint8_t level; /* enum level; of a client's AUTH_KEYS, which came before */
	uint32_t groups_len;
};
/* Authd to master, sent before the result goes to the worker. user_len octets: accepted, the
 * canonical user; else the name as claimed. */
struct msg_verdict {
	struct sid sid;
	uint32_t spawn;  /* of the worker that asked */
	uint8_t verdict; /* enum verdict_code */
	uint8_t method;
	uint8_t user_len;
	uint8_t level;          /* enum level, of an accepted client */
	struct addrport client; /* as the worker gave it */
	uint32_t zero2;
};

/*
 * GSSAPI, RFC 1961. A token travels in pieces, in order: `at` octets of it came before, and `total`
 * is its length; a token of length zero is one empty piece.
 *
 * Worker to acceptor: AUTH_TOKEN pieces, each with at most TOKEN_PIECE_MAX octets behind it. The
 * first of a context begins an exchange, which ends with one AUTH_RESULT as those of passwords do,
 * also after AUTH_ABORT. Acceptor to worker: AUTH_REPLY pieces, for the client. Before an accepting
 * AUTH_RESULT come the AUTH_REPLY of the protection level and AUTH_KEYS, at every level.
 */
enum token_kind {
	TOKEN_CONTEXT = 1, /* section 3.4: mtyp 1 */
	TOKEN_LEVEL = 2,   /* section 4.3: mtyp 2 */
	TOKEN_PASSWORD = 3 /* initiator to worker alone: a whole message of RFC 1929 */
};
struct msg_auth_token {
	struct sid sid;
	uint32_t total;
	uint32_t at;
	struct addrport client; /* none in AUTH_REPLY */
	uint8_t kind;           /* enum token_kind */
	uint8_t zero[3];
};
struct msg_auth_keys {
	struct sid sid;
	uint32_t
	    lifetime; /* s that the client's ticket still lasts; UINT32_MAX: no end of it counts */
	uint32_t zero;
	/* Wiped by both sides once they are used. At LEVEL_CLEAR all zero: the lifetime counts. */
	struct encap_params params;
};

/*
 * Worker to initiator: it is to authenticate this gateway to an upstream, whose name follows. The
 * initiator answers with AUTH_REPLY pieces, which are for the upstream; what the upstream says goes
 * to it as AUTH_TOKEN pieces. The exchange ends with exactly one UPSTREAM_RESULT, also after
 * AUTH_ABORT; above LEVEL_CLEAR, AUTH_KEYS come before it.
 */
struct msg_upstream_begin {
	struct sid sid;
	uint8_t name_len;
	uint8_t zero[7];
};
struct msg_upstream_result {
	struct sid sid;
	uint8_t verdict; /* enum verdict_code */
	uint8_t level;   /* enum level, where accepted */
	uint8_t zero[6];
};

/* Master to acceptor or initiator, with the open keytab (initiator: or the file with the password).
 * Answered by KEYTAB_ACK. */
struct msg_keytab {
	uint32_t index; /* acceptor: 0; initiator: of the upstream in the policy image */
	uint32_t zero;
};
struct msg_keytab_ack {
	uint32_t index;
	uint32_t keys;  /* loaded; with an error those before stay */
	char what[120]; /* the error, NUL-terminated; "" : loaded */
};

#endif
