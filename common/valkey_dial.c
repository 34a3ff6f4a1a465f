/*
 * valkey_dial: from a host's name to an open connection, TCP or TLS.
 *
 * In order: look the name up, try one address after the other, and with rediss:// the TLS handshake
 * with the server's certificate checked against its name and the system's authorities
 * (SSL_CERT_FILE is honoured by OpenSSL itself).
 *
 * bufferevent_socket_connect_hostname() would do half of it, but libevent 2.1.12 tries only the
 * first address, and `localhost` is ::1 first where Valkey often listens on 127.0.0.1 alone.
 */
#include "common/valkey_dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/dns.h>
#include <event2/util.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "common/log.h"
#include "common/valkey_url.h"

#define KEEPALIVE_IDLE_SECONDS     15
#define KEEPALIVE_INTERVAL_SECONDS 5
#define KEEPALIVE_PROBES           3

/* A cancelled lookup still calls back, later: so it lives on its own, and dial is NULL then. */
struct lookup {
	struct valkey_dial *dial;
	struct evdns_getaddrinfo_request *request;
};

struct valkey_dial {
	struct event_base *base;
	struct evdns_base *dns;
	const struct valkey_url *url;
	SSL_CTX *tls; /* NULL: plain TCP */

	/* The attempt that is running: either a lookup, or a connection being opened. */
	struct lookup *lookup;
	struct evutil_addrinfo *addresses;
	struct evutil_addrinfo *next; /* the address to be tried next */
	unsigned untried;
	unsigned skip;
	struct bufferevent *connecting;
	bool server_spoke; /* TLS, at the address whose fault this is */
	char fault[256];
	valkey_dialed_fn *done;
	void *argument;
};

static void look_up(struct valkey_dial *);
static void looked_up(int error, struct evutil_addrinfo *, void *);
static void try_next_address(struct valkey_dial *);
static bool try_address(struct valkey_dial *, const struct evutil_addrinfo *);
static void address_answered(struct bufferevent *, short what, void *);
static void set_options(evutil_socket_t);
static SSL_CTX *tls_context(void);
static struct bufferevent *tls_bufferevent(struct valkey_dial *);
static bool server_spoke(struct bufferevent *);
static void note_fault(struct valkey_dial *, bool server_spoke, const char *step, const char *why);
static void forget_attempt(struct valkey_dial *);

struct valkey_dial *
valkey_dial_new(struct event_base *base, struct evdns_base *dns, const struct valkey_url *url)
{
	struct valkey_dial *dial = calloc(1, sizeof(*dial));

	if (dial == NULL)
		fatal("out of memory");
	dial->base = base;
	dial->dns = dns;
	dial->url = url;
	if (url->tls)
		dial->tls = tls_context();
	return dial;
}

void
valkey_dial_free(struct valkey_dial *dial)
{
	if (dial == NULL)
		return;
	forget_attempt(dial);
	SSL_CTX_free(dial->tls);
	free(dial);
}

void
valkey_dial_start(struct valkey_dial *dial, unsigned skip, valkey_dialed_fn *done, void *argument)
{
	dial->skip = skip;
	dial->done = done;
	dial->argument = argument;
	dial->server_spoke = false;
	look_up(dial);
}

void
valkey_dial_cancel(struct valkey_dial *dial)
{
	forget_attempt(dial);
}

static void
look_up(struct valkey_dial *dial)
{
	const struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_protocol = IPPROTO_TCP,
	};
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	struct evutil_addrinfo *found = NULL;
	struct evdns_getaddrinfo_request *request;
	char port[16];
	int error;

	if (lookup == NULL)
		fatal("out of memory");
	lookup->dial = dial;
	dial->lookup = lookup;
	snprintf(port, sizeof(port), "%d", dial->url->port);
	if (dial->dns == NULL) {
		error = evutil_getaddrinfo(dial->url->host, port, &hints, &found);
		looked_up(error, found, lookup);
		return;
	}
	/* NULL: it has called back already, and the lookup is gone. */
	request = evdns_getaddrinfo(dial->dns, dial->url->host, port, &hints, looked_up, lookup);
	if (request != NULL)
		lookup->request = request;
}

static void
looked_up(int error, struct evutil_addrinfo *found, void *argument)
{
	struct lookup *lookup = argument;
	struct valkey_dial *dial = lookup->dial;
	unsigned count = 0;

	free(lookup);
	if (dial == NULL) {
		if (found != NULL)
			evutil_freeaddrinfo(found);
		return;
	}
	dial->lookup = NULL;
	dial->addresses = found;
	dial->next = found;
	if (error != 0)
		note_fault(dial, false, "look up", evutil_gai_strerror(error));
	for (struct evutil_addrinfo *address = found; address != NULL; address = address->ai_next)
		count++;
	dial->untried = count;
	for (unsigned i = 0; count > 0 && i < dial->skip % count; i++)
		dial->next = dial->next->ai_next;
	try_next_address(dial);
}

/* Round the ring of addresses once. */
static void
try_next_address(struct valkey_dial *dial)
{
	while (dial->untried > 0) {
		struct evutil_addrinfo *address = dial->next;

		dial->untried--;
		dial->next = address->ai_next != NULL ? address->ai_next : dial->addresses;
		if (try_address(dial, address))
			return;
	}
	forget_attempt(dial);
	dial->done(dial->argument, NULL, dial->fault);
}

/* False if it failed at once. */
static bool
try_address(struct valkey_dial *dial, const struct evutil_addrinfo *address)
{
	/* Deferred callbacks may free their bufferevent, in the midst of a TLS handshake too. */
	struct bufferevent *bev = dial->tls != NULL
				      ? tls_bufferevent(dial)
				      : bufferevent_socket_new(dial->base, -1,
					    BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);

	if (bev == NULL)
		fatal("out of memory");
	bufferevent_setcb(bev, NULL, NULL, address_answered, dial);
	if (bufferevent_socket_connect(bev, address->ai_addr, (int)address->ai_addrlen) != 0) {
		note_fault(dial, false, "connect to", strerror(errno));
		bufferevent_free(bev);
		return false;
	}
	set_options(bufferevent_getfd(bev));
	dial->connecting = bev;
	return true;
}

static void
address_answered(struct bufferevent *bev, short what, void *argument)
{
	const char *why = valkey_dial_failure(bev, what);
	struct valkey_dial *dial = argument;

	dial->connecting = NULL;
	if (what & BEV_EVENT_CONNECTED) {
		bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
		forget_attempt(dial);
		dial->done(dial->argument, bev, NULL);
		return;
	}
	note_fault(dial, server_spoke(bev), "connect to", why);
	bufferevent_free(bev);
	try_next_address(dial);
}

/* Best effort: without them it works as well, only slower to notice things. */
static void
set_options(evutil_socket_t fd)
{
	const struct {
		int level, name, value;
	} options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS },
		{ IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS },
		{ IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES },
	};

	(void)evutil_make_socket_closeonexec(fd);
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		(void)setsockopt(
		    fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

static SSL_CTX *
tls_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_default_verify_paths(context) != 1)
		fatal("OpenSSL cannot be set up: %s", ERR_reason_error_string(ERR_get_error()));
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	return context;
}

/*
 * The certificate must be for the name in the URL; an address is looked for among the certificate's
 * addresses, and has no SNI.
 */
static struct bufferevent *
tls_bufferevent(struct valkey_dial *dial)
{
	const char *host = dial->url->host;
	SSL *ssl = SSL_new(dial->tls);
	struct bufferevent *bev;

	if (ssl == NULL)
		fatal("out of memory");
	if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) != 1 &&
	    (SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, host) != 1))
		fatal("out of memory");
	ERR_clear_error();
	bev = bufferevent_openssl_socket_new(dial->base, -1, ssl, BUFFEREVENT_SSL_CONNECTING,
	    BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (bev != NULL)
		bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
	return bev;
}

/* With TLS a refused connection looks like one that was closed; errno knows better. */
static bool
is_unreachable(int socket_error)
{
	return socket_error == ECONNREFUSED || socket_error == ETIMEDOUT ||
	       socket_error == EHOSTUNREACH || socket_error == ENETUNREACH;
}

const char *
valkey_dial_failure(struct bufferevent *bev, short what)
{
	int socket_error = EVUTIL_SOCKET_ERROR();
	SSL *ssl = bufferevent_openssl_get_ssl(bev);
	const char *reason = NULL;

	if (ssl != NULL && SSL_get_verify_result(ssl) != X509_V_OK)
		return X509_verify_cert_error_string(SSL_get_verify_result(ssl));
	if (ssl != NULL)
		reason = ERR_reason_error_string(bufferevent_get_openssl_error(bev));
	if (reason != NULL)
		return reason;
	if (socket_error == 0 || ((what & BEV_EVENT_EOF) && !is_unreachable(socket_error)))
		return "the server closed the connection";
	return evutil_socket_error_to_string(socket_error);
}

static bool
server_spoke(struct bufferevent *bev)
{
	SSL *ssl = bufferevent_openssl_get_ssl(bev);

	return ssl != NULL && SSL_get_state(ssl) != TLS_ST_BEFORE &&
	       SSL_get_state(ssl) != TLS_ST_CW_CLNT_HELLO;
}

/* Of several addresses' faults the last one counts; but one that speaks TLS has more to say than one that is not there. */
static void
note_fault(struct valkey_dial *dial, bool spoke, const char *step, const char *why)
{
	if (dial->server_spoke && !spoke)
		return;
	dial->server_spoke = spoke;
	snprintf(dial->fault, sizeof(dial->fault), "cannot %s %s:%d: %s", step, dial->url->host,
	    dial->url->port, why);
}

static void
forget_attempt(struct valkey_dial *dial)
{
	if (dial->lookup != NULL) {
		dial->lookup->dial = NULL;
		evdns_getaddrinfo_cancel(dial->lookup->request);
	}
	if (dial->addresses != NULL)
		evutil_freeaddrinfo(dial->addresses);
	if (dial->connecting != NULL)
		bufferevent_free(dial->connecting);
	dial->lookup = NULL;
	dial->addresses = NULL;
	dial->next = NULL;
	dial->untried = 0;
	dial->connecting = NULL;
}
