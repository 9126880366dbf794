/* zip.h - the entries of a zip archive: where they lie, so that they can be read and mended in place, and the content
 * of small ones.
 *
 * PyTorch stores a tensor's bytes uncompressed in an entry of its own. The few small entries (data.pkl) whose
 * content is wanted as a whole may be deflated.
 *
 * Checks, each with its message: the end record ends the file (so no comment); one disk; the directory lies
 * in the file, ends where the end records begin and holds as many entries as they say; sizes of ZIP64 where
 * the directory refers to them; no entry is encrypted; each has its local header with the same name and
 * method where the directory says; what is stored is as long as what comes out; headers and data of no two
 * entries overlap, nor the directory; no name twice. Memory: the directory, and a small multiple of it. */
#ifndef QK_TENSOR_TORCH_ZIP_H
#define QK_TENSOR_TORCH_ZIP_H

#include "base/error.h"
#include "tensor/source.h"

#include <stddef.h>
#include <stdint.h>

enum { QK_ZIP_MAX_DIRECTORY = 64 << 20 };

struct qk_zip_entry {
    char *name;          /* owned */
    uint64_t header;     /* of its local header, from the start of the file */
    uint64_t at, stored; /* its data: where it begins, bytes in the archive */
    uint64_t bytes;      /* when it is read */
    uint64_t crc_at;     /* its CRC-32 in the directory, from the start of the file */
    uint32_t crc;
    unsigned flags, method; /* method 0: stored, bytes in the archive are those of the content */
};

struct qk_zip {
    struct qk_zip_entry *entry;          /* n, in the order of the file */
    const struct qk_zip_entry **by_name; /* the same by strcmp of name */
    size_t n;
    char *first;     /* the name that stands first in the directory, "" without entries; owned */
    char *directory; /* as it stands in the file; owned */
    size_t directory_bytes;
    uint64_t directory_at;
};

/* Reads and checks the directory of a file that is open; freed with qk_zip_free in every case. */
enum qk_code qk_zip_open(const struct qk_source *source, struct qk_zip *zip, struct qk_error *err);
void qk_zip_free(struct qk_zip *zip);

/* The entry of that name, or NULL. */
const struct qk_zip_entry *qk_zip_find(const struct qk_zip *zip, const char *name);

/* The entry whose data holds byte `at` of the file, or NULL. */
const struct qk_zip_entry *qk_zip_at(const struct qk_zip *zip, uint64_t at);

/* *out = the content of an entry, *n bytes and a NUL behind them; the caller frees. `most` is
 * below 4 GiB. QK_INPUT when it would be longer than `most` bytes or than the whole archive, when it is compressed by
 * another method than deflate, when its compressed data is broken, cut short or does not fill its record, when it is
 * not as long as the directory says, or when its sum is wrong. No more is ever inflated than the directory says. */
enum qk_code qk_zip_read(const struct qk_source *source, const struct qk_zip_entry *entry, size_t most,
    char **out, size_t *n, struct qk_error *err);

#endif
