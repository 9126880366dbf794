#!/usr/bin/env python3
"""on_terminal.py PROGRAM ARGUMENT... - a run of the program with a terminal as its standard error, whose text is copied
to the standard error of this script."""
import os
import pty
import subprocess
import sys


def main():
    ours, theirs = pty.openpty()
    child = subprocess.Popen(sys.argv[1:], stderr=theirs)
    os.close(theirs)
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not data:
            break
        os.write(2, data)
    sys.exit(child.wait())


main()
