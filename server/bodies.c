/*
 * bodies: checks a parsed body against bodies.def, member by member, and reports every fault, not just
 * the first.
 */
#include "server/bodies.h"

#include <string.h>

#include "common/email.h"
#include "common/password_rule.h"
#include "common/utf8.h"
#include "server/display_name.h"
#include "server/sign_in/phone.h"
#include "server/request.h"

enum field_kind {
	FIELD_PHONE,
	FIELD_NAME,
	FIELD_FLAG,
	FIELD_UUID,
	FIELD_CODE,
	FIELD_TOKEN,
	FIELD_EMAIL,
	FIELD_PASSWORD,
	FIELD_ROLE,
	FIELD_MINUTES,
};

enum field_presence {
	FIELD_REQUIRED,
	FIELD_OPTIONAL,
	FIELD_FREE,
};

/* A row of bodies.def: key NULL opens the body `body`. */
struct field {
	enum body body;
	const char *key;
	enum field_kind kind;
	enum field_presence presence;
};

static const struct field rows[] = {
#define BODY(name)                 { BODY_##name, NULL, 0, 0 },
#define FIELD(key, kind, presence) { 0, #key, FIELD_##kind, FIELD_##presence },
#include "server/bodies.def"
#undef BODY
#undef FIELD
	{ 0, NULL, 0, 0 },
};

#define TOKEN_LENGTH_MAX 8192
#define MINUTES_MAX      1440

/* Where the fields of a body begin; they end at the next row without a key. */
static const struct field *
fields_of(enum body body)
{
	const struct field *row = rows;

	while (row->key != NULL || row->body != body)
		row++;
	return row + 1;
}

static const char *
check_phone(struct request *r, struct json *member)
{
	char phone[PHONE_SIZE];

	if (member->type != JSON_STRING)
		return "must be a string";
	if (!phone_normalise(member->text, phone))
		return "must be a phone number, such as +6281234567890";
	member->text = request_keep(r, phone);
	member->length = strlen(phone);
	return NULL;
}

static const char *
check_name(struct request *r, struct json *member)
{
	const char *name, *fault;

	if (member->type != JSON_STRING)
		return "must be a string";
	name = display_name_read(&r->arena, member->text, member->length, &fault);
	if (name == NULL)
		return fault;
	member->text = name;
	member->length = strlen(name);
	return NULL;
}

static const char *
check_uuid(struct request *r, struct json *member)
{
	char id[UUID_SIZE];

	if (member->type != JSON_STRING || !uuid_parse(member->text, member->length, id))
		return "must be a UUID";
	member->text = request_keep(r, id);
	return NULL;
}

static const char *
check_code(const struct json *member)
{
	if (member->type != JSON_STRING)
		return "must be a string";
	if (member->length < 4 || member->length > 10 ||
	    member->text[strspn(member->text, "0123456789")] != '\0')
		return "must have 4 to 10 digits";
	return NULL;
}

static const char *
check_token(const struct json *member)
{
	if (member->type != JSON_STRING)
		return "must be a string";
	if (member->length == 0 || member->length > TOKEN_LENGTH_MAX)
		return "must have 1 to 8192 characters";
	for (const char *at = member->text; *at != '\0'; at++)
		if (*at <= ' ' || *at > '~')
			return "must be printable ASCII without blanks";
	return NULL;
}

static const char *
check_email(struct request *r, struct json *member)
{
	char *lower;

	if (member->type != JSON_STRING)
		return "must be a string";
	if (!email_valid(member->text))
		return "must be an e-mail address";
	lower = arena_strndup(&r->arena, member->text, member->length);
	for (char *c = lower; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	member->text = lower;
	return NULL;
}

static const char *
check_password(const struct json *member)
{
	if (member->type != JSON_STRING)
		return "must be a string";
	if (member->length == 0 || utf8_characters(member->text) > PASSWORD_CHARACTERS_MOST)
		return "must have 1 to 256 characters";
	return NULL;
}

static const char *
check_role(const struct json *member)
{
	if (member->type != JSON_STRING ||
	    (strcmp(member->text, "admin") != 0 && strcmp(member->text, "agent") != 0))
		return "must be admin or agent";
	return NULL;
}

static const char *
check_minutes(struct request *r, struct json *member)
{
	if (member->type != JSON_INTEGER || member->integer < 1 || member->integer > MINUTES_MAX)
		return "must be an integer from 1 to 1440";
	member->text = arena_printf(&r->arena, "%d", (int)member->integer);
	member->length = strlen(member->text);
	member->type = JSON_STRING;
	return NULL;
}

static const char *
check_member(struct request *r, const struct field *field, struct json *member)
{
	switch (field->kind) {
	case FIELD_PHONE:
		return check_phone(r, member);
	case FIELD_NAME:
		return check_name(r, member);
	case FIELD_FLAG:
		return member->type == JSON_BOOLEAN ? NULL : "must be true or false";
	case FIELD_UUID:
		return check_uuid(r, member);
	case FIELD_CODE:
		return check_code(member);
	case FIELD_TOKEN:
		return check_token(member);
	case FIELD_EMAIL:
		return check_email(r, member);
	case FIELD_PASSWORD:
		return check_password(member);
	case FIELD_ROLE:
		return check_role(member);
	case FIELD_MINUTES:
		return check_minutes(r, member);
	}
	return "is of no known kind";
}

static const struct field *
field_find(const struct field *fields, const char *key)
{
	for (; fields->key != NULL; fields++)
		if (strcmp(fields->key, key) == 0)
			return fields;
	return NULL;
}

/* A copy of the members that may be changed while they are checked; the parsed tree stays as it was. */
static struct json *
members_copy(struct request *r, const struct json *object)
{
	struct json *copy = arena_alloc(&r->arena, sizeof(*copy));
	struct json **last = &copy->first;

	*copy = *object;
	for (const struct json *from = object->first; from != NULL; from = from->next) {
		struct json *member = arena_alloc(&r->arena, sizeof(*member));

		*member = *from;
		*last = member;
		last = &member->next;
	}
	return copy;
}

bool
body_is_needed(enum body body)
{
	if (body == BODY_NONE)
		return false;
	if (body == BODY_ANY_OBJECT)
		return true;
	for (const struct field *field = fields_of(body); field->key != NULL; field++)
		if (field->presence != FIELD_FREE)
			return true;
	return false;
}

bool
body_check(struct request *r, enum body body, const struct json *object)
{
	const struct field *fields;
	struct json *checked;

	r->body = object;
	if (body == BODY_NONE)
		return true;
	if (object->type != JSON_OBJECT) {
		request_fault(r, "", "the body must be a JSON object");
		return false;
	}
	fields = fields_of(body);
	if (body == BODY_ANY_OBJECT)
		return true;
	checked = members_copy(r, object);
	for (struct json *member = checked->first; member != NULL; member = member->next) {
		const struct field *field = field_find(fields, member->key);
		const char *fault = field == NULL ? "is not known here"
						  : check_member(r, field, member);

		if (fault != NULL)
			request_fault(r, member->key, fault);
	}
	for (const struct field *field = fields; field->key != NULL; field++)
		if (field->presence == FIELD_REQUIRED && json_member(object, field->key) == NULL)
			request_fault(r, field->key, "is required");
	if (r->faults == NULL && body_is_needed(body) && object->first == NULL)
		request_fault(r, "", "at least one member is needed");
	r->body = checked;
	return r->faults == NULL;
}

const char *
body_text(const struct request *r, const char *key)
{
	const struct json *member = r->body == NULL ? NULL : json_member(r->body, key);

	return member == NULL || member->type != JSON_STRING ? NULL : member->text;
}

bool
body_has(const struct request *r, const char *key)
{
	return r->body != NULL && json_member(r->body, key) != NULL;
}

const char *
body_json(struct request *r)
{
	struct json_writer *writer = json_writer_new(&r->arena);

	json_value(writer, r->body);
	return json_text(writer, NULL);
}
