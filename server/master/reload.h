/*
 * reload: HUP, from the question whether it can work to the new generation, or back.
 *
 *   1  The program on disk is run as `check`, with our arguments. If it finds a fault, that is all.
 *   2  We execute it in our place, and hand everything over: see handover.h.
 *   3  The new program starts a generation from the new configuration, next to the one that runs.
 *   4  All of it is ready: the old one drains.
 *   4' It fails, or is not ready in time: it is ended, and we execute the old program again, which we
 *      have kept open though its file may be gone; everything is as it was.
 *
 * Until 4 the children of the old generation are replaced if they die, with the configuration that they
 * had: that is handed over by value, because the file and the secrets' files may say something else by
 * now.
 */
#ifndef SERVER_RELOAD_H
#define SERVER_RELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct instance;

struct reload {
	bool wanted; /* HUP has come, and no reload has begun for it yet */

	pid_t checker; /* `check` is under way; 0: no */
	int output;    /* what it says; -1 without one */
	char said[2048];
	size_t said_bytes;
	bool checked; /* it has ended, and this is how */
	int check_status;

	int previous_program; /* the old program, while the new generation is on trial; -1 else */
	bool going_back;      /* as soon as nothing is left of the new generation */

	int64_t give_up_ms; /* of the check or of the new generation */
};

void reload_init(struct reload *);

/* In the loop: does what is due. Executes another program in our place, if it comes to that. */
void reload_advance(struct instance *, int64_t now_ms);
int64_t reload_due_ms(const struct instance *);
void reload_hear(struct reload *);
/* Was that the checker? */
bool reload_bury(struct reload *, pid_t, int status);

/* In the new program, which has adopted the running generation: begins a new one, or goes back at once. */
void reload_try(struct instance *, int64_t now_ms);
/* In the old program, to which the new one came back. */
void reload_returned(struct instance *);

#endif
