/* statuses: the HTTP statuses this server answers with, numbered for counting. */
#ifndef SERVER_STATUSES_H
#define SERVER_STATUSES_H

/* Its place among them; those that are not listed share the last one, 0. */
int status_index(int status);
int status_at(int index);

#endif
