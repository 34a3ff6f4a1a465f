/*
 * app_config: what the operators have set in the table of that name, as far as this process itself
 * needs it: who counts as available, and how often a client may come.
 *
 * Read at start, at every `config:invalidate`, and whenever the subscription is renewed (what was
 * published in between is lost).  Until it has been read the defaults of app_config hold.  SQL
 * functions read app_config themselves.
 */
#ifndef SERVER_APP_CONFIG_H
#define SERVER_APP_CONFIG_H

#include <stddef.h>

struct app_config;
struct worker;

struct app_config *app_config_new(struct worker *);
/* Reads again, in the background; retried each second until it succeeds. */
void app_config_reload(struct app_config *);
void app_config_free(struct app_config *);

/* blast_wave_size: how many mitras are offered a session at once; 0: all. */
size_t app_config_blast_wave(const struct app_config *);

#endif
