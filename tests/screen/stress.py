#!/usr/bin/env python3
"""stress.py - random keys for the real program while it computes, and the checks that it survives them.

    stress.py [--seconds N] [--seed N] [--answer SECONDS] QKSCOPE PAGE PRE POST [PRE POST]...

Runs the program in a pseudo-terminal and a temporary folder, below a shell of a few lines that knows Ctrl-Z. After
each end it starts again, on the next pair. Keys and names are those of the manual page PAGE, which comes from the
program's own table. A key or a signal ends it during any work. All of this must hold:

  - within --answer seconds (20) a new size brings a new frame, and the last keys have their effects
  - it ends with its code and restores the terminal's modes, also whenever it is stopped
  - it prints nothing on standard error, leaves no temporary name, and changes no input
  - no sanitizer reports anything

The keys follow from the seed alone; their times depend on the machine.
"""
import argparse
import collections
import curses
import fcntl
import hashlib
import os
import pty
import random
import re
import select
import shutil
import signal
import struct
import sys
import tempfile
import termios
import time

TERM = "xterm-256color"
CLEAR = b"\x1b[H\x1b[2J"
SCREEN_LEFT = b"\x1b[?1049l"
SEQUENCE = re.compile(rb"\x1b\[[?>]?[0-9;]*[@-~]|\x1b[()][0-9A-B]")
CAPABILITY = {"Up": "kcuu1", "Down": "kcud1", "Left": "kcub1", "Right": "kcuf1", "Home": "khome", "End": "kend",
              "PgUp": "kpp", "PgDn": "knp", "Delete": "kdch1", "Shift-Tab": "kcbt", "F1": "kf1", "F5": "kf5"}
PLAIN = {"Space": b" ", "Enter": b"\r", "Esc": b"\x1b", "Tab": b"\t", "Backspace": b"\x7f"}
# The texts for prompts. No '/' is ever typed, so all output stays below our own folder.
WORDS = ["full", "linear", "all", "1,4-7", "3", "routing>0.1", "q.angle>=2", "k.rel_fro>", "full=restore",
         "all=procrustes:0.5", "1,4:q=lerp:0.3", "7=qk-pro:0.2", "2=keep", "lerp:0.4", "qk-pro", "0.35", "1e9", "-1",
         "1", "0.05", "routing", "shift", "choice", "ids.txt", "text.txt", "one.json", "two.json", "new", "newer",
         "needle", "é漢", ""]
ENDED = "qkscope: the screen was ended from outside\n"
SIGNALS = ["TERM", "HUP", "INT", "QUIT"]
SHELL_IGNORES = [signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU]


class Failure(Exception):
    pass


# --- what can be pressed ---


def read_table(page):
    """[(name, [key, ...]), ...] of the manual's section KEYS."""
    with open(page, encoding="utf-8") as file:
        text = file.read().partition("\n.SH KEYS\n")[2].partition("\n.SH ")[0]
    for roff, plain in (("\\-", "-"), ("\\e", "\\"), ("\\(ha", "^"), ("\\(ti", "~"), ("\\(aq", "'"), ("\\&", "")):
        text = text.replace(roff, plain)
    rows = re.findall(r"^\\fB(.*)\\fR \(\\fI:(.*)\\fR\)$", text, re.M)
    if len(rows) < 20:
        sys.exit(f"stress.py: {page} has no table of keys")
    return [(name, [] if keys == "(no key)" else keys.split()) for keys, name in rows]


def key_bytes(key):
    if key in PLAIN:
        return PLAIN[key]
    if key in CAPABILITY:
        return curses.tigetstr(CAPABILITY[key])
    if key.startswith("Ctrl-"):
        return bytes([ord(key[5]) & 0x1F])
    return key.encode()


class Dice:
    """Steps from a seed: lists of (what, value), the vocabulary of Run.play."""

    def __init__(self, seed, table):
        self.random = random.Random(seed)
        keys = [key for name, keys in table for key in keys if name not in ("quit", "close", "suspend")]
        self.keys = [key for key in keys if key != "/"]
        self.names = [name for name, _ in table if name not in ("quit", "close", "suspend")]
        self.often = [key for name, keys in table for key in keys if name in (
            "up", "down", "restore", "mode", "more", "less", "undo", "redo", "sort", "mark", "range", "first", "last")]
        kinds = {self.key: 46, self.toggling: 12, self.command: 8, self.answer: 10, self.burst: 4, self.size: 5,
                 self.storm: 2, self.stop: 2, self.click: 3, self.paste: 1, self.noise: 1, self.work: 8, self.rest: 4,
                 self.leave: 1}
        self.kinds, self.weights = list(kinds), list(kinds.values())

    def step(self):
        return self.random.choices(self.kinds, self.weights)[0]()

    def pick(self, list_):
        return ("key", self.random.choice(list_))

    def key(self):
        return [self.pick(self.keys)]

    def toggling(self):
        return [self.pick(self.often)]

    def command(self):
        text = ":" + self.random.choice(self.names + ["search"])
        if self.random.random() < 0.5:
            text += " " + self.random.choice(WORDS)
        return [("text", text), ("key", self.random.choice(["Enter", "Enter", "Enter", "Tab", "Esc"]))]

    def answer(self):
        before = [("key", "Ctrl-U")] if self.random.random() < 0.7 else []
        end = self.random.choice(["Enter", "Enter", "Enter", "Tab", "Esc", "Up", "Backspace"])
        return before + [("text", self.random.choice(WORDS)), ("key", end)]

    def burst(self):
        return [("keys", [self.random.choice(self.often) for _ in range(self.random.randrange(5, 60))])]

    def dimensions(self):
        if self.random.random() < 0.2:
            return self.random.randrange(1, 16), self.random.randrange(1, 61)
        return self.random.randrange(15, 70), self.random.randrange(60, 220)

    def size(self):
        return [("size", self.dimensions())]

    def storm(self):
        return [("storm", [self.dimensions() for _ in range(20)])]

    def stop(self):
        return [("key", "Ctrl-Z") if self.random.random() < 0.5 else ("signal", "TSTP")]

    def click(self):
        button = self.random.choice([0, 0, 64, 65])  # pressed, and the wheel both ways
        row, column = self.random.randrange(1, 60), self.random.randrange(1, 120)
        on = [("key", "P")] if self.random.random() < 0.5 else []
        return on + [("bytes", b"\x1b[<%d;%d;%dM\x1b[<%d;%d;%dm" % (button, column, row, button, column, row))]

    def paste(self):
        return [("bytes", b"\x1b[200~" + self.random.choice(WORDS).encode() + b"\rq\x1b[201~")]

    def noise(self):
        allowed = bytes(c for c in range(32, 256) if c not in b"/.~:")
        return [("bytes", bytes(self.random.choice(allowed) for _ in range(self.random.randrange(1, 12))))]

    def work(self):
        """Something that goes on in the background, or its end; Enter stands for what the prompt offers."""
        return [("text", self.random.choice([
            ":recompute\r", ":recompute\r", ":effective\r", ":probe\r\x15\r", ":ids ids.txt\r", ":probe text.txt\r",
            ":stop\r", ":evaluate\r", ":evaluate\r", ":front 0.05\r", ":front 1\r", ":stop-search\r", ":point\r",
            ":export new\r", ":export newer\r", ":write\r", ":force\r", "y", ":verify\r", ":cancel\r", ":attention\r",
            ":set full=restore\r", ":set all=procrustes:0.3\r"]))]

    def rest(self):
        return [("rest", self.random.uniform(0.05, 0.6))]

    def leave(self):
        return [("leave", self.random.choice(["Q", "Q", "q"] + SIGNALS))]

    def pause(self):
        return self.random.choice([0, 0, 0.002, 0.01, 0.03])


# --- the program in its terminal ---


def be_shell(argv, folder, messages, writer):
    """Runs the program as a shell with job control does, and reports: its id; whether the modes are as before whenever it
    stops, after which it goes on; its code, and the modes again."""
    for ours in SHELL_IGNORES:
        signal.signal(ours, signal.SIG_IGN)
    before = termios.tcgetattr(0)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        for ours in SHELL_IGNORES:
            signal.signal(ours, signal.SIG_DFL)
        os.chdir(folder)
        os.dup2(os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), 2)
        os.execve(argv[0], argv, environment(folder))
    os.write(writer, b"pid %d\n" % pid)
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        os.tcsetpgrp(0, os.getpgrp())
        same = termios.tcgetattr(0) == before
        if not os.WIFSTOPPED(status):
            os.write(writer, b"ended %d %d\n" % (os.waitstatus_to_exitcode(status), same))
            return
        os.write(writer, b"stopped %d\n" % same)
        time.sleep(0.01)
        os.tcsetpgrp(0, pid)
        os.killpg(pid, signal.SIGCONT)


def environment(folder):
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    for name in ("ASAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS"):
        given = os.environ.get(name)
        kept[name] = (given + ":" if given else "") + f"log_path={folder}.report"
    return {**kept, "TERM": TERM, "LC_ALL": "C.UTF-8", "HOME": folder + "/home", "XDG_STATE_HOME": folder + "/state",
            "XDG_CACHE_HOME": folder + "/cache"}


class Run:
    """One start of the program, up to its end."""

    def __init__(self, argv, folder, limit, counts):
        self.folder, self.limit, self.counts = folder, limit, counts
        self.seen, self.reported, self.ended, self.pid = b"", b"", None, None
        self.screen_left = False
        self.size = None
        reports, writer = os.pipe()
        self.shell, self.fd = pty.fork()
        if self.shell == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
                os.close(reports)
                be_shell(argv, folder, folder + ".messages", writer)
            finally:
                os._exit(0)
        os.close(writer)
        self.reports = reports
        os.set_blocking(self.fd, False)
        os.set_blocking(reports, False)
        counts["starts"] += 1

    def close(self):
        if self.ended is None:
            self.kill("KILL")
            os.kill(self.shell, signal.SIGKILL)
        os.close(self.fd)
        os.close(self.reports)
        os.waitpid(self.shell, 0)

    def hear(self, seconds):
        """Takes output and reports for that time, or until there is something."""
        ready = select.select([self.fd, self.reports], [], [], seconds)[0]
        if self.fd in ready:
            try:
                self.seen = (self.seen + os.read(self.fd, 1 << 16))[-1 << 18:]
                self.screen_left = self.screen_left or SCREEN_LEFT in self.seen
            except OSError:  # the other end is closed
                time.sleep(0.001)
        if self.reports in ready:
            self.reported += os.read(self.reports, 4096)
        *lines, self.reported = self.reported.split(b"\n")
        for line in lines:
            what, *numbers = line.split()
            if what == b"pid":
                self.pid = int(numbers[0])
                continue
            self.counts["stops"] += what == b"stopped"
            if what == b"ended":
                self.ended = int(numbers[0])
            if numbers[-1] != b"1":
                raise Failure(f"the terminal's modes are not as before once it {what.decode()}")

    def pass_time(self, seconds):
        end = time.monotonic() + seconds
        while self.ended is None and (left := end - time.monotonic()) > 0:
            self.hear(left)

    def until(self, what, true):
        """Waits for it, no longer than the limit; not when the program ends meanwhile, which whoever asked for it
        judges."""
        begin = time.monotonic()
        while not true() and self.ended is None:
            if time.monotonic() - begin > self.limit:
                raise Failure(f"{what}: not within {self.limit} s")
            self.hear(0.05)
        self.counts["slowest"] = max(self.counts["slowest"], time.monotonic() - begin)

    def send(self, data):
        """As fast as the terminal takes it; a program that reads nothing fills it."""
        def all_sent():
            nonlocal data
            try:
                data = data[os.write(self.fd, data):]
            except BlockingIOError:
                pass
            except OSError:
                data = b""
            return not data
        self.until("keys are read", all_sent)

    def resize(self, size):
        self.size = size
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))

    def frame(self, size):
        """Asks for a whole frame by another size, and waits for it."""
        self.seen = b""
        self.resize(size if size != self.size else (size[0], size[1] + 1))
        self.until("a new frame", lambda: CLEAR in self.seen)

    def shows(self, pattern):
        """Whole frames until one has the pattern: what is not whole has only what differs from the one before."""
        def drawn():
            return re.search(pattern, SEQUENCE.sub(b"", self.seen.rpartition(CLEAR)[2]))

        def asked():
            self.frame((30, 100))
            self.pass_time(0.05)
            return drawn()
        self.until(f"a frame with '{pattern.decode()}'", asked)

    def kill(self, name):
        if self.pid is not None and self.ended is None:
            try:
                os.kill(self.pid, getattr(signal, "SIG" + name))
            except ProcessLookupError:
                pass

    def play(self, what, value):
        if what in ("key", "keys"):
            list_ = value if what == "keys" else [value]
            self.counts["keys"] += len(list_)
            self.send(b"".join(key_bytes(key) for key in list_))
        elif what == "text":
            self.counts["keys"] += len(value)
            self.send(value.encode())
        elif what == "bytes":
            self.counts["keys"] += 1
            self.send(value)
        elif what == "size":
            self.counts["sizes"] += 1
            self.frame(value)
        elif what == "storm":
            for size in value:
                self.counts["sizes"] += 1
                self.resize(size)
                self.kill("WINCH")
        elif what == "signal":
            self.kill(value)
        elif what == "rest":
            self.pass_time(value)
        elif what == "leave":
            self.leave(value)

    def leave(self, how):
        """By its key (and y for what it may ask then), or a signal."""
        if how in SIGNALS:
            self.kill(how)
            self.until(f"it ends by SIG{how}", lambda: False)
            return
        self.send(b"\x1b")
        self.pass_time(0.1)
        self.send(how.encode())
        self.pass_time(0.1)
        if how == "Q":
            self.counts["keys"] += 3
            self.send(b"y")
            self.pass_time(0.2)

    def expect(self, *codes):
        # On its way out, with the terminal given back, signals and Ctrl-C do what they always do.
        on_its_way = self.screen_left and self.ended in [-getattr(signal, "SIG" + name) for name in SIGNALS]
        if self.ended not in codes and not on_its_way:
            raise Failure(f"it ended with {self.ended} (expected {' or '.join(map(str, codes))})")

    def answer(self):
        """Back to the first view, help and back, and out: each key does what it stands for."""
        self.play("size", (30, 100))
        for i in range(100):  # a view, a range, marks, a filter, what is running: one Esc each
            self.send(b"\x1b")
            self.pass_time(0.08)
            self.frame((30, 100))
            self.pass_time(0.02)
            if self.ended is not None or b"q leaves" in self.seen:
                break
        self.send(b"?")
        self.shows(b"every action")
        self.send(b"q")
        self.shows(rb"layer[^a-z]*kind")
        self.send(b"Q")
        self.shows(b"y/n")  # what is typed before the question does not answer it; without one it has ended
        self.send(b"y")
        self.until("Q and y leave", lambda: False)
        self.counts["keys"] += 4 + i


# --- the whole ---


def state_of(folders):
    """The record of every file, to find changes; without the contents of those above 100 MB."""
    def content(path, info):
        return hashlib.sha256(open(path, "rb").read()).digest() if info.st_size <= 100_000_000 else info.st_ino
    paths = [os.path.join(where, name) for folder in folders for where, _, names in os.walk(folder) for name in names]
    return {path: (info.st_size, info.st_mtime_ns, content(path, info)) for path in paths for info in [os.stat(path)]}


def check_end(run):
    """What must be so whenever the program is over."""
    beside = os.path.dirname(run.folder)
    for name in sorted(os.listdir(beside)):
        path = os.path.join(beside, name)
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
            if text not in ("", ENDED if run.ended == 130 else ""):
                raise Failure(f"it ended with {run.ended}, {name}: {text[:6000]}")
            os.unlink(path)
    run.expect(0, 130)
    left = [name for name in os.listdir(run.folder) if name.startswith(".")]
    if left and run.ended >= 0:
        raise Failure(f"it left {' '.join(left)}")


def start(options, folder, counts):
    """A folder with a copy of the next pair, and the program in it."""
    pair = options.pair[counts["starts"] * 2 % len(options.pair):][:2]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder + "/home")
    names = [os.path.join(folder, name) for name in ("pre", "post")]
    for given, name in zip(pair, names):
        os.symlink(given, name)
    with open(folder + "/ids.txt", "w") as file:
        file.write(" ".join(str(i * 7 % 97) for i in range(300)))
    with open(folder + "/text.txt", "w") as file:
        file.write("A text of a few words, again and again. " * 12)
    cases = os.path.join(os.path.dirname(pair[0]), "cases")
    named = [word for name in sorted(os.listdir(cases)) for word in ("--cases", os.path.join(cases, name))
             ] if os.path.isdir(cases) else []
    run = Run([options.program, "pre", "post", *named], folder, options.answer, counts)
    run.until("the first frame", lambda: re.search(rb"layer", run.seen) is not None)
    if run.ended is not None:
        code, said = run.ended, SEQUENCE.sub(b"", run.seen[-2000:]).decode(errors="replace")
        run.close()
        raise Failure(f"it ended with {code} before its first frame: {said}")
    return run


def stress(options, folder, counts, log):
    dice = Dice(options.seed, read_table(options.page))
    end = time.monotonic() + options.seconds
    run = None
    try:
        while time.monotonic() < end:
            if run is None:
                run = start(options, folder, counts)
            for what, value in dice.step():
                log.append((what, value))
                run.play(what, value)
                run.pass_time(dice.pause())
            if run.ended is not None:
                check_end(run)
                run.close()
                run = None
        if run is None:
            run = start(options, folder, counts)
        log.append(("answer", ""))
        run.answer()
        run.expect(0)
        check_end(run)
    finally:
        if run is not None:
            run.close()


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--answer", type=float, default=20)
    parser.add_argument("program")
    parser.add_argument("page")
    parser.add_argument("pair", nargs="+")
    options = parser.parse_args()
    options.program = os.path.abspath(options.program)
    options.pair = [os.path.abspath(path) for path in options.pair]
    curses.setupterm(TERM, 1)
    for name in SIGNALS:  # what nohup ignores the program would ignore as well
        signal.signal(getattr(signal, "SIG" + name), signal.SIG_DFL)
    counts, log = collections.Counter(), []
    inputs = state_of(options.pair)
    with tempfile.TemporaryDirectory() as outer:
        folder = os.path.join(outer, "a", "folder", "within")
        try:
            stress(options, folder, counts, log)
            if state_of(options.pair) != inputs:
                raise Failure("inputs have changed")
        except Failure as failure:
            print(f"seed {options.seed}, step {len(log)}: {failure}")
            print("the last steps:", *(f"{what}={value!r}" for what, value in log[-40:]))
            sys.exit(1)
    print(f"seed {options.seed}: {counts['keys']} keys, {counts['sizes']} sizes, {counts['stops']} stops, "
          f"{counts['starts']} starts, slowest answer {counts['slowest']:.2f} s")


main()
