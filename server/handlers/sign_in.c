/*
 * sign_in: by what a customer can sign in here.
 *
 * GET /api/shared/auth-providers lists what is configured; an app shows no button that leads nowhere.
 */
#include "common/config.h"
#include "server/reply.h"
#include "server/request.h"
#include "server/routes.h"

outcome
sign_in_providers(struct request *r)
{
	const struct config *config = r->worker->config;
	struct json_writer *writer = json_writer_new(&r->arena);

	json_object(writer);
	json_key(writer, "providers");
	json_array(writer);
	json_string(writer, "anonymous");
	if (r->worker->otp_sender != NULL)
		json_string(writer, "otp");
	if (config->google_client_ids[0] != '\0')
		json_string(writer, "google");
	if (config->apple_client_ids[0] != '\0')
		json_string(writer, "apple");
	json_close(writer);
	json_close(writer);
	return reply_json(r, 200, json_text(writer, NULL));
}
