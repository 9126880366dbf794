"""stored.py - stored tensors as float64 numbers and back, for the references of the tests: numpy and nothing else."""
import glob
import os

import numpy as np

from stored_file import read_file, write_file  # noqa: F401 - for those who import both from here

# bits of the fraction, smallest exponent of a normal number
FORMATS = {"BF16": (7, -126), "F16": (10, -14), "F32": (23, -126), "F64": (52, -1022)}


def rounded(dtype, values):
    """float64 values rounded to nearest even of the dtype, subnormals kept; none may overflow."""
    values = np.asarray(values, np.float64)
    if dtype == "F64":
        return values
    fraction, least = FORMATS[dtype]
    _, exponent = np.frexp(values)  # values = m * 2**exponent, 0.5 <= |m| < 1
    step = np.ldexp(1.0, np.maximum(exponent - 1, least) - fraction)
    return np.rint(values / step) * step  # both by powers of two: rint alone rounds


def decode(dtype, raw):
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return np.frombuffer(raw, {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).astype(np.float64)


def encode(dtype, values):
    values = rounded(dtype, values)
    if dtype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype({"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).tobytes()


def order(dtype, values):
    """The stored patterns as integers in the order of the numbers: their differences are units in the last place."""
    width = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}[dtype]
    bits = np.frombuffer(encode(dtype, values), f"<u{width}").astype(np.int64)
    top = np.int64(1) << (8 * width - 1) if width < 8 else None
    if top is None:  # already signed: the sign bit is the number's sign
        return np.where(bits < 0, np.int64(-2**63) - bits, bits)
    return np.where(bits >= top, top - bits, bits)


def read_folder(folder):
    """{name: (dtype, numbers)} of all weights in a folder, or of the one file that it is; a test's extra files
    (golden*) are none."""
    paths = [folder] if os.path.isfile(folder) else glob.glob(os.path.join(folder, "model*.safetensors"))
    return {name: (dtype, decode(dtype, raw).reshape(shape)) for path in paths
            for name, (dtype, shape, raw) in read_file(path).items()}
