/* version: what this program is, and what it runs with. */
#ifndef SERVER_VERSION_H
#define SERVER_VERSION_H

#include <stdio.h>

/* "mitrad 0.1.0" and a line per library. */
void version_print(FILE *);

#endif
