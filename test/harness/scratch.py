"""
The run's scratch directory: everything the suite writes, and the working directory of every process it starts.

test/run gives its path in MITRAD_TEST_DIR and looks at the end for processes whose working directory is still in it
(leftovers.py).  Without test/run, a directory of our own is made and removed again.
"""

import atexit
import functools
import os
import shutil
import tempfile


@functools.cache
def root():
    """The directory; everyone may pass through it, for PostgreSQL may run as another user."""
    given = os.environ.get("MITRAD_TEST_DIR")
    if given:
        return given
    # Not TMPDIR: a socket's path must be short, and the postgres user must be able to get there.
    path = tempfile.mkdtemp(prefix="mitrad-test-", dir="/tmp")
    os.chmod(path, 0o755)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def directory(name, owner=None):
    """A new empty directory whose name begins with `name`, private to `owner` (a user's name; None: the caller)."""
    path = tempfile.mkdtemp(prefix=f"{name}-", dir=root())
    if owner is not None:
        shutil.chown(path, owner, group=-1)
    return path
