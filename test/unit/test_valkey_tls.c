/* The Valkey client over TLS, with a real server and certificates made for the occasion. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <event2/event.h>

#include "common/valkey.h"
#include "test/unit/valkey_fixture.h"
#include "test/unit/valkey_servers.h"

static struct server server;
static char folder[256];
static char ca[300], certificate[300], key[300], foreign_ca[300];

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void
shell(const char *format, ...)
{
	char command[2048];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	if (system(command) != 0)
		fixture_gave_up(__FILE__, __LINE__, command);
}

static void
remove_folder(void)
{
	shell("rm -r %s", folder);
}

/* An authority, a certificate of its for `names`, and an authority that nobody knows. */
static void
make_certificates(const char *names)
{
	static const char request[] =
	    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
	const char *scratch = getenv("MITRAD_TEST_DIR");

	if (*ca == '\0') {
		snprintf(
		    folder, sizeof(folder), "%s/tls-XXXXXX", scratch != NULL ? scratch : "/tmp");
		MUST(mkdtemp(folder) != NULL);
		atexit(remove_folder);
		snprintf(ca, sizeof(ca), "%s/ca.pem", folder);
		snprintf(foreign_ca, sizeof(foreign_ca), "%s/foreign.pem", folder);
		snprintf(certificate, sizeof(certificate), "%s/cert.pem", folder);
		snprintf(key, sizeof(key), "%s/key.pem", folder);
		shell("%s -subj /CN=authority -keyout %s/ca.key -out %s 2>/dev/null", request,
		    folder, ca);
		shell("%s -subj /CN=foreign -keyout %s/foreign.key -out %s 2>/dev/null", request,
		    folder, foreign_ca);
	}
	shell("%s -subj /CN=valkey -addext subjectAltName=%s -CA %s -CAkey %s/ca.key -keyout %s "
	      "-out %s 2>/dev/null",
	    request, names, ca, folder, key, certificate);
}

static void
start(const char *names)
{
	char port[16];

	fixture_begin();
	make_certificates(names);
	server = (struct server){ .port = free_port() };
	snprintf(port, sizeof(port), "%d", server.port);
	server_start(&server,
	    SCRIPT("--port", "0", "--tls-port", port, "--tls-cert-file", certificate,
		"--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no"));
	setenv("SSL_CERT_FILE", ca, 1);
}

static void
stop(void)
{
	server_stop(&server);
	fixture_end();
}

static struct valkey *
connect_to(const char *scheme_and_host)
{
	return valkey_new(base, NULL, fixture_config("%s:%d", scheme_and_host, server.port));
}

static void
check_refused(const char *scheme_and_host, const char *expected_error)
{
	struct valkey *client = connect_to(scheme_and_host);

	fixture_expect_failure(client, ""); /* perhaps only that it took too long */
	WAIT_UNTIL(strstr(valkey_last_error(client), expected_error) != NULL);
	CHECK(!valkey_is_up(client));
	valkey_free(client);
}

TEST("a certificate for the name or the address is accepted")
{
	struct valkey *by_name, *by_address;

	fixture_timeout_ms = GENEROUS_MS;
	start("DNS:localhost,IP:127.0.0.1");
	by_name = connect_to("rediss://localhost");
	by_address = connect_to("rediss://127.0.0.1");
	CHECK_TEXT(fixture_ask(by_name, "ECHO", "a", NULL), "a");
	CHECK_TEXT(fixture_ask(by_address, "ECHO", "b", NULL), "b");
	valkey_free(by_name);
	valkey_free(by_address);
	stop();
	fixture_timeout_ms = TIMEOUT_MS;
}

TEST("a certificate for another name is refused")
{
	start("DNS:elsewhere.example,IP:127.0.0.2");
	check_refused("rediss://localhost", "hostname mismatch");
	check_refused("rediss://127.0.0.1", "IP address mismatch");
	stop();
}

TEST("a certificate of an unknown authority is refused")
{
	start("DNS:localhost,IP:127.0.0.1");
	setenv("SSL_CERT_FILE", foreign_ca, 1);
	check_refused("rediss://localhost", "certificate in certificate chain");
	stop();
}

TEST("TLS to a plain server and plain to a TLS server fail with a reason")
{
	fixture_begin();
	server = (struct server){ 0 };
	server_start(&server, NULL);
	check_refused("rediss://127.0.0.1", "no TLS connection to 127.0.0.1");
	stop();
	start("IP:127.0.0.1");
	check_refused("redis://127.0.0.1", ""); /* reset, closed or garbage, as the race goes */
	stop();
}

TEST("large batches go and come over TLS")
{
	static char large[1 << 20];
	const char *values[] = { "SET", "large", large };
	const size_t lengths[] = { 3, 5, sizeof(large) };
	struct valkey *client;
	struct valkey_batch *batch;
	struct valkey_replies *replies;
	const char *error;

	fixture_timeout_ms = GENEROUS_MS;
	start("IP:127.0.0.1");
	memset(large, 'x', sizeof(large));
	client = connect_to("rediss://127.0.0.1");
	batch = valkey_batch_new(client);
	valkey_add_argv(batch, 3, values, lengths);
	for (int i = 0; i < 10; i++)
		valkey_add(batch, "GET", "large", NULL);
	replies = valkey_wait(batch, &error);
	CHECK(replies != NULL && replies->count == 11);
	for (int i = 1; replies != NULL && i < 11; i++)
		CHECK(replies->reply[i]->len == sizeof(large));
	valkey_replies_free(replies);
	valkey_free(client);
	stop();
	fixture_timeout_ms = TIMEOUT_MS;
}

TEST("a stopped server is left at the deadline, also in the midst of the TLS handshake, and used "
     "again")
{
	struct valkey *client;
	struct answer answer;
	int64_t back_ran_ms;

	start("IP:127.0.0.1");
	client = connect_to("rediss://127.0.0.1");
	WAIT_UNTIL(valkey_is_up(client));
	kill(server.pid, SIGSTOP);
	SEND(client, &answer, "PING");
	WAIT_UNTIL(answer.calls > 0);
	CHECK_TEXT(answer.error, "no answer within 500 ms");
	WAIT_UNTIL(strstr(valkey_last_error(client), "no TLS connection to 127.0.0.1") != NULL);
	back_ran_ms = fixture_ran_ms();
	kill(server.pid, SIGCONT);
	WAIT_UNTIL(valkey_is_up(client));
	CHECK(fixture_ran_ms() - back_ran_ms < 2 * BACK_MS);
	CHECK_TEXT(fixture_ask(client, "ECHO", "a", NULL), "a");
	valkey_free(client);
	stop();
}

static int messages;

static void
message_arrived(void *argument, const char *channel, const char *payload, size_t length)
{
	CHECK_TEXT(payload, "hello");
	messages++;
}

static void
subscribed(void *argument)
{
	*(bool *)argument = true;
}

TEST("a subscriber hears over TLS")
{
	const char *const channel = "dashboard";
	struct valkey_subscriber *subscriber;
	struct valkey *client;
	bool listening = false;

	start("IP:127.0.0.1");
	client = connect_to("rediss://127.0.0.1");
	subscriber = valkey_subscriber_new(base, NULL,
	    fixture_config("rediss://127.0.0.1:%d", server.port), &channel, 1, message_arrived,
	    subscribed, &listening);
	WAIT_UNTIL(listening);
	fixture_ask(client, "PUBLISH", "dashboard", "hello", NULL);
	WAIT_UNTIL(messages == 1);
	valkey_subscriber_free(subscriber);
	valkey_free(client);
	stop();
}
