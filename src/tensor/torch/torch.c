/* torch.c - the tensors of a PyTorch file, by the places of their bytes. */
#include "tensor/torch/torch.h"

#include "base/digest.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "base/text.h"
#include "tensor/torch/pickle.h"
#include "tensor/torch/zip.h"

#include <stdlib.h>
#include <string.h>

bool qk_torch_name(const char *name)
{
    return qk_ends_with(name, ".bin") || qk_ends_with(name, ".pt") || qk_ends_with(name, ".pth");
}

struct reader {
    struct qk_tensor_file *file;
    struct qk_zip zip;
    struct qk_pickle pickle;
    char *text; /* of the pickle */
    struct qk_error *err;
};

/* Names the format of a file that is no zip archive. Older formats can only be read by running them. */
static enum qk_code check_format(const struct reader *r)
{
    enum { TAR_MAGIC = 257 };
    const struct qk_source *source = &r->file->source;
    char head[TAR_MAGIC + 5] = {0};
    QK_TRY(qk_source_read(
        source, 0, head, source->size < sizeof head ? (size_t)source->size : sizeof head, r->err));
    if (memcmp(head, "PK\3\4", 4) == 0)
        return QK_OK;
    QK_TRY(qk_check_stand_in(source->path, head, strnlen(head, QK_STAND_IN_BYTES), r->err));
    bool old = (unsigned char)head[0] == 0x80 || memcmp(head + TAR_MAGIC, "ustar", 5) == 0;
    return qk_fail(r->err, QK_INPUT, "%s: %s", source->path,
        old ? "the old PyTorch format (from before 1.6, or saved with _use_new_zipfile_serialization=False): "
              "convert it to safetensors, or load and save it again"
            : "not a PyTorch file (no zip archive)");
}

/* *entry = the entry NAME/record, or NULL; *name = its whole name, which the caller frees. */
static enum qk_code find_record(
    const struct reader *r, const char *record, char **name, const struct qk_zip_entry **entry)
{
    struct qk_text text = {0};
    qk_text_add(&text, "%.*s/%s", (int)strcspn(r->zip.first, "/"), r->zip.first, record);
    QK_TRY(qk_text_take(&text, name, r->err));
    *entry = qk_zip_find(&r->zip, *name);
    return QK_OK;
}

/* *text = the content of a small record, or NULL. */
static enum qk_code read_record(
    const struct reader *r, const char *record, size_t most, char **text, size_t *n)
{
    char *name;
    const struct qk_zip_entry *entry;
    *text = NULL;
    QK_TRY(find_record(r, record, &name, &entry));
    free(name);
    return entry == NULL ? QK_OK : qk_zip_read(&r->file->source, entry, most, text, n, r->err);
}

static enum qk_code check_byte_order(const struct reader *r)
{
    enum { MOST = 64 };
    char *order;
    size_t n;
    QK_TRY(read_record(r, "byteorder", MOST, &order, &n));
    enum qk_code code = order == NULL || strcmp(order, "little") == 0
                            ? QK_OK
                            : qk_fail(r->err, QK_INPUT, "%s: byteorder: found \"%s\", expected \"little\"",
                                  r->file->source.path, order);
    free(order);
    return code;
}

static enum qk_code read_pickle(struct reader *r)
{
    const char *path = r->file->source.path;
    struct qk_digest digest;
    size_t n = 0;
    QK_TRY(read_record(r, "data.pkl", QK_PICKLE_MAX, &r->text, &n));
    if (r->text == NULL)
        return qk_fail(r->err, QK_INPUT, "%s: not a PyTorch file (no data.pkl in the archive)", path);
    qk_digest_init(&digest);
    qk_digest_add(&digest, r->text, n);
    qk_digest_add(&digest, r->zip.directory, r->zip.directory_bytes);
    qk_digest_hex(&digest, r->file->header_digest);
    return qk_pickle_read(path, r->text, n, &r->pickle, r->err);
}

/* *at = the place of the storage's bytes. */
static enum qk_code find_storage(const struct reader *r, const struct qk_pickled *pickled, uint64_t *at)
{
    const char *path = r->file->source.path, *tensor = pickled->tensor.name;
    char *name = NULL;
    const struct qk_zip_entry *entry;
    struct qk_text record = {0};
    qk_text_add(&record, "data/%.*s", (int)pickled->storage_length, pickled->storage);
    enum qk_code code = record.failed ? qk_fail_memory(r->err, pickled->storage_length)
                                      : find_record(r, record.s, &name, &entry);
    qk_text_free(&record);
    QK_TRY(code);
    if (entry == NULL)
        code = qk_fail(r->err, QK_INPUT, "%s: %s: its storage %s is missing", path, tensor, name);
    else if (entry->method != 0)
        code = qk_fail(r->err, QK_INPUT,
            "%s: %s: its storage %s is compressed, which torch.save does not do: pack the archive without "
            "compression",
            path, tensor, name);
    else if (entry->bytes != pickled->storage_bytes)
        code = qk_fail(r->err, QK_INPUT,
            "%s: %s: its storage %s has another size (found %llu bytes, expected %llu)", path, tensor, name,
            (unsigned long long)entry->bytes, (unsigned long long)pickled->storage_bytes);
    else
        *at = entry->at;
    free(name);
    return code;
}

static enum qk_code take_tensors(struct reader *r)
{
    struct qk_tensor_file *file = r->file;
    QK_TRY(qk_alloc(&file->tensor, r->pickle.n, sizeof *file->tensor, r->err));
    for (size_t i = 0; i < r->pickle.n; i++) {
        struct qk_pickled *pickled = &r->pickle.tensor[i];
        uint64_t at = 0;
        QK_TRY(find_storage(r, pickled, &at));
        pickled->tensor.offset += at;
        file->tensor[file->n_tensors++] = pickled->tensor;
        pickled->tensor.name = NULL; /* the table owns it now */
    }
    return qk_tensor_file_order(file, r->err);
}

enum qk_code qk_torch_open(const char *path, struct qk_tensor_file *file, struct qk_error *err)
{
    struct reader r = {.file = file, .err = err};
    *file = (struct qk_tensor_file){.source = {.fd = -1}, .format = QK_FORMAT_TORCH};
    QK_TRY(qk_source_open(path, &file->source, err));
    enum qk_code code = check_format(&r);
    if (code == QK_OK)
        code = qk_zip_open(&file->source, &r.zip, err);
    if (code == QK_OK)
        code = check_byte_order(&r);
    if (code == QK_OK)
        code = read_pickle(&r);
    if (code == QK_OK)
        code = take_tensors(&r);
    qk_pickle_free(&r.pickle);
    qk_zip_free(&r.zip);
    free(r.text);
    if (code != QK_OK)
        qk_tensor_file_close(file);
    return code;
}
