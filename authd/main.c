/*
 * authd: says who a client is. One process per role, each with its own uid and sandbox, so that a
 * bug in one gives nothing of another. It trusts the master, and no worker.
 */
#include <stdlib.h>

#include "authd/acceptor.h"
#include "authd/exchange.h"
#include "authd/filter.h"
#include "authd/initiator.h"
#include "authd/link.h"
#include "authd/pam.h"
#include "authd/password.h"
#include "authd/threads.h"
#include "common/child.h"

struct role_row {
	const struct check_role *checks;
	const struct sandbox *sandbox;
	int (*init)(struct loop *l, const struct msg_init *init); /* before the sandbox */
	int (*threads)(void);                                     /* sandbox.threads */
	void (*stop)(void);                                       /* the end; NULL: nothing */
};

static const struct role_row rows[] = {
	{ &password_role, &password_sandbox, password_init, threads_start, NULL },
	{ &pam_role, &pam_sandbox, pam_init, NULL, pam_stop },
	{ &acceptor_role, &acceptor_sandbox, acceptor_init, NULL, NULL },
};

static const struct role_row *
row_of(uint32_t role)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].sandbox->role == role)
			return &rows[i];
	}
	return NULL;
}

int
main(void)
{
	struct msg_init init;
	struct loop *l;
	uint32_t roles = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		roles |= ROLE_BIT(rows[i].sandbox->role);
	child_init(roles | ROLE_BIT(ROLE_INITIATOR), &init);
	if (init.role == ROLE_INITIATOR) /* it asks about nobody: it has exchanges of its own */
		return initiator_main(&init);
	const struct role_row *row = row_of(init.role);
	struct sandbox sandbox = *row->sandbox;
	sandbox.threads = row->threads;
	if ((l = loop_new()) == NULL)
		child_fail("the event loop");
	exchange_init(l, link_master(), row->checks, &init);
	if (row->init(l, &init) == -1)
		child_fail("the role's own start");
	child_enter(&sandbox, &init);
	link_start(l, &init, row->checks);
	int error = loop_run(l);
	if (row->stop != NULL)
		row->stop();
	return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
