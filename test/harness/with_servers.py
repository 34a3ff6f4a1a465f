"""
Runs a command with a PostgreSQL and a Valkey of its own, and ends them with it:

    python3 test/harness/with_servers.py -- meson test -C build

The command finds them in MITRAD_TEST_DATABASE_URL (an empty database) and MITRAD_TEST_VALKEY_URL.
"""

import os
import subprocess
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from harness.postgres import Postgres  # noqa: E402  (the path comes first)
from harness.valkey import Valkey  # noqa: E402


def main(arguments):
    command = arguments[1:] if arguments[:1] == ["--"] else arguments
    if not command:
        sys.exit(__doc__.strip())
    postgres = Postgres()
    valkey = Valkey().start()
    try:
        servers = {
            "MITRAD_TEST_DATABASE_URL": postgres.create_database(migrated=False).url,
            "MITRAD_TEST_VALKEY_URL": valkey.url,
        }
        return subprocess.run(command, env={**os.environ, **servers}, check=False).returncode
    finally:
        valkey.stop()
        postgres.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
