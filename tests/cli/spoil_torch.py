#!/usr/bin/env python3
"""spoil_torch.py FOLDER - FOLDER/FAULT.bin for each fault: a PyTorch file with it, or made to do harm; see FAULTS.
Prints their names."""
import struct
import sys
import zlib

from make_torch import Archive, Pickler, Raw, Tensor, archive, deflate, state_dict_pickle

FLOATS = bytes(range(24))


def state(**arguments):
    """A file of one (2, 3) tensor, with some of its numbers wrong."""
    values = {"dtype": "F32", "shape": [2, 3], "storage": "0", "storage_bytes": 24, **arguments}
    return archive("archive", state_dict_pickle({"layers.0.q": Tensor(**values)}), {"0": FLOATS})


def pickle(*opcodes, protocol=2):
    body = b"".join(opcodes)
    return archive("archive", b"\x80" + bytes([protocol]) + body + b".", {"0": FLOATS})


def short(text):
    return b"\x8c" + bytes([len(text)]) + text


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def called(module, name, argument=b"true"):
    return pickle(b"c" + module + b"\n" + name + b"\n", text(argument), b"\x85R")


def beside(opcodes):
    """A sound state dict, with a value beside its tensor."""
    pickler = Pickler()
    pickler.save({"layers.0.q": Tensor("F32", [2, 3], "0", 24), "evil": Raw(opcodes)})
    return archive("archive", bytes(pickler.out) + b".", {"0": FLOATS})


def records(edit):
    """A sound file whose archive is put together by edit(archive, pickle)."""
    out = Archive("archive")
    edit(out, state_dict_pickle({"layers.0.q": Tensor("F32", [2, 3], "0", 24)}))
    return out.finish()


def bomb(out, _):
    out.add("data.pkl", b"]" * (1 << 25), method=8)


def large_bomb(out, _):
    out.add("data.pkl", b"\0" * (80 << 20), method=8)


def lying_bomb(out, _):
    out.add("data.pkl", b"]" * (1 << 25), method=8, size=100)


def overlapping(out, data):
    at = out.add("data.pkl", data)
    out.add("data/0", FLOATS, header=at)


def overlapping_data(out, data):
    """The header of the second lies inside of the first one's data."""
    inner = Archive("archive")
    inner.add("data/0", FLOATS)
    at = out.add("data.pkl", data + bytes(inner.data))
    begin = bytes(out.data).index(bytes(inner.data[:30]), at + 30)
    out.add("data/0", FLOATS, header=begin)


def compressed_storage(out, data):
    out.add("data.pkl", data)
    out.add("data/0", b"\0" * 24, method=8)


def twice(out, data):
    out.add("data.pkl", data)
    out.add("data/0", FLOATS)
    out.add("data/0", FLOATS)


def past_end(out, data):
    out.add("data.pkl", data)
    out.add("data/0", FLOATS, size=1 << 30)


def no_pickle(out, _):
    out.add("data/0", FLOATS)


def no_storage(out, data):
    out.add("data.pkl", data)


def big_endian(out, data):
    out.add("data.pkl", data)
    out.add("byteorder", b"big")
    out.add("data/0", FLOATS)


def encrypted(out, data):
    out.add("data.pkl", data)
    out.add("data/0", FLOATS)
    at = out.directory.rindex(b"PK\1\2") + 8
    out.directory[at] |= 1


def other_header(out, data):
    out.add("data.pkl", data)
    at = out.add("data/0", FLOATS)
    out.data[at + 30 + len("archive/data/")] = ord("7")


def bad_sum(out, data):
    out.add("data.pkl", data)
    out.add("data/0", FLOATS)
    out.directory[16] ^= 1


def deflated(**arguments):
    """A sound file but for its pickle, which is deflated; arguments(data) are those of Archive.add."""
    def edit(out, data):
        out.add("data.pkl", data, method=8, **{name: value(data) for name, value in arguments.items()})
        out.add("data/0", FLOATS)
    return records(edit)


def deflated_bad_sum(out, data):
    out.add("data.pkl", data, method=8)
    out.add("data/0", FLOATS)
    out.directory[16] ^= 1


def other_method(out, data):
    out.add("data.pkl", data, method=12)
    out.add("data/0", FLOATS)


def other_stored_size(out, data):
    out.add("data.pkl", data)
    out.directory[20] ^= 1
    out.add("data/0", FLOATS)


def other_disk(out, data):
    out.add("data.pkl", data)
    out.directory[34] = 1
    out.add("data/0", FLOATS)


def many_entries():
    data = bytearray(state())
    struct.pack_into("<Q", data, len(data) - 22 - 20 - 56 + 32, 1 << 60)
    return bytes(data)


def far_directory():
    data = bytearray(state())
    struct.pack_into("<Q", data, len(data) - 22 - 20 - 56 + 48, 1 << 60)
    return bytes(data)


def huge_directory():
    data = bytearray(state())
    struct.pack_into("<Q", data, len(data) - 22 - 20 - 56 + 40, (1 << 64) - 1)
    return bytes(data)


def tar():
    return b"\0" * 257 + b"ustar" + b"\0" * 1000


NEGATIVE = -(1 << 62)
FAULTS = {
    "os-system": lambda: called(b"os", b"system"),
    "posix-system": lambda: called(b"posix", b"system"),
    "eval": lambda: called(b"builtins", b"eval"),
    "stack-global": lambda: pickle(short(b"os"), b"\x94", short(b"system"), b"\x94\x93", short(b"true"), b"\x85R",
                                   protocol=4),
    "beside": lambda: beside(b"cos\nsystem\nX\4\0\0\0true\x85R"),
    "reduce": lambda: pickle(b"ctorch\nFloatStorage\n)R"),
    "build": lambda: pickle(b"]}b"),
    "inst": lambda: pickle(b"(ios\nsystem\n"),
    "obj": lambda: pickle(b"(ccollections\nOrderedDict\no"),
    "newobj": lambda: pickle(b"ccollections\nOrderedDict\n)\x81"),
    "nested": lambda: pickle(b"]" * 500000, b"a" * 499999),
    "deep-stack": lambda: pickle(b"]" * 2000000),
    "memo": lambda: pickle(b"Nr\xff\xff\xff\xff"),
    "memo-many": lambda: pickle(b"N", b"\x94" * 5000000, protocol=4),
    "long-text": lambda: pickle(b"X\xff\xff\xff\xff"),
    "long-number": lambda: pickle(b"\x8a\xff", b"1" * 255),
    "long-frame": lambda: pickle(b"\x95", b"\xff" * 8, b"}", protocol=4),
    "deeper": lambda: beside(b"}"),
    "a-list": lambda: pickle(b"]"),
    "bomb": lambda: records(bomb),
    "large-bomb": lambda: records(large_bomb),
    "lying-bomb": lambda: records(lying_bomb),
    "overlapping": lambda: records(overlapping),
    "overlapping-data": lambda: records(overlapping_data),
    "compressed-storage": lambda: records(compressed_storage),
    "twice": lambda: records(twice),
    "past-end": lambda: records(past_end),
    "no-pickle": lambda: records(no_pickle),
    "no-storage": lambda: records(no_storage),
    "big-endian": lambda: records(big_endian),
    "encrypted": lambda: records(encrypted),
    "other-header": lambda: records(other_header),
    "bad-sum": lambda: records(bad_sum),
    "deflated-bad-sum": lambda: records(deflated_bad_sum),
    "deflated-shorter": lambda: deflated(size=lambda data: len(data) + 1),
    "deflated-longer": lambda: deflated(size=lambda data: len(data) - 1),
    "deflated-cut": lambda: deflated(stored=lambda data: deflate(data)[:-3]),
    "deflated-empty": lambda: deflated(stored=lambda data: b""),
    "deflated-broken": lambda: deflated(stored=lambda data: b"\7" + deflate(data)),
    "deflated-zlib": lambda: deflated(stored=zlib.compress),
    "deflated-more": lambda: deflated(stored=lambda data: deflate(data) + b"x"),
    "deflated-much-more": lambda: deflated(stored=lambda data: deflate(data) + bytes(200000)),
    "other-method": lambda: records(other_method),
    "other-stored-size": lambda: records(other_stored_size),
    "other-disk": lambda: records(other_disk),
    "many-entries": many_entries,
    "far-directory": far_directory,
    "huge-directory": huge_directory,
    "truncated": lambda: state()[:-30],
    "half": lambda: state()[:400],
    "empty": lambda: b"",
    "bare-pickle": lambda: b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
    "tar": tar,
    "other-size": lambda: state(storage_bytes=28),
    "short-storage": lambda: state(shape=[3, 3]),
    "transposed": lambda: state(strides=[1, 2]),
    "strided": lambda: state(shape=[3], strides=[2]),
    "negative-stride": lambda: state(shape=[3], strides=[-1], offset=2),
    "negative-offset": lambda: state(offset=-1),
    "far-offset": lambda: state(offset=4),
    "overflowing-offset": lambda: state(offset=(1 << 62)),
    "overflowing-shape": lambda: state(shape=[1 << 62, 8], strides=[8, 1]),
    "negative-shape": lambda: state(shape=[NEGATIVE, 2]),
    "unknown-function": lambda: state(function="_rebuild_sparse_tensor"),
    "unknown-storage": lambda: archive("archive", state_dict_pickle(
        {"q": Tensor("F32", [1], "0", 4)}).replace(b"FloatStorage", b"QInt8Storage"), {"0": b"1234"}),
}


def main():
    for fault, make in FAULTS.items():
        with open(f"{sys.argv[1]}/{fault}.bin", "wb") as file:
            file.write(make())
        print(fault)


if __name__ == "__main__":
    main()
