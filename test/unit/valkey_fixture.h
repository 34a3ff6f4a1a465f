/*
 * valkey_fixture: what the tests of the Valkey client share: a loop that waits for conditions, the
 * caught log, and a recorder of answers.
 */
#ifndef TEST_UNIT_VALKEY_FIXTURE_H
#define TEST_UNIT_VALKEY_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/valkey.h"
#include "test/unit/unit.h"

#define TIMEOUT_MS  500
#define SOON_MS     1500 /* by fixture_ran_ms(): what should be at the deadline */
#define BACK_MS     2000 /* likewise: what should be soon after the server's return */
#define GENEROUS_MS 10000

/* For what a test cannot go on without. */
#define MUST(condition)                                                  \
	do {                                                             \
		if (!(condition))                                        \
			fixture_gave_up(__FILE__, __LINE__, #condition); \
	} while (0)

/*
 * Runs the loop until the condition holds. If that never comes, it ends the program and shows the
 * log.
 */
#define WAIT_UNTIL(condition)                                                    \
	do {                                                                     \
		int64_t give_up_ms = fixture_give_up_ms();                       \
		while (!(condition)) {                                           \
			if (!fixture_turn(give_up_ms))                           \
				fixture_gave_up(__FILE__, __LINE__, #condition); \
		}                                                                \
	} while (0)

extern struct event_base *base;
extern int fixture_timeout_ms; /* of the configurations to come */

/* Around each test: a loop of its own, and the log goes where fixture_logged() finds it. */
void fixture_begin(void);
void fixture_end(void);
_Noreturn void fixture_gave_up(const char *file, int line, const char *condition);
int64_t fixture_give_up_ms(void);
bool fixture_turn(int64_t give_up_ms); /* false: the time is over */
void fixture_turn_for(int64_t ms);
/*
 * A clock for what must not take long: it runs while the loop turns, and hardly while the machine has no time for this
 * process. What must take long is measured by clock_monotonic_ms().
 */
int64_t fixture_ran_ms(void);

void fixture_check_part(const char *text, const char *part);
/* How many of the lines logged since the test began contain the text. */
int fixture_logged(const char *text);

const struct config *
fixture_config(const char *url_format, ...) __attribute__((format(printf, 1, 2)));
/* A client with all the time in the world, by which a test does things to a server. */
struct valkey *fixture_admin(int port);

/* What a batch's callback brought. */
struct answer {
	int calls;
	char error[256]; /* "" if there was none */
	char text[256];  /* the first reply, as text */
	/* From fixture_send(); the first for what must not come sooner, the other for what must not come later. */
	int64_t after_ms, after_ran_ms;
	int64_t sent_ms, sent_ran_ms;
};

/* One command, from C strings. */
#define SEND(client, answer, ...)                                       \
	do {                                                            \
		struct valkey_batch *batch_ = valkey_batch_new(client); \
		valkey_add(batch_, __VA_ARGS__, NULL);                  \
		fixture_send(batch_, answer);                           \
	} while (0)

void fixture_send(struct valkey_batch *, struct answer *);
/* Sends PING and wants to see it fail. */
void fixture_expect_failure(struct valkey *, const char *error_part);
/* One command from C strings, to its end; the reply as text, valid until the next call. */
const char *fixture_ask(struct valkey *, const char *command, ...) __attribute__((sentinel));

#endif
