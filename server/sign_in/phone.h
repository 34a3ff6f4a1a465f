/* phone: telephone numbers as people type them, made one: E.164, Indonesian habits normalised. */
#ifndef SERVER_PHONE_H
#define SERVER_PHONE_H

#include <stdbool.h>

#define PHONE_SIZE 17 /* '+', 15 digits and a NUL (E.164) */

/*
 * "0812 3456-7890", "62812…", "+62812…" and "0062812…" all become "+62812…"; other countries' numbers
 * need their '+' or "00". False if it is no number: too short, too long, or with characters other than
 * digits, blanks, '-', '.', '(' and ')'.
 */
bool phone_normalise(const char *text, char phone[PHONE_SIZE]);

#endif
