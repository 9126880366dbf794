/* trajectory_numbers.c - part of trajectory.h: the numbers of every checkpoint, computed or taken from the cache. */
#include "cli/trajectory.h"

#include "base/atomic_file.h"
#include "base/cache.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "cli/drifts.h"
#include "cli/inputs.h"
#include "cli/meter.h"
#include "cli/print.h"
#include "linalg/gemm.h"
#include "model/identity.h"
#include "range/range_cache.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the rows --- */

static enum qk_code add_row(struct qk_track *track, struct qk_track_row row, struct qk_error *err)
{
    QK_TRY(qk_grow(&track->row, &track->row_capacity, track->n_rows + 1, sizeof *track->row, err));
    track->row[track->n_rows++] = row;
    return QK_OK;
}

static enum qk_code add_layer(
    struct qk_track *track, const struct qk_pair *pair, int layer, struct qk_error *err)
{
    QK_TRY(add_row(track, (struct qk_track_row){layer, -1, -1}, err));
    for (int r = 0; r < QK_ROLE_COUNT && pair->layer[layer].has_qk; r++) {
        QK_TRY(add_row(track, (struct qk_track_row){layer, r, -1}, err));
        for (int h = 0; h < pair->layer[layer].side[QK_POST]->role[r].n_heads; h++)
            QK_TRY(add_row(track, (struct qk_track_row){layer, r, h}, err));
    }
    return QK_OK;
}

/* The first pair gives the rows. */
static enum qk_code make_rows(struct qk_track *track, const struct qk_track_options *options,
    const struct qk_pair *pair, struct qk_error *err)
{
    const struct qk_spec_numbers numbers = {0};
    size_t n = (size_t)pair->n_layers;
    if (options->layers != NULL)
        QK_TRY(qk_inputs_check_layers(options->layers, pair, err));
    track->n_layers = pair->n_layers;
    QK_TRY(qk_alloc(&track->index, n, sizeof *track->index, err));
    QK_TRY(qk_alloc(&track->kind, n, sizeof *track->kind, err));
    QK_TRY(qk_alloc(&track->wanted, n, sizeof *track->wanted, err));
    for (int i = 0; i < pair->n_layers; i++) {
        track->index[i] = pair->layer[i].index;
        track->kind[i] = pair->layer[i].kind;
        track->wanted[i] = options->layers == NULL || qk_spec_matches(options->layers, pair, &numbers, i);
        QK_TRY(add_layer(track, pair, i, err));
    }
    QK_TRY(qk_alloc(&track->pre_value, track->n_rows * QK_TRACK_METRICS, sizeof *track->pre_value, err));
    for (size_t i = 0; i < track->n_rows * QK_TRACK_METRICS; i++)
        track->pre_value[i] = qk_track_metric((int)(i % QK_TRACK_METRICS))->pre;
    return QK_OK;
}

/* The others must fit them. */
static enum qk_code check_rows(const struct qk_track *track, const struct qk_pair *pair, struct qk_error *err)
{
    struct qk_track other = {0};
    enum qk_code code = QK_OK;
    for (int i = 0; i < pair->n_layers && code == QK_OK; i++)
        code = add_layer(&other, pair, i, err);
    bool same = code == QK_OK && other.n_rows == track->n_rows &&
                memcmp(other.row, track->row, track->n_rows * sizeof *track->row) == 0;
    qk_track_free(&other);
    if (code == QK_OK && !same)
        return qk_fail(err, QK_INPUT, "%s: its layers and heads differ from those of %s",
            pair->model[QK_POST]->checkpoint->path, track->point[0].operand);
    return code;
}

/* --- the cache: one file a pair, its numbers behind a digest of them --- */

#define SUFFIX ".track"
#define CACHE_BYTES ((uint64_t)64 << 20)

static void digest_options(struct qk_digest *digest, const struct qk_track_options *options)
{
    const struct qk_range_options *range = &options->probe.range;
    char text[128];
    snprintf(text, sizeof text, "track %d %d %d %zu %zu", options->effective, options->ranges,
        (int)range->queries, range->last, range->long_from);
    qk_digest_add(digest, text, strlen(text) + 1);
    if (options->ranges)
        qk_precision_add(digest);
}

/* *path = the file of the pair, NULL where nothing may be kept; the caller frees. */
static enum qk_code cache_path(const struct qk_pair *pair, const struct qk_track_options *options,
    const struct qk_probe *probe, char **path, struct qk_error *err)
{
    struct qk_digest digest;
    char hex[QK_DIGEST_TEXT], name[QK_DIGEST_TEXT + 16];
    bool known = true;
    *path = NULL;
    qk_digest_init(&digest);
    for (int s = 0; s < QK_SIDE_COUNT && known; s++)
        QK_TRY(qk_identity_add(&digest, pair->model[s], &known, err));
    if (!known || !options->cached)
        return QK_OK;
    digest_options(&digest, options);
    if (probe != NULL)
        qk_digest_add(&digest, probe->ids, probe->T * sizeof *probe->ids);
    qk_digest_hex(&digest, hex);
    snprintf(name, sizeof name, "%s" SUFFIX, hex);
    return qk_cache_path(name, path, err);
}

static void digest_of(const void *bytes, size_t n, char hex[QK_DIGEST_TEXT])
{
    struct qk_digest digest;
    qk_digest_init(&digest);
    qk_digest_add(&digest, bytes, n);
    qk_digest_hex(&digest, hex);
}

/* True when the file holds the n numbers; a file that does not fit counts as missing. */
static bool load(const char *path, double *value, size_t n)
{
    char *bytes, hex[QK_DIGEST_TEXT];
    size_t length, wanted = QK_DIGEST_TEXT + n * sizeof *value;
    struct qk_error unheard = {0};
    if (path == NULL || qk_read_file(path, wanted, &bytes, &length, &unheard) != QK_OK)
        return false;
    bool good = length == wanted;
    if (good) {
        digest_of(bytes + QK_DIGEST_TEXT, n * sizeof *value, hex);
        good = memcmp(hex, bytes, QK_DIGEST_TEXT) == 0;
    }
    if (good)
        memcpy(value, bytes + QK_DIGEST_TEXT, n * sizeof *value);
    free(bytes);
    return good;
}

/* What cannot be kept is computed again the next time, which is no failure. */
static void store(char *path, const double *value, size_t n)
{
    char hex[QK_DIGEST_TEXT], *bytes;
    size_t length;
    struct qk_text text = {0};
    struct qk_error unheard = {0};
    if (path == NULL || qk_make_folders(path, &unheard) != QK_OK)
        return;
    digest_of(value, n * sizeof *value, hex);
    qk_text_add_bytes(&text, hex, sizeof hex);
    qk_text_add_bytes(&text, (const char *)value, n * sizeof *value);
    length = text.length;
    if (qk_text_take(&text, &bytes, &unheard) != QK_OK)
        return;
    if (qk_write_text(path, bytes, length, &unheard) == QK_OK)
        qk_cache_trim_beside(path, SUFFIX, CACHE_BYTES);
    free(bytes);
}

/* --- one checkpoint --- */

static double drift_of(
    const struct qk_layer_drift *drift, const struct qk_track_row *row, enum qk_metric metric)
{
    if (!qk_track_has(row, (int)metric))
        return NAN;
    return row->head < 0 ? qk_metric_layer(drift, metric, row->role)
                         : qk_metric_head(drift, metric, (enum qk_role)row->role, row->head);
}

static void take_drift(const struct qk_track *track, const struct qk_layer_drift *drift, double *value)
{
    for (size_t i = 0; i < track->n_rows; i++)
        for (int m = 0; m < QK_METRIC_COUNT; m++)
            value[i * QK_TRACK_METRICS + (size_t)m] =
                drift_of(&drift[track->row[i].layer], &track->row[i], (enum qk_metric)m);
}

/* Returns the range of a layer as a whole, or of a query head; NULL without one. */
static const struct qk_range *range_at(const struct qk_layer_range *range, const struct qk_track_row *row)
{
    if (!qk_track_has(row, QK_TRACK_MEAN) || row->head >= range->n_heads)
        return NULL;
    return row->head >= 0 ? &range->head[row->head] : range->n_heads > 0 ? &range->layer : NULL;
}

static void take_ranges(
    const struct qk_track *track, const struct qk_layer_ranges *layer, enum qk_side side, double *value)
{
    for (size_t i = 0; i < track->n_rows; i++) {
        const struct qk_track_row *row = &track->row[i];
        const struct qk_range *range = range_at(&layer[row->layer].side[side], row);
        double *at = value + i * QK_TRACK_METRICS;
        at[QK_TRACK_MEAN] = range != NULL ? range->mean : NAN;
        at[QK_TRACK_LONG] = range != NULL ? range->long_mass : NAN;
        if (side == QK_POST)
            at[QK_TRACK_SHIFT] =
                range != NULL && qk_track_has(row, QK_TRACK_SHIFT) ? layer[row->layer].shift : NAN;
    }
}

static enum qk_code run_probe(
    struct qk_track *track, struct qk_probe *probe, bool cached, double *value, struct qk_error *err)
{
    struct qk_meter meter;
    struct qk_error unkept = {0};
    if (cached)
        qk_range_cache_load(probe);
    qk_meter_start(&meter, "running", false);
    enum qk_code code = qk_probe_run(probe, NULL, NULL, NULL, &meter.progress, err);
    qk_meter_stop(&meter);
    if (code != QK_OK)
        return code;
    if (cached && qk_range_cache_store(probe, &unkept) != QK_OK)
        qk_print_note("the states are not kept for the next time: %s", unkept.text);
    take_ranges(track, probe->layer, QK_PRE, track->pre_value);
    take_ranges(track, probe->layer, QK_POST, value);
    return QK_OK;
}

static enum qk_code compute_point(struct qk_track *track, const struct qk_track_options *options,
    const struct qk_pair *pair, struct qk_probe *probe, double *value, struct qk_error *err)
{
    struct qk_layer_drift *drift;
    QK_TRY(qk_drifts_compute(pair, NULL, options->effective, options->threads, &drift, err));
    qk_drifts_warn(pair, drift, NULL);
    take_drift(track, drift, value);
    qk_drifts_free(drift, pair->n_layers);
    if (probe != NULL)
        QK_TRY(run_probe(track, probe, options->cached, value, err));
    return qk_pair_unchanged(pair, err);
}

/* Pre's own ranges are kept behind the point's numbers. */
static enum qk_code take_point(struct qk_track *track, const struct qk_track_options *options,
    const struct qk_pair *pair, struct qk_probe *probe, double *both, struct qk_error *err)
{
    size_t n = track->n_rows * QK_TRACK_METRICS;
    char *path;
    QK_TRY(cache_path(pair, options, probe, &path, err));
    enum qk_code code = QK_OK;
    if (load(path, both, 2 * n)) {
        memcpy(track->pre_value, both + n, n * sizeof *both);
    } else {
        code = compute_point(track, options, pair, probe, both, err);
        memcpy(both + n, track->pre_value, n * sizeof *both);
        if (code == QK_OK)
            store(path, both, 2 * n);
    }
    free(path);
    return code;
}

static enum qk_code compare(struct qk_track *track, const struct qk_track_options *options,
    const struct qk_pair *pair, struct qk_track_point *point, struct qk_error *err)
{
    struct qk_probe *probe = NULL;
    double *both;
    if (track->row == NULL)
        QK_TRY(make_rows(track, options, pair, err));
    else
        QK_TRY(check_rows(track, pair, err));
    size_t n = track->n_rows * QK_TRACK_METRICS;
    QK_TRY(qk_alloc(&point->value, n, sizeof *point->value, err));
    for (size_t i = 0; i < n; i++)
        point->value[i] = NAN;
    if (options->ranges)
        QK_TRY(qk_probe_open(pair, &options->probe, &probe, err));
    enum qk_code code = qk_alloc(&both, 2 * n, sizeof *both, err);
    if (code == QK_OK) {
        memcpy(both, point->value, n * sizeof *both);
        code = take_point(track, options, pair, probe, both, err);
        memcpy(point->value, both, n * sizeof *both);
        free(both);
    }
    qk_probe_close(probe);
    return code;
}

enum qk_code qk_track_compute(
    struct qk_track *track, const struct qk_track_options *options, struct qk_error *err)
{
    track->ranges = options->ranges;
    for (size_t i = 0; i < track->n; i++) {
        struct qk_pair *pair;
        QK_TRY(qk_inputs_pair_of(track->pre, track->point[i].operand, &pair, err));
        enum qk_code code = compare(track, options, pair, &track->point[i], err);
        qk_pair_close(pair);
        if (code != QK_OK)
            return code;
    }
    return QK_OK;
}
