"""
Writes the SQL of this folder as C: embed.py FOLDER OUTPUT DEPFILE.

The output defines what schema/files.h declares: every migration and every functions file with its text and hash.
The depfile names all of them and the folders themselves (whose time stamp changes with a file that comes or goes), so ninja
notices every change without a list kept by hand.
"""
import hashlib
import json
import pathlib
import re
import sys


def literal(text):
    # For printable characters, tabs and newlines JSON's way to write a string is C's.
    return "\n".join("\t\t" + json.dumps(line, ensure_ascii=False) for line in text.splitlines(keepends=True))


def table(name, files):
    rows = "".join(
        f"\t{{ {json.dumps(file.name)}, {json.dumps(hashlib.sha256(file.read_bytes()).hexdigest())},\n"
        f"{literal(file.read_text('utf-8'))} }},\n"
        for file in files)
    return (f"const struct schema_file schema_{name}[] = {{\n{rows}}};\n"
            f"const int schema_{name}_count = {len(files)};\n")


def main():
    folder, output, depfile = map(pathlib.Path, sys.argv[1:])
    migrations = sorted(folder.glob("[0-9]*.sql"))
    functions = sorted((folder / "functions").glob("*.sql"))

    for version, file in enumerate(migrations, start=1):
        if not re.fullmatch(rf"{version:03}_[a-z0-9_]+\.sql", file.name):
            sys.exit(f"{file}: migrations are numbered without a gap, {version:03}_… comes here")

    together = hashlib.sha256(b"".join(file.read_bytes() for file in functions)).hexdigest()
    stamp = f"version {len(migrations)}, functions {together}"
    output.write_text(
        '#include "schema/files.h"\n\n'
        + table("migrations", migrations)
        + table("functions", functions)
        + f"const char schema_stamp_text[] = {json.dumps(stamp)};\n", "utf-8")

    sources = [folder, folder / "functions", *migrations, *functions]
    depfile.write_text(f"{output.name}: " + " ".join(str(source.resolve()) for source in sources) + "\n", "utf-8")


main()
