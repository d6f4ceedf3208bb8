/*
 * The configuration as parsed: what an operator wrote, checked, with file and line kept where a
 * message or an audit record may need them. conf_load makes it; image_build turns the policy part
 * into the image that children map; the rest is the master's own.
 */
#ifndef MASTER_CONF_H
#define MASTER_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

#include "common/addr.h"
#include "common/image.h"
#include "common/msg.h"

struct conf_where {
	const char *file; /* owned by struct conf */
	unsigned line;
};

/* Octet string: names and users may hold any octet. NUL-terminated too, for messages. */
struct conf_str {
	STAILQ_ENTRY(conf_str) entry;
	char *s;
	size_t len;
};
STAILQ_HEAD(conf_strs, conf_str);

struct conf_prefix {
	STAILQ_ENTRY(conf_prefix) entry;
	struct prefix p;
	bool negated;
	struct conf_where where;
};
STAILQ_HEAD(conf_prefixes, conf_prefix);

/* A table, named or the anonymous one of a rule's list. */
struct conf_table {
	STAILQ_ENTRY(conf_table) entry;
	char *name; /* "" : anonymous */
	struct conf_where where;
	struct conf_prefixes prefixes;
	uint32_t index; /* in the image */
};

struct conf_ports {
	STAILQ_ENTRY(conf_ports) entry;
	uint16_t first, last;
};
STAILQ_HEAD(conf_port_list, conf_ports);

struct conf_timeouts { /* ms; 0: not given */
	uint32_t handshake, connect, idle, half_closed, bind, udp;
};

struct conf_addr {
	STAILQ_ENTRY(conf_addr) entry;
	struct addr a;
};
STAILQ_HEAD(conf_addrs, conf_addr);

struct conf_egress {
	struct conf_addrs addrs; /* `egress from` */
	unsigned naddrs;
	enum egress_pick pick;
	const char *device; /* `egress device`; NULL: not given */
	uint32_t mark;      /* `egress mark`; 0: not given */
};

/* What clients and peers are told instead of the real address; ADDR_NONE: not given. */
struct conf_advertise {
	struct addr v4, v6;
};

struct conf_rule {
	STAILQ_ENTRY(conf_rule) entry;
	struct conf_where where;
	enum rule_action action;
	bool log, broken;          /* broken: it had a syntax error */
	uint8_t commands, methods; /* bits; 0: not given */
	struct conf_table *from;   /* NULL: any */
	struct conf_table *to;     /* NULL: no addresses in the list */
	bool to_given, to_any;
	struct conf_strs to_names; /* as written, normalised; a suffix keeps its leading dot */
	struct conf_port_list ports;
	struct conf_strs users, groups;
	struct conf_timeouts timeouts;
	struct conf_egress egress;
	struct conf_port_list bind_ports; /* `bind port`: instead of `bind ports` */
	enum protection protection;
	struct conf_upstream *via[VIA_MAX]; /* in the order of trying */
	unsigned nvia;
};

/* `upstream NAME socks5 "HOST" port N [auth ...]` */
struct conf_upstream {
	STAILQ_ENTRY(conf_upstream) entry;
	struct conf_where where;
	const char *name, *host; /* host normalised where it is a name */
	struct addr addr;        /* ADDR_NONE: host is a name */
	uint16_t port;
	enum method method;
	enum level level; /* METHOD_GSSAPI */
	bool level_given;
	const char *file;                        /* METHOD_PASSWORD: the credentials */
	const char *service;                     /* METHOD_GSSAPI: default "socks" */
	const char *keytab, *principal, *ccache; /* NULL: not given */
	uint32_t index;                          /* in the image */
};

struct conf_group {
	STAILQ_ENTRY(conf_group) entry;
	char *name;
	struct conf_where where;
	struct conf_strs users;
};

struct conf_listen {
	STAILQ_ENTRY(conf_listen) entry;
	struct conf_where where;
	char *host;    /* address, name or interface as written; "*" is any */
	uint16_t port; /* default 1080 */
	bool freebind;
};

enum conf_log_kind { LOGTO_SYSLOG, LOGTO_FILE, LOGTO_STDERR }; /* <syslog.h> has LOG_SYSLOG */
enum conf_log_format { FORMAT_LOGFMT, FORMAT_JSON };

/* `log syslog [facility NAME] [socket "PATH"] [format F]`, `log file "PATH" [format F]`,
 * `log stderr [format F]`. */
struct conf_log {
	STAILQ_ENTRY(conf_log) entry;
	struct conf_where where;
	enum conf_log_kind kind;
	enum conf_log_format format;
	int facility; /* LOG_DAEMON and so on, of <syslog.h> */
	char *path;   /* LOGTO_FILE; LOGTO_SYSLOG: the socket, NULL is /dev/log */
};

struct conf_process { /* `process ROLE [uid NAME|NUMBER] [chroot "DIR"]` */
	bool given;
	struct conf_where where;
	bool uid_given;
	uint32_t uid, gid;
	char *chroot; /* NULL: the default */
};

/* `auth gssapi keytab "FILE" [service WORDS] [allow WORDS] [names local|principal]` */
struct conf_gssapi {
	char *keytab; /* NULL: no such statement */
	struct conf_where where;
	uint8_t flags;             /* GSSAPI_ bits */
	struct conf_strs services; /* none: any that the keytab has */
};

struct conf_server {
	STAILQ_ENTRY(conf_server) entry;
	struct addrport ap;
};

struct conf {
	char *path;
	STAILQ_HEAD(, conf_listen) listens;
	unsigned workers; /* 0: one per CPU */
	struct conf_process process[ROLE_COUNT];
	char *run_directory;
	struct conf_egress egress;
	STAILQ_HEAD(, conf_server) servers; /* empty: /etc/resolv.conf */
	STAILQ_HEAD(, conf_prefix) nat64;
	char *users_file;  /* auth password file */
	char *pam_service; /* auth password pam */
	struct conf_where auth_where;
	struct conf_gssapi gssapi;
	char *krb5_conf; /* `kerberos config`; default filled in */
	struct conf_where krb5_conf_where;
	uint8_t prefer[METHOD_COUNT], prefer_n; /* default filled in */
	STAILQ_HEAD(, conf_group) groups;
	STAILQ_HEAD(, conf_log) logs;  /* empty in the file: syslog, daemon, logfmt is filled in */
	uint32_t log_update;           /* ms; 0: none */
	bool log_overflow_drop;        /* `log overflow drop`; default: new sessions are refused */
	struct conf_timeouts timeouts; /* defaults filled in */
	uint32_t limit_sessions, limit_sessions_per_user; /* 0: none */
	uint32_t limit_associations;                      /* default 1000 */
	uint32_t limit_targets; /* `limit targets per association`; default 256 */
	/* BIND and UDP ASSOCIATE */
	struct conf_ports bind_ports, udp_ports; /* 0-0: any free one */
	struct conf_advertise bind_advertise, udp_advertise;
	bool udp_replies_any;         /* `udp replies any`; default: connected */
	bool udp_fragments;           /* default: on */
	bool socks4;                  /* `socks4 allow`; default: deny */
	uint8_t sandbox[LAYER_COUNT]; /* enum layer_mode */
	bool sandbox_given[LAYER_COUNT];
	STAILQ_HEAD(, conf_table) tables; /* named and anonymous; index is the position */
	STAILQ_HEAD(, conf_rule) rules;
	STAILQ_HEAD(, conf_upstream) upstreams; /* index is the position */
	unsigned errors;
	struct conf_memory *memory; /* conf.c's own: all that the lists above hold */
};

struct conf_define { /* -D NAME=VALUE: wins over the file's own definition */
	const char *name, *value;
};

/*
 * Reads the file and all it includes, and checks it whole. Every error goes to `errors` as
 * "file:line: what is wrong, what was expected\n". NULL if there was any (or errno set, no memory).
 */
struct conf *conf_load(
    const char *path, const struct conf_define *defs, size_t ndefs, FILE *errors);
void conf_free(struct conf *c);
/* Does any upstream need authd's initiator? */
bool conf_initiator(const struct conf *c);
/* The different marks of a configuration, at most one more than there may be. */
unsigned conf_marks(const struct conf *c, uint32_t marks[EGRESS_MARKS_MAX + 1]);

#endif
