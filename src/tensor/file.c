/* file.c - the table of one file of tensors. */
#include "tensor/file.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *qk_shape_text(char out[QK_SHAPE_TEXT], const struct qk_tensor *tensor)
{
    enum { ROOM = 30 }; /* for one more number and the end */
    size_t used = (size_t)snprintf(out, QK_SHAPE_TEXT, "(");
    int i = 0;
    for (; i < tensor->n_dims && used < QK_SHAPE_TEXT - ROOM; i++)
        used += (size_t)snprintf(out + used, QK_SHAPE_TEXT - used, i == 0 ? "%llu" : ", %llu",
            (unsigned long long)tensor->shape[i]);
    snprintf(out + used, QK_SHAPE_TEXT - used, i < tensor->n_dims ? ", ...)" : ")");
    return out;
}

uint64_t qk_tensor_values(const struct qk_tensor *tensor)
{
    uint64_t n = 1;
    for (int i = 0; i < tensor->n_dims; i++)
        n *= tensor->shape[i];
    return n;
}

bool qk_tensor_same_shape(const struct qk_tensor *a, const struct qk_tensor *b)
{
    return a->n_dims == b->n_dims && memcmp(a->shape, b->shape, (size_t)a->n_dims * sizeof *a->shape) == 0;
}

enum qk_code qk_tensor_bytes(
    const char *path, const struct qk_tensor *tensor, uint64_t *bytes, struct qk_error *err)
{
    uint64_t count = 1, bits;
    bool overflow = false;
    for (int i = 0; i < tensor->n_dims; i++)
        overflow = overflow || __builtin_mul_overflow(count, tensor->shape[i], &count);
    if (overflow || __builtin_mul_overflow(count, (uint64_t)qk_dtype_bits(tensor->dtype), &bits))
        return qk_fail(err, QK_INPUT, "%s: %s: the product of its shape overflows", path, tensor->name);
    if (bits % 8 != 0)
        return qk_fail(err, QK_INPUT, "%s: %s: %llu bits are not a whole number of bytes", path, tensor->name,
            (unsigned long long)bits);
    *bytes = bits / 8;
    return QK_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct qk_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) /* empty tensors before the one that starts at the same place */
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static enum qk_code check_names(const struct qk_tensor_file *file, struct qk_error *err)
{
    char **name;
    QK_TRY(qk_alloc(&name, file->n_tensors, sizeof *name, err));
    for (size_t i = 0; i < file->n_tensors; i++)
        name[i] = file->tensor[i].name;
    const char *twice = qk_find_twice(name, file->n_tensors);
    free(name);
    if (twice != NULL)
        return qk_fail(err, QK_INPUT, "%s: %s: tensor appears twice", file->source.path, twice);
    return QK_OK;
}

enum qk_code qk_tensor_file_order(struct qk_tensor_file *file, struct qk_error *err)
{
    QK_TRY(check_names(file, err));
    if (file->n_tensors > 1)
        qsort(file->tensor, file->n_tensors, sizeof *file->tensor, by_offset);
    return QK_OK;
}

void qk_tensor_file_close(struct qk_tensor_file *file)
{
    for (size_t i = 0; i < file->n_tensors; i++)
        free(file->tensor[i].name);
    free(file->tensor);
    qk_source_close(&file->source);
    *file = (struct qk_tensor_file){.source = {.fd = -1}};
}
