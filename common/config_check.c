/* config_check: one function for each setting that its kind does not describe in full. */
#include "common/config_check.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "common/cidr.h"
#include "common/config.h"
#include "common/config_source.h"
#include "common/email.h"
#include "common/password_rule.h"
#include "common/utf8.h"
#include "common/valkey_url.h"

typedef const char *check_fn(struct arena *, const char *value);

static check_fn check_database_url;
static check_fn check_valkey_url;
static check_fn check_trusted_proxies;
static check_fn check_cc_origin;
static check_fn check_otp_sender;
static check_fn check_service_url;
static check_fn check_readable;
static check_fn check_admin_email;
static check_fn check_admin_password;

static const struct {
	const char *name;
	check_fn *check;
} checks[] = {
	{ "DATABASE_URL", check_database_url },
	{ "VALKEY_URL", check_valkey_url },
	{ "TRUSTED_PROXIES", check_trusted_proxies },
	{ "CC_ORIGIN", check_cc_origin },
	{ "OTP_SENDER", check_otp_sender },
	{ "OTP_WEBHOOK_URL", check_service_url },
	{ "FAZPASS_BASE_URL", check_service_url },
	{ "XENDIT_BASE_URL", check_service_url },
	{ "GOOGLE_JWKS_URL", check_service_url },
	{ "APPLE_JWKS_URL", check_service_url },
	{ "HTTPS_CA_FILE", check_readable },
	{ "ADMIN_EMAIL", check_admin_email },
	{ "ADMIN_PASSWORD", check_admin_password },
};

static const char *without_quotations(struct arena *, const char *message);
static const char *check_ports(const PQconninfoOption *);
static const char *check_origin(struct arena *, char *origin);

const char *
config_check(struct arena *memory, const char *name, const char *value)
{
	size_t i;

	for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (strcmp(checks[i].name, name) == 0)
			return checks[i].check(memory, value);
	return NULL;
}

static const char *
check_database_url(struct arena *memory, const char *value)
{
	char *message = NULL;
	PQconninfoOption *options = PQconninfoParse(value, &message);
	const char *reason;

	if (!options) {
		reason = arena_printf(memory, "libpq refuses it: %s",
		    message ? without_quotations(memory, message) : "out of memory");
		PQfreemem(message);
		return reason;
	}
	reason = check_ports(options);
	PQconninfoFree(options);
	return reason;
}

/* libpq quotes what it stumbles over: perhaps a password, which may have quotes in it; so first to last. */
static const char *
without_quotations(struct arena *memory, const char *message)
{
	size_t length = strcspn(message, "\n");
	const char *first = memchr(message, '"', length);
	const char *last = memrchr(message, '"', length);

	if (!first)
		return arena_strndup(memory, message, length);
	return arena_printf(memory, "%.*s\"...\"%.*s", (int)(first - message), message,
	    (int)(message + length - last - 1), last + 1);
}

/* libpq looks at the port, or the list of one for each host, only when it connects. */
static const char *
check_ports(const PQconninfoOption *option)
{
	for (; option->keyword; option++) {
		const char *port = option->val;

		if (strcmp(option->keyword, "port") != 0 || !port || port[0] == '\0')
			continue;
		if (port[strspn(port, "0123456789,")] != '\0')
			return "its port is not a number";
		for (; port; port = strchr(port, ',') ? strchr(port, ',') + 1 : NULL)
			if (port[0] != ',' && port[0] != '\0' &&
			    (atol(port) < 1 || atol(port) > 65535))
				return "its port is not within 1 to 65535";
	}
	return NULL;
}

static const char *
check_valkey_url(struct arena *memory, const char *value)
{
	struct valkey_url url;

	return valkey_url_parse(memory, value, &url);
}

static const char *
check_trusted_proxies(struct arena *memory, const char *value)
{
	struct cidr *list;
	size_t count;

	return cidr_parse_list(memory, value, &list, &count);
}

static const char *
check_cc_origin(struct arena *memory, const char *value)
{
	char *rest = arena_strdup(memory, value);
	char *origin;

	if (value[0] == '\0')
		return NULL;
	while ((origin = strsep(&rest, ","))) {
		const char *reason = check_origin(memory, origin + strspn(origin, " "));

		if (reason)
			return reason;
	}
	return NULL;
}

/* As a browser sends it (RFC 6454): scheme, host, the port if it is not the scheme's; no slash behind. */
static const char *
check_origin(struct arena *memory, char *origin)
{
	const char *host = NULL;

	origin[strcspn(origin, " ")] = '\0';
	if (strncmp(origin, "https://", 8) == 0)
		host = origin + 8;
	else if (strncmp(origin, "http://", 7) == 0)
		host = origin + 7;
	if (!host || host[0] == '\0' || strpbrk(host, "/?#@*\"\\"))
		return arena_printf(
		    memory, "\"%.80s\" is not an origin, such as https://cc.example.com", origin);
	return NULL;
}

static const char *
check_otp_sender(struct arena *memory, const char *value)
{
	static const char *const names[] = { "none", "log", "webhook", "fazpass" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(value, names[i]) == 0)
			return NULL;
	return arena_printf(memory, "\"%.80s\" is none of: none, log, webhook, fazpass", value);
}

/* Codes and keys go there: only by TLS, unless it is this machine. */
static const char *
check_service_url(struct arena *memory, const char *value)
{
	static const char *const beginnings[] = { "https://", "http://127.0.0.1",
		"http://localhost", "http://[::1]" };

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++) {
		size_t length = strlen(beginnings[i]);

		if (strncmp(value, beginnings[i], length) == 0 &&
		    (i == 0 ? value[length] != '\0' : strchr(":/", value[length]) != NULL))
			return NULL;
	}
	return value[0] == '\0' ? NULL
				: "does not begin with https:// (or with http:// and this machine)";
}

static const char *
check_readable(struct arena *memory, const char *value)
{
	return value[0] == '\0' || access(value, R_OK) == 0 ? NULL : "cannot be read";
}

/* The first operator must be able to sign in with both: what server/bodies.def would refuse is refused here. */
static const char *
check_admin_email(struct arena *memory, const char *value)
{
	return value[0] == '\0' || email_valid(value) ? NULL : "is not an e-mail address";
}

static const char *
check_admin_password(struct arena *memory, const char *value)
{
	if (!utf8_valid(value, strlen(value)))
		return "is not valid UTF-8";
	if (utf8_characters(value) > PASSWORD_CHARACTERS_MOST)
		return arena_printf(
		    memory, "has more than %d characters", PASSWORD_CHARACTERS_MOST);
	return NULL;
}

/* What a sender cannot do without. */
void
config_check_together(const struct config *config, struct config_faults *faults)
{
	bool webhook = strcmp(config->otp_sender, "webhook") == 0;
	bool fazpass = strcmp(config->otp_sender, "fazpass") == 0;

	if (webhook && config->otp_webhook_url[0] == '\0')
		config_fault(faults, "OTP_WEBHOOK_URL: required, as OTP_SENDER is webhook");
	if (webhook && config->otp_webhook_secret[0] == '\0')
		config_fault(faults, "OTP_WEBHOOK_SECRET: required, as OTP_SENDER is webhook");
	if (fazpass && config->fazpass_merchant_key[0] == '\0')
		config_fault(faults, "FAZPASS_MERCHANT_KEY: required, as OTP_SENDER is fazpass");
	if (fazpass && config->fazpass_gateway_key[0] == '\0')
		config_fault(faults, "FAZPASS_GATEWAY_KEY: required, as OTP_SENDER is fazpass");
}
