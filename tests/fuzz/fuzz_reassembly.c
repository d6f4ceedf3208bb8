/*
 * The reassembly queue against a model that does what RFC 1928 section 7 says with a slot for each
 * position and no thought of memory: the same datagrams come out, and each that went in is
 * delivered, held or counted as dropped.
 *
 * The input is a run of steps of five octets: target, FRAG, time passed (in 40 ms), length; the
 * data of a step are its number again and again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/reassembly.h"

#define STEP    5
#define STEPS   400
#define TARGETS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct model {
	uint8_t highest; /* 0: nothing came */
	uint8_t target;
	uint64_t until;
	bool have[128];
	uint8_t *data[128];
	size_t len[128];
};

static void
model_clear(struct model *m)
{
	for (unsigned i = 0; i < 128; i++)
		free(m->data[i]);
	memset(m, 0, sizeof(*m));
}

/* The length of the whole datagram in out, or -1 where nothing comes out. */
static ssize_t
model_feed(struct model *m, uint64_t now, uint8_t target, const struct datagram *d, uint8_t *out)
{
	uint8_t position = d->frag & SALLYPORT_FRAG_MAX;
	size_t total = 0;

	if (m->highest != 0 && now >= m->until)
		model_clear(m);
	if (position < m->highest || position == 1)
		model_clear(m);
	if (d->frag == 0) {
		memcpy(out, d->data, d->data_len);
		return (ssize_t)d->data_len;
	}
	if (position == 0 || (m->highest != 0 && target != m->target))
		return -1;
	if (m->highest == 0) {
		m->until = now + REASSEMBLY_MS;
		m->target = target;
	}
	m->highest = position;
	m->have[position] = true;
	free(m->data[position]);
	m->data[position] = malloc(d->data_len + 1);
	m->len[position] = d->data_len;
	if (m->data[position] == NULL)
		abort();
	memcpy(m->data[position], d->data, d->data_len);
	for (unsigned i = 1; i <= position; i++)
		total += m->len[i];
	if (total > DATAGRAM_MAX) {
		model_clear(m);
		return -1;
	}
	if ((d->frag & SALLYPORT_FRAG_END) == 0)
		return -1;
	for (unsigned i = 1; i <= position; i++)
		if (!m->have[i])
			return -1;
	total = 0;
	for (unsigned i = 1; i <= position; total += m->len[i++])
		memcpy(out + total, m->data[i], m->len[i]);
	model_clear(m);
	return (ssize_t)total;
}

/* Header and data of a step, at the front of buf. */
static size_t
make_datagram(const uint8_t *step, unsigned number, uint8_t *buf, size_t size)
{
	static const struct sallyport_udp targets[TARGETS] = {
		{ .atyp = SALLYPORT_IPV4, .host = (const uint8_t *)"\1\2\3\4", .host_len = 4 },
		{ .atyp = SALLYPORT_IPV4, .host = (const uint8_t *)"\1\2\3\5", .host_len = 4 },
		{ .atyp = SALLYPORT_IPV6,
		    .host = (const uint8_t *)"0123456789abcdef",
		    .host_len = 16 },
		{ .atyp = SALLYPORT_NAME, .host = (const uint8_t *)"name", .host_len = 4 },
	};
	struct sallyport_udp u = targets[step[0] % TARGETS];
	/* Mostly short ones: long ones take their time. */
	size_t len = step[3] >= 0xf0 ? (size_t)(step[3] << 8 | step[4]) : step[4], head;

	u.frag = step[1];
	head = sallyport_udp_header(buf, size, &u);
	memset(buf + head, (int)(number & 0xff), len);
	return head + len;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t in[SALLYPORT_HEADER_MAX + 65536], expected[65536 + DATAGRAM_MAX];
	struct reassembly_budget budget = { 0 };
	uint32_t drops[DROP_COUNT] = { 0 };
	struct model model = { 0 };
	struct datagram d, whole;
	struct reassembly r;
	unsigned fed = 0, parts = 0;
	uint64_t now = 1;

	reassembly_init(&r, &budget, drops);
	for (unsigned i = 0; i < STEPS && (i + 1) * STEP <= size; i++) {
		const uint8_t *step = data + (size_t)i * STEP;
		size_t len = make_datagram(step, i, in, sizeof(in));
		ssize_t want;

		now += step[2] * 40u;
		if (datagram_parse(in, len, &d) != 0)
			abort();
		want = model_feed(&model, now, step[0] % TARGETS, &d, expected);
		fed++;
		if (reassembly_feed(&r, now, &d, &whole) != (want >= 0))
			abort();
		if (want >= 0) {
			if (whole.data_len != (size_t)want || whole.frag != 0 ||
			    memcmp(whole.data, expected, (size_t)want) != 0 ||
			    whole.head_len != d.head_len ||
			    memcmp(whole.head + 3, d.head + 3, d.head_len - 3) != 0)
				abort();
			parts += d.frag == 0 ? 1 : d.frag & SALLYPORT_FRAG_MAX;
		}
		if (budget.used > REASSEMBLY_MAX || budget.used != r.size || drops[DROP_QUEUE] != 0)
			abort();
		if (fed != parts + r.highest + drops[DROP_FRAGMENT] + drops[DROP_SIZE])
			abort();
	}
	reassembly_end(&r);
	model_clear(&model);
	if (budget.used != 0 || fed != parts + drops[DROP_FRAGMENT] + drops[DROP_SIZE])
		abort();
	return 0;
}
