/* zip.c - the directory of a zip archive. Names of fields are those of PKWARE's APPNOTE.TXT 6.3.10. */
#include "tensor/torch/zip.h"

#include "base/mem.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Signatures, and bytes of the records without names and extra fields. */
enum {
    LOCAL = 0x04034b50,
    LOCAL_BYTES = 30,
    CENTRAL = 0x02014b50,
    CENTRAL_BYTES = 46,
    END = 0x06054b50,
    END_BYTES = 22,
    LOCATOR64 = 0x07064b50,
    LOCATOR64_BYTES = 20,
    END64 = 0x06064b50,
    END64_BYTES = 56,
    ZIP64_FIELD = 1,
    ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13,
};

/* The n bytes at p as a little-endian number. */
static uint64_t number(const char *p, int n)
{
    uint64_t value = 0;
    for (int i = n; i-- > 0;)
        value = value << 8 | (unsigned char)p[i];
    return value;
}

/* --- the end of the file --- */

static enum qk_code not_whole(const struct qk_source *source, const char *what, struct qk_error *err)
{
    return qk_fail(err, QK_INPUT, "%s: not a whole zip archive: %s", source->path, what);
}

struct ending {
    uint64_t entries, size, at; /* of the directory */
    uint64_t begin;             /* of the end records */
};

/* The ZIP64 end record, when the file has one. */
static enum qk_code read_end64(const struct qk_source *source, struct ending *end, struct qk_error *err)
{
    char locator[LOCATOR64_BYTES], record[END64_BYTES];
    if (source->size < END_BYTES + LOCATOR64_BYTES)
        return QK_OK;
    uint64_t locator_at = source->size - END_BYTES - LOCATOR64_BYTES;
    QK_TRY(qk_source_read(source, locator_at, locator, sizeof locator, err));
    if (number(locator, 4) != LOCATOR64)
        return QK_OK;
    uint64_t at = number(locator + 8, 8);
    if (number(locator + 4, 4) != 0 || number(locator + 16, 4) > 1)
        return not_whole(source, "it is one of several", err);
    if (at > locator_at || locator_at - at < END64_BYTES)
        return not_whole(source, "its ZIP64 end record is not where it should be", err);
    QK_TRY(qk_source_read(source, at, record, sizeof record, err));
    if (number(record, 4) != END64 || number(record + 4, 8) != locator_at - at - 12)
        return not_whole(source, "its ZIP64 end record is not where it should be", err);
    if (number(record + 16, 4) != 0 || number(record + 20, 4) != 0)
        return not_whole(source, "it is one of several", err);
    end->begin = at;
    end->entries = number(record + 32, 8);
    end->size = number(record + 40, 8);
    end->at = number(record + 48, 8);
    return QK_OK;
}

static enum qk_code read_ending(const struct qk_source *source, struct ending *end, struct qk_error *err)
{
    char record[END_BYTES];
    if (source->size < END_BYTES)
        return not_whole(source, "it is too short", err);
    QK_TRY(qk_source_read(source, source->size - END_BYTES, record, sizeof record, err));
    if (number(record, 4) != END || number(record + 20, 2) != 0)
        return not_whole(source, "it does not end with a directory; it may have been cut short", err);
    if (number(record + 4, 2) != 0 || number(record + 6, 2) != 0)
        return not_whole(source, "it is one of several", err);
    *end = (struct ending){
        number(record + 10, 2), number(record + 12, 4), number(record + 16, 4), source->size - END_BYTES};
    QK_TRY(read_end64(source, end, err));
    if (end->size > QK_ZIP_MAX_DIRECTORY)
        return qk_fail(err, QK_INPUT, "%s: its directory is too large (found %llu bytes, at most %d)",
            source->path, (unsigned long long)end->size, QK_ZIP_MAX_DIRECTORY);
    if (end->at > end->begin || end->size != end->begin - end->at)
        return not_whole(source, "its directory is not where the end record says", err);
    if (end->entries > end->size / CENTRAL_BYTES)
        return qk_fail(err, QK_INPUT, "%s: its directory of %llu bytes cannot hold %llu entries",
            source->path, (unsigned long long)end->size, (unsigned long long)end->entries);
    return QK_OK;
}

/* --- entries --- */

static enum qk_code entry_fault(
    const struct qk_source *source, const struct qk_zip_entry *entry, const char *what, struct qk_error *err)
{
    return qk_fail(err, QK_INPUT, "%s: %s: %s", source->path, entry->name, what);
}

/* Takes 8 bytes of a ZIP64 field for a value that did not fit the record. */
static bool take64(const char **field, size_t *left, uint64_t *value)
{
    if (*value != UINT32_MAX)
        return true;
    if (*left < 8)
        return false;
    *value = number(*field, 8);
    *field += 8;
    *left -= 8;
    return true;
}

/* Values of the extra field, which lies in the directory. */
static bool read_extra(struct qk_zip_entry *entry, const char *extra, size_t n)
{
    while (n >= 4) {
        size_t size = (size_t)number(extra + 2, 2);
        const char *field = extra + 4;
        if (size > n - 4)
            return false;
        if (number(extra, 2) == ZIP64_FIELD)
            return take64(&field, &size, &entry->bytes) && take64(&field, &size, &entry->stored) &&
                   take64(&field, &size, &entry->header);
        extra += 4 + size;
        n -= 4 + size;
    }
    return true;
}

/* The record at *at of the directory; moves *at behind it. */
static enum qk_code read_central(const struct qk_source *source, struct qk_zip *zip, size_t *at,
    struct qk_zip_entry *entry, struct qk_error *err)
{
    const char *record = zip->directory + *at;
    size_t left = zip->directory_bytes - *at;
    if (left < CENTRAL_BYTES || number(record, 4) != CENTRAL)
        return not_whole(source, "its directory holds something that is not an entry", err);
    size_t name = (size_t)number(record + 28, 2), extra = (size_t)number(record + 30, 2),
           bytes = CENTRAL_BYTES + name + extra + (size_t)number(record + 32, 2);
    if (bytes > left)
        return not_whole(source, "an entry runs past the end of its directory", err);
    *entry = (struct qk_zip_entry){.flags = (unsigned)number(record + 8, 2),
        .method = (unsigned)number(record + 10, 2),
        .crc = (uint32_t)number(record + 16, 4),
        .stored = number(record + 20, 4),
        .bytes = number(record + 24, 4),
        .header = number(record + 42, 4),
        .crc_at = zip->directory_at + *at + 16};
    if (number(record + 34, 2) != 0)
        return not_whole(source, "it is one of several", err);
    QK_TRY(qk_strndup_to(&entry->name, record + CENTRAL_BYTES, name, err));
    if (strlen(entry->name) != name)
        return entry_fault(source, entry, "its name has a NUL character", err);
    if (!read_extra(entry, record + CENTRAL_BYTES + name, extra))
        return entry_fault(source, entry, "its extra field is cut short", err);
    if ((entry->flags & ENCRYPTED) != 0)
        return entry_fault(source, entry, "is encrypted", err);
    if (entry->method == 0 && entry->stored != entry->bytes)
        return qk_fail(err, QK_INPUT, "%s: %s: stored with another size (found %llu bytes, expected %llu)",
            source->path, entry->name, (unsigned long long)entry->stored, (unsigned long long)entry->bytes);
    *at += bytes;
    return QK_OK;
}

/* Finds an entry's data behind its local header, whose name and extra field may be longer than the directory's. */
static enum qk_code read_local(const struct qk_source *source, const struct qk_zip *zip,
    struct qk_zip_entry *entry, struct qk_error *err)
{
    char record[LOCAL_BYTES + UINT16_MAX];
    size_t name = strlen(entry->name), n = LOCAL_BYTES + name;
    uint64_t end = zip->directory_at;
    if (entry->header > end || end - entry->header < n)
        return entry_fault(source, entry, "its header lies outside of the archive's data", err);
    QK_TRY(qk_source_read(source, entry->header, record, n, err));
    if (number(record, 4) != LOCAL || number(record + 26, 2) != name ||
        memcmp(record + LOCAL_BYTES, entry->name, name) != 0 || number(record + 8, 2) != entry->method)
        return entry_fault(source, entry, "its header differs from its entry in the directory", err);
    entry->at = entry->header + n + number(record + 28, 2);
    if (entry->at > end || entry->stored > end - entry->at)
        return qk_fail(err, QK_INPUT, "%s: %s: its data runs past the end (found %llu bytes, expected %llu)",
            source->path, entry->name, (unsigned long long)(entry->at > end ? 0 : end - entry->at),
            (unsigned long long)entry->stored);
    return QK_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct qk_zip_entry *x = a, *y = b;
    return x->header < y->header ? -1 : x->header > y->header;
}

static int names_in_order(const void *a, const void *b)
{
    return strcmp(
        (*(const struct qk_zip_entry *const *)a)->name, (*(const struct qk_zip_entry *const *)b)->name);
}

/* Sorts the entries both ways and compares neighbours. */
static enum qk_code order_entries(const struct qk_source *source, struct qk_zip *zip, struct qk_error *err)
{
    QK_TRY(qk_alloc(&zip->by_name, zip->n, sizeof *zip->by_name, err));
    if (zip->n > 1)
        qsort(zip->entry, zip->n, sizeof *zip->entry, by_place);
    for (size_t i = 0; i < zip->n; i++)
        zip->by_name[i] = &zip->entry[i];
    if (zip->n > 1)
        qsort(zip->by_name, zip->n, sizeof *zip->by_name, names_in_order);
    for (size_t i = 1; i < zip->n; i++) {
        const struct qk_zip_entry *before = &zip->entry[i - 1], *entry = &zip->entry[i];
        if (before->at + before->stored > entry->header)
            return qk_fail(err, QK_INPUT, "%s: %s: overlaps %s", source->path, entry->name, before->name);
        if (strcmp(zip->by_name[i - 1]->name, zip->by_name[i]->name) == 0)
            return entry_fault(source, zip->by_name[i], "is twice in the archive", err);
    }
    return QK_OK;
}

enum qk_code qk_zip_open(const struct qk_source *source, struct qk_zip *zip, struct qk_error *err)
{
    struct ending end = {0};
    *zip = (struct qk_zip){0};
    QK_TRY(read_ending(source, &end, err));
    zip->directory_at = end.at;
    zip->directory_bytes = (size_t)end.size;
    QK_TRY(qk_alloc(&zip->directory, zip->directory_bytes, 1, err));
    QK_TRY(qk_source_read(source, end.at, zip->directory, zip->directory_bytes, err));
    QK_TRY(qk_alloc(&zip->entry, (size_t)end.entries, sizeof *zip->entry, err));
    size_t at = 0;
    while (zip->n < end.entries) {
        struct qk_zip_entry *entry = &zip->entry[zip->n++];
        QK_TRY(read_central(source, zip, &at, entry, err));
        QK_TRY(read_local(source, zip, entry, err));
    }
    if (at != zip->directory_bytes)
        return not_whole(source, "its directory holds more than its entries", err);
    QK_TRY(qk_strdup_to(&zip->first, zip->n > 0 ? zip->entry[0].name : "", err));
    return order_entries(source, zip, err);
}

void qk_zip_free(struct qk_zip *zip)
{
    for (size_t i = 0; i < zip->n; i++)
        free(zip->entry[i].name);
    free(zip->entry);
    free(zip->by_name);
    free(zip->first);
    free(zip->directory);
    *zip = (struct qk_zip){0};
}

static int name_against_entry(const void *key, const void *element)
{
    return strcmp(key, (*(const struct qk_zip_entry *const *)element)->name);
}

const struct qk_zip_entry *qk_zip_find(const struct qk_zip *zip, const char *name)
{
    const struct qk_zip_entry *const *found =
        zip->n == 0 ? NULL : bsearch(name, zip->by_name, zip->n, sizeof *zip->by_name, name_against_entry);
    return found != NULL ? *found : NULL;
}

static int place_against_entry(const void *key, const void *element)
{
    const struct qk_zip_entry *entry = element;
    uint64_t at = *(const uint64_t *)key;
    return at < entry->at ? -1 : at - entry->at >= entry->stored;
}

const struct qk_zip_entry *qk_zip_at(const struct qk_zip *zip, uint64_t at)
{
    return zip->n == 0 ? NULL : bsearch(&at, zip->entry, zip->n, sizeof *zip->entry, place_against_entry);
}

/* --- content --- */

enum { STORED = 0, DEFLATED = 8 };

static enum qk_code wrong_length(const struct qk_source *source, const struct qk_zip_entry *entry,
    const char *how, uint64_t found, struct qk_error *err)
{
    return qk_fail(err, QK_INPUT, "%s: %s: %s than the directory says (found %llu bytes, expected %llu)",
        source->path, entry->name, how, (unsigned long long)found, (unsigned long long)entry->bytes);
}

/* Inflates until the data ends, is cut short, or `out` is full; *status is zlib's last code. */
static enum qk_code inflate_entry(const struct qk_source *source, const struct qk_zip_entry *entry,
    z_stream *stream, int *status, struct qk_error *err)
{
    enum { PIECE = 64 << 10 };
    unsigned char piece[PIECE];
    uint64_t done = 0;
    for (*status = Z_OK; *status == Z_OK && stream->avail_out > 0 && done < entry->stored;) {
        uint64_t left = entry->stored - done;
        stream->avail_in = left < PIECE ? (uInt)left : PIECE;
        stream->next_in = piece;
        QK_TRY(qk_source_read(source, entry->at + done, piece, stream->avail_in, err));
        done += stream->avail_in;
        *status = inflate(stream, Z_NO_FLUSH);
    }
    return QK_OK;
}

/* Checks an inflated entry by zlib's last code and the numbers of bytes. */
static enum qk_code check_inflated(const struct qk_source *source, const struct qk_zip_entry *entry,
    const z_stream *stream, int status, struct qk_error *err)
{
    if (status == Z_MEM_ERROR)
        return qk_fail_memory(err, entry->bytes);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
        return qk_fail(err, QK_INPUT, "%s: %s: its compressed data is broken (%s)", source->path, entry->name,
            stream->msg != NULL ? stream->msg : zError(status));
    if (stream->total_out > entry->bytes)
        return wrong_length(source, entry, "longer", stream->total_out, err);
    if (status != Z_STREAM_END)
        return entry_fault(source, entry, "its compressed data is cut short", err);
    if (stream->total_out < entry->bytes)
        return wrong_length(source, entry, "shorter", stream->total_out, err);
    if (stream->total_in != entry->stored)
        return qk_fail(err, QK_INPUT,
            "%s: %s: its compressed data ends before its record (found %llu bytes, expected %llu)",
            source->path, entry->name, (unsigned long long)stream->total_in,
            (unsigned long long)entry->stored);
    return QK_OK;
}

/* `out` has room for one byte more than the entry should have, so that a longer entry shows. */
static enum qk_code read_deflated(
    const struct qk_source *source, const struct qk_zip_entry *entry, char *out, struct qk_error *err)
{
    z_stream stream = {.next_out = (unsigned char *)out, .avail_out = (uInt)entry->bytes + 1};
    int status = inflateInit2(&stream, -MAX_WBITS); /* negative: raw data, without zlib's own header */
    if (status != Z_OK)
        return qk_fail_memory(err, sizeof stream);
    enum qk_code code = inflate_entry(source, entry, &stream, &status, err);
    if (code == QK_OK)
        code = check_inflated(source, entry, &stream, status, err);
    inflateEnd(&stream);
    out[entry->bytes] = '\0';
    return code;
}

static enum qk_code read_content(
    const struct qk_source *source, const struct qk_zip_entry *entry, char *out, struct qk_error *err)
{
    if (entry->method == STORED)
        QK_TRY(qk_source_read(source, entry->at, out, (size_t)entry->bytes, err));
    else if (entry->method == DEFLATED)
        QK_TRY(read_deflated(source, entry, out, err));
    else
        return qk_fail(err, QK_INPUT,
            "%s: %s: its compression is not known (found method %u, expected 0 or 8)", source->path,
            entry->name, entry->method);
    uint32_t crc = (uint32_t)crc32_z(0, (const unsigned char *)out, (size_t)entry->bytes);
    if (crc != entry->crc)
        return qk_fail(err, QK_INPUT, "%s: %s: CRC error (found %08x, expected %08x)", source->path,
            entry->name, crc, entry->crc);
    return QK_OK;
}

enum qk_code qk_zip_read(const struct qk_source *source, const struct qk_zip_entry *entry, size_t most,
    char **out, size_t *n, struct qk_error *err)
{
    *out = NULL;
    assert(most < UINT32_MAX); /* zlib counts the room of its output in an unsigned int */
    if (entry->bytes > most || entry->bytes > source->size)
        return qk_fail(err, QK_INPUT, "%s: %s: too large (found %llu bytes, at most %llu%s)", source->path,
            entry->name, (unsigned long long)entry->bytes,
            (unsigned long long)(most < source->size ? most : source->size),
            most < source->size ? "" : ", those of the archive");
    *n = (size_t)entry->bytes;
    QK_TRY(qk_alloc(out, *n + 1, 1, err));
    enum qk_code code = read_content(source, entry, *out, err);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}
