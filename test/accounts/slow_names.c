/*
 * slow_names: loaded before libc (LD_PRELOAD), a resolver whose name server does not answer for names under unanswered.example.
 */
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#define SILENCE_SECONDS 40

typedef int getaddrinfo_fn(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* All else here is hidden, see meson.build. */
__attribute__((visibility("default"))) int
getaddrinfo(
    const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	getaddrinfo_fn *real = (getaddrinfo_fn *)dlsym(RTLD_NEXT, "getaddrinfo");

	if (name == NULL || strstr(name, ".unanswered.example") == NULL)
		return real(name, service, hints, found);
	sleep(SILENCE_SECONDS);
	return EAI_AGAIN;
}
