/* zip.h - the places of a zip archive's entries, so that they can be read, and mended, in place.
 *
 * PyTorch stores a tensor's bytes uncompressed in an entry of its own. A few small entries (data.pkl) are read
 * whole; they may be deflated.
 *
 * Each check has its message:
 *   The end record ends the file (so there is no comment), and there is one disk.
 *   The directory lies in the file, ends where the end records begin, and holds as many entries as they say.
 *   Sizes of ZIP64 are there where the directory refers to them. No entry is encrypted.
 *   Each entry has its local header, with the same name and method, where the directory says.
 *   Stored data is as long as the content.
 *   Headers and data of two entries do not overlap, nor do they overlap the directory. No name is there twice.
 * Memory is the directory and a small multiple of it. */
#ifndef QK_TENSOR_TORCH_ZIP_H
#define QK_TENSOR_TORCH_ZIP_H

#include "base/error.h"
#include "tensor/source.h"

#include <stddef.h>
#include <stdint.h>

enum { QK_ZIP_MAX_DIRECTORY = 64 << 20 };

struct qk_zip_entry {
    char *name;          /* owned */
    uint64_t header;     /* place of its local header, from the start of the file */
    uint64_t at, stored; /* its data: place, and bytes in the archive */
    uint64_t bytes;      /* bytes of its content */
    uint64_t crc_at;     /* its CRC-32 in the directory, from the start of the file */
    uint32_t crc;
    unsigned flags, method; /* method 0: stored, bytes in the archive are those of the content */
};

struct qk_zip {
    struct qk_zip_entry *entry;          /* n, in the order of the file */
    const struct qk_zip_entry **by_name; /* the same by strcmp of name */
    size_t n;
    char *first;     /* the first name of the directory, "" without entries; owned */
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

/* *out = the content of an entry, *n bytes and a NUL behind them; the caller frees. `most` is below
 * 4 GiB. QK_INPUT when it would be longer than `most` bytes or than the whole archive, when it is not as long as the
 * directory says, or when its sum is wrong. QK_INPUT also for a method other than deflate, and for compressed data
 * that is broken, cut short or does not fill its entry. It inflates at most one byte more than the directory says. */
enum qk_code qk_zip_read(const struct qk_source *source, const struct qk_zip_entry *entry, size_t most,
    char **out, size_t *n, struct qk_error *err);

#endif
