/*
 * password: how passwords are kept.
 *
 * scrypt with OWASP's parameters, N = 2^17, r = 8, p = 1, as one line of text in the PHC manner:
 * "$scrypt$ln=17,r=8,p=1$<salt>$<hash>", base64 without padding.  A call takes 128 MiB and some tenths of a
 * second, which is the point.
 */
#ifndef COMMON_PASSWORD_H
#define COMMON_PASSWORD_H

#include <stdbool.h>

#define PASSWORD_HASH_SIZE 128

/* false only if memory or randomness is not to be had. */
bool password_hash(const char *password, char text[PASSWORD_HASH_SIZE])
    __attribute__((warn_unused_result));

enum password_verdict {
	PASSWORD_WRONG,
	PASSWORD_RIGHT,
	PASSWORD_UNDECIDED, /* memory was not to be had */
};

/*
 * Is it the password that the text was made from?  Hashes of other parameters are understood too, within
 * reason; what is no hash at all matches nothing.  NULL for the text, for a user who does not exist, takes
 * as long as a wrong password and is one.
 */
enum password_verdict
password_verify(const char *password, const char *text) __attribute__((warn_unused_result));

#endif
