"""The program under test as files and one-shot commands: where it was built, and how it is run to its end."""

import os
import subprocess

from . import scratch, tokens

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# An error found by a sanitizer ends the process and leaves a report in the scratch directory, where test/run looks.
SANITIZERS = {
    "ASAN_OPTIONS": "log_path={root}/sanitizer:exitcode=99:abort_on_error=0:detect_leaks=1",
    "UBSAN_OPTIONS": "log_path={root}/sanitizer:print_stacktrace=1",
}


def build():
    """The build directory: MITRAD_BUILD, or `build` in the repository."""
    return os.path.join(REPOSITORY, os.environ.get("MITRAD_BUILD", "build"))


def binary():
    return os.path.join(build(), "server", "mitrad")


def environment(settings=None):
    """
    A process environment with nothing of the caller's in it but the path: DATABASE_URL or PORT of somebody's shell must
    not reach a test.  A setting whose value is None is left out.
    """
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "AUTH_JWT_SECRET": tokens.SECRET}
    env.update({name: value.format(root=scratch.root()) for name, value in SANITIZERS.items()})
    env.update(settings or {})
    return {name: str(value) for name, value in env.items() if value is not None}


def run(*arguments, settings=None, check=False, timeout=60):
    """`mitrad ARGUMENTS…` to its end: a CompletedProcess with .returncode, .stdout and .stderr as text."""
    done = subprocess.run(
        [binary(), *arguments],
        cwd=scratch.root(),
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and done.returncode != 0:
        raise RuntimeError(f"mitrad {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done
