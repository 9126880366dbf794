"""Makes what a fine-tuning with new tokens leaves: a copy of a checkpoint with more rows of its embedding.

make_grown.py MODEL OUT [TOKEN...]: OUT has 8 rows of zeros more, and the tokens get the first of these. Prints the
number of rows that MODEL has.
"""
import json
import os
import shutil
import struct
import sys

MORE = 8
model, out, tokens = sys.argv[1], sys.argv[2], sys.argv[3:]
shutil.copytree(model, out, copy_function=shutil.copyfile)
path = os.path.join(out, "model.safetensors")
with open(path, "rb") as file:
    data = file.read()
n = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8 : 8 + n])
blobs, at, rows = [], 0, 0
for name, tensor in header.items():
    if name == "__metadata__":
        continue
    begin, end = tensor["data_offsets"]
    blob = data[8 + n + begin : 8 + n + end]
    if "embed_tokens" in name or "lm_head" in name:
        rows, width = tensor["shape"]
        blob += bytes(MORE * len(blob) // rows)
        tensor["shape"] = [rows + MORE, width]
    tensor["data_offsets"] = [at, at + len(blob)]
    at += len(blob)
    blobs.append(blob)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(path, "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def rewrite(name, change):
    path = os.path.join(out, name)
    with open(path) as file:
        root = json.load(file)
    change(root)
    with open(path, "w") as file:
        json.dump(root, file)


def add_tokens(root):
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    root["added_tokens"] += [
        {"id": rows + i, "content": token, **dict.fromkeys(flags, False)} for i, token in enumerate(tokens)
    ]


rewrite("config.json", lambda root: root.update(vocab_size=rows + MORE))
rewrite("tokenizer.json", add_tokens)
print(rows)
