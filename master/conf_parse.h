/*
 * Reading the configuration: what the lexer, the grammar and the checks share. Not for the rest of
 * the master, which sees master/conf.h only.
 *
 * All that a reading makes lives in the memory of its struct conf and goes with it, so no path of
 * an error has anything to free.
 */
#ifndef MASTER_CONF_PARSE_H
#define MASTER_CONF_PARSE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

#include "master/conf.h"

#define CONF_FILE_MAX \
	(64u << 20)      /* octets of one file: far above any that a person or a list has */
#define CONF_NEST_MAX 16 /* includes inside includes, macros inside macros */

#define CONF_WORKERS_MAX  256u     /* more than any machine has use for */
#define CONF_SESSIONS_MAX 1000000u /* a session holds two descriptors */
#define CONF_EGRESS_MAX   256u     /* addresses of one list: each socket goes through them */
#define CONF_TARGETS_MAX  65535u   /* of one association, whose datagrams have so many ports */
#define CONF_PORT_MIN     1024u    /* of `bind ports` and `udp ports`: below, a rule must say so */
#define CONF_TIME_MIN     100u     /* ms: below it a slow machine would time itself out */
#define CONF_BRIEF_MAX    600000u  /* ms, ten minutes: handshake, connect */
#define CONF_LONG_MAX     2592000000u /* ms, thirty days: all others; below 2^32 */
#define CONF_UPDATE_MAX   86400000u   /* ms, a day */
#define CONF_RULE_TIMES                                                                          \
	1000u                /* distinct lengths in rules; DEADLINE_CLASSES with room for others \
			      */
#define CONF_SOCKET_MAX 107u /* octets: sun_path without its NUL */

/* A token with its text, and so an element of every list the grammar makes. */
enum conf_item_kind { ITEM_TEXT, ITEM_TABLE, ITEM_ANY };
struct conf_item {
	STAILQ_ENTRY(conf_item) entry;
	enum conf_item_kind kind;
	bool negated; /* "!" stood before it */
	bool quoted;
	int token; /* the grammar's number of it */
	char *s;   /* NUL-terminated after len octets */
	size_t len;
	struct conf_where where;
	struct conf_item *port; /* resolver ADDR port N */
};
STAILQ_HEAD(conf_items, conf_item);

struct conf_macro {
	STAILQ_ENTRY(conf_macro) entry;
	const char *name, *value; /* value NULL: its definition was an error */
	size_t len;
	bool defined; /* in a file; -D alone leaves it false */
	bool outside; /* by -D, which wins */
	bool used;
	struct conf_where where;
};

/* A rule whose tables are not looked up yet: they may be defined further down. */
struct conf_rule_src {
	STAILQ_ENTRY(conf_rule_src) entry;
	struct conf_rule *rule;
	struct conf_items from, to, via;
	unsigned given; /* bit per enum conf_criterion */
};

enum conf_criterion {
	GIVEN_FROM,
	GIVEN_TO,
	GIVEN_PORT,
	GIVEN_USER,
	GIVEN_GROUP,
	GIVEN_AUTH,
	GIVEN_EGRESS_FROM,
	GIVEN_EGRESS_DEVICE,
	GIVEN_EGRESS_MARK,
	GIVEN_BIND_PORT,
	GIVEN_VIA,
	GIVEN_PROTECTION,
};

/* Statements that may stand once. */
enum conf_once {
	ONCE_WORKERS,
	ONCE_RUN_DIRECTORY,
	ONCE_EGRESS_FROM,
	ONCE_EGRESS_DEVICE,
	ONCE_EGRESS_MARK,
	ONCE_RESOLVER,
	ONCE_AUTH_FILE,
	ONCE_AUTH_PAM,
	ONCE_AUTH_PREFER,
	ONCE_AUTH_GSSAPI,
	ONCE_GSSAPI_SERVICE,
	ONCE_GSSAPI_NAMES,
	ONCE_KERBEROS_CONFIG,
	ONCE_LOG_UPDATE,
	ONCE_LOG_OVERFLOW,
	ONCE_SESSIONS,
	ONCE_SESSIONS_PER_USER,
	ONCE_HANDSHAKE,
	ONCE_CONNECT,
	ONCE_IDLE,
	ONCE_HALF_CLOSED,
	ONCE_BIND,
	ONCE_UDP,
	ONCE_ASSOCIATIONS,
	ONCE_TARGETS,
	ONCE_BIND_PORTS,
	ONCE_BIND_ADVERTISE,
	ONCE_UDP_PORTS,
	ONCE_UDP_ADVERTISE,
	ONCE_UDP_REPLIES,
	ONCE_UDP_FRAGMENTS,
	ONCE_SOCKS4,
	ONCE_COUNT
};

/* Kinds of statements of which one had an error: what is missing for that reason alone is no second
 * error. */
#define SPOILED_TABLE    0x1u
#define SPOILED_AUTH     0x2u
#define SPOILED_LISTEN   0x4u
#define SPOILED_UPSTREAM 0x8u
#define SPOILED_ALL      0xfu

struct conf_input;

/* The lexer's state (conf_lex.c). */
struct conf_lex {
	struct conf_input *in;    /* what is being read; NULL at the end */
	unsigned braces;          /* open ones */
	struct conf_where brace;  /* of the outermost */
	unsigned close;           /* braces that the lexer closes itself, see there */
	int last;                 /* the last token */
	int first;                /* the statement's first token */
	struct conf_item *item;   /* of the last token */
	struct conf_item *before; /* of the one before */
	struct conf_item *begin;  /* of the statement's first */
};

struct conf_parse {
	struct conf *conf;
	FILE *errors;
	jmp_buf no_memory;
	struct conf_lex lex;
	STAILQ_HEAD(, conf_macro) macros;
	STAILQ_HEAD(, conf_rule_src) rules;
	struct conf_rule_src *rule; /* these five: being read */
	struct conf_process *process;
	struct conf_upstream *upstream;
	struct conf_log *log;
	unsigned log_given;             /* options of that log */
	struct conf_timeouts *timeouts; /* where a timeout list goes: the rule's or the default */
	struct conf_where once[ONCE_COUNT];
	struct conf_where sandbox[LAYER_COUNT];
	unsigned spoiled;
	bool unclosed;         /* a brace was: its list may lack what comes behind */
	struct conf_where end; /* of the main file, for what is missing from it */
	char *scratch;         /* malloc'ed, freed at the end: a file being read */
};

/* --- conf.c --- */

/* Zeroed memory that lives as long as the configuration; never NULL. */
void *conf_alloc(struct conf_parse *ps, size_t size);
/* A copy of len octets with a NUL behind. */
char *conf_copy(struct conf_parse *ps, const void *octets, size_t len);
char *conf_sprintf(struct conf_parse *ps, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

void conf_error(struct conf_parse *ps, const struct conf_where *w, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void conf_warn(struct conf_parse *ps, const struct conf_where *w, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Is b what a person may have meant by a: one letter more, less, other, or two swapped? */
bool conf_near(const char *a, const char *b);
/* The method that a word of the grammar means. */
enum method conf_method(const struct conf_item *word);
/* The text of an item for a message: quoted, escaped, cut short. */
const char *conf_show(struct conf_parse *ps, const struct conf_item *it);

struct conf_items *conf_list(struct conf_parse *ps, struct conf_item *first);
/* False, with an error, if it stood before. */
bool conf_once(
    struct conf_parse *ps, enum conf_once what, const struct conf_where *w, const char *name);

/* --- conf_file.c --- */

/* Reads a whole regular file into malloc'ed memory, with a warning where anyone may write it. NULL
 * with errno. */
char *conf_slurp(struct conf_parse *ps, const char *path, size_t *len);
/* A path as written in a file: a relative one is taken from that file's directory. */
const char *conf_beside(struct conf_parse *ps, const struct conf_where *w, const char *path);

/* --- conf_value.c: each reports its error and then returns false or NULL --- */

bool conf_number(struct conf_parse *ps, const struct conf_item *it, const char *what, uint32_t lo,
    uint32_t hi, uint32_t *out);
bool conf_time(struct conf_parse *ps, const struct conf_item *it, const char *what, uint32_t lo,
    uint32_t hi, uint32_t *out);
bool conf_port(struct conf_parse *ps, const struct conf_item *it, uint16_t *out);
bool conf_port_range(
    struct conf_parse *ps, const struct conf_item *it, uint16_t *first, uint16_t *last);
bool conf_address(
    struct conf_parse *ps, const struct conf_item *it, const char *what, struct addr *out);
/* One host's address, in its usual spelling. */
bool conf_unicast(const struct addr *a);
bool conf_prefix(struct conf_parse *ps, const struct conf_item *it, struct prefix *out);
/* A text without NUL, 1 to max octets. */
const char *conf_text(
    struct conf_parse *ps, const struct conf_item *it, const char *what, size_t max);
const char *conf_path(
    struct conf_parse *ps, const struct conf_item *it, const char *what, size_t max);
/* Reports each text of a list that stands in it before. */
void conf_each_once(struct conf_parse *ps, const struct conf_items *l, const char *what);
/* Copies the names of a list (users, groups), refusing empty, long and repeated ones. */
void conf_names(
    struct conf_parse *ps, const struct conf_items *l, const char *what, struct conf_strs *out);
/* A name or .suffix of a rule, normalised; NULL: it is none, and that has been said. */
const char *conf_host_name(struct conf_parse *ps, const struct conf_item *it);

/* --- conf_set.c: statements --- */

void conf_set_listen(struct conf_parse *ps, const struct conf_where *w, struct conf_items *hosts,
    const struct conf_item *port, bool freebind);
void conf_set_workers(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *n);
void conf_set_run_directory(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *path);
void conf_set_resolver(struct conf_parse *ps, const struct conf_where *w, struct conf_items *addrs);
void conf_set_nat64(struct conf_parse *ps, struct conf_items *prefixes);
void conf_set_auth_file(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *path);
void conf_set_auth_pam(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *service);
void conf_set_prefer(struct conf_parse *ps, const struct conf_where *w, struct conf_items *methods);
void conf_set_group(struct conf_parse *ps, const struct conf_where *w, const struct conf_item *name,
    struct conf_items *users);
void conf_set_limit(struct conf_parse *ps, enum conf_once which, const struct conf_where *w,
    const struct conf_item *n);
void conf_set_timeout(
    struct conf_parse *ps, const struct conf_item *which, const struct conf_item *time);
void conf_set_sandbox(struct conf_parse *ps, const struct conf_where *w,
    const struct conf_item *layer, enum layer_mode mode);

/* --- conf_egress.c --- */

void conf_set_egress_from(struct conf_parse *ps, struct conf_items *addrs, enum egress_pick pick,
    struct conf_egress *out);
void conf_set_egress_device(
    struct conf_parse *ps, const struct conf_item *name, struct conf_egress *out);
void conf_set_egress_mark(
    struct conf_parse *ps, const struct conf_item *n, struct conf_egress *out);

/* --- conf_socks.c: BIND, UDP ASSOCIATE, SOCKS4 --- */

void conf_set_bind_ports(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *range);
void conf_set_bind_advertise(
    struct conf_parse *ps, const struct conf_where *w, struct conf_items *addrs);
void conf_set_udp_ports(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *range);
void conf_set_udp_advertise(
    struct conf_parse *ps, const struct conf_where *w, struct conf_items *addrs);
void conf_set_udp_replies(struct conf_parse *ps, const struct conf_where *w, bool any);
void conf_set_udp_fragments(struct conf_parse *ps, const struct conf_where *w, bool on);
void conf_set_socks4(struct conf_parse *ps, const struct conf_where *w, bool allow);

/* --- conf_gssapi.c --- */

void conf_gssapi_begin(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *keytab);
void conf_gssapi_service(
    struct conf_parse *ps, const struct conf_item *word, struct conf_items *names);
void conf_gssapi_allow(struct conf_parse *ps, struct conf_items *what);
void conf_gssapi_names(
    struct conf_parse *ps, const struct conf_item *word, const struct conf_item *which);
void conf_set_kerberos_config(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *path);

/* --- conf_log.c --- */

void conf_log_begin(struct conf_parse *ps, const struct conf_where *w, enum conf_log_kind kind,
    const struct conf_item *path);
void conf_log_facility(struct conf_parse *ps, const struct conf_item *name);
void conf_log_socket(struct conf_parse *ps, const struct conf_item *path);
void conf_log_format(struct conf_parse *ps, const struct conf_where *w, enum conf_log_format f);
void conf_log_end(struct conf_parse *ps);
void conf_log_update(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *time);
void conf_log_overflow(struct conf_parse *ps, const struct conf_where *w, bool drop);

/* --- conf_upstream.c --- */

void conf_upstream_begin(struct conf_parse *ps, const struct conf_where *w,
    const struct conf_item *name, const struct conf_item *host, const struct conf_item *port);
void conf_upstream_password(struct conf_parse *ps, const struct conf_item *file);
void conf_upstream_gssapi(struct conf_parse *ps);
/* `service`, `protection`, `keytab`, `principal`, `ccache`: word says which. */
void conf_upstream_option(
    struct conf_parse *ps, const struct conf_item *word, const struct conf_item *value);
void conf_upstream_end(struct conf_parse *ps);
/* After the whole text: numbers them, looks up those of `via`, and warns of what it may not do. */
void conf_upstreams_resolve(struct conf_parse *ps);

/* --- conf_process.c --- */

void conf_process_begin(
    struct conf_parse *ps, const struct conf_where *w, const struct conf_item *role);
void conf_process_uid(struct conf_parse *ps, const struct conf_item *user);
void conf_process_chroot(struct conf_parse *ps, const struct conf_item *path);
/* Fills in what was not given, and checks that no two share a user. */
void conf_process_finish(struct conf_parse *ps);

/* --- conf_table.c --- */

void conf_table_inline(
    struct conf_parse *ps, const struct conf_item *name, struct conf_items *prefixes);
void conf_table_file(
    struct conf_parse *ps, const struct conf_item *name, const struct conf_item *path);
struct conf_table *conf_table_find(struct conf_parse *ps, const struct conf_item *name);
struct conf_table *conf_table_new(
    struct conf_parse *ps, const char *name, const struct conf_where *w);
void conf_table_add(struct conf_parse *ps, struct conf_table *t, const struct prefix *p,
    bool negated, const struct conf_where *w);
/* Reports repeated and contradicting prefixes and those in other spellings. A merged table is a
 * rule's list with named tables in it, each checked before: only contradictions are new. */
void conf_table_check(struct conf_parse *ps, struct conf_table *t, bool merged);
/* A list of nothing but ! prefixes is an error; an empty one (of a file) is not. */
void conf_table_positive(struct conf_parse *ps, const struct conf_table *t);
/* After the last use: gives each its index in the image. */
void conf_tables_number(struct conf_parse *ps);

/* --- conf_rule.c --- */

void conf_rule_begin(struct conf_parse *ps, const struct conf_where *w, bool pass);
bool conf_rule_criterion(
    struct conf_parse *ps, enum conf_criterion g, const struct conf_item *word);
void conf_rule_commands(struct conf_parse *ps, struct conf_items *l);
void conf_rule_ports(struct conf_parse *ps, struct conf_items *l, struct conf_port_list *out);
void conf_rule_methods(struct conf_parse *ps, struct conf_items *l);
void conf_rule_protection(struct conf_parse *ps, const struct conf_item *word);
void conf_rule_end(struct conf_parse *ps);
/* After a syntax error: what was read of the rule is still checked. */
void conf_rule_abandon(struct conf_parse *ps);
/* After the whole text: looks tables up and makes each rule's own. */
void conf_rules_resolve(struct conf_parse *ps);

/* --- conf_check.c --- */

void conf_check(struct conf_parse *ps);

#endif
