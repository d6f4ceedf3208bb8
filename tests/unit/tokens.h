/*
 * Two ends of a session, both ours, of keys that belong to no realm: for the tests of tokens. In a
 * header, because every tests/unit/test_*.c is a program of its own.
 */
#ifndef TESTS_UNIT_TOKENS_H
#define TESTS_UNIT_TOKENS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "worker/token.h"

#define FIRST_ENCTYPE ENCTYPE_AES128_SHA1
#define LAST_ENCTYPE  ENCTYPE_AES256_SHA384
#define TOP_SIZE      65535

static uint8_t plain[TOP_SIZE], token[TOP_SIZE + 1];

static inline void
fill_plain(void)
{
	srandom(1);
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)random();
}

struct ends {
	struct encap_params p; /* of the sender */
	struct token_context *from, *to;
};

static inline struct encap_params
other_end(const struct encap_params *p)
{
	struct encap_params o = *p;

	o.acceptor = !p->acceptor;
	o.send = p->receive;
	o.receive = p->send;
	return o;
}

/* The receiver is of level 3: it takes what the sender's level makes. */
static inline struct ends
ends_new(uint32_t enctype, enum level level)
{
	struct ends e;
	struct encap_params o;

	memset(&e, 0, sizeof(e));
	for (size_t i = 0; i < sizeof(e.p); i++)
		((uint8_t *)&e.p)[i] = (uint8_t)(i * 7 + 1);
	e.p.enctype = enctype;
	e.p.level = (uint8_t)level;
	e.p.acceptor = enctype & 1;
	e.p.subkey = enctype >> 1 & 1;
	e.p.send.seq = UINT64_MAX - 3; /* the numbers pass zero */
	o = other_end(&e.p);
	o.level = LEVEL_SELECTIVE;
	assert_non_null(e.from = token_new(&e.p));
	assert_non_null(e.to = token_new(&o));
	return e;
}

static inline void
ends_free(struct ends *e)
{
	token_free(e->from);
	token_free(e->to);
}

static inline enum token_fault
take(struct token_context *t, const uint8_t *from, size_t len)
{
	uint8_t *exact = malloc(len > 0 ? len : 1); /* a sanitizer sees any read past it */
	const uint8_t *data;
	size_t n;
	enum token_fault fault;

	assert_non_null(exact);
	memcpy(exact, from, len);
	fault = token_unwrap(t, exact, len, &data, &n);
	if (fault == TOKEN_OK)
		assert_memory_equal(data, plain, n);
	else
		assert_true(data == NULL && n == 0);
	free(exact);
	return fault;
}

static inline void
each_kind(void (*test)(struct ends *))
{
	for (uint32_t enctype = FIRST_ENCTYPE; enctype <= LAST_ENCTYPE; enctype++)
		for (int level = LEVEL_INTEGRITY; level <= LEVEL_CONFIDENTIALITY; level++) {
			struct ends e = ends_new(enctype, (enum level)level);

			test(&e);
			ends_free(&e);
		}
}

#endif
