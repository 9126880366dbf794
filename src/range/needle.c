/* needle.c - needles that pass through a network in groups, and the mean attention of their answers. */
#include "range/needle.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- needles --- */

enum qk_code qk_needles_add(struct qk_needles *needles, const int32_t *prompt, size_t n_prompt,
    const int32_t *answer, size_t n_answer, size_t place, struct qk_error *err)
{
    QK_TRY(qk_grow(&needles->item, &needles->capacity, needles->n + 1, sizeof *needles->item, err));
    struct qk_needle *needle = &needles->item[needles->n++];
    *needle = (struct qk_needle){.T = n_prompt + n_answer - 1, .n_answer = n_answer};
    QK_TRY(qk_alloc(&needle->ids, needle->T, sizeof *needle->ids, err));
    QK_TRY(qk_alloc(&needle->query, n_answer, sizeof *needle->query, err));
    QK_TRY(qk_alloc(&needle->place, n_answer, sizeof *needle->place, err));
    memcpy(needle->ids, prompt, n_prompt * sizeof *prompt);
    memcpy(needle->ids + n_prompt, answer, (n_answer - 1) * sizeof *answer);
    for (size_t j = 0; j < n_answer; j++) {
        needle->query[j] = n_prompt - 1 + j;
        needle->place[j] = place + j;
    }
    return QK_OK;
}

static void free_needle(struct qk_needle *needle)
{
    free(needle->ids);
    free(needle->query);
    free(needle->place);
}

void qk_needles_keep(struct qk_needles *needles, const bool *keep)
{
    size_t n = 0;
    for (size_t i = 0; i < needles->n; i++)
        if (keep[i])
            needles->item[n++] = needles->item[i];
        else
            free_needle(&needles->item[i]);
    needles->n = n;
}

void qk_needles_free(struct qk_needles *needles)
{
    for (size_t i = 0; i < needles->n; i++)
        free_needle(&needles->item[i]);
    free(needles->item);
    *needles = (struct qk_needles){0};
}

size_t qk_needle_find(
    const int32_t *prompt, size_t n_prompt, const int32_t *answer, size_t n_answer, size_t *times)
{
    size_t place = SIZE_MAX;
    *times = 0;
    for (size_t s = 0; n_answer > 0 && s + n_answer <= n_prompt; s++)
        if (memcmp(prompt + s, answer, n_answer * sizeof *answer) == 0) {
            place = s;
            ++*times;
        }
    return place;
}

size_t qk_needle_distance(const struct qk_needle *needle)
{
    return needle->query[0] - needle->place[0];
}

bool qk_needle_bins(const struct qk_needles *needles, int *first, int *last)
{
    *first = 0;
    *last = -1;
    for (size_t i = 0; i < needles->n; i++) {
        int bin = qk_range_bin(qk_needle_distance(&needles->item[i]));
        *first = i == 0 || bin < *first ? bin : *first;
        *last = i == 0 || bin > *last ? bin : *last;
    }
    return needles->n > 0;
}

/* --- means --- */

void qk_needle_layer_free(struct qk_needle_layer *layer)
{
    free(layer->mass);
    free(layer->copies);
    *layer = (struct qk_needle_layer){0};
}

void qk_needle_layer_keep(struct qk_needle_layer *layer, const bool *keep)
{
    size_t cells = (size_t)layer->n_heads * layer->n_needles, to = 0;
    for (size_t i = 0; i < cells; i++)
        if (keep[i % layer->n_needles]) {
            layer->mass[to] = layer->mass[i];
            layer->copies[to++] = layer->copies[i];
        }
    if (layer->n_heads > 0)
        layer->n_needles = to / (size_t)layer->n_heads;
}

/* The needles that a mean counts: all, or those whose distance is in a bin. */
struct counted {
    const struct qk_needles *needles; /* NULL: all */
    int bin;
};

static bool counts(struct counted which, size_t i)
{
    return which.needles == NULL || qk_range_bin(qk_needle_distance(&which.needles->item[i])) == which.bin;
}

/* Mean of values[i] - less[i] (less NULL: 0) over the *n_counted (may be NULL) of the n needles that count. */
static struct qk_needle_mean mean_of(
    size_t n, const double *values, const double *less, struct counted which, size_t *n_counted)
{
    double sum = 0, square = 0;
    size_t counted = 0;
    for (size_t i = 0; i < n; i++)
        if (counts(which, i)) {
            sum += values[i] - (less != NULL ? less[i] : 0);
            counted++;
        }
    double mean = counted > 0 ? sum / (double)counted : NAN;
    for (size_t i = 0; i < n; i++)
        if (counts(which, i)) {
            double off = values[i] - (less != NULL ? less[i] : 0) - mean;
            square += off * off;
        }
    if (n_counted != NULL)
        *n_counted = counted;
    double error = counted > 1 ? sqrt(square / (double)(counted - 1) / (double)counted) : NAN;
    return (struct qk_needle_mean){mean, error};
}

static const struct counted ALL = {0};

struct qk_needle_mean qk_needle_mass(const struct qk_needle_layer *layer, int head)
{
    return mean_of(layer->n_needles, layer->mass + (size_t)head * layer->n_needles, NULL, ALL, NULL);
}

struct qk_needle_mean qk_needle_copies(const struct qk_needle_layer *layer, int head)
{
    return mean_of(layer->n_needles, layer->copies + (size_t)head * layer->n_needles, NULL, ALL, NULL);
}

struct qk_needle_mean qk_needle_drop(
    const struct qk_needle_layer *from, const struct qk_needle_layer *to, int head)
{
    size_t row = (size_t)head * from->n_needles;
    return mean_of(from->n_needles, from->mass + row, to->mass + row, ALL, NULL);
}

struct qk_needle_mean qk_needle_mass_at(
    const struct qk_needles *needles, const struct qk_needle_layer *layer, int head, int bin, size_t *n)
{
    const struct counted which = {needles, bin};
    return mean_of(layer->n_needles, layer->mass + (size_t)head * layer->n_needles, NULL, which, n);
}

/* --- rows --- */

/* A group of needles at work: its queries, and the place of each one's numbers. */
struct group {
    const struct qk_model *model;
    const struct qk_needles *needles;
    size_t first, n;
    struct qk_row_batch batch;
    size_t *length;             /* n; owned, like all below */
    struct qk_row_query *query; /* n_queries */
    size_t *answer;             /* the answer token of its needle to which a query belongs */
    double *mass, *copy;        /* (n_heads, n_queries) of the layer at work */
    const struct qk_needle_watch *watch;
    struct qk_needle_layer *out; /* n_layers */
};

static void free_group(struct group *group)
{
    free(group->length);
    free(group->query);
    free(group->answer);
    free(group->mass);
    free(group->copy);
}

static enum qk_code make_group(struct group *group, size_t n_heads, struct qk_error *err)
{
    size_t n_queries = 0, at = 0;
    for (size_t i = 0; i < group->n; i++)
        n_queries += group->needles->item[group->first + i].n_answer;
    QK_TRY(qk_alloc(&group->length, group->n, sizeof *group->length, err));
    QK_TRY(qk_alloc(&group->query, n_queries, sizeof *group->query, err));
    QK_TRY(qk_alloc(&group->answer, n_queries, sizeof *group->answer, err));
    QK_TRY(qk_alloc(&group->mass, n_heads * n_queries, sizeof *group->mass, err));
    QK_TRY(qk_alloc(&group->copy, n_heads * n_queries, sizeof *group->copy, err));
    for (size_t i = 0; i < group->n; i++) {
        const struct qk_needle *needle = &group->needles->item[group->first + i];
        group->length[i] = needle->T;
        for (size_t j = 0; j < needle->n_answer; j++, at++) {
            group->query[at] = (struct qk_row_query){i, needle->query[j]};
            group->answer[at] = j;
        }
    }
    group->batch = (struct qk_row_batch){group->length, group->n, group->query, n_queries};
    return QK_OK;
}

static void take_row(void *context, int layer, size_t head, size_t i, const float *row)
{
    struct group *group = context;
    const struct qk_row_query *query = &group->query[i];
    size_t place = group->needles->item[group->first + query->sequence].place[group->answer[i]], largest = 0;
    (void)layer;
    for (size_t s = 1; s <= query->t; s++)
        if (row[s] > row[largest])
            largest = s;
    group->mass[head * group->batch.n_queries + i] =
        (double)row[place] + (place > 0 ? (double)row[place - 1] : 0);
    group->copy[head * group->batch.n_queries + i] = largest == place && row[place] > 0;
}

/* Writes the means of the layer's numbers over each needle's answer into its column. */
static enum qk_code finish_layer(
    const struct group *group, size_t n_heads, struct qk_needle_layer *out, struct qk_error *err)
{
    size_t columns = group->needles->n, n_queries = group->batch.n_queries;
    if (out->n_heads == 0) {
        QK_TRY(qk_alloc(&out->mass, n_heads * columns, sizeof *out->mass, err));
        QK_TRY(qk_alloc(&out->copies, n_heads * columns, sizeof *out->copies, err));
        out->n_heads = (int)n_heads;
        out->n_needles = columns;
    }
    for (size_t h = 0; h < n_heads; h++)
        for (size_t i = 0, at = 0; i < group->n; i++) {
            size_t n = group->needles->item[group->first + i].n_answer, to = h * columns + group->first + i;
            double mass = 0, copies = 0;
            for (size_t j = 0; j < n; j++, at++) {
                mass += group->mass[h * n_queries + at];
                copies += group->copy[h * n_queries + at];
            }
            out->mass[to] = mass / (double)n;
            out->copies[to] = copies / (double)n;
        }
    return QK_OK;
}

static size_t heads_of(const struct qk_layer *layer)
{
    return layer->kind == QK_NONE || layer->problem != NULL ? 0 : (size_t)layer->role[QK_Q].n_heads;
}

static size_t most_heads(const struct qk_model *model)
{
    size_t most = 0;
    for (int i = 0; i < model->n_layers; i++)
        most = heads_of(&model->layer[i]) > most ? heads_of(&model->layer[i]) : most;
    return most;
}

/* --- passes --- */

/* The layer before this one has shown all its rows. */
static enum qk_code take_layer(
    struct group *group, const struct qk_model *model, int layer, struct qk_error *err)
{
    size_t n_heads = layer >= 0 ? heads_of(&model->layer[layer]) : 0;
    return n_heads > 0 ? finish_layer(group, n_heads, &group->out[layer], err) : QK_OK;
}

static enum qk_code take_state(void *context, int layer, const float *x, size_t d, struct qk_error *err)
{
    struct group *group = context;
    QK_TRY(take_layer(group, group->model, layer - 1, err));
    if (group->watch == NULL || group->watch->state == NULL)
        return QK_OK;
    return group->watch->state(group->watch->context, layer, group->first, group->n, x, d, err);
}

static enum qk_code run_group(
    struct group *group, struct qk_network *network, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_row_watch watch = {.context = group, .row = take_row, .state = take_state};
    int32_t *ids = NULL;
    size_t T = 0;
    enum qk_code code = make_group(group, most_heads(group->model), err);
    for (size_t i = 0; code == QK_OK && i < group->n; i++)
        T += group->length[i];
    if (code == QK_OK)
        code = qk_alloc(&ids, T, sizeof *ids, err);
    for (size_t i = 0, at = 0; code == QK_OK && i < group->n; at += group->length[i++])
        memcpy(ids + at, group->needles->item[group->first + i].ids, group->length[i] * sizeof *ids);
    if (code == QK_OK)
        code = qk_row_pass_run(network, ids, &group->batch, &watch, progress, err);
    if (code == QK_OK)
        code = take_layer(group, group->model, group->model->n_layers - 1, err);
    free(ids);
    free_group(group);
    return code;
}

enum qk_code qk_needle_run(struct qk_network *network, const struct qk_needles *needles,
    const struct qk_needle_watch *watch, struct qk_progress *progress, struct qk_needle_layer *out,
    struct qk_error *err)
{
    const struct qk_model *model = qk_network_model(network);
    for (size_t i = 0, end; i < needles->n; i = end) {
        size_t T = needles->item[i].T;
        for (end = i + 1; end < needles->n && T + needles->item[end].T <= QK_NEEDLE_TOKENS; end++)
            T += needles->item[end].T;
        struct group group = {
            .model = model, .needles = needles, .first = i, .n = end - i, .watch = watch, .out = out};
        QK_TRY(run_group(&group, network, progress, err));
    }
    return QK_OK;
}

enum qk_code qk_needle_same(const struct qk_model *model, const struct qk_patch *patch, int layer,
    const struct qk_needles *needles, size_t first, size_t n, const float *x, struct qk_progress *progress,
    struct qk_needle_layer *out, struct qk_error *err)
{
    struct group group = {.model = model, .needles = needles, .first = first, .n = n};
    const struct qk_row_watch watch = {.context = &group, .row = take_row};
    size_t n_heads = heads_of(&model->layer[layer]);
    enum qk_code code = make_group(&group, n_heads, err);
    if (code == QK_OK)
        code = qk_row_pass_layer(model, patch, layer, x, &group.batch, &watch, progress, err);
    if (code == QK_OK)
        code = finish_layer(&group, n_heads, out, err);
    free_group(&group);
    return code;
}

/* --- one query --- */

struct one_query {
    float *rows; /* (heads, length) */
    size_t length;
};

static void copy_row(void *context, int layer, size_t head, size_t i, const float *row)
{
    const struct one_query *one = context;
    (void)layer;
    (void)i;
    memcpy(one->rows + head * one->length, row, one->length * sizeof *row);
}

enum qk_code qk_needle_attention(const struct qk_model *model, const struct qk_patch *patch, int layer,
    const float *x, size_t query, float **rows, struct qk_error *err)
{
    struct one_query one = {.length = query + 1}; /* tokens after the query do not contribute */
    const struct qk_row_query only = {0, query};
    const struct qk_row_batch batch = {.length = &one.length, .n = 1, .query = &only, .n_queries = 1};
    const struct qk_row_watch watch = {.context = &one, .row = copy_row};
    *rows = NULL;
    QK_TRY(qk_alloc(&one.rows, heads_of(&model->layer[layer]) * one.length, sizeof *one.rows, err));
    enum qk_code code = qk_row_pass_layer(model, patch, layer, x, &batch, &watch, NULL, err);
    if (code == QK_OK)
        *rows = one.rows;
    else
        free(one.rows);
    return code;
}
