"""
What a run of the suite may not leave behind: processes, core files, reports of a sanitizer.

Every process of the suite works in the run's scratch directory, so /proc tells which are left.
"""

import os
import sys


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
    return 1 if left or found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
