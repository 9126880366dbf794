#!/usr/bin/env python3
"""interrupt.py SIGNAL[+SIGNAL]... TARGET PROGRAM ARGUMENT... - runs the program and sends it the signals, one right
after the other, as soon as the temporary sibling of TARGET appears, or, when TARGET is -, a tenth of a second after it
has begun to catch the first of them, or, when it is =FILE, as soon as there is anything in FILE; exits with the program's
code, or 77 when it was over before. PROGRAM may be nohup, under which it goes on to its end."""
import os
import signal
import subprocess
import sys
import time

CANNOT_BE_CAUGHT = (signal.SIGKILL, signal.SIGSTOP)


def catches(process, number):
    with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as file:
        mask = next((line.split()[1] for line in file if line.startswith("SigCgt:")), "0")
    return int(mask, 16) >> (number - 1) & 1 == 1


def main():
    numbers = [getattr(signal, "SIG" + name) for name in sys.argv[1].split("+")]
    target, begun = sys.argv[2], False
    folder, name = os.path.split(os.path.abspath(target))

    def has_begun():
        if target == "-":
            return catches(child.pid, numbers[0])
        if target.startswith("="):
            return os.path.getsize(target[1:]) > 0
        return any(entry.startswith("." + name) for entry in os.listdir(folder))
    ignores = sys.argv[3] == "nohup"

    def as_from_a_shell():
        for number in numbers:
            if number not in CANNOT_BE_CAUGHT:
                signal.signal(number, signal.SIG_DFL)

    child = subprocess.Popen(sys.argv[3:], preexec_fn=as_from_a_shell)
    while child.poll() is None:
        begun = has_begun()
        if begun:
            time.sleep(0.1 if target == "-" else 0)
            for number in numbers:
                child.send_signal(number)
            break
        time.sleep(0.0005)
    code = child.wait(timeout=600)
    sys.exit(77 if code == 0 and not (begun and ignores) else code if code >= 0 else 128 - code)


main()
