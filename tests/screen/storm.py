#!/usr/bin/env python3
"""storm.py PID N NAME - signal NAME to the process, N times as fast as possible, or until it is gone."""
import os
import signal
import sys


def main():
    process, number = int(sys.argv[1]), getattr(signal, "SIG" + sys.argv[3])
    for _ in range(int(sys.argv[2])):
        try:
            os.kill(process, number)
        except ProcessLookupError:
            break


main()
