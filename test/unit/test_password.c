/* What password.h promises. */
#include "unit.h"

#include <string.h>

#include "common/password.h"

/* Of "correct horse", salt 0…15; made by another program (Python's hashlib.scrypt), the second with other parameters. */
#define KNOWN \
	"$scrypt$ln=17,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$TGvJUUU1CgfkAA5rR1GVoLnHJ8JaBRe7wqx27cEOQmw"
#define KNOWN_SMALL \
	"$scrypt$ln=4,r=4,p=2$AAECAwQFBgcICQoLDA0ODw$ggRN54sXQ/AlLIVG86zBMnlsCBwc51BYHaI/3smZ2Hs"

TEST("a hash matches its password, and no other")
{
	char text[PASSWORD_HASH_SIZE];

	if (!CHECK(password_hash("correct horse", text)))
		return;
	CHECK(strncmp(text, "$scrypt$ln=17,r=8,p=1$", 22) == 0);
	CHECK(password_verify("correct horse", text) == PASSWORD_RIGHT);
	CHECK(password_verify("correct horsf", text) == PASSWORD_WRONG);
	CHECK(password_verify("correct hors", text) == PASSWORD_WRONG);
	CHECK(password_verify("", text) == PASSWORD_WRONG);
}

TEST("one password twice gives two hashes")
{
	char one[PASSWORD_HASH_SIZE], other[PASSWORD_HASH_SIZE];

	CHECK(password_hash("x", one) && password_hash("x", other));
	CHECK(strcmp(one, other) != 0);
}

TEST("what another implementation of scrypt made is understood")
{
	CHECK(password_verify("correct horse", KNOWN) == PASSWORD_RIGHT);
	CHECK(password_verify("correct horse", KNOWN_SMALL) == PASSWORD_RIGHT);
	CHECK(password_verify("Correct horse", KNOWN_SMALL) == PASSWORD_WRONG);
}

TEST("a user who does not exist has no password")
{
	CHECK(password_verify("", NULL) == PASSWORD_WRONG);
	CHECK(password_verify("correct horse", NULL) == PASSWORD_WRONG);
}

TEST("what is no hash matches nothing")
{
	static const char *const texts[] = { "", "x", "$scrypt$", "$scrypt$ln=17,r=8,p=1",
		"$scrypt$ln=17,r=8,p=1$$", "$2b$12$abcdefghijklmnopqrstuv", KNOWN_SMALL "A",
		KNOWN_SMALL "$", KNOWN_SMALL "\n",
		"$scrypt$ln=0,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$scrypt$ln=99,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$scrypt$ln=20,r=32,p=8$AAECAwQFBgcICQoLDA0ODw$"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$scrypt$ln=4,r=-8,p=1$AAECAwQFBgcICQoLDA0ODw$"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0OD$"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0OD*$"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$"
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		unit_about("%s", texts[i]);
		CHECK(password_verify("correct horse", texts[i]) == PASSWORD_WRONG);
	}
	unit_about("%s", "");
}
