"""
What a run of the suite may not leave behind: processes, core files, reports of a sanitizer, secrets in a log.

Every process of the suite works in the run's scratch directory, so /proc tells which are left.
"""

import os
import re
import sys

# Access tokens; refresh tokens, salts and hashes of passwords; the suite's own secrets. Codes have a test of their own
# (accounts/test_senders.py), as six digits may be anything.
SECRETS = re.compile(
    r"eyJ[\w-]{8,}\.eyJ[\w-]+\.[\w-]*"
    r"|(?<![\w-])(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*[0-9])[\w-]{43}(?![\w-])"
    r"|\$scrypt\$"
    r"|[\w-]*secret-of-the-(?:test-)?suite[\w-]*"
)


def processes(root):
    """["pid title", …] of all processes whose working directory is in `root`."""
    left = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            where = os.readlink(f"/proc/{name}/cwd")
            with open(f"/proc/{name}/cmdline", "rb") as cmdline:
                title = cmdline.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if where == root or where.startswith(root + "/"):
            left.append(f"{name} {title}")
    return left


def reports(root):
    """Paths of core files and sanitizer reports in `root`."""
    found = []
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            if name == "core" or name.startswith("core.") or (name.startswith("sanitizer.") and says_something(path)):
                found.append(path)
    return sorted(found)


def says_something(path):
    """Not if a test killed the process in the midst of its leak check, of which there is this one line."""
    with open(path, encoding="utf-8", errors="replace") as report:
        return any("Unable to get registers from thread" not in line for line in report)


def secrets(root):
    """["path: the secret that stands there", …] of all logs of mitrad."""
    found = []
    for directory, _, names in os.walk(root):
        if "log" not in names or not os.path.basename(directory).startswith("mitrad-"):
            continue
        path = os.path.join(directory, "log")
        with open(path, encoding="utf-8", errors="replace") as log:
            found += sorted({f"{path}: {match[0]}" for match in SECRETS.finditer(log.read())})
    return found


def main(root):
    left = processes(root)
    for line in left:
        print(f"left over: process {line}", file=sys.stderr)
    found = reports(root)
    for path in found:
        print(f"left over: {path}", file=sys.stderr)
        if "sanitizer." in path:
            with open(path, encoding="utf-8", errors="replace") as report:
                print(report.read(6000), file=sys.stderr)
    told = secrets(root)
    for line in told:
        print(f"a secret in a log: {line}", file=sys.stderr)
    return 1 if left or found or told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
