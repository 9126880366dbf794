#!/usr/bin/env python3
"""graft.py PRE POST PATTERN TARGET - a copy of the folder POST in which the tensors whose names match the regular
expression have PRE's values, for what no choice of the program moves. Each checkpoint is one model.safetensors."""
import os
import re
import shutil
import sys

from stored_file import read_file, write_file


def main():
    pre, post, pattern, target = sys.argv[1:]
    shutil.copytree(post, target, copy_function=shutil.copyfile)
    file = "model.safetensors"
    ours, theirs = read_file(os.path.join(post, file)), read_file(os.path.join(pre, file))
    names = [name for name in ours if re.search(pattern, name)]
    if not names:
        sys.exit(f"{post}: no tensor matches {pattern}")
    write_file(os.path.join(target, file), ours | {name: theirs[name] for name in names})
    print("\n".join(names))


main()
