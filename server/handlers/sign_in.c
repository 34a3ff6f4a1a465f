/*
 * sign_in: by what a customer can sign in here.
 *
 * GET /api/shared/auth-providers lists a provider if this server has its route; an app shows no button
 * that leads nowhere.
 */
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

static const struct {
	const char *name;
	const char *path;
} providers[] = {
	{ "anonymous", "/api/shared/auth/anonymous" },
	{ "otp", "/api/client/auth/otp/request" },
};

outcome
sign_in_providers(struct request *r)
{
	struct json_writer *writer = json_writer_new(&r->arena);

	json_object(writer);
	json_key(writer, "providers");
	json_array(writer);
	for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++)
		if (routes_find(LISTENER_PUBLIC, EVHTTP_REQ_POST, providers[i].path, false).route !=
		    NULL)
			json_string(writer, providers[i].name);
	json_close(writer);
	json_close(writer);
	return reply_json(r, 200, json_text(writer, NULL));
}
