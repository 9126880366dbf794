#!/usr/bin/env python3
"""run_faults.py PROGRAM [--all | --some N] [--only TEXT] [--kind KIND] [--jobs N] [--table FILE] - lets each call fail.

PROGRAM is tests/fault/qkscope_faulty (faults.c). Every command of COMMANDS is run once to list its calls, with the
functions that led to each. Then it runs again and again, each time with another failing call: alone, and for lasting
faults (a full disk, no memory, no threads) with all later calls. After each run all of this must hold:

  - it ended by itself within the time limit, without a signal, and no sanitizer complained
  - it ended with 0 where the program can ignore the failure, else with 4 (or the command's own code)
  - with 0: output and files are those of the run without failure, or one note names the missing part
  - else: one line "qkscope: ..." more than without failure, naming the cause; no output on JSON and CSV, none complete
  - its output exists as a whole, or not at all, or the earlier one does; no temporary names are left
  - the inputs are unchanged; its cache does not change the output of the next run

--all      every call of all kinds but memory; of memory the first and the last call by each path of functions, and a
           hundred spread over all
--some     so many of each command
"""
import argparse
import collections
import concurrent.futures
import dataclasses
import errno
import hashlib
import json
import os
import re
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
TOOLS = os.path.join(TESTS, "cli")
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")  # the one that Debian's numpy belongs to
TIME_LIMIT = 600
ASAN, LSAN = 96, 97  # exit codes of the sanitizers
IO_FAILED = 4

# What a message must say, by kind; nothing: the failure must be passed over.
CAUSE = {
    "open": [errno.EMFILE], "create": [errno.ENOSPC], "fopen": [errno.EMFILE], "opendir": [errno.EMFILE],
    "readdir": [errno.EIO], "stat": [errno.EIO], "access": [errno.EIO], "realpath": [errno.EIO], "statvfs": [errno.EIO],
    "dup": [errno.EMFILE], "read": [errno.EIO], "short-read": [], "eintr-read": [], "write": [errno.ENOSPC],
    "short-write": [], "eintr-write": [], "full": [errno.ENOSPC], "lseek": [], "fsync": [errno.EIO],
    "close": [errno.EIO], "ftruncate": [errno.ENOSPC], "copy_file_range": [], "short-copy": [], "mkdir": [errno.ENOSPC],
    "rename": [errno.EIO], "no-renameat2": [], "remove": [errno.EIO], "link": [], "chmod": [errno.EPERM], "flock": [],
    "memory": ["memory"], "thread": ["thread", errno.EAGAIN],
}
LASTING = ["full", "memory", "thread", "write", "open", "read"]
COLUMNS = {
    "open": ["open", "fopen", "dup"], "list": ["opendir", "readdir"], "examine": ["stat", "access", "realpath", "statvfs"],
    "read": ["read"], "short, EINTR": ["short-read", "eintr-read", "short-write", "eintr-write", "short-copy"],
    "create": ["create", "mkdir", "link"], "write": ["write", "ftruncate", "copy_file_range", "lseek"], "full disk": ["full"],
    "sync, close": ["fsync", "close", "chmod", "flock"], "rename, remove": ["rename", "no-renameat2", "remove"],
    "memory": ["memory"], "threads": ["thread"],
}


@dataclasses.dataclass
class Command:
    name: str
    words: list
    code: int = 0          # without a failure
    form: str = "table"    # of what is printed: "table", or "data": JSON, CSV, a recipe: nothing of it when it fails
    before: str = ""       # a folder of the ground that is copied to out/old
    settings: str = ""     # one that is copied to the user's configuration
    cpus: int = 1          # with one, threads come in the same order each time
    varies: bool = False   # the output holds figures of time
    cached: bool = False   # run it again without failures, on what it left in the cache
    always: str = ""       # a failure that is part of every run


# {name}: a folder of the ground; out/ is where a run writes.
COMMANDS = [
    Command("info", ["info", "{q}/post"]),
    Command("info --json", ["info", "--json", "{q}/post"], form="data"),
    Command("info, a layout of the user's", ["info", "{q}/post"], settings="settings"),
    Command("info, PyTorch", ["info", "--json", "{torch}/post"], form="data"),
    Command("info, shards", ["info", "{shards}"]),
    Command("diff", ["diff", "{q}/pre", "{q}/post"]),
    Command("diff --json", ["diff", "--json", "{q}/pre", "{q}/post"], form="data"),
    Command("diff --csv --heads", ["diff", "--csv", "--heads", "--sort", "routing", "{q}/pre", "{q}/post"], form="data"),
    Command("diff, two threads", ["diff", "--json", "--threads", "2", "{q}/pre", "{q}/post"], form="data", cpus=2),
    Command("diff, PyTorch", ["diff", "--json", "{torch}/pre", "{torch}/post"], form="data"),
    Command("diff, adapter", ["diff", "--json", "{q}/pre", "{adapter}"], form="data"),
    Command("PRE POST on a pipe", ["{q}/pre", "{q}/post", "--set", "1=restore"]),
    Command("diff, from the hub's cache", ["diff", "--csv", "o/n@0123", "o/n@main"], form="data"),
    Command("range, pass", ["range", "--json", "--ids", "{ids}", "--set", "1=restore", "{q}/pre", "{q}/post"], form="data"),
    Command("range, estimate", ["range", "--estimate", "{q}/pre", "{q}/post"]),
    Command("plan", ["plan", "{q}/pre", "{q}/post", "--set", "1=restore", "--set", "2=lerp:0.3", "-o", "out/new.json"]),
    Command("plan -o -", ["plan", "{q}/pre", "{q}/post", "--set", "rel_fro>0.01=restore", "-o", "-"], form="data"),
    Command("plan --recipe", ["plan", "{q}/pre", "{q}/post", "--recipe", "{recipe}", "-o", "out/new.json"]),
    Command("plan into an input", ["plan", "{q}/pre", "{q}/post", "--set", "1=restore", "-o", "{q}/post/new.json"], code=2),
    Command("export", ["export", "{q}/pre", "{q}/post", "--set", "all=restore", "--norms", "-o", "out/new"]),
    Command("export, lerp", ["export", "{q}/pre", "{q}/post", "--set", "all=lerp:0.5", "-o", "out/new"]),
    Command("export, qk-pro", ["export", "{q}/pre", "{q}/post", "--set", "all=qk-pro:0.3", "-o", "out/new"]),
    Command("export, procrustes", ["export", "{q}/pre", "{q}/post", "--set", "all=procrustes:0.5", "-o", "out/new"]),
    Command("export, two threads", ["export", "{q}/pre", "{q}/post", "--set", "all=lerp:0.5", "-o", "out/new"], cpus=2),
    Command("export --recipe", ["export", "{q}/pre", "{q}/post", "--recipe", "{recipe}", "-o", "out/new"]),
    Command("export --force", ["export", "{q}/pre", "{q}/post", "--set", "2=restore", "--force", "-o", "out/old"],
            before="export"),
    Command("export --force, names cannot be exchanged",
            ["export", "{q}/pre", "{q}/post", "--set", "2=restore", "--force", "-o", "out/old"], before="export",
            always="no-renameat2:1+"),
    Command("export --link, shards", ["export", "{shards}", "{shards}", "--set", "2=restore", "--link", "-o", "out/new"]),
    Command("export --patch-only", ["export", "{q}/pre", "{q}/post", "--set", "1=restore", "--patch-only", "-o", "out/new"]),
    Command("export, a single file",
            ["export", "{q}/pre/model.safetensors", "{q}/post/model.safetensors", "--set", "1=restore", "-o", "out/new"]),
    Command("export, PyTorch", ["export", "{torch}/pre", "{torch}/post", "--set", "1=lerp:0.5", "-o", "out/new"]),
    Command("export, adapter merged", ["export", "{q}/pre", "{adapter}", "--set", "1=restore", "-o", "out/new"]),
    Command("export --adapter", ["export", "{q}/pre", "{adapter}", "--set", "1=lerp:0.5", "--adapter", "-o", "out/new"]),
    Command("export --dry-run", ["export", "{q}/pre", "{q}/post", "--set", "1=restore", "--dry-run", "-o", "out/new"]),
    Command("export into an input", ["export", "{q}/pre", "{q}/post", "--set", "1=restore", "-o", "{q}/pre/new"], code=2),
    Command("export over what is no export",
            ["export", "{q}/pre", "{q}/post", "--set", "1=restore", "--force", "-o", "out/old"], code=2, before="mine"),
    Command("verify", ["verify", "{export}"]),
    Command("verify, a byte differs", ["verify", "{spoiled}"], code=1),
    Command("verify, PyTorch", ["verify", "{torch_export}"]),
    Command("emit mergekit", ["emit", "mergekit", "{q}/pre", "{q}/post", "--set", "all=lerp:0.5"], form="data"),
    Command("emit brainsurgery", ["emit", "brainsurgery", "{q}/pre", "{q}/post", "--set", "1=restore"], form="data"),
    Command("eval", ["eval", "{q}/pre", "{q}/post", "--set", "1=restore", "--baselines", "-c", "{cases}", "--json"],
            form="data", cached=True),
    Command("eval, selections", ["eval", "{q}/pre", "{q}/post", "--selections", "{selections}", "-c", "{cases}", "--csv",
                                 "--no-cache"], form="data"),
    Command("search", ["search", "{q}/pre", "{q}/post", "-c", "{cases}", "--max-evals", "3", "--json", "-o", "out/new"],
            form="data", cached=True),
    Command("cases needle", ["cases", "needle", "--length", "160", "--count", "1", "--depths", "2", "-o", "out/new.jsonl"]),
    Command("cases arithmetic", ["cases", "arithmetic", "--count", "2"], form="data"),
    Command("doctor", ["doctor"], varies=True),
]


# --- the ground: inputs, made once ---

def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def tokenizer():
    """One token a byte, of the first 128 ids: what the fixture's vocabulary has room for."""
    def letter(byte):  # as byte-level BPE writes bytes
        return chr(byte) if 33 <= byte <= 126 else chr(256 + (byte if byte < 33 else byte - 94))
    return json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "post_processor": None, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {letter(b): b for b in range(128)}, "merges": []}})


def make_ground(ground, program):
    def tool(name, *words):
        subprocess.run([PYTHON, os.path.join(TOOLS, name), *words], check=True, stdin=subprocess.DEVNULL,
                       env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})

    def run(*words):
        subprocess.run([program, *words], check=True, stdout=subprocess.DEVNULL, env=environment(ground))
    places = {name: os.path.join(ground, name) for name in (
        "q", "torch", "shards", "adapter", "export", "spoiled", "torch_export", "mine", "settings", "recipe", "ids", "cases",
        "selections", "hub")}
    fixture = os.path.join(TESTS, "data", "fixtures", "qwen2")
    for side in ("pre", "post"):
        folder = os.path.join(places["q"], side)
        os.makedirs(folder)
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(os.path.join(fixture, side, name), os.path.join(folder, name))
        tool("make_torch.py", folder, os.path.join(places["torch"], side))
        write(os.path.join(folder, "tokenizer.json"), tokenizer())
    tool("spoil.py", "shards", os.path.join(places["q"], "post"), places["shards"])
    tool("make_adapter.py", "plain", os.path.join(places["q"], "pre"), places["adapter"])
    pair = [os.path.join(places["q"], side) for side in ("pre", "post")]
    run("export", *pair, "--set", "1=lerp:0.5", "-o", places["export"])
    run("export", *pair, "--set", "1=lerp:0.5", "-o", places["spoiled"])
    with open(os.path.join(places["spoiled"], "model.safetensors"), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    torch = [os.path.join(places["torch"], side) for side in ("pre", "post")]
    run("export", *torch, "--set", "1=restore", "-o", places["torch_export"])
    run("plan", *pair, "--set", "1-2=lerp:0.5", "--comment", "a remark", "-o", places["recipe"])
    os.makedirs(os.path.join(places["settings"], "qkscope", "layouts"))
    with open(os.path.join(os.path.dirname(TESTS), "data", "layouts", "qwen2.json"), encoding="utf-8") as file:
        write(os.path.join(places["settings"], "qkscope", "layouts", "mine.json"), file.read().replace('"qwen2",', '"mine",', 1))
    for side, commit in (("pre", "0123456789"), ("post", "abcdef0123")):
        shutil.copytree(os.path.join(places["q"], side), os.path.join(places["hub"], "models--o--n", "snapshots", commit))
    os.mkdir(os.path.join(places["hub"], "models--o--n", "refs"))
    write(os.path.join(places["hub"], "models--o--n", "refs", "main"), "abcdef0123")
    os.mkdir(places["mine"])
    write(os.path.join(places["mine"], "notes.txt"), "precious\n")
    write(places["ids"], " ".join(str(3 + i * 7 % 100) for i in range(24)))
    write(places["cases"], '{"task": "a", "prompt": "x=1", "answer": "1"}\n{"task": "b", "prompt": "y=2", "answer": "2"}\n')
    write(places["selections"], "some: 1=restore\nmore: 1=restore 2=keep\n")
    return places


# --- one run ---

def environment(home, fault="", count="", sites="", config=""):
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    kept.update(HOME=os.path.join(home, "home"), HF_HUB_CACHE=os.path.join(os.path.dirname(home), "hub"), LC_ALL="C.UTF-8", OPENBLAS_NUM_THREADS="1", no_proxy="127.0.0.1",
                ASAN_OPTIONS=f"exitcode={ASAN}:detect_leaks=1:allocator_may_return_null=1",
                LSAN_OPTIONS=f"exitcode={LSAN}", UBSAN_OPTIONS="print_stacktrace=1")
    for name, value in (("QK_FAULT", fault), ("QK_FAULT_COUNT", count), ("QK_FAULT_SITES", sites),
                        ("XDG_CONFIG_HOME", config)):
        if value:
            kept[name] = value
    return kept


def tree(folder):
    """Every name below it, with the digest of what it holds."""
    found = {}
    for path, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(path, name), folder)] = "folder"
        for name in files:
            with open(os.path.join(path, name), "rb") as file:
                found[os.path.relpath(os.path.join(path, name), folder)] = hashlib.sha256(file.read()).hexdigest()
    return found


def stamps(folder):
    """Every name below it, with size and time of modification: quick to compare."""
    found = {}
    for path, folders, files in os.walk(folder):
        for name in folders + files:
            info = os.lstat(os.path.join(path, name))
            found[os.path.join(path, name)] = (info.st_mode, info.st_size if name in files else 0, info.st_mtime_ns)
    return found


Run = collections.namedtuple("Run", "code out err files reached")


class Place:
    """A folder in which one run after the other has its output, cache and settings."""

    def __init__(self, ground, program, places):
        self.folder = tempfile.mkdtemp(prefix="run-", dir=ground)
        self.program, self.places = program, places

    def clear(self, command):
        for name in ("out", "home", "settings"):
            shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)
        os.mkdir(os.path.join(self.folder, "out"))
        os.mkdir(os.path.join(self.folder, "home"))
        if command.before:
            shutil.copytree(self.places[command.before], os.path.join(self.folder, "out", "old"))

    def counts(self):
        with open(os.path.join(self.folder, "count"), encoding="ascii") as file:
            return {kind: int(n) for kind, n in map(str.split, file)}

    def paths(self):
        with open(os.path.join(self.folder, "sites"), encoding="ascii") as file:
            return [(kind, int(first), int(last)) for kind, first, last in map(str.split, file)]

    def start(self, command, fault="", sites=False):
        words = [word.format(**self.places) for word in command.words]
        count, list_of_sites = (os.path.join(self.folder, name) for name in ("count", "sites"))
        if os.path.exists(count):
            os.unlink(count)
        config = self.places[command.settings] if command.settings else os.path.join(self.folder, "settings")
        process = subprocess.Popen(
            [self.program, *words], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment(self.folder, ",".join(filter(None, (command.always, fault))), count, list_of_sites if sites else "", config),
            preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:command.cpus]))
        try:
            out, err = process.communicate(timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            return Run("time", out, err, {}, True)
        reached = True
        if fault and os.path.exists(count):
            kind, n = fault.rstrip("+").split(":")
            reached = self.counts()[kind] >= int(n)
        out = out.replace(self.folder.encode(), b"RUN")  # where the cache is, say
        out = re.sub(rb"; [^;\n]* free$", b"", out, flags=re.M)  # of the disk, which others use as well
        return Run(process.returncode, out, err, tree(os.path.join(self.folder, "out")), reached)

    def run(self, command, fault="", sites=False):
        self.clear(command)
        return self.start(command, fault, sites)


# --- what must hold ---

def is_temporary(name):
    return os.path.basename(name).startswith(".") and ".qkscope-" in name


def check_end(run):
    if run.code == "time":
        return "it did not end"
    if run.code < 0:
        return f"ended by {signal.Signals(-run.code).name}"
    if run.code == LSAN:
        return "memory leaks"
    if run.code == ASAN or b"Sanitizer" in run.err or b"runtime error" in run.err:
        return "a sanitizer complained"
    return None


def check_files(command, kind, run, reference, before):
    files = run.files
    if kind in ("remove", "opendir", "readdir"):  # what cannot be removed stays
        files = {name: digest for name, digest in files.items() if not any(map(is_temporary, name.split("/")))}
    allowed = [reference.files] if run.code == command.code else [reference.files, before]
    aside = ".old.qkscope-replaced"  # what was to be replaced, where it could not be put back either
    if aside in run.err.decode(errors="replace"):
        allowed.append({name.replace("old", aside, 1) if name.split("/")[0] == "old" else name: digest
                        for name, digest in before.items()})
    if files in allowed:
        return None
    names = sorted(name for name in set(files) | set(before) if files.get(name) != before.get(name))
    return "files are neither those of before nor those of a whole run: " + " ".join(names)


def names_cause(kind, text):
    return any((cause if isinstance(cause, str) else os.strerror(cause)) in text for cause in CAUSE[kind])


def check_failure(command, kind, lasting, run, said):
    if run.code not in (IO_FAILED, command.code):
        return f"code {run.code}"
    if not CAUSE[kind]:
        return "failed where it should go on"
    # With failures that last, notes may report those that were ignored before.
    if not said or (len(said) > 1 and not lasting) or any(not line.startswith("qkscope: ") for line in said):
        return f"{len(said)} lines of message"
    if not all(names_cause(kind, line) for line in said):
        return "the message does not name the cause"
    if command.form == "data" and run.out:
        return f"printed {len(run.out)} bytes and failed"
    return None


def check(command, kind, lasting, run, reference, before):
    """What is wrong with the run, or None."""
    wrong = check_end(run)
    if wrong:
        return wrong
    usual = collections.Counter(reference.err.decode().splitlines())
    said = list((collections.Counter(run.err.decode(errors="replace").splitlines()) - usual).elements())
    if run.code != command.code or (command.code != 0 and said):
        wrong = check_failure(command, kind, lasting, run, said)
    elif (len(said) > 1 and not lasting) or any(not line.startswith("qkscope: ") for line in said):
        wrong = f"{len(said)} notes"
    elif not said and run.out != reference.out and not command.varies and not names_cause(kind, run.out.decode()):
        wrong = "another output, and no word of it"
    return wrong or check_files(command, kind, run, reference, before)


# --- which calls: as QK_FAULT has them ---

def choose_all(paths, counts):
    """By every path the first and the last; of memory some more, of all other kinds all."""
    picked = {(kind, n) for kind, *ends in paths for n in ends}
    for kind, count in counts.items():
        picked.update((kind, n) for n in range(1, count + 1, 1 + count // 100 if kind == "memory" else 1))
    chosen = [f"{kind}:{n}" for kind, n in sorted(picked)]
    return chosen + [f"{kind}:{first}+" for kind, first, _ in paths if kind in LASTING]


def choose_some(counts, n, rng):
    """n of them; of many calls the later ones rather: the first are the same in all commands."""
    chosen = set()
    for kind in rng.sample(sorted(counts), min(n, len(counts))) + rng.choices(sorted(counts), k=n):
        at = counts[kind] + 1 - int(counts[kind] ** rng.random())
        chosen.add(f"{kind}:{at}" + ("+" if kind in LASTING and rng.random() < 0.3 else ""))
    return sorted(chosen, key=lambda _: rng.random())[:n]


# --- the whole ---

class Runner:
    def __init__(self, ground, program, places, jobs):
        self.program, self.places, self.jobs = program, places, jobs
        self.local, self.ground = threading.local(), ground
        self.inputs = {place: stamps(place) for place in places.values()}
        self.count = collections.Counter()
        self.ended = collections.Counter()
        self.wrong = []

    def place(self):
        if not hasattr(self.local, "place"):
            self.local.place = Place(self.ground, self.program, self.places)
        return self.local.place

    def inputs_changed(self):
        return any(stamps(place) != before for place, before in self.inputs.items())

    def one(self, command, fault, reference, before):
        kind = fault.split(":")[0]
        place = self.place()
        run = place.run(command, fault)
        wrong = check(command, kind, fault.endswith("+"), run, reference, before)
        if not wrong and self.inputs_changed():
            wrong = "an input changed"
        if not wrong and command.cached and kind != "memory":
            shutil.rmtree(os.path.join(place.folder, "out"))
            os.mkdir(os.path.join(place.folder, "out"))
            again = place.start(command)
            if (again.code, again.out, again.files) != (command.code, reference.out, reference.files):
                wrong = "the next run says something else"
        return fault, run, wrong

    def note(self, command, fault, run, wrong):
        if not run.reached and not wrong:
            return
        self.count[command.name, fault.split(":")[0]] += 1
        self.ended[run.code] += 1
        if wrong:
            said = run.err.decode(errors="replace").strip().splitlines()
            self.wrong.append(f"{command.name}: {fault}: {wrong}; code {run.code}; {' | '.join(said[:40])}")
            print("# " + self.wrong[-1], file=sys.stderr, flush=True)

    def run(self, plan):
        """plan: (command, faults, reference, files before)."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            for command, faults, reference, before in plan:
                done = pool.map(lambda fault: self.one(command, fault, reference, before), faults)
                for fault, run, wrong in done:
                    self.note(command, fault, run, wrong)
                if faults and self.jobs > 1:
                    print(f"# {command.name}: {len(faults)}", file=sys.stderr, flush=True)

    def plan(self, commands, some):
        """(command, faults, its run without failures, the files before); some: faults a command, 0 for all."""
        place = Place(self.ground, self.program, self.places)
        rng = random.Random(7)
        for command in commands:
            reference = place.run(command)
            counts = place.counts()
            if some == 0:
                first = place.run(command, sites=True)
                faults = choose_all(place.paths(), counts)
            else:
                first = reference
                faults = choose_some({kind: n for kind, n in counts.items() if n > 0}, some, rng)
            if reference.code != command.code or (not command.varies and first.out != reference.out):
                sys.exit(f"{command.name}: without failures: code {reference.code}: {reference.err.decode()}")
            place.clear(command)
            yield command, faults, reference, tree(os.path.join(place.folder, "out"))


def write_table(path, runner, commands):
    with open(path, "w", encoding="utf-8") as file:
        print("| command | " + " | ".join(COLUMNS) + " | all |", file=file)
        print("|---|" + "---:|" * (len(COLUMNS) + 1), file=file)
        total = collections.Counter()
        for command in commands:
            row = {name: sum(runner.count[command.name, kind] for kind in kinds) for name, kinds in COLUMNS.items()}
            total.update(row)
            cells = [str(row[name] or "") for name in COLUMNS] + [str(sum(row.values()))]
            print(f"| {command.name} | " + " | ".join(cells) + " |", file=file)
        cells = [str(total[name]) for name in COLUMNS] + [str(sum(total.values()))]
        print("| **all** | " + " | ".join(cells) + " |", file=file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--some", type=int, default=4)
    parser.add_argument("--only", default="")
    parser.add_argument("--kind", default="")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--table")
    wanted = parser.parse_args()
    program = os.path.abspath(wanted.program)
    commands = [command for command in COMMANDS if wanted.only in command.name]
    with tempfile.TemporaryDirectory(prefix="faults-") as ground:
        places = make_ground(ground, program)
        before = tree(ground)
        runner = Runner(ground, program, places, wanted.jobs)
        plan = runner.plan(commands, 0 if wanted.all else wanted.some)
        runner.run((command, [fault for fault in faults if fault.startswith(wanted.kind)], reference, files)
                   for command, faults, reference, files in plan)
        after = {name: digest for name, digest in tree(ground).items() if not name.startswith("run-")}
        if after != before:
            runner.wrong.append("the inputs are not as they were")
        total = sum(runner.count.values())
        print(f"{len(commands)} commands, {len({kind for _, kind in runner.count})} kinds of calls, {total} failures: "
              f"{runner.ended[0]} ignored, {total - runner.ended[0]} reported, {len(runner.wrong)} not handled")
        if wanted.table:
            write_table(wanted.table, runner, commands)
        return 1 if runner.wrong or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
