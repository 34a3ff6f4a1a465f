/* What request_id.h promises. */
#include "test/unit/unit.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/request_id.h"

TEST("a child's ids are not its parent's, nor another child's")
{
	char ids[3][REQUEST_ID_SIZE];
	int ends[2];

	request_id_new(ids[0]); /* there are random bytes for more, which a fork copies */
	CHECK(pipe(ends) == 0);
	for (int child = 0; child < 2; child++) {
		pid_t pid = fork();

		if (pid == 0) {
			request_id_new(ids[0]);
			_exit(write(ends[1], ids[0], sizeof(ids[0])) == sizeof(ids[0]) ? 0 : 1);
		}
		CHECK(pid > 0 && waitpid(pid, NULL, 0) == pid);
		CHECK(read(ends[0], ids[1 + child], sizeof(ids[0])) == sizeof(ids[0]));
	}
	request_id_new(ids[0]);
	CHECK(strcmp(ids[0], ids[1]) != 0);
	CHECK(strcmp(ids[0], ids[2]) != 0);
	CHECK(strcmp(ids[1], ids[2]) != 0);
	close(ends[0]);
	close(ends[1]);
}

TEST("an id is a UUID of version 4, and none comes twice")
{
	char before[REQUEST_ID_SIZE] = "", id[REQUEST_ID_SIZE];

	for (int i = 0; i < 1000; i++) {
		request_id_new(id);
		CHECK_NUMBER((int64_t)strlen(id), 36);
		CHECK(id[14] == '4' && strchr("89ab", id[19]) != NULL);
		CHECK(strcmp(before, id) != 0);
		memcpy(before, id, sizeof(id));
	}
}
