/* handover_text: what one program tells the next one, as text. Used by handover.c only. */
#ifndef SERVER_HANDOVER_TEXT_H
#define SERVER_HANDOVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct instance;

/* previous_program: a descriptor of the program to go back to, or -1. */
void handover_text_write(const struct instance *, int previous_program, FILE *);

/* The descriptor of the program to go back to, if at least so much can be read; else -1. */
int handover_text_program(const char *text);
/*
 * Fills the instance and makes its running generation.  False: something in it is wrong or is not as it
 * says: a descriptor that is no socket, a pid that is no child of ours.  Then the instance is
 * unchanged.
 */
bool handover_text_read(struct instance *, const char *text, size_t length)
    __attribute__((warn_unused_result));

#endif
