/*
 * A new configuration in a running gateway: all of it or nothing. And the files that the policy is
 * made of, watched.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/gateway.h"
#include "master/krb5_conf.h"
#include "master/marks.h"

static bool
same_process(const struct conf_process *a, const struct conf_process *b)
{
	const char *x = a->chroot != NULL ? a->chroot : "", *y = b->chroot != NULL ? b->chroot : "";

	return a->uid == b->uid && a->gid == b->gid && strcmp(x, y) == 0;
}

/* What a running gateway cannot change is told, not ignored in silence. */
static void
tell_fixed(struct gateway *g, const struct conf *new)
{
	const struct conf *old = g->first;

	if (new->workers != old->workers)
		gateway_notice(g, "`workers` has changed: it takes effect at the next start");
	if (strcmp(new->run_directory, old->run_directory) != 0)
		gateway_notice(g, "`run directory` has changed: it takes effect at the next start");
	if (memcmp(new->sandbox, old->sandbox, sizeof(new->sandbox)) != 0)
		gateway_notice(g, "`sandbox` has changed: it takes effect at the next start");
	for (unsigned r = 0; r < ROLE_COUNT; r++)
		if (!same_process(&new->process[r], &old->process[r]))
			gateway_notice(g,
			    "`process %s` has changed: it takes effect at the next start",
			    role_name((enum role)r));
}

static bool
fail(struct gateway *g, struct conf *new, int handed[HANDED_COUNT], FILE *errors, const char *text)
{
	struct audit_rec r;

	fputs(text, errors);
	/* Logs are opened anew all the same: a rotation may have been what the signal was for. */
	(void)log_reopen(g->log, g->conf, errors);
	snprintf(g->trouble, sizeof(g->trouble), "%.*s", (int)strcspn(text, "\n"), text);
	audit_begin(&r, EVENT_RELOAD_FAILED);
	audit_str(&r, FIELD_FILE, g->options->conf_path, strlen(g->options->conf_path));
	audit_str(&r, FIELD_DETAIL, text, strcspn(text, "\n"));
	log_record(g->log, &r);
	if (handed != NULL)
		handed_close_all(handed);
	if (new != NULL)
		conf_free(new);
	return false;
}

/* The pam role learns its service at its start. */
static bool
pam_changed(const struct conf *old, const struct conf *new)
{
	return old->pam_service != NULL &&
	       new->pam_service != NULL &&strcmp(old->pam_service, new->pam_service) != 0;
}

/* What can fail comes first and can be undone; then nothing can. */
static bool
apply(struct gateway *g, struct conf *new, const int handed[HANDED_COUNT], FILE *text)
{
	struct conf *old = g->conf;

	/* The Kerberos configuration is the machine's: it may be new whether or not the rest is. */
	if (!marks_possible(new, text) || wiring_acceptor(g, new, text) == -1)
		return false;
	if (listeners_prepare(g->listeners, new, text) == -1) {
		listeners_rollback(g->listeners);
		return false;
	}
	if (log_reopen(g->log, new, text) == -1) {
		listeners_rollback(g->listeners);
		return false;
	}
	tell_fixed(g, new);
	g->conf = new;
	if (wiring_policy(g) == -1) {
		g->conf = old;
		fprintf(text, "the policy could not be built: %s\n", strerror(errno));
		listeners_rollback(g->listeners);
		return false;
	}
	handed_close_all(g->handed);
	memcpy(g->handed, handed, sizeof(g->handed));
	if (pam_changed(old, new))
		children_restart(g->children, ROLE_PAM);
	if (old != g->first)
		conf_free(old);
	g->trouble[0] = '\0';
	return true;
}

bool
reload(struct gateway *g, FILE *errors)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	struct audit_rec r;
	int handed[HANDED_COUNT] = { -1, -1 };
	bool ok;

	if (out == NULL)
		return fail(g, NULL, NULL, errors, "out of memory\n");
	struct conf *new =
	    conf_load(g->options->conf_path, g->options->defines, g->options->ndefines, out);
	ok = new != NULL &&handed_open_all(new, handed, out) == 0 && apply(g, new, handed, out);
	fclose(out);
	if (!ok) {
		fail(g, new, handed, errors, text);
		free(text);
		return false;
	}
	fputs(text, errors); /* warnings */
	free(text);
	sessions_configure(g->sessions, g->conf);
	listeners_commit(g->listeners, g->children);
	if (wiring_want(g) == -1)
		gateway_notice(g, "a process could not be started: %s", strerror(errno));
	wiring_handed_send(g);
	reload_watch(g);
	audit_begin(&r, EVENT_RELOAD);
	audit_str(&r, FIELD_FILE, g->options->conf_path, strlen(g->options->conf_path));
	audit_num(&r, FIELD_VERSION, policies_version(g->policies));
	log_record(g->log, &r);
	return true;
}

static void
on_policy_file(void *arg)
{
	struct gateway *g = arg;

	if (g->phase != PHASE_STOPPING && wiring_policy(g) == -1)
		gateway_notice(g, "the policy could not be built anew: %s", strerror(errno));
}

/* A file that a role is handed has changed: the role gets the new one. */
static void
on_handed(struct gateway *g, enum handed h)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	int fd;

	if (out == NULL)
		return;
	int rv = handed_open(g->conf, h, &fd, out);
	fclose(out);
	if (rv == -1) {
		gateway_notice(g, "%.*s; what was loaded before stays in force",
		    (int)strcspn(text, "\n"), text);
	} else if (fd != -1) {
		if (g->handed[h] != -1)
			close(g->handed[h]);
		g->handed[h] = fd;
		wiring_handed_send(g);
	}
	free(text);
}

static void
on_users_file(void *arg)
{
	on_handed(arg, HANDED_USERS);
}

static void
on_keytab(void *arg)
{
	on_handed(arg, HANDED_KEYTAB);
}

static int watch_krb5_conf(struct gateway *g);

static void
on_krb5_conf(void *arg)
{
	struct gateway *g = arg;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out == NULL)
		return;
	int rv = wiring_acceptor(g, g->conf, out);
	fclose(out);
	if (rv == -1)
		gateway_notice(g, "%.*s; the Kerberos configuration read before stays in force",
		    (int)strcspn(text, "\n"), text);
	free(text);
	/* It may include others now. What else is watched stays: a change of it may be on its way.
	 */
	if (watch_krb5_conf(g) == -1)
		gateway_notice(g, "%s: what it includes cannot be watched: %s", g->conf->krb5_conf,
		    strerror(errno));
}

/* The Kerberos configuration and what it includes. */
static int
watch_krb5_conf(struct gateway *g)
{
	FILE *nowhere = fopen("/dev/null", "w");
	int rv = watch_add(g->watch, g->conf->krb5_conf, on_krb5_conf, g);

	if (nowhere == NULL)
		return -1;
	struct krb5_conf *k = krb5_conf_read(g->conf->krb5_conf, nowhere);
	for (unsigned i = 0; k != NULL && i < k->nsources; i++)
		if (watch_add(g->watch, k->sources[i], on_krb5_conf, g) == -1)
			rv = -1;
	krb5_conf_free(k);
	fclose(nowhere);
	return rv;
}

void
reload_watch(struct gateway *g)
{
	const struct conf *c = g->conf;

	watch_clear(g->watch);
	if (watch_add(g->watch, "/etc/hosts", on_policy_file, g) == -1 ||
	    watch_add(g->watch, "/etc/resolv.conf", on_policy_file, g) == -1 ||
	    (c->users_file != NULL && watch_add(g->watch, c->users_file, on_users_file, g) == -1) ||
	    (c->gssapi.keytab != NULL &&
		(watch_add(g->watch, c->gssapi.keytab, on_keytab, g) == -1 ||
		    watch_krb5_conf(g) == -1)))
		gateway_notice(g,
		    "a file cannot be watched: %s; after a change of it, reload the gateway",
		    strerror(errno));
}
