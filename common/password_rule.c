/* password_rule: the rule, then the generator. */
#include "common/password_rule.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "common/log.h"
#include "common/utf8.h"

/* Compared without case. */
static const char *const common_passwords[] = {
#define COMMON(password) password,
#include "common/common_passwords.def"
#undef COMMON
};

static bool
is_common(const char *password)
{
	for (size_t i = 0; i < sizeof(common_passwords) / sizeof(common_passwords[0]); i++)
		if (strcasecmp(password, common_passwords[i]) == 0)
			return true;
	return false;
}

/* A piece of one to four bytes again and again: "aaaaaaaaaaaa", "abcabcabcabc", "12341234123412". */
static bool
is_repetition(const char *password)
{
	size_t length = strlen(password);

	for (size_t period = 1; period <= 4 && period < length; period++)
		if (strncmp(password, password + period, length - period) == 0)
			return true;
	return false;
}

/* After 9 comes 0. */
static bool
follows(char before, char after)
{
	return after == before + 1 || (before == '9' && after == '0');
}

/* "123456789012", "abcdefghijkl", and the same backwards. */
static bool
is_sequence(const char *password)
{
	bool up = true, down = true;

	for (const char *at = password; at[1] != '\0'; at++) {
		up &= follows(at[0], at[1]);
		down &= follows(at[1], at[0]);
	}
	return up || down;
}

/* The address, or what stands before its @. */
static bool
is_of_account(const char *password, const char *email)
{
	size_t local = strcspn(email, "@");

	return strcasecmp(password, email) == 0 ||
	       (strlen(password) == local && strncasecmp(password, email, local) == 0);
}

const char *
password_rule_fault(const char *password, const char *email)
{
	if (utf8_characters(password) < PASSWORD_CHARACTERS_LEAST)
		return "must have at least 12 characters";
	if (is_common(password) || is_repetition(password) || is_sequence(password))
		return "is one of those that are guessed first";
	if (email != NULL && is_of_account(password, email))
		return "must not be the e-mail address";
	return NULL;
}

void
password_rule_generate(char password[PASSWORD_GENERATED_SIZE])
{
	static const char alphabet[32 + 1] = "abcdefghjkmnopqrstuvwxyz23456789";
	unsigned char bytes[PASSWORD_GENERATED_SIZE - 1];

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		fatal("no random bytes");
	for (size_t i = 0; i < sizeof(bytes); i++)
		password[i] = alphabet[bytes[i] % 32];
	password[sizeof(bytes)] = '\0';
	OPENSSL_cleanse(bytes, sizeof(bytes));
}
