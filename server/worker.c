/* worker: one process of those that serve. It ticks, and ends at TERM. */
#include "common/boot.h"

#include <signal.h>

#include <event2/event.h>

#include "common/channel.h"
#include "common/log.h"

static void
term_came(evutil_socket_t number, short what, void *base)
{
	event_base_loopexit(base, NULL);
}

int
worker_main(const struct boot *boot)
{
	struct event_base *base = event_base_new();
	struct channel *channel = channel_new(base, boot->channel);
	struct event *term = evsignal_new(base, SIGTERM, term_came, base);

	evsignal_add(term, NULL);
	channel_ready(channel);
	event_base_dispatch(base);
	event_free(term);
	channel_free(channel);
	event_base_free(base);
	log_flush();
	return 0;
}
