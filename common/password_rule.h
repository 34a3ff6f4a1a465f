/*
 * password_rule: which passwords an operator may have (docs/decisions.md).
 *
 * After NIST SP 800-63B: length instead of kinds of characters, nothing that everybody guesses first, and
 * nothing taken from the account itself.
 */
#ifndef COMMON_PASSWORD_RULE_H
#define COMMON_PASSWORD_RULE_H

#define PASSWORD_CHARACTERS_LEAST 12
#define PASSWORD_CHARACTERS_MOST  256 /* longer ones would only cost time */
#define PASSWORD_GENERATED_SIZE   25  /* 24 characters and a NUL */

/* NULL, or why not, for a person.  `email` NULL: the account is not known yet. */
const char *password_rule_fault(const char *password, const char *email);
/* One that nobody guesses: 24 of 32 characters that are not mistaken for each other, 120 bits. */
void password_rule_generate(char password[PASSWORD_GENERATED_SIZE]);

#endif
