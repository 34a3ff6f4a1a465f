/*
 * version: libraries are asked what they are now, which may be newer than what we were compiled with.
 * hiredis and libjwt cannot be asked; their version is the compiled one, and only newer libjwt tells
 * even that.
 */
#include "server/version.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <jwt.h>
#include <libpq-fe.h>
#include <openssl/crypto.h>
#include <yajl/yajl_version.h>

#ifndef MITRAD_LIBJWT_VERSION
#define MITRAD_LIBJWT_VERSION "unknown"
#endif

void
version_print(FILE *out)
{
	int libpq = PQlibVersion();
	int yajl = yajl_version();

	fprintf(out, "mitrad " MITRAD_VERSION "\n");
	fprintf(out, "libevent %s\n", event_get_version());
	fprintf(out, "libpq %d.%d\n", libpq / 10000, libpq % 10000);
	fprintf(out, "hiredis %d.%d.%d\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
	fprintf(out, "yajl %d.%d.%d\n", yajl / 10000, yajl / 100 % 100, yajl % 100);
	fprintf(out, "libjwt " MITRAD_LIBJWT_VERSION "\n");
	fprintf(out, "%s\n", OpenSSL_version(OPENSSL_VERSION));
	fprintf(out, "libcurl %s\n", curl_version_info(CURLVERSION_NOW)->version);
}
