/* cidr: see cidr.h. */
#include "common/cidr.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static bool read_address(const char *text, uint8_t address[16], bool *is_ipv4);
static char *trim(char *text);

const char *
cidr_parse(struct arena *memory, const char *text, struct cidr *cidr)
{
	const char *slash = strchr(text, '/');
	char *address = slash ? arena_strndup(memory, text, (size_t)(slash - text))
			      : arena_strdup(memory, text);
	bool is_ipv4;
	int most, bits;

	if (!read_address(address, cidr->address, &is_ipv4))
		return arena_printf(memory, "\"%.60s\" does not begin with an IP address", text);
	most = is_ipv4 ? 32 : 128;
	bits = most;
	if (slash) {
		size_t digits = strspn(slash + 1, "0123456789");

		if (digits == 0 || digits > 3 || slash[1 + digits] != '\0')
			return arena_printf(
			    memory, "\"%.60s\" has no number of bits after the /", text);
		bits = atoi(slash + 1);
	}
	if (bits > most)
		return arena_printf(memory, "\"%.60s\" has more than %d bits", text, most);
	cidr->bits = bits + (128 - most);
	return NULL;
}

static bool
read_address(const char *text, uint8_t address[16], bool *is_ipv4)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	*is_ipv4 = inet_pton(AF_INET, text, address + sizeof(mapped)) == 1;
	if (!*is_ipv4)
		return inet_pton(AF_INET6, text, address) == 1;
	memcpy(address, mapped, sizeof(mapped));
	return true;
}

const char *
cidr_parse_list(struct arena *memory, const char *text, struct cidr **list, size_t *count)
{
	char *rest = arena_strdup(memory, text);
	char *entry;

	*count = 0;
	*list = arena_alloc(memory, (strlen(text) / 2 + 1) * sizeof(**list));
	if (text[0] == '\0')
		return NULL;
	while ((entry = strsep(&rest, ","))) {
		const char *reason = cidr_parse(memory, trim(entry), *list + *count);

		if (reason)
			return reason;
		(*count)++;
	}
	return NULL;
}

static char *
trim(char *text)
{
	size_t length;

	text += strspn(text, " \t");
	length = strlen(text);
	while (length > 0 && strchr(" \t", text[length - 1]))
		text[--length] = '\0';
	return text;
}

bool
cidr_contains(const struct cidr *cidr, const char *text)
{
	uint8_t address[16];
	bool is_ipv4;
	size_t whole = (size_t)cidr->bits / 8;
	int rest = cidr->bits % 8;

	if (!read_address(text, address, &is_ipv4) || memcmp(address, cidr->address, whole) != 0)
		return false;
	return rest == 0 || (address[whole] ^ cidr->address[whole]) >> (8 - rest) == 0;
}

bool
cidr_list_contains(const struct cidr *list, size_t count, const char *address)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (cidr_contains(&list[i], address))
			return true;
	return false;
}
