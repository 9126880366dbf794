"""hostile_names.py - a pair whose every name holds characters that steer a terminal or deceive a reader.

    hostile_names.py make DATA OUT        writes the pair, its layout row, cases and what commands need into OUT
    hostile_names.py run PROGRAM OUT      runs every command that --help lists; a line "ok COMMAND" or "no COMMAND: WHY" each
    hostile_names.py raw FILE             what a screen wrote: prints what is wrong with it, and the clipboard's lines

The list of characters comes from Unicode's categories, and not from the program.
"""
import base64
import csv
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import unicodedata

# Controls, formats and ends of lines; not the number signs of Arabic, Syriac and Kaithi, which are seen. Then what has
# no form although its category is another one: fillers, variants, the grapheme joiner. No file can hold NUL in a name.
SEEN = set("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
HOSTILE = [chr(c) for c in range(1, 0x110000)
           if unicodedata.category(chr(c)) in ("Cc", "Cf", "Zl", "Zp") and chr(c) not in SEEN]
HOSTILE += list("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u3164\ufe00\ufe0f\uffa0\U000e0100\U000e01ef")
# Each could be believed: a title, a colour, another line of the program's, and then every character once.
FORGED = "\x1b]0;owned\x07\x1b[31m\nforged: line\r\x9b2J"
EVIL = FORGED + "".join(HOSTILE)
# A layout row joins names of a few hundred bytes: q has one half of the characters, and k the other.
EVIL_Q, EVIL_K = (FORGED + "".join(HOSTILE[i::2]) for i in range(2))
# A file's name has 255 bytes.
SHORT = (FORGED + "\u202e\u2066\u200b\u200d\u2028\ufeff\u00ad\U000e0041\t\x7f\x85").encode() + b"\xff"
TASK = FORGED + "\u202e\u2028\U000e0041\"\u200b"


def hidden(text, allowed=""):
    return sorted({f"U+{ord(c):04X}" for c in text if c in set(HOSTILE) - set(allowed)})


# --- the pair ---

def rename(name):
    return name.replace("q_proj", "q" + EVIL_Q).replace("k_proj", "k" + EVIL_K)


def write_model(source, folder):
    with open(os.path.join(source, "model.safetensors"), "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(n)), file.read()
    header = {rename(name): entry for name, entry in header.items()}
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    header["other" + EVIL] = {"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]}
    text = json.dumps(header).encode()
    with open(os.path.join(folder, b"model" + SHORT + b".safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data + b"\0\0\0\0")
    with open(os.path.join(source, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config.update(model_type="type" + EVIL, architectures=["A" + EVIL])
    with open(os.path.join(source, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    for i, token in enumerate(tokenizer["added_tokens"]):  # of at most 256 bytes each
        token["content"] = "<" + FORGED + "".join(HOSTILE[i::5]) + ">"
    for name, tree in (("config.json", config), ("tokenizer.json", tokenizer)):
        with open(os.path.join(folder, name.encode()), "w", encoding="utf-8") as file:
            json.dump(tree, file)


def make(data, out):
    layouts = os.path.join(out, "config", "qkscope", "layouts")
    root = os.path.join(out.encode(), b"pair" + SHORT)
    os.makedirs(layouts)
    with open(os.path.join(os.environ["srcdir"], "data", "layouts", "hypenet.json"), encoding="utf-8") as file:
        row = json.load(file)
    row.update(family="family" + EVIL, model_types=["type" + EVIL])
    for mixer in row["mixers"].values():
        mixer.update(q="self_attn.q" + EVIL_Q, k="self_attn.k" + EVIL_K)
    row["mixers"] = {name + EVIL: mixer for name, mixer in row["mixers"].items()}
    row["names"] = {name: mixer + EVIL for name, mixer in row["names"].items()}
    row["kinds"] = [{**kind, "mixer": kind["mixer"] + EVIL} if "mixer" in kind else kind for kind in row["kinds"]]
    with open(os.path.join(layouts, "hostile.json"), "w", encoding="utf-8") as file:
        json.dump(row, file)
    for side in ("pre", "post"):
        folder = os.path.join(root, side.encode())
        os.makedirs(folder)
        write_model(os.path.join(data, side), folder)
    with open(os.path.join(data, "cases", "recall.jsonl"), encoding="utf-8") as file:
        case = json.loads(file.readline())
    os.mkdir(os.path.join(root, b"cases"))
    for path in (os.path.join(root, b"cases", b"c" + SHORT + b".jsonl"), os.path.join(out.encode(), b"more.jsonl")):
        with open(path, "w", encoding="utf-8") as file:
            for prompt in (case["prompt"], EVIL + " " + case["prompt"]):
                json.dump({"prompt": prompt, "answer": case["answer"], "task": TASK + os.path.basename(path)[:1].hex()}, file)
                file.write("\n")
    with open(os.path.join(out, "needle.jsonl"), "w", encoding="utf-8") as file:
        json.dump({"prompt": "The code is 4711. " + EVIL.replace("4711", "") + " The code is ", "answer": "4711"}, file)
    with open(os.path.join(root, b"probe" + SHORT), "w", encoding="utf-8") as file:
        file.write("a text " + EVIL + " and more of it\n" * 20)
    os.mkdir(os.path.join(root, b"left"))
    os.mkdir(os.path.join(root, b"left", b".n" + SHORT + b".qkscope-1-1"))


# --- every command ---

def commands_of(program):
    text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    listed = text[text.index("\nCommands:\n") + 11:].split("\n\n")[0]
    return re.findall(r"^  ([a-z-]+) ?\S*", listed, re.MULTILINE)


def arguments_of(root):
    """The runs of each command: its arguments. Those under "" are of the program without a command."""
    def at(*names):
        return os.path.join(root, *names)
    pre, post, cases = at(b"pre"), at(b"post"), at(b"cases", b"c" + SHORT + b".jsonl")
    gone, out = at(b"gone" + SHORT), at(b"out" + SHORT)
    pair, choice = [pre, post], ["--set", "full=restore"]
    return {
        "": [pair, [pre, gone], pair + ["--set", b"x" + SHORT]],
        "info": [[pre], [gone], [at(b"probe" + SHORT)]],
        "diff": [pair, pair + ["--heads"] + choice, [gone, post], [pre, cases]],
        "heads": [pair + ["--prompts", "2", "--length", "200"], pair + ["--needles", at(b"..", b"needle.jsonl")],
                  pair + ["--needles", cases], pair + ["--needles", gone]],
        "track": [pair, [pre, post, gone], [pre, root], [pre, at(b"probe" + SHORT)]],
        "range": [pair + ["--length", "64"], pair + ["--probe", at(b"probe" + SHORT), "--length", "200"],
                  pair + ["--estimate"], pair + ["--ids", at(b"probe" + SHORT)], pair + ["--states", gone]],
        "cases": [["needle", "--count", "1", "--length", "200", "--tokenizer", post], ["needle", "--tokenizer", gone],
                  ["needle", "--haystack", at(b"probe" + SHORT), "--length", "200", "--count", "1"], ["arithmetic", "-o", gone + b"/x"]],
        "plan": [pair + choice + ["--comment", EVIL], pair + choice + ["-o", at(b"r" + SHORT)], pair + choice + ["-o", gone + b"/x"]],
        "export": [pair + choice + ["-o", out, "--dry-run"], pair + choice + ["-o", out], pair + choice + ["-o", out],
                   pair + ["--recipe", at(b"r" + SHORT), "-o", post]],
        "verify": [[out, "--pre", pre, "--post", post], [out, "--pre", pre, "--post", pre], [out], [gone], [post]],
        "emit": [[tool] + pair + choice for tool in ("mergekit", "brainsurgery")],
        "eval": [pair + ["--baselines", "--as", SHORT[:-1], "--set", "7=restore", "-c", cases], [pre, "-c", gone],
                 [pre, "-c", at(b"probe" + SHORT)], pair + ["--selections", at(b"probe" + SHORT), "-c", cases]],
        "search": [pair + ["-c", cases, "-c", at(b"..", b"more.jsonl"), "--max-evals", "4", "-o", at(b"front" + SHORT)]],
        "suggest": [pair + ["--prompts", "4", "--length", "200", "-o", at(b"proposals" + SHORT)]],
        "clean": [[at(b"left")], [at(b"left"), "--remove"], [gone]],
        "doctor": [[]],
    }


def fault_of(result, arguments):
    """What is wrong with a run's output, or None."""
    if result.returncode < 0:
        return f"signal {-result.returncode}"
    for stream, bytes_ in (("output", result.stdout), ("messages", result.stderr)):
        try:
            text = bytes_.decode("utf-8")
        except UnicodeDecodeError as error:
            return f"{stream} is not UTF-8: {error}"
        if hidden(text, "\n\t"):
            return f"{stream} holds {hidden(text, chr(10) + chr(9))[:9]}"
        if re.search(r"^\W*forged", text, re.MULTILINE):
            return f"{stream} has a line that a name made"
    text = result.stdout.decode("utf-8")
    if "--json" in arguments and result.returncode == 0:
        tree = json.loads(text)
        found = json.dumps(tree)
        for kind, value in (("model_type", "type" + EVIL), ("task", TASK)):
            if f'"{kind}"' in found and json.dumps(value)[1:-1] not in found:
                return f"the {kind} does not survive JSON"
    if "--csv" in arguments and result.returncode == 0:
        rows = list(csv.reader(io.StringIO(text)))
        if len(rows) < 2 or len({len(row) for row in rows}) != 1:
            return "rows of CSV have different lengths"
    return None


def run(program, out):
    os.environ["XDG_CONFIG_HOME"] = os.path.join(out, "config")
    os.environ["XDG_CACHE_HOME"] = os.path.join(out, "cache")
    of = arguments_of(os.path.join(out.encode(), b"pair" + SHORT))
    for command in [""] + commands_of(program):
        if command not in of:
            print(f"no {command}: this test does not run it: add it to arguments_of")
            continue
        head = [program] + ([command] if command else [])
        options = subprocess.run(head + ["--help"], capture_output=True, text=True, check=True).stdout
        forms = [[]] + [[form] for form in ("--json", "--csv") if re.search(rf"^ +{form} ", options, re.MULTILINE)]
        fault, succeeded = None, False
        for i, arguments in enumerate(of[command]):  # QK_TEST_BRIEF: another build tries all forms (scripts/test)
            for form in [forms[i % len(forms)]] if "QK_TEST_BRIEF" in os.environ else forms:
                again = ["--force"] if form and "-o" in arguments and "--force" in options else []
                result = subprocess.run(head + arguments + form + again, capture_output=True, stdin=subprocess.DEVNULL, check=False)
                succeeded = succeeded or result.returncode == 0
                fault = fault or fault_of(result, form)
                if fault is not None and "QK_SHOW" in os.environ:
                    print(arguments, form, result, file=sys.stderr)
        # A selection whose names cannot stand in its file is refused by emit.
        if fault is None and not succeeded and command != "emit":
            fault = f"no run ends well: {result.stderr.decode()}"
        print(f"ok {command or 'PRE POST'}" if fault is None else f"no {command or 'PRE POST'}: {fault}")


# --- the screen ---

def raw(path):
    with open(path, "rb") as file:
        written = file.read()
    copies = re.findall(rb"\x1b\]52;c;([A-Za-z0-9+/=]*)\x07", written)
    text = re.sub(rb"\x1b\]52;c;[A-Za-z0-9+/=]*\x07", b"", written).decode("utf-8")
    # Sequences of the terminal's own begin with ESC; names could only bring other ones, or characters beyond ASCII.
    controls = "".join(map(chr, range(0x20)))
    if hidden(text, controls):
        print(f"the screen holds {hidden(text, controls)[:9]}")
    if "\x1b]0;" in text or "\x1b[31m\n" in text or "\x1b]0" in text:
        print("the screen holds a title or a colour of a name")
    for copy in copies:
        lines = base64.b64decode(copy).decode("utf-8")
        if hidden(lines, "\n"):
            print(f"the clipboard holds {hidden(lines, chr(10))[:9]}")
        if any(not line.startswith("model.layers.") for line in lines.splitlines()):
            print("the clipboard has a line that a name made")
        print(f"clipboard {lines.count(chr(10))}")


if __name__ == "__main__":
    {"make": make, "run": run, "raw": raw}[sys.argv[1]](*sys.argv[2:])
