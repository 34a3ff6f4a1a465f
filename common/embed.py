"""Writes a text file as a C string: embed.py NAME INPUT OUTPUT gives `const char NAME[]`."""
import json
import sys

name, source, target = sys.argv[1:]
with open(source, encoding="ascii") as file:
    lines = file.readlines()
with open(target, "w", encoding="ascii") as file:
    # For ASCII, JSON's way to write a string is C's.
    literals = "\n".join("    " + json.dumps(line) for line in lines)
    file.write(f"extern const char {name}[];\nconst char {name}[] =\n{literals};\n")
