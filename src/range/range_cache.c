/* range_cache.c - files with the states of a pass. */
#include "range/range_cache.h"

#include "base/atomic_file.h"
#include "base/cache.h"
#include "base/mem.h"
#include "linalg/gemm.h"
#include "model/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char SUFFIX[] = ".states.safetensors";

/* --- names --- */

/* *path = FOLDER/DIGEST.states.safetensors, or NULL when there is no folder or nothing may be kept; the caller
 * frees. */
static enum qk_code cache_path(
    const struct qk_probe *probe, enum qk_side side, char **path, struct qk_error *err)
{
    struct qk_digest digest;
    char hex[QK_DIGEST_TEXT], name[QK_DIGEST_TEXT + 32];
    bool known;
    *path = NULL;
    qk_digest_init(&digest);
    QK_TRY(qk_identity_add(&digest, probe->pair->model[side], &known, err));
    if (!known)
        return QK_OK;
    qk_digest_add(&digest, probe->ids, probe->T * sizeof *probe->ids);
    qk_precision_add(&digest);
    qk_digest_hex(&digest, hex);
    snprintf(name, sizeof name, "%s%s", hex, SUFFIX);
    return qk_cache_path(name, path, err);
}

/* --- reading --- */

static bool holds_all(const struct qk_probe *probe, const struct qk_states *states)
{
    for (int i = 0; i < probe->pair->n_layers; i++)
        if (qk_probe_has(probe->pair, i) && states->layer[i] == NULL)
            return false;
    return states->T == probe->T && memcmp(states->ids, probe->ids, probe->T * sizeof *probe->ids) == 0;
}

static void load_side(struct qk_probe *probe, enum qk_side side)
{
    struct qk_states states;
    struct qk_error unheard = {0};
    char *path;
    if (cache_path(probe, side, &path, &unheard) != QK_OK || path == NULL)
        return;
    if (qk_states_read(path, probe->pair->model[side], &states, &unheard) == QK_OK) {
        if (holds_all(probe, &states)) {
            probe->states[side] = states;
            utimensat(AT_FDCWD, path, NULL, 0); /* used now, so not the oldest */
        } else {
            qk_states_free(&states);
        }
    }
    free(path);
}

void qk_range_cache_load(struct qk_probe *probe)
{
    if (probe->origin != QK_ORIGIN_PASS)
        return;
    probe->keep_pre = true;
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        load_side(probe, (enum qk_side)s);
}

/* --- writing --- */

static void add_entry(struct qk_text *text, const char *name, const char *dtype, const char *shape,
    uint64_t *at, uint64_t bytes)
{
    qk_text_add(text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}",
        *at > 0 ? "," : "{", name, dtype, shape, (unsigned long long)*at, (unsigned long long)(*at + bytes));
    *at += bytes;
}

/* Writes the whole file. Numbers are stored in this machine's order, little-endian, as the whole program expects. */
static enum qk_code make_file(
    const struct qk_probe *probe, enum qk_side side, char **out, size_t *n, struct qk_error *err)
{
    const struct qk_states *states = &probe->states[side];
    const struct qk_layer *layer = probe->pair->model[side]->layer;
    struct qk_text header = {0}, file = {0};
    char name[64], shape[64], *json;
    uint64_t at = 0;
    snprintf(shape, sizeof shape, "%zu", states->T);
    add_entry(&header, "input_ids", "I32", shape, &at, states->T * sizeof *states->ids);
    for (int i = 0; i < states->n_layers; i++) {
        if (states->layer[i] == NULL)
            continue;
        snprintf(name, sizeof name, "hidden_states.%d", i);
        snprintf(shape, sizeof shape, "%zu,%llu", states->T, (unsigned long long)layer[i].d);
        add_entry(&header, name, "F32", shape, &at, states->T * layer[i].d * sizeof **states->layer);
    }
    qk_text_add(&header, "}");
    while (header.length % 8 != 0 && !header.failed)
        qk_text_add(&header, " ");
    uint64_t length = header.length;
    QK_TRY(qk_text_take(&header, &json, err));
    qk_text_add_bytes(&file, (const char *)&length, sizeof length);
    qk_text_add_bytes(&file, json, (size_t)length);
    free(json);
    qk_text_add_bytes(&file, (const char *)states->ids, states->T * sizeof *states->ids);
    for (int i = 0; i < states->n_layers; i++)
        if (states->layer[i] != NULL)
            qk_text_add_bytes(&file, (const char *)states->layer[i],
                states->T * (size_t)layer[i].d * sizeof **states->layer);
    *n = file.length;
    return qk_text_take(&file, out, err);
}

static uint64_t states_bytes(const struct qk_probe *probe, enum qk_side side)
{
    uint64_t bytes = 0;
    for (int i = 0; i < probe->states[side].n_layers; i++)
        if (probe->states[side].layer[i] != NULL)
            bytes += probe->T * probe->pair->model[side]->layer[i].d * sizeof(float);
    return bytes;
}

static enum qk_code store_side(const struct qk_probe *probe, enum qk_side side, struct qk_error *err)
{
    char *path, *bytes = NULL;
    size_t n;
    QK_TRY(cache_path(probe, side, &path, err));
    if (path == NULL || access(path, F_OK) == 0) {
        free(path);
        return QK_OK;
    }
    enum qk_code code = qk_make_folders(path, err);
    if (code == QK_OK)
        code = make_file(probe, side, &bytes, &n, err);
    if (code == QK_OK)
        code = qk_write_text(path, bytes, n, err);
    if (code == QK_OK)
        qk_cache_trim_beside(path, SUFFIX, QK_RANGE_CACHE_BYTES);
    free(bytes);
    free(path);
    return code;
}

enum qk_code qk_range_cache_store(const struct qk_probe *probe, struct qk_error *err)
{
    if (probe->origin != QK_ORIGIN_PASS)
        return QK_OK;
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        enum qk_side side = (enum qk_side)s;
        if (probe->states[s].layer != NULL && holds_all(probe, &probe->states[s]) &&
            states_bytes(probe, side) <= QK_RANGE_CACHE_BYTES / 4)
            QK_TRY(store_side(probe, side, err));
    }
    return QK_OK;
}
