/*
 * sallyportctl passwd: the users file by hand.
 */
#ifndef MASTER_CTL_PASSWD_H
#define MASTER_CTL_PASSWD_H

/* argv[0] is "passwd". The exit status: 0, or with the reason on standard error 2 where the
 * arguments are wrong, else 1. */
int ctl_passwd(int argc, char **argv);

#endif
