/*
 * libgssapi makes a context of libkrb5 in each call that a name has a part in: one to accept, three
 * for the client's name (to find, show and release it), 9 to 12 us each, since each looks for its
 * configuration anew. So in the acceptor they all have the same one: the executable's
 * krb5_init_context() and krb5_free_context() are what its libraries call. Owns the contexts that
 * are shared; trusts the libraries to leave nothing in one, which holds no key and no client's
 * state, but what the configuration says, and the text of the last error.
 */
#include "authd/contexts.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

/* One, as long as someone has it: those of before a reload until their exchanges end. */
struct shared {
	LIST_ENTRY(shared) entry;
	krb5_context k;
	unsigned users;
};

static LIST_HEAD(, shared) all = LIST_HEAD_INITIALIZER(all);
static struct shared *current; /* itself one of its users; NULL: none is shared */
static void (*free_context)(krb5_context k);

/* libkrb5's own, before any thread. */
__attribute__((constructor)) static void
find(void)
{
	void *symbol = dlsym(RTLD_NEXT, "krb5_free_context");

	if (symbol == NULL)
		abort();
	memcpy(&free_context, &symbol, sizeof(symbol));
}

krb5_error_code
contexts_share(void)
{
	struct shared *s = calloc(1, sizeof(*s)), *before = current;
	krb5_error_code code = ENOMEM;

	if (s == NULL || (code = krb5_init_context_profile(NULL, 0, &s->k)) != 0) {
		free(s);
		return code;
	}
	s->users = 1;
	LIST_INSERT_HEAD(&all, s, entry);
	current = s;
	if (before != NULL)
		krb5_free_context(before->k);
	return 0;
}

krb5_error_code
krb5_init_context(krb5_context *k)
{
	if (current == NULL)
		return krb5_init_context_profile(NULL, 0, k);
	current->users++;
	*k = current->k;
	return 0;
}

void
krb5_free_context(krb5_context k)
{
	struct shared *s;

	LIST_FOREACH (s, &all, entry) {
		if (s->k == k)
			break;
	}
	if (s == NULL) {
		free_context(k);
		return;
	}
	if (--s->users > 0)
		return;
	LIST_REMOVE(s, entry);
	free_context(k);
	free(s);
}
