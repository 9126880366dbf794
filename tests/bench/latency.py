#!/usr/bin/env python3
"""latency.py - the time that a person waits for the screen: from start to the first frame, from a key to its frame.

    latency.py QKSCOPE PRE POST

Runs the program in a pseudo-terminal of 120 x 40 and prints rows of a Markdown table; exit 1 when a limit is
missed. Keys are pressed at times that do not depend on the answers, spread over the whole analysis, while its
workers keep all processors busy. While keys are pressed this process only reads and takes the time. Afterwards
it works out from that when the screen showed what. A key's frame ends with the last byte before the
program is quiet for 2 ms, once the screen shows the key's effect.

The same keys go to `cat` in a terminal of its own. Its time is the share of the pseudo-terminal, the scheduler and
this script.
"""
import codecs
import fcntl
import os
import pty
import random
import re
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
import tty

COLUMNS, ROWS = 120, 40
STARTS, LEAST_KEYS = 5, 200
QUIET = 2_000_000  # ns
MOST_START, MOST_KEY = 100.0, 33.0  # ms
HANG = 600_000_000_000  # ns without an end is no measurement


# --- a terminal's screen, as far as curses on xterm-256color uses it ---

SEQUENCE = re.compile(r"\x1b\[([?>]?)([0-9;]*)([@-~])|\x1b[()][0-9A-B]|\x1b[=>78M]|[\r\n\b\x07\t]|[^\x00-\x1f]+")


class Screen:
    def __init__(self):
        self.row = self.column = self.top = 0
        self.bottom = ROWS - 1
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self.left = ""  # of a sequence that is not whole yet
        self.clear()

    def clear(self):
        self.line = [[" "] * COLUMNS for _ in range(ROWS)]

    def text(self, row):
        return "".join(self.line[row])

    def feed(self, data):
        text = self.left + self.decode(data)
        at = 0
        while at < len(text):
            found = SEQUENCE.match(text, at)
            if found is None:
                if text[at] == "\x1b" and len(text) - at < 32:
                    break
                at += 1
                continue
            at = found.end()
            self.apply(found)
        self.left = text[at:]

    def apply(self, found):
        whole = found.group(0)
        if whole[0] == "\x1b":
            if found.group(3) and not found.group(1):
                numbers = [int(n) if n else 0 for n in found.group(2).split(";")]
                self.control(found.group(3), numbers, max(1, numbers[0]))
            elif whole == "\x1bM":
                self.scroll(-1) if self.row == self.top else self.move(self.row - 1, self.column)
        elif whole == "\r":
            self.column = 0
        elif whole == "\n":
            self.scroll(1) if self.row == self.bottom else self.move(self.row + 1, self.column)
        elif whole == "\b":
            self.move(self.row, self.column - 1)
        elif whole >= " ":
            for character in whole:
                self.line[self.row][min(self.column, COLUMNS - 1)] = self.last = character
                self.column += 1

    def move(self, row, column):
        self.row, self.column = min(max(row, 0), ROWS - 1), min(max(column, 0), COLUMNS - 1)

    def scroll(self, n, top=None):
        top = self.top if top is None else top
        for _ in range(abs(n)):
            self.line.pop(top if n > 0 else self.bottom)
            self.line.insert(self.bottom if n > 0 else top, [" "] * COLUMNS)

    def control(self, what, numbers, n):
        row, column, line = self.row, self.column, self.line[self.row]
        if what in "Hf":
            self.move(n - 1, max(1, numbers[1]) - 1 if len(numbers) > 1 else 0)
        elif what in "ABCD":
            self.move(row + {"A": -n, "B": n}.get(what, 0), column + {"D": -n, "C": n}.get(what, 0))
        elif what == "d":
            self.move(n - 1, column)
        elif what == "G":
            self.move(row, n - 1)
        elif what == "X":
            line[column:column + n] = [" "] * len(line[column:column + n])
        elif what == "K":
            low, high = {0: (column, COLUMNS), 1: (0, column + 1)}.get(numbers[0], (0, COLUMNS))
            line[low:high] = [" "] * (high - low)
        elif what == "J" and numbers[0] == 0:
            line[column:] = [" "] * (COLUMNS - column)
            self.line[row + 1:] = [[" "] * COLUMNS for _ in range(ROWS - row - 1)]
        elif what == "J":
            self.clear()
        elif what == "P":
            self.line[row] = (line[:column] + line[column + n:] + [" "] * n)[:COLUMNS]
        elif what == "@":
            self.line[row] = (line[:column] + [" "] * n + line[column:])[:COLUMNS]
        elif what == "b":
            for _ in range(n):
                line[min(self.column, COLUMNS - 1)] = self.last
                self.column += 1
        elif what in "LM":
            self.scroll(-n if what == "L" else n, row)
        elif what in "ST":
            self.scroll(n if what == "S" else -n)
        elif what == "r":
            self.top, self.bottom = n - 1, (numbers[1] if len(numbers) > 1 and numbers[1] else ROWS) - 1
            self.move(0, 0)


POINTED = re.compile(r"^ layer (\d+) [qk]\d+ ")
ROW = re.compile(r"^([▶>]?) *(\d+) (?:full|window|linear|none)\s.*?\b(keep|restore)\b")


class Seen:
    """What of the screen keys change: the marked layer, each layer's choice, and whether there is work left; in the map
    the layer that the pointer is on."""

    def __init__(self, screen):
        self.marked, self.choice = None, {}
        self.computing = "computing" in screen.text(1)
        found = POINTED.match(screen.text(ROWS - 3))
        self.pointed = int(found.group(1)) if found else None
        for row in range(3, ROWS - 1):
            found = ROW.match(screen.text(row))
            if found:
                self.choice[int(found.group(2))] = found.group(3)
                if found.group(1):
                    self.marked = int(found.group(2))

    def key(self):
        return self.marked, self.pointed, self.computing, tuple(sorted(self.choice.items()))


# --- processes in pseudo-terminals ---


def start(argv, folder, raw=False):
    pid, fd = pty.fork()
    if pid == 0:
        try:
            if raw:
                tty.setraw(0)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            keep = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
            os.execvpe(argv[0], argv, {
                **keep, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "HOME": folder,
                "XDG_STATE_HOME": folder + "/state", "XDG_CACHE_HOME": folder + "/cache"})
        finally:
            os._exit(127)
    os.set_blocking(fd, False)
    return pid, fd


def stop(pid, fd):
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(fd)


def read(fd):
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return b""
    except OSError:
        sys.exit("latency.py: the program ended before its time")


def first_frame(argv, folder, until_computed=False):
    """Milliseconds until a layer's row is on the screen; on request, seconds until all is computed, else None;
    and how many layers are on the screen."""
    begin = time.monotonic_ns()
    pid, fd = start(argv, folder)
    screen, shown, computed = Screen(), None, None
    while shown is None or (until_computed and computed is None):
        if time.monotonic_ns() - begin > HANG:
            sys.exit("latency.py: no frame, or no end of the analysis")
        if not select.select([fd], [], [], 1)[0]:
            continue
        data = read(fd)
        now = time.monotonic_ns()
        screen.feed(data)
        seen = Seen(screen)
        if shown is None and seen.choice:
            shown = now - begin
        elif shown is not None and not seen.computing and seen.choice:
            computed = now - begin
    stop(pid, fd)
    return shown / 1e6, computed / 1e9 if computed else None, len(seen.choice)


def press(argv, folder, keys, interval):
    """Presses the keys [(byte, ...), ...] about every `interval` seconds from the first output of a row on. Returns
    the moments of the keys, the output as (moment, bytes), and what `cat` took for each key in ms."""
    dice = random.Random(1)
    cat_pid, cat = start(["cat"], folder, raw=True)
    pid, fd = start(argv, folder)
    sent, output, cat_sent, cat_took = [], [], None, []
    seen_row, due, last = b"", None, time.monotonic_ns()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(cat, select.POLLIN)
    while True:
        now = time.monotonic_ns()
        if due is None and now - last > HANG:
            sys.exit("latency.py: no frame")
        if len(sent) == len(keys) and now - last > 500_000_000:
            break
        if due is not None and len(sent) < len(keys) and now >= due:
            os.write(fd, keys[len(sent)][0])
            sent.append(now)
            last = now
            due = now + int(interval * dice.uniform(0.5, 1.5) * 1e9)
            if cat_sent is None:
                cat_sent = time.monotonic_ns()
                os.write(cat, b"x")
        wait = 100 if due is None or len(sent) == len(keys) else max(0, (due - time.monotonic_ns()) / 1e6)
        for ready, _ in poll.poll(wait):
            data = read(ready)
            now = time.monotonic_ns()
            if ready == cat and cat_sent is not None:
                cat_took.append((now - cat_sent) / 1e6)
                cat_sent = None
            elif ready == fd:
                output.append((now, data))
                if due is None:
                    seen_row += data
                    if b"keep" in seen_row:
                        due = now
    stop(pid, fd)
    stop(cat_pid, cat)
    return sent, output, cat_took


def frames(keys, sent, output):
    """[ms or None] of each key that was pressed while something was computed."""
    screen, moments, shown, end = Screen(), [], None, None
    for i, (moment, data) in enumerate(output):
        screen.feed(data)
        seen = Seen(screen)
        if end is None and moment > sent[0] and (seen.choice or seen.pointed is not None) and not seen.computing:
            end = moment
        if shown is None or seen.key() != shown:
            shown = seen.key()
            moments.append((i, moment, seen))
    took = []
    for i, pressed in enumerate(sent):
        if end is not None and pressed > end:
            break
        took.append(None)
        for at, moment, seen in moments:
            if moment < pressed:
                continue
            # Keys that the program finds together are drawn together.
            if any(keys[j][1](seen) for j in range(i, min(i + 3, len(keys))) if sent[j] <= moment):
                while at + 1 < len(output) and output[at + 1][0] - output[at][0] < QUIET:
                    at += 1
                took[-1] = (output[at][0] - pressed) / 1e6
                break
    return took


# --- the runs ---


def targets(layers, n):
    """The layers that j down to the last one, k up to the first, and again, lead to."""
    to = list(range(1, layers)) + list(range(layers - 2, -1, -1))
    return [to[i % len(to)] for i in range(n)]


def moves(layers, n):
    before = [0] + targets(layers, n)
    return [b"j" if after > at else b"k" for at, after in zip(before, before[1:])]


def moving_keys(layers, n):
    return [(key, lambda seen, to=to: seen.marked == to, True)
            for key, to in zip(moves(layers, n), targets(layers, n))]


def toggling_keys(layers, n):
    """Space toggles a layer and goes on to the next; g, which is not counted, goes back to the first."""
    keys, word = [], "restore"
    while len(keys) < n:
        for at in range(layers - 1):
            keys.append((b" ", lambda seen, at=at, word=word: seen.choice.get(at) == word and seen.marked == at + 1,
                         True))
        keys.append((b"g", lambda seen: seen.marked == 0, False))
        word = "keep" if word == "restore" else "restore"
    return keys[:n]


def map_keys(layers, n):
    """M opens the map of all heads; then j and k as in the list."""
    keys = [(key, lambda seen, to=to: seen.pointed == to, True)
            for key, to in zip(moves(layers, n), targets(layers, n))]
    return [(b"M", lambda seen: seen.pointed == 0, False)] + keys


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


missed = False


def row(what, value, limit):
    global missed
    missed = missed or value > limit
    print(f"| {what} | {value:.1f} ms{' **(missed)**' if value > limit else ''} | at most {limit:.0f} ms |")


def print_keys(what, argv, folder, keys, interval):
    global missed
    sent, output, cat = press(argv, folder, keys, interval)
    took = [ms for ms, key in zip(frames(keys, sent, output), keys) if key[2]]
    known = [ms for ms in took if ms is not None]
    if not known:
        sys.exit(f"latency.py: no key of '{what}' was answered while there was something to compute")
    name = f"{what} during the analysis, {len(took)} keys"
    row(f"{name}: median", statistics.median(known), MOST_KEY)
    row(f"{name}: 99th percentile", percentile(known, 0.99), MOST_KEY)
    print(f"| {what}: worst; without a frame | {max(known):.1f} ms; {len(took) - len(known)} | |")
    print(f"| the same through `cat`: median, 99th percentile | {statistics.median(cat):.1f} ms, "
          f"{percentile(cat, 0.99):.1f} ms | |")
    if len(took) < LEAST_KEYS:
        print(f"| {what}: the analysis was over after {len(took)} keys | | {LEAST_KEYS} or more |")
    missed = missed or len(known) < len(took)


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: latency.py QKSCOPE PRE POST")
    argv = [os.path.abspath(sys.argv[1])] + sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder:
        _, computed, layers = first_frame(argv, folder, until_computed=True)  # and everything is warm
        starts = [first_frame(argv, folder)[0] for _ in range(STARTS)]
        print("| figure | value | limit |")
        print("|---|---|---|")
        row(f"start to the first layer's row, median of {STARTS}", statistics.median(starts), MOST_START)
        print(f"| start to the last number | {computed:.1f} s | |")
        n = LEAST_KEYS * 3 // 2  # so that, if one run is shorter than another, enough come before its end
        print_keys("j or k", argv, folder, moving_keys(layers, n), computed / n)
        print_keys("j or k in the map", argv, folder, map_keys(layers, n), computed / n)
        print_keys("Space", argv, folder, toggling_keys(layers, n), computed / n)
    sys.exit(missed)


main()
