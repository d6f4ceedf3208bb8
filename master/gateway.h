/*
 * The gateway as a whole: what the master holds, and the few things its parts do together.
 */
#ifndef MASTER_GATEWAY_H
#define MASTER_GATEWAY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/ev.h"
#include "master/children.h"
#include "master/conf.h"
#include "master/control.h"
#include "master/early.h"
#include "master/handed.h"
#include "master/listeners.h"
#include "master/log.h"
#include "master/policy.h"
#include "master/rundir.h"
#include "master/sessions.h"
#include "master/watch.h"

struct gateway_options {
	const char *conf_path; /* absolute */
	const struct conf_define *defines;
	size_t ndefines;
	const char *libexec; /* directory of the children's programs */
	int ready_fd;        /* gets an octet once the gateway serves; -1: none */
	bool verbose;
};

enum gateway_phase { PHASE_STARTING, PHASE_SERVING, PHASE_STOPPING };

struct gateway {
	const struct gateway_options *options;
	struct loop *loop;
	struct conf *conf;
	struct conf *first; /* as of the start: what a running gateway cannot change */
	enum gateway_phase phase;
	bool served; /* it has been in PHASE_SERVING */
	int exit_status;
	uint64_t instance;
	unsigned workers;
	uint32_t slots;
	char made[RUNDIR_PATH];   /* of the run directory; "" : it was there */
	char trouble[512];        /* why the last reload failed; "" : it did not */
	uint32_t lacking;         /* sandbox layers, by any process */
	int handed[HANDED_COUNT]; /* as last opened; -1: none */
	struct policies *policies;
	struct log *log;
	struct early *early;
	struct sessions *sessions;
	struct listeners *listeners;
	struct children *children;
	struct control *control;
	struct watch *watch;
	struct ev signals;
	struct deadline stop; /* children that have not ended by then are killed */
	bool terminal;        /* started from one: with its end, SIGHUP ends the gateway too */
};

/* Starts, serves until a signal says otherwise, stops. Takes over c. The exit status. */
int gateway_run(const struct gateway_options *o, struct conf *c);
/* Begins the end. */
void gateway_stop(struct gateway *g, int exit_status);
/* Is every process ready, with the newest policy? Then the gateway has started. */
void gateway_check_started(struct gateway *g);
/* An audit record for an operator. */
void gateway_notice(struct gateway *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- wiring.c: what children are told --- */
extern const struct children_ops gateway_children;
/* Makes the processes that the configuration asks for wanted, and no others. */
int wiring_want(struct gateway *g);
/* The next policy version, from the configuration and the machine, to every child. */
int wiring_policy(struct gateway *g);
/* The acceptor's directory, where the configuration asks for one: -1 with why on `errors`. */
int wiring_acceptor(struct gateway *g, const struct conf *c, FILE *errors);
/* The files that roles are handed, to those that have them. */
void wiring_handed_send(struct gateway *g);
/* Reads authd's channels to their end. */
void wiring_drain_authd(void *gateway);

/* --- requests.c: the one switch over what a child may ask --- */
bool requests_handle(struct gateway *g, struct child *c, struct msg *m);

/* --- reload.c --- */
/* Reads the configuration again. True: in force; false: it has errors (told on `errors`, and in the
 * audit trail), and the old one stays. */
bool reload(struct gateway *g, FILE *errors);
/* Watches the files that the policy is made of. */
void reload_watch(struct gateway *g);

/* --- commands.c: what sallyportctl may ask --- */
void commands_run(void *gateway, const char *line, FILE *out);

#endif
