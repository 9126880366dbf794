#!/usr/bin/env python3
"""interrupt.py SIGNAL TARGET PROGRAM ARGUMENT... - runs the program and sends it the signal as soon as the temporary
sibling of TARGET appears, or after half a second when TARGET is -; exits with the program's code, or 77 when it was
over before."""
import os
import signal
import subprocess
import sys
import time


def main():
    number = getattr(signal, "SIG" + sys.argv[1])
    target, start = sys.argv[2], time.monotonic()
    folder, name = os.path.split(os.path.abspath(target))
    child = subprocess.Popen(sys.argv[3:], preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    while child.poll() is None:
        begun = (time.monotonic() - start > 0.5 if target == "-" else
                 any(entry.startswith("." + name) for entry in os.listdir(folder)))
        if begun:
            child.send_signal(number)
            break
        time.sleep(0.0005)
    code = child.wait(timeout=60)
    sys.exit(77 if code == 0 else code if code > 0 else 128 - code)


main()
