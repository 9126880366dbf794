#!/usr/bin/env python3
"""make_torch.py [OPTION...] SOURCE TARGET - a checkpoint folder of one safetensors file as one of PyTorch files.

A SOURCE with folders pre and post gives a TARGET of both.

In the form of torch.save, byte for byte: a zip of NAME/data.pkl, byteorder, data/0 ..., version, nothing compressed;
zeros in the local headers and descriptors behind the data; data at multiples of 64 by an "FB" extra field of Zs; ZIP64
end records always. Files of the folder that are no safetensors are copied.

--shards N     N files and an index
--wrap KEY     the state dict stands under KEY, beside an epoch
--protocol4    the pickle is of protocol 4
--one-storage  all tensors of a dtype are views of one storage
--deflate      the records that are no storage are compressed, which torch.save does not do
"""
import argparse
import json
import os
import shutil
import struct
import zlib

STORAGES = {"F64": "DoubleStorage", "F32": "FloatStorage", "F16": "HalfStorage", "BF16": "BFloat16Storage",
            "I64": "LongStorage", "I32": "IntStorage", "I16": "ShortStorage", "I8": "CharStorage",
            "U8": "ByteStorage", "BOOL": "BoolStorage"}
NEW_DTYPES = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "U16": "uint16",
              "U32": "uint32", "U64": "uint64"}
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
         "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "U16": 2, "U32": 4, "U64": 8}


class Raw(bytes):
    """Opcodes as they are."""


class Global:
    def __init__(self, module, name):
        self.module, self.name = module, name


class Tensor:
    def __init__(self, dtype, shape, storage, storage_bytes, offset=0, strides=None, function=None):
        self.dtype, self.shape, self.storage = dtype, list(shape), storage
        self.storage_bytes, self.offset, self.function = storage_bytes, offset, function
        if strides is None:
            strides, step = [], 1
            for n in reversed(self.shape):
                strides.insert(0, step)
                step *= max(n, 1)
        self.strides = strides


class Pickler:
    """Writes opcodes as Python's C pickler does, memo included."""

    def __init__(self, protocol=2):
        self.protocol, self.memo, self.slots = protocol, {}, 0
        self.out = bytearray(b"\x80" + bytes([protocol]))

    def put(self, key):
        if self.protocol >= 4:
            self.out += b"\x94"
        else:
            self.out += b"q" + bytes([self.slots]) if self.slots < 256 else b"r" + struct.pack("<I", self.slots)
        if key is not None:
            self.memo[key] = self.slots
        self.slots += 1

    def known(self, key):
        slot = self.memo.get(key)
        if slot is None:
            return False
        self.out += b"h" + bytes([slot]) if slot < 256 else b"j" + struct.pack("<I", slot)
        return True

    def save(self, value):
        if isinstance(value, Raw):
            self.out += value
        elif value is None:
            self.out += b"N"
        elif isinstance(value, bool):
            self.out += b"\x88" if value else b"\x89"
        elif isinstance(value, int):
            self.save_int(value)
        elif isinstance(value, float):
            self.out += b"G" + struct.pack(">d", value)
        elif isinstance(value, str):
            self.save_text(value)
        elif isinstance(value, Global):
            self.save_global(value)
        elif isinstance(value, tuple):
            self.save_tuple(value)
        elif isinstance(value, list):
            self.out += b"]"
            self.put(None)
            if value:
                self.out += b"("
                for item in value:
                    self.save(item)
                self.out += b"e"
        elif isinstance(value, dict):
            self.save_dict(value)
        elif isinstance(value, Tensor):
            self.save_tensor(value)
        else:
            raise TypeError(value)

    def save_int(self, value):
        if 0 <= value < 256:
            self.out += b"K" + bytes([value])
        elif 0 <= value < 65536:
            self.out += b"M" + struct.pack("<H", value)
        elif -(1 << 31) <= value < 1 << 31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            n = (value.bit_length() >> 3) + 1
            self.out += b"\x8a" + bytes([n]) + value.to_bytes(n, "little", signed=True)

    def save_text(self, value):
        if self.known(("text", value)):
            return
        data = value.encode()
        if self.protocol >= 4 and len(data) < 256:
            self.out += b"\x8c" + bytes([len(data)]) + data
        else:
            self.out += b"X" + struct.pack("<I", len(data)) + data
        self.put(("text", value))

    def save_global(self, value):
        key = ("global", value.module, value.name)
        if self.known(key):
            return
        if self.protocol >= 4:
            self.save_text(value.module)
            self.save_text(value.name)
            self.out += b"\x93"
        else:
            self.out += b"c" + value.module.encode() + b"\n" + value.name.encode() + b"\n"
        self.put(key)

    def save_tuple(self, value):
        if not value:
            self.out += b")"
            return
        if len(value) > 3:
            self.out += b"("
        for item in value:
            self.save(item)
        self.out += {1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(value), b"t")
        self.put(None)

    def save_items(self, value):
        if len(value) == 1:
            for key, item in value.items():
                self.save(key)
                self.save(item)
            self.out += b"s"
        items = list(value.items()) if len(value) > 1 else []
        for start in range(0, len(items), 1000):
            self.out += b"("
            for key, item in items[start:start + 1000]:
                self.save(key)
                self.save(item)
            self.out += b"u"

    def save_dict(self, value):
        self.out += b"}"
        self.put(None)
        self.save_items(value)

    def save_ordered(self, value, metadata):
        self.save_global(Global("collections", "OrderedDict"))
        self.out += b")R"
        self.put(None)
        self.save_items(value)
        if metadata:
            self.save({"_metadata": {"": {"version": 1}}})
            self.out += b"b"

    def save_tensor(self, t):
        new = t.dtype in NEW_DTYPES
        self.save_global(Global("torch._utils", t.function or
                                ("_rebuild_tensor_v3" if new else "_rebuild_tensor_v2")))
        self.out += b"("
        kind = Global("torch.storage", "UntypedStorage") if new else Global("torch", STORAGES[t.dtype])
        elements = t.storage_bytes if new else t.storage_bytes // SIZES[t.dtype]
        self.save(("storage", kind, t.storage, "cpu", elements))
        self.out += b"Q"
        self.save(t.offset)
        self.save(tuple(t.shape))
        self.save(tuple(t.strides))
        self.out += b"\x89"
        self.save_global(Global("collections", "OrderedDict"))
        self.out += b")R"
        self.put(None)
        if new:
            self.save_global(Global("torch", NEW_DTYPES[t.dtype]))
        self.out += b"t"
        self.put(None)
        self.out += b"R"
        self.put(None)


def state_dict_pickle(tensors, wrap=None, protocol=2):
    """The bytes of data.pkl for {name: Tensor}; a final frame of protocol 4 holds it all."""
    pickler = Pickler(protocol)
    if wrap is None:
        pickler.save_ordered(tensors, True)
    else:
        pickler.out += b"}"
        pickler.put(None)
        pickler.out += b"("
        pickler.save("epoch")
        pickler.save(3)
        pickler.save("loss")
        pickler.save(0.25)
        pickler.save("note")
        pickler.save(None)
        pickler.save(wrap)
        pickler.save_ordered(tensors, False)
        pickler.out += b"u"
    pickler.out += b"."
    out = bytes(pickler.out)
    if protocol >= 4:
        out = out[:2] + b"\x95" + struct.pack("<Q", len(out) - 2) + out[2:]
    return out


def deflate(content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


class Archive:
    """A zip archive as the miniz of PyTorch writes it. Records may be given wrong values for tests: `size` for the
    length in the directory, `header` for the place of the local header, `stored` for the bytes in the archive."""

    def __init__(self, name):
        self.name, self.data, self.directory, self.n = name, bytearray(), bytearray(), 0

    def add(self, record, content, method=0, size=None, header=None, stored=None):
        name = (self.name + "/" + record).encode()
        if stored is None:
            stored = deflate(content) if method == 8 else content
        at = len(self.data) if header is None else header
        size = len(content) if size is None else size
        crc = zlib.crc32(content)
        if header is None:
            begin = at + 30 + len(name) + 4
            padding = (64 - begin % 64) % 64
            self.data += struct.pack("<IHHHHHIIIHH", 0x04034b50, 0, 0x0808, method, 0, 0, 0, 0, 0, len(name),
                                     4 + padding)
            self.data += name + b"FB" + struct.pack("<H", padding) + b"Z" * padding
            self.data += stored
            self.data += struct.pack("<IIII", 0x08074b50, crc, len(stored), size)
        packed = size if method == 0 else len(stored)
        self.directory += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 0, 0, 0x0808, method, 0, 0, crc, packed, size,
                                      len(name), 0, 0, 0, 0, 0, at)
        self.directory += name
        self.n += 1
        return at

    def finish(self):
        at, size = len(self.data), len(self.directory)
        end64 = at + size
        return bytes(self.data + self.directory +
                     struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 0x031e, 0x002d, 0, 0, self.n, self.n, size, at) +
                     struct.pack("<IIQI", 0x07064b50, 0, end64, 1) +
                     struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, self.n, self.n, size, at, 0))


def archive(name, pickle, storages, method=0):
    out = Archive(name)
    out.add("data.pkl", pickle, method)
    out.add("byteorder", b"little", method)
    for key, data in storages.items():
        out.add("data/" + key, data)
    out.add("version", b"3\n", method)
    return out.finish()


def read_safetensors(path):
    with open(path, "rb") as file:
        (n,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(n))
        data = file.read()
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()}


def convert(source, name, arguments):
    """The bytes of a PyTorch file of {name: (dtype, shape, bytes)}."""
    tensors, storages = {}, {}
    if arguments.one_storage:
        for dtype in {dtype for dtype, _, _ in source.values()}:
            key = str(len(storages))
            storages[key] = b"".join(data for d, _, data in source.values() if d == dtype)
            at = 0
            for tensor, (d, shape, data) in source.items():
                if d == dtype:
                    tensors[tensor] = Tensor(d, shape, key, len(storages[key]), at // SIZES[d])
                    at += len(data)
    else:
        for tensor, (dtype, shape, data) in source.items():
            key = str(len(storages))
            storages[key] = data
            tensors[tensor] = Tensor(dtype, shape, key, len(data))
    pickle = state_dict_pickle(tensors, arguments.wrap, 4 if arguments.protocol4 else 2)
    return archive(name, pickle, storages, 8 if arguments.deflate else 0)


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def make(folder, target, arguments):
    os.makedirs(target)
    for name in os.listdir(folder):
        if not name.endswith(".safetensors"):
            shutil.copyfile(os.path.join(folder, name), os.path.join(target, name))
    source = read_safetensors(os.path.join(folder, "model.safetensors"))
    n = arguments.shards
    if n == 1:
        write(os.path.join(target, "pytorch_model.bin"), convert(source, "pytorch_model", arguments))
        return
    items, where = list(source.items()), {}
    for i in range(n):
        file = f"pytorch_model-{i + 1:05}-of-{n:05}.bin"
        part = dict(items[len(items) * i // n:len(items) * (i + 1) // n])
        where.update(dict.fromkeys(part, file))
        write(os.path.join(target, file), convert(part, file[:-4], arguments))
    index = {"metadata": {"total_size": sum(len(data) for _, _, data in source.values())}, "weight_map": where}
    write(os.path.join(target, "pytorch_model.bin.index.json"), json.dumps(index, indent=2).encode())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--wrap")
    parser.add_argument("--protocol4", action="store_true")
    parser.add_argument("--one-storage", action="store_true")
    parser.add_argument("--deflate", action="store_true")
    parser.add_argument("source")
    parser.add_argument("target")
    arguments = parser.parse_args()
    sides = ("pre", "post") if os.path.isdir(os.path.join(arguments.source, "pre")) else ("",)
    for side in sides:
        make(os.path.join(arguments.source, side), os.path.join(arguments.target, side), arguments)


if __name__ == "__main__":
    main()
