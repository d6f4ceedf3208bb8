/*
 * Keys that the Kerberos library leaves behind.
 */
#ifndef AUTHD_WIPE_H
#define AUTHD_WIPE_H

/* What calls that have returned left on the stack below here goes. */
void wipe_stack(void);

#endif
