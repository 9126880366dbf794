#!/usr/bin/env python3
"""crash_worker.py PID - a SIGSEGV to the youngest thread of the process, never its first one, like a fault in that
thread."""
import ctypes
import os
import signal
import sys


def main():
    process = int(sys.argv[1])
    others = {int(name) for name in os.listdir(f"/proc/{process}/task")} - {process}
    if not others:
        sys.exit("there is one thread alone")
    thread = max(others, key=lambda number: (number < process, number))  # numbers begin anew after the largest
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.tgkill(process, thread, signal.SIGSEGV) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))


main()
