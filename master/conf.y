/*
 * The grammar of the configuration, and what a syntax error says. Actions only hand over to the
 * setters (conf_set.c and its siblings), which judge values.
 *
 * After a syntax error the parser goes on behind the line, or inside a list behind the element, so
 * that one reading reports every error. Rules end with their line break, so that their action runs
 * before the next line is read: definitions and includes rely on it.
 */
%code requires {
#include "master/conf_parse.h"
}

%code {
#include <string.h>

#include "master/conf_lex.h"

#define YYLLOC_DEFAULT(cur, rhs, n) ((cur) = (n) != 0 ? YYRHSLOC(rhs, 1) : YYRHSLOC(rhs, 0))

static void confyyerror(const CONFYYLTYPE *w, struct conf_parse *ps, const char *what);
}

%define api.pure full
%define api.prefix {confyy}
%define api.token.prefix {T_}
%define api.location.type {struct conf_where}
%define parse.error custom
%define parse.lac full
%locations
%param {struct conf_parse *ps}
%expect 0

%union {
	struct conf_item *item;
	struct conf_items *list;
	unsigned number;
}

%token <item> WORD "a name or value"
%token <item> STRING "a quoted string"
%token <item> MACRO "NAME = VALUE"
%token <item> TABLE_NAME "<table>"
%token NL "the end of the line"
%token BREAK "a line break"
%token <item> ACCEPTOR "acceptor" ADVERTISE "advertise" ALLOW "allow" ANY "any" ASSOCIATION "association"
%token <item> ASSOCIATIONS "associations" AUTH "auth" BIND "bind" BLOCK "block" CCACHE "ccache" CHROOT "chroot"
%token <item> CONFIDENTIALITY "confidentiality" CONFIG "config"
%token <item> CONNECT "connect" CONNECTED "connected" DENY "deny" DEVICE "device" DIRECTORY "directory"
%token <item> DROP "drop" EGRESS "egress" FACILITY "facility" FILE "file" FORMAT "format"
%token <item> FRAGMENTS "fragments" FREEBIND "freebind" FROM "from" GROUP "group" GSSAPI "gssapi"
%token <item> HALF_CLOSED "half-closed" HANDSHAKE "handshake" IDLE "idle" INCLUDE "include" INITIATOR "initiator"
%token <item> INTEGRITY "integrity" JSON "json" KERBEROS "kerberos" KEYTAB "keytab"
%token <item> LIMIT "limit" LISTEN "listen" LOG "log" LOGFMT "logfmt" MARK "mark" NAMES "names" NAT64 "nat64"
%token <item> NONE "none" OFF "off" ON "on" OVERFLOW "overflow" PAM "pam" PASS "pass"
%token <item> PASSWORD "password" PER "per" PORT "port" PORTS "ports" PREFER "prefer" PRINCIPAL "principal"
%token <item> PROCESS "process" PROTECTION "protection" REFUSE "refuse" REPLIES "replies" REQUIRE "require"
%token <item> RESOLVER "resolver" ROUND_ROBIN "round-robin" RUN "run" SANDBOX "sandbox" SERVICE "service" SESSIONS "sessions"
%token <item> SOCKET "socket" SOCKS4 "socks4" SOCKS5 "socks5" SOURCE_HASH "source-hash" STDERR "stderr" SYSLOG "syslog" TABLE "table"
%token <item> TARGETS "targets" TIMEOUT "timeout" TO "to" TRY "try" UDP "udp" UID "uid"
%token <item> UPDATE "update" UPSTREAM "upstream" USER "user" VIA "via"
%token <item> WORKER "worker" WORKERS "workers"

%type <item> name role layer address target server command method timeout_word protection
%type <list> names words word_items address_list address_items targets target_items
%type <list> servers server_items commands command_items methods method_items prefixes
%type <number> freebind mode on_off allow_deny pick
%type <item> opt_port

%%

config
	: %empty
	| config line
	;

line
	: NL
	| statement NL			{ yyerrok; }
	| rule NL			{ conf_rule_end(ps); }
	| MACRO '=' name NL		{ conf_lex_define(ps, $1, $3); }
	| INCLUDE name NL		{ conf_lex_include(ps, &@1, $2); }
	| error NL			{ conf_rule_abandon(ps); yyerrok; }
	;

statement
	: LISTEN ON names opt_port freebind	{ conf_set_listen(ps, &@1, $3, $4, $5 != 0); }
	| WORKERS name			{ conf_set_workers(ps, &@1, $2); }
	| PROCESS process_begin process_options
	| RUN DIRECTORY name		{ conf_set_run_directory(ps, &@1, $3); }
	| EGRESS FROM names pick {
		if (conf_once(ps, ONCE_EGRESS_FROM, &@1, "egress from"))
			conf_set_egress_from(ps, $3, (enum egress_pick)$4, &ps->conf->egress);
	}
	| EGRESS DEVICE name {
		conf_once(ps, ONCE_EGRESS_DEVICE, &@1, "egress device");
		conf_set_egress_device(ps, $3, &ps->conf->egress);
	}
	| EGRESS MARK name {
		conf_once(ps, ONCE_EGRESS_MARK, &@1, "egress mark");
		conf_set_egress_mark(ps, $3, &ps->conf->egress);
	}
	| RESOLVER servers		{ conf_set_resolver(ps, &@1, $2); }
	| AUTH PASSWORD FILE name	{ conf_set_auth_file(ps, &@1, $4); }
	| AUTH PASSWORD PAM name	{ conf_set_auth_pam(ps, &@1, $4); }
	| AUTH GSSAPI KEYTAB name	{ conf_gssapi_begin(ps, &@1, $4); }
	  gssapi_options
	| AUTH PREFER methods		{ conf_set_prefer(ps, &@1, $3); }
	| KERBEROS CONFIG name		{ conf_set_kerberos_config(ps, &@1, $3); }
	| GROUP name words		{ conf_set_group(ps, &@1, $2, $3); }
	| LOG log_kind log_options	{ conf_log_end(ps); }
	| LOG UPDATE name		{ conf_log_update(ps, &@1, $3); }
	| LOG OVERFLOW REFUSE		{ conf_log_overflow(ps, &@1, false); }
	| LOG OVERFLOW DROP		{ conf_log_overflow(ps, &@1, true); }
	| TIMEOUT			{ ps->timeouts = &ps->conf->timeouts; }
	  timeouts
	| LIMIT limits
	| SANDBOX layer mode		{ conf_set_sandbox(ps, &@1, $2, (enum layer_mode)$3); }
	| NAT64 prefixes		{ conf_set_nat64(ps, $2); }
	| BIND PORTS name		{ conf_set_bind_ports(ps, &@1, $3); }
	| BIND ADVERTISE names		{ conf_set_bind_advertise(ps, &@1, $3); }
	| UDP PORTS name		{ conf_set_udp_ports(ps, &@1, $3); }
	| UDP ADVERTISE names		{ conf_set_udp_advertise(ps, &@1, $3); }
	| UDP REPLIES CONNECTED		{ conf_set_udp_replies(ps, &@1, false); }
	| UDP REPLIES ANY		{ conf_set_udp_replies(ps, &@1, true); }
	| UDP FRAGMENTS on_off		{ conf_set_udp_fragments(ps, &@1, $3 != 0); }
	| SOCKS4 allow_deny		{ conf_set_socks4(ps, &@1, $2 != 0); }
	| UPSTREAM name SOCKS5 name PORT name { conf_upstream_begin(ps, &@1, $2, $4, $6); }
	  upstream_auth			{ conf_upstream_end(ps); }
	| TABLE TABLE_NAME address_list	{ conf_table_inline(ps, $2, $3); }
	| TABLE TABLE_NAME FILE name	{ conf_table_file(ps, $2, $4); }
	;

/* --- lists: an element, or elements in braces; some also elements with commas between --- */

sep	: ',' breaks			{ yyerrok; }
	| BREAK				{ yyerrok; }
	| BREAK ',' breaks		{ yyerrok; }
	;
breaks	: %empty
	| BREAK
	;
open	: '{' breaks
	;
close	: '}'				{ yyerrok; }
	| sep '}'			{ yyerrok; }
	;

name	: WORD
	| STRING
	;

/* With commas alone too. */
names	: name				{ $$ = conf_list(ps, $1); }
	| names ',' name		{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| open word_items close		{ $$ = $2; }
	;
/* Braces only: in a rule, where the next criterion follows. */
words	: name				{ $$ = conf_list(ps, $1); }
	| open word_items close		{ $$ = $2; }
	;
word_items
	: name				{ $$ = conf_list(ps, $1); }
	| word_items sep name		{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| error				{ $$ = conf_list(ps, NULL); }
	| word_items sep error
	| word_items error
	;

prefixes: names
	;

address	: name
	| '!' name			{ $2->negated = true; $$ = $2; }
	;
address_list
	: open address_items close	{ $$ = $2; }
	;
address_items
	: address			{ $$ = conf_list(ps, $1); }
	| address_items sep address	{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| error				{ $$ = conf_list(ps, NULL); }
	| address_items sep error
	| address_items error
	;

target	: address
	| TABLE_NAME
	| ANY
	;
targets	: target			{ $$ = conf_list(ps, $1); }
	| open target_items close	{ $$ = $2; }
	;
target_items
	: target			{ $$ = conf_list(ps, $1); }
	| target_items sep target	{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| error				{ $$ = conf_list(ps, NULL); }
	| target_items sep error
	| target_items error
	;

server	: name
	| name PORT name		{ $1->port = $3; $$ = $1; }
	;
servers	: server			{ $$ = conf_list(ps, $1); }
	| servers ',' server		{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| open server_items close	{ $$ = $2; }
	;
server_items
	: server			{ $$ = conf_list(ps, $1); }
	| server_items sep server	{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| error				{ $$ = conf_list(ps, NULL); }
	| server_items sep error
	| server_items error
	;

command	: CONNECT
	| BIND
	| UDP
	;
commands: command			{ $$ = conf_list(ps, $1); }
	| commands ',' command		{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| open command_items close	{ $$ = $2; }
	;
command_items
	: command			{ $$ = conf_list(ps, $1); }
	| command_items sep command	{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| error				{ $$ = conf_list(ps, NULL); }
	| command_items sep error
	| command_items error
	;

method	: GSSAPI
	| PASSWORD
	| NONE
	;
methods	: method			{ $$ = conf_list(ps, $1); }
	| methods ',' method		{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| open method_items close	{ $$ = $2; }
	;
method_items
	: method			{ $$ = conf_list(ps, $1); }
	| method_items sep method	{ STAILQ_INSERT_TAIL($1, $3, entry); $$ = $1; }
	| error				{ $$ = conf_list(ps, NULL); }
	| method_items sep error
	| method_items error
	;

/* --- parts of statements --- */

opt_port: %empty			{ $$ = NULL; }
	| PORT name			{ $$ = $2; }
	;
freebind: %empty			{ $$ = 0; }
	| FREEBIND			{ $$ = 1; }
	;

pick	: %empty			{ $$ = EGRESS_SOURCE_HASH; }
	| SOURCE_HASH			{ $$ = EGRESS_SOURCE_HASH; }
	| ROUND_ROBIN			{ $$ = EGRESS_ROUND_ROBIN; }
	;

on_off	: ON				{ $$ = 1; }
	| OFF				{ $$ = 0; }
	;
allow_deny
	: ALLOW				{ $$ = 1; }
	| DENY				{ $$ = 0; }
	;

gssapi_options
	: %empty
	| gssapi_options gssapi_option
	;
gssapi_option
	: SERVICE words			{ conf_gssapi_service(ps, $1, $2); }
	| ALLOW words			{ conf_gssapi_allow(ps, $2); }
	| NAMES name			{ conf_gssapi_names(ps, $1, $2); }
	| NAMES PRINCIPAL		{ conf_gssapi_names(ps, $1, $2); }
	;

role	: WORKER
	| RESOLVER
	| PASSWORD
	| PAM
	| INITIATOR
	| ACCEPTOR
	;
process_begin
	: role				{ conf_process_begin(ps, &@1, $1); }
	;
process_options
	: process_option
	| process_options process_option
	;
process_option
	: UID name			{ conf_process_uid(ps, $2); }
	| CHROOT name			{ conf_process_chroot(ps, $2); }
	;

upstream_auth
	: %empty
	| AUTH NONE
	| AUTH PASSWORD FILE name	{ conf_upstream_password(ps, $4); }
	| AUTH GSSAPI			{ conf_upstream_gssapi(ps); }
	  upstream_options
	;
upstream_options
	: %empty
	| upstream_options upstream_option
	;
upstream_option
	: SERVICE name			{ conf_upstream_option(ps, $1, $2); }
	| PROTECTION protection	{ conf_upstream_option(ps, $1, $2); }
	| KEYTAB name			{ conf_upstream_option(ps, $1, $2); }
	| PRINCIPAL name		{ conf_upstream_option(ps, $1, $2); }
	| CCACHE name			{ conf_upstream_option(ps, $1, $2); }
	;
log_kind: SYSLOG			{ conf_log_begin(ps, &@1, LOGTO_SYSLOG, NULL); }
	| FILE name			{ conf_log_begin(ps, &@1, LOGTO_FILE, $2); }
	| STDERR			{ conf_log_begin(ps, &@1, LOGTO_STDERR, NULL); }
	;
log_options
	: %empty
	| log_options log_option
	;
log_option
	: FACILITY name			{ conf_log_facility(ps, $2); }
	| SOCKET name			{ conf_log_socket(ps, $2); }
	| FORMAT LOGFMT			{ conf_log_format(ps, &@1, FORMAT_LOGFMT); }
	| FORMAT JSON			{ conf_log_format(ps, &@1, FORMAT_JSON); }
	;

/* In ps->timeouts: the defaults or those of a rule. */
timeouts: timeout
	| open timeout_items close
	;
timeout_items
	: timeout
	| timeout_items sep timeout
	| error
	| timeout_items sep error
	| timeout_items error
	;
timeout	: timeout_word name		{ conf_set_timeout(ps, $1, $2); }
	;
timeout_word
	: HANDSHAKE
	| CONNECT
	| IDLE
	| HALF_CLOSED
	| BIND
	| UDP
	;

limits	: limit
	| open limit_items close
	;
limit_items
	: limit
	| limit_items sep limit
	| error
	| limit_items sep error
	| limit_items error
	;
limit	: SESSIONS name			{ conf_set_limit(ps, ONCE_SESSIONS, &@1, $2); }
	| SESSIONS PER USER name	{ conf_set_limit(ps, ONCE_SESSIONS_PER_USER, &@1, $4); }
	| ASSOCIATIONS name		{ conf_set_limit(ps, ONCE_ASSOCIATIONS, &@1, $2); }
	| TARGETS PER ASSOCIATION name	{ conf_set_limit(ps, ONCE_TARGETS, &@1, $4); }
	;

layer	: WORD
	| CHROOT
	| UID
	;
mode	: REQUIRE			{ $$ = LAYER_REQUIRE; }
	| TRY				{ $$ = LAYER_TRY; }
	| OFF				{ $$ = LAYER_OFF; }
	;

/* --- rules --- */

/* `bind` right behind the action is the command: without commands, `bind port` stands further on. */
rule	: action rule_log
	| action rule_log rule_commands criteria
	| action rule_log criterion criteria
	;
action	: PASS				{ conf_rule_begin(ps, &@1, true); }
	| BLOCK				{ conf_rule_begin(ps, &@1, false); }
	;
rule_log: %empty
	| LOG				{ ps->rule->rule->log = true; }
	;
rule_commands
	: commands			{ conf_rule_commands(ps, $1); }
	;
criteria: %empty
	| criteria criterion
	| criteria BIND PORT words {
		if (conf_rule_criterion(ps, GIVEN_BIND_PORT, $2))
			conf_rule_ports(ps, $4, &ps->rule->rule->bind_ports);
	}
	;
criterion
	: FROM targets {
		if (conf_rule_criterion(ps, GIVEN_FROM, $1))
			STAILQ_CONCAT(&ps->rule->from, $2);
	}
	| TO targets {
		if (conf_rule_criterion(ps, GIVEN_TO, $1))
			STAILQ_CONCAT(&ps->rule->to, $2);
	}
	| PORT words {
		if (conf_rule_criterion(ps, GIVEN_PORT, $1))
			conf_rule_ports(ps, $2, &ps->rule->rule->ports);
	}
	| USER words {
		if (conf_rule_criterion(ps, GIVEN_USER, $1))
			conf_names(ps, $2, "user", &ps->rule->rule->users);
	}
	| GROUP words {
		if (conf_rule_criterion(ps, GIVEN_GROUP, $1))
			conf_names(ps, $2, "group", &ps->rule->rule->groups);
	}
	| AUTH methods {
		if (conf_rule_criterion(ps, GIVEN_AUTH, $1))
			conf_rule_methods(ps, $2);
	}
	| PROTECTION protection {
		if (conf_rule_criterion(ps, GIVEN_PROTECTION, $1))
			conf_rule_protection(ps, $2);
	}
	| EGRESS FROM names pick {
		if (conf_rule_criterion(ps, GIVEN_EGRESS_FROM, $1))
			conf_set_egress_from(
			    ps, $3, (enum egress_pick)$4, &ps->rule->rule->egress);
	}
	| EGRESS DEVICE name {
		if (conf_rule_criterion(ps, GIVEN_EGRESS_DEVICE, $1))
			conf_set_egress_device(ps, $3, &ps->rule->rule->egress);
	}
	| EGRESS MARK name {
		if (conf_rule_criterion(ps, GIVEN_EGRESS_MARK, $1))
			conf_set_egress_mark(ps, $3, &ps->rule->rule->egress);
	}
	| TIMEOUT			{ ps->timeouts = &ps->rule->rule->timeouts; }
	  timeouts
	| VIA words {
		if (conf_rule_criterion(ps, GIVEN_VIA, $1))
			STAILQ_CONCAT(&ps->rule->via, $2);
	}
	;
protection
	: INTEGRITY
	| CONFIDENTIALITY
	;

%%

/* Words that the parser would have taken, for people: "a, b or c". */
static const char *
expected(const yypcontext_t *ctx, struct conf_parse *ps, const struct conf_item *got,
    const char **near, bool *words, bool *name)
{
	yysymbol_kind_t kinds[YYNTOKENS];
	int n = yypcontext_expected_tokens(ctx, kinds, YYNTOKENS), kept = 0;
	bool begin = false;
	const char *out = "";

	for (int i = 0; i < n; i++) {
		*name = *name || kinds[i] == YYSYMBOL_WORD;
		begin = begin || kinds[i] == YYSYMBOL_MACRO;
	}
	for (int i = 0; i < n; i++) {
		bool implied = (kinds[i] == YYSYMBOL_STRING && *name) || (kinds[i] == YYSYMBOL_NL && begin);

		if (kinds[i] != YYSYMBOL_YYEOF && kinds[i] != YYSYMBOL_YYerror && !implied &&
		    !conf_word_later(yysymbol_name(kinds[i])))
			kinds[kept++] = kinds[i];
	}
	for (int i = 0; i < kept; i++) {
		const char *s = yysymbol_name(kinds[i]);

		if (conf_near(got->s, s))
			*near = s;
		*words = *words || kinds[i] >= YYSYMBOL_ANY;
		out = conf_sprintf(ps, "%s%s%s", out, i == 0 ? "" : i + 1 == kept ? " or " : ", ", s);
	}
	return out;
}

static int
yyreport_syntax_error(const yypcontext_t *ctx, struct conf_parse *ps)
{
	const struct conf_item *got = ps->lex.item;
	const struct conf_where *w = yypcontext_location(ctx);
	bool words = false, name = false; /* of the language, or any other, expected */
	const char *near = NULL, *want = expected(ctx, ps, got, &near, &words, &name);
	const char *what = conf_show(ps, got);

	conf_lex_spoil(ps);
	if (got->token == T_NL)
		conf_error(ps, w, "the line ends too early, expected %s", want);
	else if (got->token == T_BREAK || (got->token == '}' && ps->lex.before != NULL &&
		     (ps->lex.before->token == '{' || ps->lex.before->token == T_BREAK)))
		conf_error(ps, w, "a list has nothing in it, expected %s", want);
	else if (got->token == T_WORD && conf_word_later(got->s))
		conf_error(ps, w, "%s is not in this version, expected %s", what, want);
	else if (near != NULL)
		conf_error(ps, w, "unknown word %s, expected %s; did you mean %s?", what, want, near);
	else if (name && yypcontext_token(ctx) >= YYSYMBOL_ANY && ps->lex.first != T_TABLE)
		conf_error(ps, w, "unexpected %s, a word of the language, expected %s; quote it if it is a name",
		    what, want);
	else if (got->token == T_WORD && words)
		conf_error(ps, w, "unknown word %s, expected %s", what, want);
	else
		conf_error(ps, w, "unexpected %s, expected %s", what, want);
	return 0;
}

/* Only memory: syntax errors are reported above. */
static void
confyyerror(const CONFYYLTYPE *w, struct conf_parse *ps, const char *what)
{
	conf_error(ps, w, "%s, expected a shorter configuration", what);
}
