/*
 * The keytab's reader. Owns no key: what it has read of the file is wiped, and the keys are
 * libkrb5's. Trusts the master to have opened the file that the operator named, and none of its
 * octets.
 *
 * The format (MIT's doc/formats/keytab_file_format): 0x05 0x02, then records, all in network order,
 * each behind its length in 32 bits; a negative one is a hole.
 */
#include "authd/keytab.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/encap.h"
#include "common/wire.h"

#define VERSION_5_2 0x0502

static uint32_t
wire_u32(struct wire *w)
{
	uint32_t high = wire_u16(w);

	return high << 16 | wire_u16(w);
}

static struct keytab_text
wire_text(struct wire *w)
{
	struct keytab_text t = { .len = wire_u16(w) };

	if (t.len > KEYTAB_TEXT_MAX)
		w->bad = true;
	t.p = wire_take(w, t.len);
	return t;
}

static size_t
aes_key_len(uint16_t enctype)
{
	switch (enctype) {
	case ENCTYPE_AES128_SHA1:
	case ENCTYPE_AES128_SHA256:
		return 16;
	case ENCTYPE_AES256_SHA1:
	case ENCTYPE_AES256_SHA384:
		return 32;
	default:
		return 0;
	}
}

bool
keytab_key_is_aes(const struct keytab_key *k)
{
	return aes_key_len(k->enctype) > 0;
}

static bool
entry_parse(struct wire w, struct keytab_key *k)
{
	uint32_t kvno;

	memset(k, 0, sizeof(*k));
	k->components = wire_u16(&w);
	if (k->components == 0 || k->components > KEYTAB_COMPONENTS)
		return false;
	k->realm = wire_text(&w);
	for (unsigned i = 0; i < k->components; i++)
		k->component[i] = wire_text(&w);
	k->name_type = wire_u32(&w);
	k->timestamp = wire_u32(&w);
	k->kvno = wire_u8(&w);
	k->enctype = wire_u16(&w);
	k->key = wire_text(&w);
	if (w.bad || (keytab_key_is_aes(k) && k->key.len != aes_key_len(k->enctype)))
		return false;
	/* A record may be longer than what is in it; 32 bits of version, where they are there and
	 * not 0, replace the eight. */
	if (wire_left(&w) >= 4 && (kvno = wire_u32(&w)) != 0)
		k->kvno = kvno;
	return true;
}

int
keytab_parse(const uint8_t *data, size_t len, bool (*each)(void *arg, const struct keytab_key *),
    void *arg, const char **what)
{
	struct wire w = wire_from(data, len);
	struct keytab_key k;
	int n = 0;

	*what = "it is no keytab of version 0x502";
	if (wire_u16(&w) != VERSION_5_2 || w.bad)
		return -1;
	*what = "it is damaged";
	while (wire_left(&w) > 0) {
		int32_t size = (int32_t)wire_u32(&w);
		/* The least number has no positive one; as a size it is past any file's end. */
		size_t octets = (size_t)(size < 0 ? -(int64_t)size : size);
		const uint8_t *record = wire_take(&w, octets);

		if (record == NULL)
			return -1;
		if (size == 0)
			break; /* MIT ends there too */
		if (size < 0)
			continue;
		if (!entry_parse(wire_from(record, octets), &k))
			return -1;
		if (++n > KEYTAB_KEYS_MAX) {
			*what = "it has more keys than may be";
			return -1;
		}
		if (!each(arg, &k)) {
			*what = NULL;
			return -1;
		}
	}
	return n;
}

/* --- into libkrb5's memory --- */

struct loading {
	krb5_context k;
	krb5_keytab kt;
	krb5_error_code code;
	int keys;
};

static krb5_data
data_of(struct keytab_text t)
{
	/* libkrb5 takes what it only reads through pointers that are not const. */
	return (krb5_data){ .length = (unsigned)t.len, .data = (char *)(uintptr_t)t.p };
}

static bool
key_add(void *arg, const struct keytab_key *key)
{
	struct loading *l = arg;
	krb5_data component[KEYTAB_COMPONENTS];
	krb5_principal_data principal = { .magic = KV5M_PRINCIPAL,
		.realm = data_of(key->realm),
		.data = component,
		.length = (krb5_int32)key->components,
		.type = (krb5_int32)key->name_type };
	krb5_keytab_entry e = { .principal = &principal,
		.timestamp = (krb5_timestamp)key->timestamp,
		.vno = key->kvno,
		.key = { .enctype = key->enctype,
		    .length = (unsigned)key->key.len,
		    .contents = (krb5_octet *)(uintptr_t)key->key.p } };

	if (!keytab_key_is_aes(key))
		return true;
	for (unsigned i = 0; i < key->components; i++)
		component[i] = data_of(key->component[i]);
	l->code = krb5_kt_add_entry(l->k, l->kt, &e);
	l->keys++;
	return l->code == 0;
}

/* The whole file in malloc'ed memory of KEYTAB_SIZE_MAX octets, or NULL with errno. */
static uint8_t *
read_whole(int fd, size_t *len)
{
	uint8_t *data = malloc(KEYTAB_SIZE_MAX);
	ssize_t n = 0;

	for (*len = 0; data != NULL; *len += (size_t)n) {
		if (*len == KEYTAB_SIZE_MAX) {
			errno = EFBIG;
			break;
		}
		n = pread(fd, data + *len, KEYTAB_SIZE_MAX - *len, (off_t)*len);
		if (n == 0)
			return data;
		if (n == -1)
			break;
	}
	if (data != NULL) {
		int saved = errno;
		explicit_bzero(data, KEYTAB_SIZE_MAX);
		free(data);
		errno = saved;
	}
	return NULL;
}

int
keytab_load(krb5_context k, int fd, krb5_keytab *kt, char name[KEYTAB_MEMORY_NAME], char *what,
    size_t what_size)
{
	static unsigned number;
	struct loading l = { .k = k };
	const char *why = NULL;
	size_t len;
	uint8_t *data = read_whole(fd, &len);

	if (data == NULL) {
		snprintf(what, what_size, "it cannot be read: %s", strerror(errno));
		return -1;
	}
	snprintf(name, KEYTAB_MEMORY_NAME, "MEMORY:%u", ++number);
	int n = -1;
	if ((l.code = krb5_kt_resolve(k, name, &l.kt)) == 0)
		n = keytab_parse(data, len, key_add, &l, &why);
	explicit_bzero(data, KEYTAB_SIZE_MAX);
	free(data);
	if (n != -1 && l.keys == 0) {
		why = n == 0 ? "it has no key" : "it has no key of an AES encryption type";
		n = -1;
	}
	if (n != -1) {
		*kt = l.kt;
		return l.keys;
	}
	if (why != NULL)
		snprintf(what, what_size, "%s", why);
	else
		snprintf(what, what_size, "libkrb5 does not take it (%ld)", (long)l.code);
	if (l.kt != NULL)
		krb5_kt_close(k, l.kt);
	return -1;
}
