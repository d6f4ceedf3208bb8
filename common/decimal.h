/*
 * Numbers as text, where snprintf(3) would be most of the work.
 */
#ifndef COMMON_DECIMAL_H
#define COMMON_DECIMAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DECIMAL_MAX 20 /* octets of the longest */

/* Writes n's digits, without a NUL; how many there are. */
static inline size_t
decimal_put(char *buf, uint64_t n)
{
	char digits[DECIMAL_MAX];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + n % 10);
	while ((n /= 10) != 0);
	memcpy(buf, digits + at, sizeof(digits) - at);
	return sizeof(digits) - at;
}

#endif
