#!/usr/bin/env python3
"""crash_worker.py PID - a SIGSEGV to the youngest thread of the process, never its first one, like a fault in that
thread."""
import ctypes
import os
import signal
import sys


def main():
    process = int(sys.argv[1])
    thread = max(int(name) for name in os.listdir(f"/proc/{process}/task"))
    if thread == process:
        sys.exit("there is one thread alone")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.tgkill(process, thread, signal.SIGSEGV) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))


main()
