/*
 * authd: says who a client is. One process per role, each with its own uid and sandbox, so that a
 * bug in one gives nothing of another. It trusts the master, and no worker.
 */
#include <stdlib.h>

#include "authd/exchange.h"
#include "authd/filter.h"
#include "authd/link.h"
#include "authd/pam.h"
#include "authd/password.h"
#include "authd/pool.h"
#include "common/child.h"

int
main(void)
{
	struct msg_init init;
	struct sandbox sandbox;
	struct loop *l;
	bool password;

	child_init(ROLES_AUTHD, &init);
	password = init.role == ROLE_PASSWORD;
	sandbox = password ? password_sandbox : pam_sandbox;
	if (password)
		sandbox.threads = pool_threads;
	if ((l = loop_new()) == NULL)
		child_fail("the event loop");
	if ((password ? password_init(l) : pam_init(l, init.pam_service)) == -1)
		child_fail("the role's own start");
	if (exchange_init(l, link_master(), password ? &password_role : &pam_role, &init) == -1)
		child_fail("the throttle's table");
	child_enter(&sandbox, &init);
	link_start(l, &init, password ? password_users : NULL);
	int error = loop_run(l);
	if (!password)
		pam_stop();
	return error == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
