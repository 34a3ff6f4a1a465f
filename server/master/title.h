/* title: what `ps` shows of this process. */
#ifndef SERVER_TITLE_H
#define SERVER_TITLE_H

/*
 * Call first in main(): moves the environment away from where the title will be written. argv becomes
 * unusable afterwards.
 */
void title_init(int argc, char **argv);
/* "mitrad: worker 1"; cut where the space ends. */
void title_set(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
