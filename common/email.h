/*
 * email: what is taken for an operator's e-mail address.
 *
 * Something, @, something, in printable ASCII, and no longer than RFC 5321 lets one be.  Whether anybody reads mail there is
 * not ours to know.
 */
#ifndef COMMON_EMAIL_H
#define COMMON_EMAIL_H

#include <stdbool.h>

bool email_valid(const char *text);

#endif
