/*
 * A worker: speaks SOCKS with clients, applies the rules, connects and relays. Started by
 * sallyportd with a channel on CHILD_FD, which is all that it trusts.
 */
#include <stdint.h>

#include "common/child.h"
#include "common/ev.h"
#include "worker/filter.h"
#include "worker/link.h"
#include "worker/token.h"
#include "worker/worker.h"

int
main(void)
{
	struct msg_init init;
	struct loop *l;
	struct worker *w;

	child_init(ROLE_BIT(ROLE_WORKER), &init);
	l = loop_new();
	if (l == NULL)
		child_fail("cannot make the event loop");
	w = worker_new(l, init.slots);
	if (w == NULL)
		child_fail("cannot make the session slots");
	if (token_init() == -1)
		child_fail("cannot prepare libcrypto");
	child_enter(&worker_sandbox, &init);
	child_master(&w->master, l, &init, link_on_msg);
	if (loop_run(l) == -1)
		child_fail("the event loop failed");
	return 0;
}
