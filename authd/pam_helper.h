/*
 * The helper of the pam role: one check in one process.
 */
#ifndef AUTHD_PAM_HELPER_H
#define AUTHD_PAM_HELPER_H

#include <stdint.h>

#include "authd/exchange.h"

/* What it writes into its pipe, whole or not at all; a pipe holds sixteen times as much. */
struct pam_result {
	uint8_t verdict; /* enum verdict_code */
	uint8_t user_len;
	uint16_t zero;
	uint32_t groups_len;
	uint8_t user[USER_MAX + 1]; /* canonical, of an accepted one */
	uint8_t groups[GROUPS_MAX]; /* packed */
};

/* In the forked process: checks x's user and password, writes the result to fd, ends. */
_Noreturn void pam_helper(const char *service, const struct exchange *x, int fd);

#endif
