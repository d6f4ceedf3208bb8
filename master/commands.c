/*
 * What sallyportctl may ask of a running gateway.
 */
#include <string.h>
#include <unistd.h>

#include "common/version.h"
#include "master/gateway.h"

static void
print_child(struct child *c, void *arg)
{
	fprintf(arg, "process %s number %u pid %d policy %u%s\n", role_name(c->role), c->spawn,
	    (int)c->pid, c->acked, c->ready ? "" : " (starting)");
}

static void
status(struct gateway *g, FILE *out)
{
	fprintf(out, "sallyportd %s pid %d instance %016llx\n", SALLYPORT_VERSION, (int)getpid(),
	    (unsigned long long)g->instance);
	fprintf(out, "configuration %s policy %u\n", g->options->conf_path,
	    policies_version(g->policies));
	listeners_print(g->listeners, out);
	fprintf(out, "workers %u of %u\n", children_running(g->children, ROLE_WORKER), g->workers);
	children_each(g->children, ROLE_COUNT, print_child, out);
	fprintf(out, "sessions %u\n", sessions_count(g->sessions));
	if (log_refuses(g->log))
		fputs("trouble: a log takes no more records: new sessions are refused\n", out);
	if (g->trouble[0] != '\0')
		fprintf(out, "trouble: the last reload failed: %s\n", g->trouble);
}

void
commands_run(void *gateway, const char *line, FILE *out)
{
	struct gateway *g = gateway;

	if (strcmp(line, "status") == 0) {
		status(g, out);
	} else if (strcmp(line, "sessions") == 0) {
		sessions_print(g->sessions, out);
	} else if (strcmp(line, "reload") == 0) {
		fputs(reload(g, out) ? "ok: the new configuration is in force\n"
				     : "error: the old configuration stays in force\n",
		    out);
		log_flush(g->log); /* before the answer */
	} else {
		fprintf(out, "error: unknown command; expected status, sessions or reload\n");
	}
}
