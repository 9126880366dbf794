/* safetensors.h - the header of one .safetensors file.
 *
 * Layout:  u64 little-endian N | N bytes of UTF-8 JSON starting with '{', may be padded with spaces | data
 *   {"__metadata__": {string: string, ...}, NAME: {"dtype": STR, "shape": [u64...], "data_offsets": [b, e]}}
 * b and e count from the end of the header. Our limits and checks, in this order, each with its message:
 *   file of at least 8 bytes; N <= QK_ST_MAX_HEADER and N <= file size - 8; first byte '{'; UTF-8; one JSON
 *   object; of each entry: __metadata__ (once) only strings, no key twice; a tensor no key twice, at most
 *   64 KiB; dtype a string; shape of at most QK_MAX_DIMS whole numbers; two whole data_offsets, b <= e; the
 *   product of shape and dtype size does not overflow; e - b equals that product (not for unknown dtypes); no
 *   name twice; sorted by b the tensors touch each other without hole or overlap, the first starts at 0 and
 *   the last ends at the end of the file.
 * Memory: the header's text and the table, a small multiple of the header; never a tree of the whole. */
#ifndef QK_TENSOR_SAFETENSORS_H
#define QK_TENSOR_SAFETENSORS_H

#include "tensor/file.h"

enum { QK_ST_MAX_HEADER = 100000000 };

/* Opens and checks a file. On failure nothing is left open. */
enum qk_code qk_safetensors_open(const char *path, struct qk_tensor_file *file, struct qk_error *err);

#endif
