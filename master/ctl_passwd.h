/*
 * sallyportctl passwd: the users file by hand.
 */
#ifndef MASTER_CTL_PASSWD_H
#define MASTER_CTL_PASSWD_H

/* argv[0] is "passwd". The exit status: 0, or 1 with the reason on standard error. */
int ctl_passwd(int argc, char **argv);

#endif
