/*
 * Tokens that are genuine and yet not to be taken: of the wrong level or direction, repeated, out
 * of order or too old; and what a token costs where it is made.
 */
#include "tests/unit/in_sandbox.h"

#include <openssl/crypto.h>

#include <stdbool.h>

#include "tests/unit/tokens.h"
#include "worker/filter.h"

/* --- levels, directions --- */

static enum token_fault
between(enum level sends, enum level takes)
{
	struct ends e = ends_new(ENCTYPE_AES256_SHA1, sends);
	struct encap_params o = other_end(&e.p);
	struct token_context *to;
	size_t len = token_wrap(e.from, plain, 10, token);
	enum token_fault fault;

	o.level = (uint8_t)takes;
	assert_non_null(to = token_new(&o));
	fault = take(to, token, len);
	token_free(to);
	ends_free(&e);
	return fault;
}

static void
test_levels(void **state)
{
	(void)state;
	assert_int_equal(between(LEVEL_INTEGRITY, LEVEL_INTEGRITY), TOKEN_OK);
	assert_int_equal(between(LEVEL_INTEGRITY, LEVEL_CONFIDENTIALITY), TOKEN_LEVEL_WRONG);
	assert_int_equal(between(LEVEL_INTEGRITY, LEVEL_SELECTIVE), TOKEN_OK);
	assert_int_equal(between(LEVEL_CONFIDENTIALITY, LEVEL_INTEGRITY), TOKEN_LEVEL_WRONG);
	assert_int_equal(between(LEVEL_CONFIDENTIALITY, LEVEL_CONFIDENTIALITY), TOKEN_OK);
	assert_int_equal(between(LEVEL_CONFIDENTIALITY, LEVEL_SELECTIVE), TOKEN_OK);
	assert_int_equal(between(LEVEL_SELECTIVE, LEVEL_CONFIDENTIALITY), TOKEN_OK);
	assert_int_equal(between(LEVEL_SELECTIVE, LEVEL_INTEGRITY), TOKEN_LEVEL_WRONG);
}

/* One's own token comes back: the flag says so, and the keys would. */
static void
reflected(struct ends *e)
{
	struct encap_params p = e->p;
	struct token_context *same;
	size_t len = token_wrap(e->from, plain, 10, token);

	p.receive = p.send;
	assert_non_null(same = token_new(&p));
	assert_int_equal(take(same, token, len), TOKEN_BAD);
	token_free(same);
	p.subkey = !p.subkey;
	p.acceptor = !p.acceptor;
	assert_non_null(same = token_new(&p));
	assert_int_equal(take(same, token, len), TOKEN_BAD);
	token_free(same);
	assert_int_equal(take(e->to, token, len), TOKEN_OK);
}
static void
test_reflected(void **state)
{
	(void)state;
	each_kind(reflected);
}

static void
test_parameters(void **state)
{
	struct ends e = ends_new(ENCTYPE_AES256_SHA1, LEVEL_INTEGRITY);
	static const struct {
		uint32_t enctype;
		uint8_t level;
	} wrong[] = { { 16, 1 }, { 21, 1 }, { 0, 2 }, { 18, 0 }, { 18, 4 }, { 18, 255 } };

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct encap_params p = e.p;

		p.enctype = wrong[i].enctype;
		p.level = wrong[i].level;
		errno = 0;
		assert_null(token_new(&p));
		assert_int_equal(errno, EINVAL);
	}
	token_free(NULL);
	ends_free(&e);
}

/* --- order --- */

#define MANY      3000
#define SHORT_LEN 100

static uint8_t made[MANY][SHORT_LEN];
static size_t made_len;

static void
make(struct ends *e, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		made_len = token_wrap(e->from, plain, 4, made[i]);
	assert_true(made_len <= SHORT_LEN);
}

static void
arrives(struct ends *e, unsigned i, enum token_fault want)
{
	assert_int_equal(take(e->to, made[i], made_len), want);
}

static void
strict(struct ends *e)
{
	make(e, 8);
	arrives(e, 1, TOKEN_SEQUENCE); /* the first is missing */
	arrives(e, 0, TOKEN_OK);
	arrives(e, 0, TOKEN_SEQUENCE);
	arrives(e, 2, TOKEN_SEQUENCE);
	for (unsigned i = 1; i < 8; i++) {
		arrives(e, i, TOKEN_OK);
		arrives(e, i, TOKEN_SEQUENCE);
		arrives(e, i - 1, TOKEN_SEQUENCE);
	}
}
static void
test_order(void **state)
{
	(void)state;
	each_kind(strict);
}

static void
window(struct ends *e)
{
	make(e, MANY);
	arrives(e, 0, TOKEN_OK);
	token_datagrams(e->to);
	arrives(e, 0, TOKEN_SEQUENCE); /* it was taken in order */
	arrives(e, 3, TOKEN_OK);       /* two are late, */
	arrives(e, 1, TOKEN_OK);       /* one of them comes, */
	arrives(e, 1, TOKEN_SEQUENCE); /* twice */
	arrives(e, 3, TOKEN_SEQUENCE);
	made[2][made_len - 1] ^= 1; /* a forged one takes no number */
	arrives(e, 2, TOKEN_CHECK);
	made[2][made_len - 1] ^= 1;
	arrives(e, 2 + TOKEN_WINDOW - 1, TOKEN_OK);
	arrives(e, 2, TOKEN_OK); /* just within the window */
	arrives(e, 2, TOKEN_SEQUENCE);
	arrives(e, 5 + TOKEN_WINDOW, TOKEN_OK);
	arrives(e, 5, TOKEN_SEQUENCE); /* too old, though it never came */
	arrives(e, 6, TOKEN_OK);
	for (unsigned i = 7; i < 5 + TOKEN_WINDOW; i++)
		arrives(e, i, i == 1 + TOKEN_WINDOW ? TOKEN_SEQUENCE : TOKEN_OK);
	for (unsigned i = 0; i <= 5 + TOKEN_WINDOW; i++)
		arrives(e, i, TOKEN_SEQUENCE);
	/* A leap past the whole window, and those that it passed. */
	arrives(e, MANY - 1, TOKEN_OK);
	for (unsigned i = MANY - 1; i-- > 0;)
		arrives(e, i, i >= MANY - TOKEN_WINDOW ? TOKEN_OK : TOKEN_SEQUENCE);
	arrives(e, MANY - 1, TOKEN_SEQUENCE);
}
static void
test_window(void **state)
{
	(void)state;
	each_kind(window);
}

/* A sender's numbers may leap at will: none is taken twice, wherever it goes. */
static void
test_leaps(void **state)
{
	static const uint64_t leaps[] = { 1, TOKEN_WINDOW - 1, TOKEN_WINDOW, TOKEN_WINDOW + 1,
		INT64_MAX - 1, INT64_MAX, (uint64_t)INT64_MAX + 1, (uint64_t)INT64_MAX + 2 };

	(void)state;
	for (size_t i = 0; i < sizeof(leaps) / sizeof(leaps[0]); i++) {
		struct ends e = ends_new(ENCTYPE_AES256_SHA1, LEVEL_INTEGRITY);
		struct encap_params p = e.p;
		struct token_context *from;
		bool ahead = leaps[i] <= INT64_MAX;
		size_t len;

		p.send.seq += leaps[i];
		assert_non_null(from = token_new(&p));
		token_datagrams(e.to);
		len = token_wrap(from, plain, 4, token);
		assert_int_equal(take(e.to, token, len), ahead ? TOKEN_OK : TOKEN_SEQUENCE);
		assert_int_equal(take(e.to, token, len), TOKEN_SEQUENCE);
		token_free(from);
		ends_free(&e);
	}
}

/* --- where it runs --- */

static bool
side_by_side(struct ends *e)
{
	static uint8_t out[4][TOP_SIZE + TOKEN_SLACK];
	struct token_piece piece[4];
	struct token_in in[4];

	for (unsigned i = 0; i < 4; i++)
		piece[i] = (struct token_piece){ plain, 60000, out[i] };
	if (!token_wrap_all(e->from, piece, 4))
		return false;
	for (unsigned i = 0; i < 4; i++)
		in[i] = (struct token_in){ out[i], 60000 + token_overhead(e->from), NULL, 0 };
	return token_unwrap_all(e->to, in, 4) == TOKEN_OK && in[3].data_len == 60000;
}

static int
act_tokens(void)
{
	for (uint32_t enctype = FIRST_ENCTYPE; enctype <= LAST_ENCTYPE; enctype++) {
		struct ends e = ends_new(enctype, LEVEL_SELECTIVE);

		for (int i = 0; i < 100; i++) {
			size_t len = token_wrap(e.from, plain, 60000, token);

			if (len == 0 || take(e.to, token, len) != TOKEN_OK)
				return EIO;
		}
		if (!side_by_side(&e))
			return EIO;
		ends_free(&e);
	}
	return 0;
}

/* A worker's filter kills what opens a file. */
static void
test_sandboxed(void **state)
{
	(void)state;
	assert_int_equal(in_sandbox(&worker_sandbox, FILTERED, act_open), REFUSED);
	assert_int_equal(in_sandbox(&worker_sandbox, FILTERED, act_tokens), 0);
}

static unsigned long allocations, live;

static void *
counted_malloc(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	allocations++;
	live++;
	return malloc(n);
}
static void *
counted_realloc(void *p, size_t n, const char *file, int line)
{
	(void)file, (void)line;
	allocations++;
	live += p == NULL;
	return realloc(p, n);
}
static void
counted_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	live -= p != NULL;
	free(p);
}

#define EACH 10
/* libcrypto renews the hash's state (some 200 octets) whenever one begins, twice an HMAC. */
#define RENEWED 2

static void
nothing_kept(struct ends *e)
{
	const uint8_t *data;
	unsigned long before = allocations, kept = live;
	size_t n, len;

	assert_true(before > 0); /* token_init() was counted */
	for (int i = 0; i < EACH; i++) {
		len = token_wrap(e->from, plain, 60000, token);
		assert_int_equal(token_unwrap(e->to, token, len, &data, &n), TOKEN_OK);
	}
	assert_int_equal(live, kept);
	assert_in_range(allocations - before, 0, 2 * EACH * RENEWED);
}
static void
test_nothing_kept(void **state)
{
	(void)state;
	each_kind(nothing_kept);
}

static int
init(void **state)
{
	(void)state;
	fill_plain();
	return token_init();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_reflected),
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_leaps),
		cmocka_unit_test_setup_teardown(test_sandboxed, make_dir, remove_dir),
		cmocka_unit_test(test_nothing_kept),
	};

	if (CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free) != 1)
		return 1;
	return cmocka_run_group_tests(tests, init, NULL);
}
