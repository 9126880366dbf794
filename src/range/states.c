/* states.c - inputs of layers, kept in memory or read from a safetensors file. */
#include "range/states.h"

#include "base/mem.h"
#include "range/probe_text.h"
#include "tensor/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool qk_states_wanted(const struct qk_layer *layer)
{
    return (qk_kind_softmax(layer->kind) || layer->recurs) && layer->problem == NULL && layer->no_k == NULL;
}

enum qk_code qk_states_init(
    struct qk_states *states, int n_layers, const int32_t *ids, size_t T, struct qk_error *err)
{
    *states = (struct qk_states){.T = T, .n_layers = n_layers};
    enum qk_code code = qk_alloc(&states->layer, (size_t)n_layers, sizeof *states->layer, err);
    if (code == QK_OK)
        code = qk_alloc(&states->ids, T, sizeof *states->ids, err);
    if (code != QK_OK)
        qk_states_free(states);
    else if (ids != NULL)
        memcpy(states->ids, ids, T * sizeof *ids);
    return code;
}

enum qk_code qk_states_keep(
    struct qk_states *states, int layer, const float *x, size_t d, struct qk_error *err)
{
    float *copy;
    QK_TRY(qk_alloc_aligned(&copy, states->T * d, sizeof *copy, err));
    memcpy(copy, x, states->T * d * sizeof *copy);
    free(states->layer[layer]);
    states->layer[layer] = copy;
    return QK_OK;
}

void qk_states_free(struct qk_states *states)
{
    for (int i = 0; states->layer != NULL && i < states->n_layers; i++)
        free(states->layer[i]);
    free(states->layer);
    free(states->ids);
    memset(states, 0, sizeof *states);
}

/* --- reading --- */

static const struct qk_tensor *find(const struct qk_tensor_file *file, const char *name)
{
    for (size_t i = 0; i < file->n_tensors; i++)
        if (strcmp(file->tensor[i].name, name) == 0)
            return &file->tensor[i];
    return NULL;
}

/* The tensor's dimensions without a leading batch of one. */
static int dimensions(const struct qk_tensor *tensor, int n, const uint64_t **shape)
{
    int skip = tensor->n_dims == n + 1 && tensor->shape[0] == 1;
    *shape = tensor->shape + skip;
    return tensor->n_dims - skip;
}

static enum qk_code read_ids(
    const char *path, const struct qk_tensor_file *file, struct qk_states *states, struct qk_error *err)
{
    const struct qk_tensor *tensor = find(file, "input_ids");
    const uint64_t *shape;
    char text[QK_SHAPE_TEXT];
    if (tensor == NULL)
        return qk_fail(err, QK_INPUT, "%s: there is no tensor input_ids", path);
    if (tensor->dtype != QK_I64 && tensor->dtype != QK_I32)
        return qk_fail(err, QK_INPUT, "%s: input_ids: other type (found %s, expected I32 or I64)", path,
            tensor->dtype_text);
    if (dimensions(tensor, 1, &shape) != 1 || shape[0] == 0 || shape[0] > QK_PROBE_MOST)
        return qk_fail(err, QK_INPUT,
            "%s: input_ids: other shape (found %s, expected (T) with T from 1 to %d)", path,
            qk_shape_text(text, tensor), QK_PROBE_MOST);
    size_t T = (size_t)shape[0], size = qk_dtype_bits(tensor->dtype) / 8;
    unsigned char *bytes;
    QK_TRY(qk_alloc(&bytes, T, size, err));
    enum qk_code code = qk_source_read(&file->source, tensor->offset, bytes, T * size, err);
    if (code == QK_OK)
        code = qk_states_init(states, states->n_layers, NULL, T, err);
    for (size_t t = 0; t < T && code == QK_OK; t++) {
        uint64_t id = 0;
        for (size_t i = size; i-- > 0;)
            id = id << 8 | bytes[t * size + i];
        if (id > INT32_MAX)
            code = qk_fail(err, QK_INPUT, "%s: input_ids: entry %zu is not a token id", path, t);
        states->ids[t] = (int32_t)id;
    }
    free(bytes);
    return code;
}

/* Reads the tensor's n values in pieces, so that only the result is as large as the tensor. */
static enum qk_code read_values(const char *path, const struct qk_tensor_file *file,
    const struct qk_tensor *tensor, size_t n, float *out, struct qk_error *err)
{
    enum { PIECE = 4096 };
    size_t size = qk_dtype_bits(tensor->dtype) / 8;
    unsigned char bytes[PIECE * 8];
    double values[PIECE];
    for (size_t done = 0; done < n;) {
        size_t count = n - done < PIECE ? n - done : PIECE;
        QK_TRY(qk_source_read(&file->source, tensor->offset + done * size, bytes, count * size, err));
        qk_dtype_to_f64(tensor->dtype, bytes, count, values);
        for (size_t i = 0; i < count; i++) {
            out[done + i] = (float)values[i];
            if (!isfinite(out[done + i]))
                return qk_fail(
                    err, QK_INPUT, "%s: %s: value %zu is not finite", path, tensor->name, done + i);
        }
        done += count;
    }
    return QK_OK;
}

/* Finds the input of a layer, (T, d), or (T, *joined) where that is not 0; *out is NULL when the file does not have it.
 * *joined becomes 0 for the former. */
static enum qk_code find_states(const char *path, const struct qk_tensor_file *file, int index, size_t T,
    size_t d, size_t *joined, const struct qk_tensor **out, struct qk_error *err)
{
    char name[64], text[QK_SHAPE_TEXT];
    snprintf(name, sizeof name, "hidden_states.%d", index);
    const struct qk_tensor *tensor = find(file, name);
    const uint64_t *shape;
    *out = tensor;
    if (tensor == NULL)
        return QK_OK;
    if (!qk_dtype_writable(tensor->dtype))
        return qk_fail(err, QK_INPUT, "%s: %s: other type (found %s, expected F32, F16, BF16 or F64)", path,
            name, tensor->dtype_text);
    if (dimensions(tensor, 2, &shape) != 2 || shape[0] != T || (shape[1] != d && shape[1] != *joined))
        return qk_fail(err, QK_INPUT, "%s: %s: other shape (found %s, expected (%zu, %zu))", path, name,
            qk_shape_text(text, tensor), T, d);
    *joined = shape[1] == d ? 0 : *joined;
    return QK_OK;
}

/* Moves rows (T, d) of the layer's input and of the embedded tokens behind them together, (T, 2 d). */
static enum qk_code join_rows(float *x, size_t T, size_t d, struct qk_error *err)
{
    float *joined;
    QK_TRY(qk_alloc_aligned(&joined, 2 * T * d, sizeof *joined, err));
    for (size_t t = 0; t < T; t++) {
        memcpy(joined + 2 * t * d, x + t * d, d * sizeof *x);
        memcpy(joined + (2 * t + 1) * d, x + (T + t) * d, d * sizeof *x);
    }
    memcpy(x, joined, 2 * T * d * sizeof *x);
    free(joined);
    return QK_OK;
}

static enum qk_code read_layer(const char *path, const struct qk_tensor_file *file,
    const struct qk_model *model, int index, struct qk_states *states, struct qk_error *err)
{
    const struct qk_tensor *tensor, *embedded = NULL;
    size_t T = states->T, width = (size_t)model->layer[index].d, d = model->joined ? width / 2 : width,
           joined = model->joined ? width : 0, none = 0;
    QK_TRY(find_states(path, file, index, T, d, &joined, &tensor, err));
    if (tensor == NULL)
        return QK_OK;
    bool apart = model->joined && joined == 0;
    if (apart)
        QK_TRY(find_states(path, file, 0, T, d, &none, &embedded, err));
    if (apart && embedded == NULL)
        return qk_fail(err, QK_INPUT,
            "%s: there is no hidden_states.0, which the model's attention sees beside hidden_states.%d", path,
            index);
    float **x = &states->layer[index];
    QK_TRY(qk_alloc_aligned(x, T * width, sizeof **x, err));
    QK_TRY(read_values(path, file, tensor, apart ? T * d : T * width, *x, err));
    if (!apart)
        return QK_OK;
    QK_TRY(read_values(path, file, embedded, T * d, *x + T * d, err));
    return join_rows(*x, T, d, err);
}

static enum qk_code read_layers(const char *path, const struct qk_tensor_file *file,
    const struct qk_model *model, struct qk_states *states, struct qk_error *err)
{
    int found = 0;
    for (int i = 0; i < model->n_layers; i++) {
        if (!qk_states_wanted(&model->layer[i]))
            continue;
        QK_TRY(read_layer(path, file, model, i, states, err));
        found += states->layer[i] != NULL;
    }
    if (found == 0)
        return qk_fail(err, QK_INPUT, "%s: there is no hidden_states.{i} of a layer that has ranges", path);
    return QK_OK;
}

enum qk_code qk_states_read(
    const char *path, const struct qk_model *model, struct qk_states *out, struct qk_error *err)
{
    struct qk_tensor_file file;
    *out = (struct qk_states){.n_layers = model->n_layers};
    QK_TRY(qk_safetensors_open(path, &file, err));
    enum qk_code code = read_ids(path, &file, out, err);
    if (code == QK_OK)
        code = read_layers(path, &file, model, out, err);
    qk_tensor_file_close(&file);
    if (code != QK_OK)
        qk_states_free(out);
    return code;
}
