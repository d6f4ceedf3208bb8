/*
 * Arbitrary octets in every field of kind S come back octet for octet, in both formats. The input:
 * one octet for the event, then a length octet and that many octets for user, asked, file, detail.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/wire.h"
#include "master/audit.h"
#include "tests/unit/audit_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct {
	enum audit_field field;
	const char *key;
} keys[] = { { FIELD_USER, "user" }, { FIELD_ASKED, "asked" }, { FIELD_FILE, "file" },
	{ FIELD_DETAIL, "detail" } };

#define KEYS (sizeof(keys) / sizeof(keys[0]))

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char line[AUDIT_LINE_MAX];
	static struct parsed got;
	struct wire w = wire_from(data, size);
	const uint8_t *p[KEYS];
	size_t len[KEYS];
	struct audit_rec r;

	audit_begin(&r, wire_u8(&w) % EVENT_COUNT);
	r.time_ms = size * 1000003;
	for (size_t i = 0; i < KEYS; i++) {
		len[i] = wire_u8(&w);
		if (len[i] > wire_left(&w))
			len[i] = wire_left(&w);
		p[i] = wire_take(&w, len[i]);
		if (p[i] == NULL)
			return 0;
		audit_str(&r, keys[i].field, p[i], len[i]);
	}
	for (int json = 0; json < 2; json++) {
		audit_format(&r, json ? FORMAT_JSON : FORMAT_LOGFMT, size, line, sizeof(line));
		if (!(json ? parse_json(line, &got) : parse_logfmt(line, &got)) ||
		    got.n != KEYS + 3)
			abort();
		for (size_t i = 0; i < KEYS; i++)
			if (!parsed_is(&got, keys[i].key, p[i], len[i]))
				abort();
	}
	return 0;
}
