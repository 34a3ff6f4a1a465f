/*
 * program: the file that this program was started from, and its arguments, so that it can be started
 * again.
 */
#ifndef SERVER_PROGRAM_H
#define SERVER_PROGRAM_H

/* A copy of argv, its first an absolute path: symbolic links in it stay, since an upgrade may turn them. */
char **program_copy_arguments(int argc, char **argv);
void program_free_arguments(char **argv);

#endif
