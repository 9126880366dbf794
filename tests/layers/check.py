#!/usr/bin/env python3
"""check.py - the rules of the house, checked on the sources under src/ and ui/.

check.py TREE prints FILE:LINE: MESSAGE for whatever breaks a rule, and ends with 1 if anything does.
check.py --table TREE prints the folders with their share of the lines, and how near the sources are to the limits.
"""
import os
import re
import sys

# An include points to a room earlier in this list, or stays in its own. src/main.c knows all rooms.
ROOMS = ("base", "tensor", "model", "linalg", "drift", "token", "forward", "blend", "range", "export", "eval",
         "session", "cli", "ui")
# The screen asks the session. These rooms open checkpoints, compute numbers, or are the other front end.
CLOSED_TO_UI = ("tensor", "model", "linalg", "token", "forward", "cli")
CURSES = re.compile(r"(?:n?curses|term|panel|menu|form)(?:w)?\.h$|^ncursesw?/")
OPENS = re.compile(r"\bqk_(?:checkpoint|safetensors|torch|model|pair|tokenizer|hub|remote)_(?:open|resolve|start)\w*\(")

MOST_SHARE = 18  # per cent of the lines of src/ and ui/ in the own files of one folder
MOST_LINES = 60  # of a function, from the first line of its head to its last brace
MOST_LONG_FUNCTIONS = 1
MOST_PROTOTYPES = 25  # of a header
MOST_WIDTH = 120  # characters of a line
# A file is a thing: its first words are neither a clause nor a verb.
NOT_A_NOUN = ("around", "between", "from", "how", "what", "when", "where", "whether", "which", "who", "why",
              "fills", "opens", "picks", "prints", "puts", "reads", "writes")
HEADING_LINES = 2  # a header names the files behind it so early

# What is not true yet: (rule, file) or (rule, folder). A row that is no longer needed fails, and goes.
KNOWN = set()


class File:
    """A source file: its path in the tree, its lines, and its text with comments, strings and directives blanked."""

    def __init__(self, tree, path):
        self.path = path
        with open(os.path.join(tree, path), encoding="utf-8") as file:
            text = file.read()
        self.lines = text.removesuffix("\n").split("\n") if text else []
        self.code = blank(text)
        self.code_lines = self.code.split("\n")
        self.folder = os.path.dirname(path)
        self.name = os.path.basename(path)
        parts = path.split("/")
        self.room = "ui" if parts[0] == "ui" else parts[1] if len(parts) > 2 else None


def blank(text):
    """The text with comments, literals and preprocessor directives as blanks; every line break stays."""
    token = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|^[ \t]*\#(?:\\\n|[^\n])*",
                       re.DOTALL | re.MULTILINE)
    return token.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def read_tree(tree):
    """Every .c and .h file below src/ and ui/."""
    paths = []
    for top in ("src", "ui"):
        for folder, _, names in os.walk(os.path.join(tree, top)):
            paths += [os.path.relpath(os.path.join(folder, name), tree) for name in names if name.endswith((".c", ".h"))]
    return [File(tree, path) for path in sorted(paths)]


# --- the rules: each yields (file or folder, line, message) ---

def check_arrows(files):
    """Includes point down, curses stays on the screen, and the screen opens nothing."""
    for file in files:
        for number, line in enumerate(file.lines, 1):
            include = re.match(r"\s*#\s*include\s*([\"<])([^\">]*)[\">]", line)
            if include and include.group(1) == '"':
                wrong = wrong_include(file, include.group(2))
            elif include:
                wrong = file.room != "ui" and CURSES.search(include.group(2)) and \
                    "includes %s: only ui/ draws" % include.group(2)
            else:
                wrong = file.room == "ui" and OPENS.search(file.code_lines[number - 1]) and \
                    "opens a checkpoint: that is for the session"
            if wrong:
                yield file.path, number, wrong


def wrong_include(file, name):
    """What is wrong with the include of a header of the project, or None."""
    room = name.split("/")[0]
    if "/" not in name or room not in ROOMS:
        return "includes %s: not a path from src/ or the top (expected ROOM/NAME.h)" % name
    if file.room is None:
        return None
    if file.room not in ROOMS:
        return "lies in no room of the list (found %s)" % file.room
    if ROOMS.index(room) > ROOMS.index(file.room):
        return "includes %s: the arrow points up (%s comes before %s)" % (name, file.room, room)
    if file.room == "ui" and room in CLOSED_TO_UI:
        return "includes %s: ui/ asks the session instead" % name
    return None


def check_threads(files):
    """Every thread has the second stack that only one file gives it."""
    for file in files:
        for number, line in enumerate(file.code_lines, 1):
            if re.search(r"\bpthread_create\b", line) and file.path != "src/base/thread.c":
                yield file.path, number, "starts a thread: qk_thread_start gives it a stack for handlers of signals"


def folder_lines(files):
    """Folder -> number of lines of its own files."""
    lines = {}
    for file in files:
        lines[file.folder] = lines.get(file.folder, 0) + len(file.lines)
    return lines


def check_shares(files):
    """No folder holds too much of the whole."""
    lines = folder_lines(files)
    for folder, own in sorted(lines.items()):
        share = 100 * own / sum(lines.values())
        if share > MOST_SHARE:
            yield folder, None, "holds %.1f %% of all lines (expected at most %d %%)" % (share, MOST_SHARE)


def check_headers(files):
    """Every source file of a room has a header of its name, or a header of its folder names it."""
    headers = {file.path for file in files if file.name.endswith(".h")}
    for file in files:
        if file.room is None or file.name.endswith(".h") or file.path[:-1] + "h" in headers:
            continue
        named = set()
        for header in files:
            if header.folder == file.folder and header.name.endswith(".h"):
                named.update(re.findall(r"\w+\.c\b", " ".join(header.lines[:HEADING_LINES])))
        if not any(re.fullmatch(re.sub("NAME", r"\\w+", name), file.name) for name in named):
            yield file.path, 1, "has no header %sh, and no header of %s names it in its first line" % (
                file.name[:-1], file.folder)


def check_first_lines(files):
    """A file opens with its name and what it is."""
    for file in files:
        first = file.lines[0] if file.lines else ""
        heading = re.match(r"/\* %s - ([\w-]+)" % re.escape(file.name), first)
        if heading is None:
            yield file.path, 1, "the first line is not '/* %s - WHAT IT IS' (found '%.40s')" % (file.name, first)
        elif heading.group(1) in NOT_A_NOUN:
            yield file.path, 1, "the first line does not say what it is in a noun phrase (found '%s ...')" % (
                heading.group(1))


def check_widths(files):
    """No line is too long."""
    for file in files:
        for number, line in enumerate(file.lines, 1):
            if len(line) > MOST_WIDTH:
                yield file.path, number, "%d characters (expected at most %d)" % (len(line), MOST_WIDTH)


def functions(file):
    """(name, first line, number of lines) of every function: its braces stand alone in the first column."""
    lines, start = file.code_lines, None
    for i, line in enumerate(lines):
        if line.rstrip() == "{":
            start = i
            while start > 0 and lines[start - 1].strip() and not lines[start - 1].rstrip().endswith((";", "}")):
                start -= 1
        elif line.rstrip() == "}" and start is not None:
            head = re.search(r"(\w+)\s*\(", " ".join(lines[start:i]))
            yield head.group(1) if head else "?", start + 1, i - start + 1
            start = None


def long_functions(files):
    """(file, name, line, lines) of every function that is too long, the longest first."""
    found = [(file, name, line, n) for file in files for name, line, n in functions(file) if n > MOST_LINES]
    return sorted(found, key=lambda row: -row[3])


def check_functions(files):
    """Long functions are few."""
    found = long_functions(files)
    for file, name, line, n in found if len(found) > MOST_LONG_FUNCTIONS else []:
        yield file.path, line, "%s has %d lines (%d functions have more than %d, expected at most %d)" % (
            name, n, len(found), MOST_LINES, MOST_LONG_FUNCTIONS)


def prototypes(file):
    """The lines of the functions that a header declares, also those of one type with commas between them."""
    text, before = file.code, None
    while text != before:  # what stands in brackets goes; a function's ( ) leaves an @ behind its name
        before = text
        text = re.sub(r"\{[^(){}\[\]]*\}|\[[^(){}\[\]]*\]", newlines, text)
        text = re.sub(r"\([^(){}\[\]]*\)", lambda match: "@" + newlines(match), text)
    found, line = [], 1
    for declaration in text.split(";"):
        words = declaration.split() or [""]
        start = line + len(re.match(r"\s*", declaration).group().split("\n")) - 1
        line += declaration.count("\n")
        if words[0] in ("", "typedef", "extern"):
            continue
        names = set(re.findall(r"(\w+)\s*@", declaration)) - {"__attribute__", "_Static_assert"}
        by_type = not names and len(words) > 1 and words[0] not in ("struct", "enum", "union")
        found += [start] * (len(declaration.split(",")) if by_type else len(names))
    return found


def newlines(match):
    """The line breaks of what was found."""
    return "\n" * match.group().count("\n")


def check_prototypes(files):
    """A header declares few functions."""
    for file in files:
        if file.name.endswith(".h"):
            found = prototypes(file)
            if len(found) > MOST_PROTOTYPES:
                yield file.path, found[MOST_PROTOTYPES], "%d prototypes (expected at most %d)" % (
                    len(found), MOST_PROTOTYPES)


RULES = (
    ("arrow", check_arrows),
    ("thread", check_threads),
    ("share", check_shares),
    ("header", check_headers),
    ("first line", check_first_lines),
    ("width", check_widths),
    ("function", check_functions),
    ("prototypes", check_prototypes),
)


# --- the output ---

def check(files):
    """Prints what breaks a rule; the number of lines printed."""
    needed, wrong = set(), 0
    for rule, find in RULES:
        for path, line, message in find(files):
            needed.add((rule, path))
            if (rule, path) not in KNOWN:
                print("%s: %s" % (path if line is None else "%s:%d" % (path, line), message))
                wrong += 1
    for rule, path in sorted(KNOWN - needed):
        print("%s: no longer an exception to '%s': remove its row from KNOWN in check.py" % (path, rule))
        wrong += 1
    return wrong


def print_table(files):
    """The folders with their lines, the long functions, and the headers with most prototypes."""
    lines = folder_lines(files)
    total = sum(lines.values())
    print("%-18s %6s %7s %6s" % ("folder", "files", "lines", "share"))
    for folder, own in sorted(lines.items(), key=lambda row: -row[1]):
        count = sum(file.folder == folder for file in files)
        print("%-18s %6d %7d %5.1f%%" % (folder, count, own, 100 * own / total))
    print("%-18s %6d %7d" % ("all", len(files), total))
    print("\nfunctions over %d lines: %d" % (MOST_LINES, len(long_functions(files))))
    for file, name, line, n in long_functions(files):
        print("%6d  %s:%d %s" % (n, file.path, line, name))
    print("\nmost prototypes in a header")
    counts = sorted(((len(prototypes(file)), file.path) for file in files if file.name.endswith(".h")), reverse=True)
    for count, path in counts[:5]:
        print("%6d  %s" % (count, path))


def main():
    words = sys.argv[1:]
    table = words[:1] == ["--table"]
    if len(words) != 1 + table:
        sys.exit("usage: check.py [--table] TREE")
    files = read_tree(words[-1])
    if not files:
        sys.exit("%s: no sources here" % words[-1])
    if table:
        print_table(files)
        return 0
    return 1 if check(files) else 0


if __name__ == "__main__":
    sys.exit(main())
