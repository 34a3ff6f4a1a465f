/*
 * hasher: a queue to the thread, a list of finished jobs back, and an eventfd that wakes the loop for it.
 *
 * A job belongs to whoever holds it: the loop until it is queued, then under the mutex, the thread while
 * it works on it, the loop again once it is finished.
 */
#include "server/sign_in/hasher.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/crypto.h>

#include "common/log.h"
#include "common/password.h"

#define THREAD_NICENESS 10 /* the event loop goes first when the CPUs are short */

struct job {
	struct job *following;
	bool makes;                    /* else verifies */
	bool knows_hash;               /* of verify: somebody's */
	char hash[PASSWORD_HASH_SIZE]; /* given to verify, or the result of make */
	enum hasher_status status;
	bool matches;
	hasher_done_fn *done;
	void *argument;
	size_t password_size;
	char password[];
};

struct job_list {
	struct job *first, **last;
};

struct hasher {
	int places_taken;
	bool started;
	pthread_t thread;
	int finished_fd; /* an eventfd: the thread has added to `finished` */
	struct event *finished_event;

	pthread_mutex_t mutex; /* guards all that follows */
	pthread_cond_t work;   /* `waiting` or `ending` has changed */
	struct job_list waiting, finished;
	bool ending; /* set by the loop, and only by it */
};

static void *hasher_thread(void *);
static void jobs_finished(evutil_socket_t, short, void *);

static void
list_clear(struct job_list *list)
{
	list->first = NULL;
	list->last = &list->first;
}

static void
list_add(struct job_list *list, struct job *job)
{
	job->following = NULL;
	*list->last = job;
	list->last = &job->following;
}

static struct job *
list_take(struct job_list *list)
{
	struct job *job = list->first;

	if (job == NULL)
		return NULL;
	list->first = job->following;
	if (list->first == NULL)
		list->last = &list->first;
	return job;
}

/* All of it, to be taken from and not added to; what stays behind is empty. */
static struct job_list
list_take_all(struct job_list *list)
{
	struct job_list taken = *list;

	list_clear(list);
	return taken;
}

struct hasher *
hasher_new(struct event_base *base)
{
	struct hasher *hasher = calloc(1, sizeof(*hasher));

	if (hasher == NULL)
		fatal("out of memory");
	list_clear(&hasher->waiting);
	list_clear(&hasher->finished);
	pthread_mutex_init(&hasher->mutex, NULL);
	pthread_cond_init(&hasher->work, NULL);
	hasher->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	hasher->finished_event = event_new(
	    base, hasher->finished_fd, EV_READ | EV_PERSIST, jobs_finished, hasher);
	if (hasher->finished_fd < 0 || hasher->finished_event == NULL ||
	    event_add(hasher->finished_event, NULL) != 0)
		fatal("no event for finished passwords");
	return hasher;
}

bool
hasher_take_place(struct hasher *hasher)
{
	if (hasher->places_taken == HASHER_PLACES)
		return false;
	hasher->places_taken++;
	return true;
}

void
hasher_leave_place(struct hasher *hasher)
{
	assert(hasher->places_taken > 0);
	hasher->places_taken--;
}

/* ---------------------------------------------------------------- the thread */

static void
job_verify(struct job *job)
{
	enum password_verdict verdict = password_verify(
	    job->password, job->knows_hash ? job->hash : NULL);

	job->status = verdict == PASSWORD_UNDECIDED ? HASHER_FAILED : HASHER_DONE;
	job->matches = verdict == PASSWORD_RIGHT;
}

static void
job_work(struct job *job)
{
	if (job->makes)
		job->status = password_hash(job->password, job->hash) ? HASHER_DONE : HASHER_FAILED;
	else
		job_verify(job);
	OPENSSL_cleanse(job->password, job->password_size);
}

static struct job *
job_wait(struct hasher *hasher)
{
	struct job *job;

	pthread_mutex_lock(&hasher->mutex);
	while (!hasher->ending && hasher->waiting.first == NULL)
		pthread_cond_wait(&hasher->work, &hasher->mutex);
	job = hasher->ending ? NULL : list_take(&hasher->waiting);
	pthread_mutex_unlock(&hasher->mutex);
	return job;
}

static void
job_hand_back(struct hasher *hasher, struct job *job)
{
	uint64_t one = 1;

	pthread_mutex_lock(&hasher->mutex);
	list_add(&hasher->finished, job);
	pthread_mutex_unlock(&hasher->mutex);
	/* It can only fail by a full counter, and then the loop is awake anyway. */
	if (write(hasher->finished_fd, &one, sizeof(one)) != sizeof(one))
		return;
}

static void *
hasher_thread(void *argument)
{
	struct hasher *hasher = argument;
	struct job *job;

	/* On Linux, 0 is this thread alone. */
	setpriority(PRIO_PROCESS, 0, THREAD_NICENESS);
	while ((job = job_wait(hasher)) != NULL) {
		job_work(job);
		job_hand_back(hasher, job);
	}
	return NULL;
}

/* Signals stay with the main thread: a new one begins with its maker's mask. */
static bool
thread_start(struct hasher *hasher)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	hasher->started = pthread_create(&hasher->thread, NULL, hasher_thread, hasher) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return hasher->started;
}

/* ---------------------------------------------------------------- the event loop's side */

static struct job *
job_new(const char *password, hasher_done_fn *done, void *argument)
{
	size_t size = strlen(password) + 1;
	struct job *job = calloc(1, sizeof(*job) + size);

	if (job == NULL)
		fatal("out of memory");
	job->done = done;
	job->argument = argument;
	job->password_size = size;
	memcpy(job->password, password, size);
	return job;
}

static void
job_free(struct job *job)
{
	OPENSSL_cleanse(job->password, job->password_size);
	OPENSSL_cleanse(job->hash, sizeof(job->hash));
	free(job);
}

/* It goes to where the finished ones go, for the loop to call back. */
static void
job_refuse(struct hasher *hasher, struct job *job, enum hasher_status status)
{
	job->status = status;
	job_hand_back(hasher, job);
}

static void
job_submit(struct hasher *hasher, struct job *job)
{
	if (hasher->ending) {
		job_refuse(hasher, job, HASHER_ENDED);
		return;
	}
	if (!hasher->started && !thread_start(hasher)) {
		log_error("no thread for passwords can be started");
		job_refuse(hasher, job, HASHER_FAILED);
		return;
	}
	pthread_mutex_lock(&hasher->mutex);
	list_add(&hasher->waiting, job);
	pthread_cond_signal(&hasher->work);
	pthread_mutex_unlock(&hasher->mutex);
}

void
hasher_verify(struct hasher *hasher, const char *password, const char *hash, hasher_done_fn *done,
    void *argument)
{
	struct job *job = job_new(password, done, argument);

	job->knows_hash = hash != NULL;
	/* What is too long to be a hash is none, cut or not. */
	if (hash != NULL)
		strncpy(job->hash, hash, sizeof(job->hash) - 1);
	job_submit(hasher, job);
}

void
hasher_make(struct hasher *hasher, const char *password, hasher_done_fn *done, void *argument)
{
	struct job *job = job_new(password, done, argument);

	job->makes = true;
	job_submit(hasher, job);
}

static void
job_call_back(struct job *job, enum hasher_status status)
{
	job->done(job->argument, status, job->matches, job->hash);
	job_free(job);
}

static void
jobs_finished(evutil_socket_t fd, short what, void *argument)
{
	struct hasher *hasher = argument;
	struct job_list finished;
	struct job *job;
	uint64_t count;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		return;
	/* The callbacks may submit more; so the list is taken away from the thread first. */
	pthread_mutex_lock(&hasher->mutex);
	finished = list_take_all(&hasher->finished);
	pthread_mutex_unlock(&hasher->mutex);
	while ((job = list_take(&finished)) != NULL)
		job_call_back(job, job->status);
}

void
hasher_close(struct hasher *hasher)
{
	struct job_list waiting;
	struct job *job;

	pthread_mutex_lock(&hasher->mutex);
	hasher->ending = true;
	waiting = list_take_all(&hasher->waiting);
	pthread_cond_signal(&hasher->work);
	pthread_mutex_unlock(&hasher->mutex);
	while ((job = list_take(&waiting)) != NULL)
		job_refuse(hasher, job, HASHER_ENDED);
}

void
hasher_free(struct hasher *hasher)
{
	struct job *job;

	hasher_close(hasher);
	if (hasher->started)
		pthread_join(hasher->thread, NULL);
	while ((job = list_take(&hasher->finished)) != NULL)
		job_call_back(job, HASHER_ENDED);
	event_free(hasher->finished_event);
	close(hasher->finished_fd);
	pthread_cond_destroy(&hasher->work);
	pthread_mutex_destroy(&hasher->mutex);
	free(hasher);
}
