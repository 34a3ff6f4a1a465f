"""
What the tests stand on: private PostgreSQL and Valkey servers, a proxy that misbehaves on request, the program under
test, and tokens good and bad.  Each file has one subject; test/conftest.py turns them into fixtures.

Everything here is parallel-safe: servers listen on ports of their own, and every file lies in the run's scratch
directory (scratch.py), which is also how the suite proves at its end that no process was left over.
"""
