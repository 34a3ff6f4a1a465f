/*
 * doctor_valkey: from the name in VALKEY_URL to a Valkey that can hold the mirror.
 *
 * The connection is the server's own client's (common/valkey.h), so whatever would keep that from getting up is met here.
 * What the server says of itself is in one INFO, which managed services answer too; most of them refuse CONFIG.
 */
#include "server/doctor/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/arena.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/log.h"
#include "common/valkey.h"
#include "common/valkey_url.h"
#include "server/master/listeners.h"

#define CONNECT_MS      5000
#define REDIS_LEAST     "6.2" /* SMISMEMBER; every Valkey has it */
#define MEMORY_WARN     0.8
#define CLIENTS_A_CHILD 2 /* commands, subscriptions */

/* What the client meets when it gets no connection, and what to do. */
struct refusal {
	const char *sign;
	const char *subject;
	const char *advice;
};

static const struct refusal refusals[] = {
	{ "WRONGPASS", "valkey password", "Check user and password in VALKEY_URL." },
	{ "invalid password", "valkey password", "Check user and password in VALKEY_URL." },
	{ "NOAUTH", "valkey password", "Put the password into VALKEY_URL: redis://:password@host" },
	{ "without any password", "valkey password",
	    "The server has no password: take it out of VALKEY_URL." },
	{ "NOPERM", "valkey rights",
	    "Give the user the commands, keys and channels: ~* &* +@all -@dangerous +info" },
	{ "READONLY", "valkey replica",
	    "This server is a replica. Name the primary in VALKEY_URL." },
	{ "CLUSTER", "valkey cluster",
	    "Cluster mode is not supported: the mirror's scripts need all keys in one place. "
	    "Use a single primary (with replicas, if you like)." },
	{ "MOVED", "valkey cluster",
	    "Cluster mode is not supported: the mirror's scripts need all keys in one place. "
	    "Use a single primary (with replicas, if you like)." },
	{ "DB index", "valkey database", "Check the database number at the end of VALKEY_URL." },
	{ "MISCONF", "valkey persistence",
	    "The server cannot save, and so refuses writes: see to its disk and its log." },
	{ "OOM", "valkey memory", "The server's memory is full: raise maxmemory." },
	{ "LOADING", "valkey connect", "The server is loading its data: try again." },
	{ "certificate", "valkey TLS",
	    "Check that VALKEY_URL has the name that is in the certificate, and that this machine "
	    "trusts its issuer (SSL_CERT_FILE)." },
	{ "TLS", "valkey TLS", "rediss:// is for servers that speak TLS; for others redis://." },
	{ "SSL", "valkey TLS", "rediss:// is for servers that speak TLS; for others redis://." },
	{ "wrong version number", "valkey TLS",
	    "rediss:// is for servers that speak TLS; for others redis://." },
	{ "protocol", "valkey connect", "Does something else than Valkey listen there?" },
	{ "", "valkey connect",
	    "Is the server running, and are host and port in VALKEY_URL right and reachable from "
	    "here "
	    "(firewall; does it want TLS: rediss://)?" },
};

static bool check_connection(struct doctor *, struct valkey *);
static void give_up(evutil_socket_t, short what, void *);
static void check_server(struct doctor *, struct valkey *);
static void check_version(struct doctor *, const char *info);
static void check_place(struct doctor *, const char *info);
static void check_eviction(struct doctor *, const char *info);
static void check_memory(struct doctor *, const char *info);
static void check_persistence(struct doctor *, const char *info, const redisReply *save);
static void check_clients(struct doctor *, const char *info);
static void check_clock(struct doctor *, const redisReply *, int64_t before_ms);
static void check_scripts(struct doctor *, const redisReply *);
static const char *field(const char *info, const char *name, char value[64]);

void
doctor_valkey(struct doctor *doctor)
{
	struct arena arena = { 0 };
	struct valkey_url url;
	const char *fault = valkey_url_parse(&arena, doctor->config->valkey_url, &url);
	struct valkey *valkey;

	if (fault) {
		doctor_fail(doctor, "valkey name", "VALKEY_URL %s", fault);
	} else if (doctor_resolves(doctor, "valkey name", url.host, "VALKEY_URL")) {
		valkey = valkey_new(doctor->base, doctor->dns, doctor->config);
		if (check_connection(doctor, valkey)) {
			doctor_ok(doctor, "valkey connect", "%s:%d, database %d", url.host,
			    url.port, url.database);
			if (url.tls || doctor_is_local(url.host))
				doctor_ok(doctor, "valkey TLS", "%s",
				    url.tls ? "in use" : "not needed on this machine");
			else
				doctor_warn(doctor, "valkey TLS",
				    "the connection is not encrypted. If others share the network: "
				    "rediss://");
			check_server(doctor, valkey);
		}
		valkey_free(valkey);
	}
	arena_free(&arena);
}

/* Runs the loop until the first attempt has ended. */
static bool
check_connection(struct doctor *doctor, struct valkey *valkey)
{
	const struct timeval patience = clock_timeval(CONNECT_MS);
	const struct refusal *refusal = refusals;
	bool late = false;
	struct event *timer = evtimer_new(doctor->base, give_up, &late);
	const char *error;

	if (!timer || evtimer_add(timer, &patience) != 0)
		fatal("out of memory");
	while (!valkey_is_up(valkey) && *valkey_last_error(valkey) == '\0' && !late &&
	       event_base_loop(doctor->base, EVLOOP_ONCE) == 0)
		;
	event_free(timer);
	if (valkey_is_up(valkey))
		return true;

	error = late ? "no answer" : valkey_last_error(valkey);
	while (!strstr(error, refusal->sign)) /* the last is in all */
		refusal++;
	doctor_fail(doctor, refusal->subject, "%s. %s", error, refusal->advice);
	return false;
}

static void
give_up(evutil_socket_t fd, short what, void *argument)
{
	*(bool *)argument = true;
}

static void
check_server(struct doctor *doctor, struct valkey *valkey)
{
	struct valkey_batch *batch = valkey_batch_new(valkey);
	int64_t before_ms = clock_wall_ms();
	struct valkey_replies *replies;
	const char *error, *info;

	valkey_add(batch, "TIME", NULL);
	valkey_add(batch, "INFO", NULL);
	valkey_add(batch, "CONFIG", "GET", "save", NULL);
	valkey_add(batch, "EVAL", "return redis.call('PING')", "0", NULL);
	replies = valkey_wait(batch, &error);
	if (!replies) {
		doctor_fail(doctor, "valkey connect", "%s. Is VALKEY_TIMEOUT_MS too small?", error);
		return;
	}
	check_clock(doctor, replies->reply[0], before_ms);
	check_scripts(doctor, replies->reply[3]);
	info = replies->reply[1]->str;
	if (replies->reply[1]->type != REDIS_REPLY_STRING) {
		doctor_warn(doctor, "valkey server",
		    "does not tell about itself (INFO: %s), so its version, eviction and "
		    "persistence are unknown.",
		    info ? info : "no text");
	} else {
		check_version(doctor, info);
		check_place(doctor, info);
		check_eviction(doctor, info);
		check_memory(doctor, info);
		check_persistence(doctor, info, replies->reply[2]);
		check_clients(doctor, info);
	}
	valkey_replies_free(replies);
}

/* Valkey answers both names: its own version, and the Redis that it can stand in for. */
static void
check_version(struct doctor *doctor, const char *info)
{
	char valkey[64], redis[64];

	if (field(info, "valkey_version", valkey))
		doctor_ok(doctor, "valkey version", "Valkey %s", valkey);
	else if (!field(info, "redis_version", redis))
		doctor_warn(doctor, "valkey version", "unknown");
	else if (strverscmp(redis, REDIS_LEAST) < 0)
		doctor_fail(doctor, "valkey version",
		    "Redis %s is too old. Valkey, or Redis %s or newer, is needed.", redis,
		    REDIS_LEAST);
	else
		doctor_ok(doctor, "valkey version", "Redis %s", redis);
}

static void
check_place(struct doctor *doctor, const char *info)
{
	char cluster[64], role[64];

	if (field(info, "cluster_enabled", cluster) && strcmp(cluster, "0") != 0)
		doctor_fail(doctor, "valkey cluster",
		    "Cluster mode is not supported: the mirror's scripts need all keys in one "
		    "place. "
		    "Use a single primary (with replicas, if you like).");
	else
		doctor_ok(doctor, "valkey cluster", "off");
	if (field(info, "role", role) && strcmp(role, "master") != 0)
		doctor_fail(doctor, "valkey replica",
		    "this server is a replica: what is written here is lost. Name the primary in "
		    "VALKEY_URL.");
}

/* The mirror is complete or it is wrong. Keys that expire are evicted even by the volatile policies. */
static void
check_eviction(struct doctor *doctor, const char *info)
{
	static const char advice[] = "A mitra whose key is evicted is gone: set maxmemory-policy "
				     "noeviction.";
	char policy[64], limit[64];

	if (!field(info, "maxmemory_policy", policy))
		doctor_warn(doctor, "valkey eviction", "the server does not say. %s", advice);
	else if (strcmp(policy, "noeviction") == 0)
		doctor_ok(doctor, "valkey eviction", "none");
	else if (field(info, "maxmemory", limit) && strcmp(limit, "0") == 0)
		doctor_warn(doctor, "valkey eviction",
		    "the policy is %s, which sleeps as long as there is no maxmemory. %s", policy,
		    advice);
	else
		doctor_fail(doctor, "valkey eviction", "the policy is %s. %s", policy, advice);
}

static void
check_memory(struct doctor *doctor, const char *info)
{
	char used[64], limit[64];
	double share;

	if (!field(info, "used_memory", used) || !field(info, "maxmemory", limit) ||
	    atoll(limit) <= 0)
		return;
	share = (double)atoll(used) / (double)atoll(limit);
	if (share > MEMORY_WARN)
		doctor_warn(doctor, "valkey memory",
		    "%.0f %% of maxmemory is used. When it is full, writes are refused and "
		    "PostgreSQL has to answer: raise it.",
		    share * 100);
	else
		doctor_ok(doctor, "valkey memory", "%.0f %% of maxmemory is used", share * 100);
}

/* Either is fine: the mirror can always be made again. */
static void
check_persistence(struct doctor *doctor, const char *info, const redisReply *save)
{
	bool saves = save->type == REDIS_REPLY_ARRAY && save->elements == 2 &&
		     save->element[1]->len > 0;
	bool says = save->type == REDIS_REPLY_ARRAY;
	char appends[64], last[64];

	if (field(info, "rdb_last_bgsave_status", last) && strcmp(last, "ok") != 0)
		doctor_warn(doctor, "valkey persistence",
		    "the last save failed, and the server may refuse writes (MISCONF): see to its "
		    "disk, or turn saving off.");
	else if (field(info, "aof_enabled", appends) && strcmp(appends, "1") == 0)
		doctor_ok(doctor, "valkey persistence",
		    "append-only file: a restart costs a second of heartbeats at most");
	else if (saves)
		doctor_ok(doctor, "valkey persistence",
		    "snapshots: after a restart the mirror is some minutes old until it is "
		    "reseeded");
	else if (says)
		doctor_ok(doctor, "valkey persistence",
		    "none: after a restart the mirror is empty, PostgreSQL answers, and it is "
		    "reseeded at once");
	else
		doctor_ok(doctor, "valkey persistence",
		    "no append-only file; whether there are snapshots this server does not tell");
}

static void
check_clients(struct doctor *doctor, const char *info)
{
	int needed = (listeners_workers(doctor->config) + doctor_sweepers(doctor->config)) *
		     CLIENTS_A_CHILD;
	char most[64];

	if (!field(info, "maxclients", most))
		return;
	if (2 * needed > atoi(most))
		doctor_fail(doctor, "valkey clients",
		    "this instance needs %d, and twice that during a reload; maxclients is %s. "
		    "Raise it, or lower WORKERS.",
		    needed, most);
	else
		doctor_ok(doctor, "valkey clients",
		    "each instance like this needs %d, and twice that during a reload; maxclients "
		    "is %s",
		    needed, most);
}

static void
check_clock(struct doctor *doctor, const redisReply *time, int64_t before_ms)
{
	int64_t theirs_ms;

	if (time->type != REDIS_REPLY_ARRAY || time->elements != 2 ||
	    time->element[0]->type != REDIS_REPLY_STRING ||
	    time->element[1]->type != REDIS_REPLY_STRING) {
		doctor_warn(doctor, "valkey clock", "the server does not tell the time.");
		return;
	}
	theirs_ms = atoll(time->element[0]->str) * 1000 + atoll(time->element[1]->str) / 1000;
	doctor_clock(doctor, "valkey clock", theirs_ms, before_ms, clock_wall_ms());
}

static void
check_scripts(struct doctor *doctor, const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ERROR)
		doctor_fail(doctor, "valkey scripts",
		    "%s. The mirror is written by scripts: allow EVAL and EVALSHA.", reply->str);
	else
		doctor_ok(doctor, "valkey scripts", "allowed");
}

/* The value of "name:value" in INFO's lines, or NULL. */
static const char *
field(const char *info, const char *name, char value[64])
{
	size_t length = strlen(name);

	for (const char *line = info; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, length) != 0 || line[length] != ':')
			continue;
		line += length + 1;
		snprintf(value, 64, "%.*s", (int)strcspn(line, "\r\n"), line);
		return value;
	}
	return NULL;
}
