/*
 * The keytab's reader: any octets. What it gives lies inside the file, and a key of AES is as long
 * as such keys are.
 */
#include <stdint.h>
#include <stdlib.h>

#include "authd/keytab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct file {
	const uint8_t *data;
	size_t size;
	int keys;
};

static void
require(bool holds)
{
	if (!holds)
		abort();
}

static void
inside(const struct file *f, struct keytab_text t)
{
	require(t.len <= KEYTAB_TEXT_MAX && t.p >= f->data && t.p + t.len <= f->data + f->size);
}

static bool
each(void *arg, const struct keytab_key *k)
{
	struct file *f = arg;

	f->keys++;
	require(k->components >= 1 && k->components <= KEYTAB_COMPONENTS);
	inside(f, k->realm);
	inside(f, k->key);
	for (unsigned i = 0; i < k->components; i++)
		inside(f, k->component[i]);
	require(!keytab_key_is_aes(k) || k->key.len == 16 || k->key.len == 32);
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct file f = { .data = data, .size = size };
	const char *what = NULL;
	int n = keytab_parse(data, size, each, &f, &what);

	require(n == -1 ? what != NULL : n == f.keys && n <= KEYTAB_KEYS_MAX);
	return 0;
}
