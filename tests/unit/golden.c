/* golden.c - a model's pass and a golden of it (golden.h). */
#include "golden.h"

#include "models.h"

#include "forward/forward.h"
#include "forward/layer.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct qk_tensor *golden_tensor(const struct golden *golden, const char *name, int i)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%d", name, i);
    return qk_checkpoint_find(golden->file, i < 0 ? name : full);
}

float *golden_values(const struct golden *golden, const struct qk_tensor *tensor)
{
    struct qk_error err = {0};
    float *values = malloc((size_t)tensor->bytes);
    assert_non_null(values);
    assert_int_equal(tensor->dtype, QK_F32);
    expect_ok(qk_checkpoint_read(golden->file, tensor, 0, values, (size_t)tensor->bytes, &err), &err);
    return values;
}

void open_golden(const char *path, struct golden *golden)
{
    struct qk_error err = {0};
    expect_ok(qk_checkpoint_open(path, &golden->file, &err), &err);
    const struct qk_tensor *ids = golden_tensor(golden, "input_ids", -1);
    assert_non_null(ids);
    golden->T = (size_t)ids->shape[0];
    char *raw = malloc((size_t)ids->bytes);
    golden->ids = calloc(golden->T, sizeof *golden->ids);
    expect_ok(qk_checkpoint_read(golden->file, ids, 0, raw, (size_t)ids->bytes, &err), &err);
    size_t size = qk_dtype_bits(ids->dtype) / 8;
    for (size_t t = 0; t < golden->T; t++)
        memcpy(&golden->ids[t], raw + t * size, sizeof *golden->ids);
    free(raw);
}

void close_golden(struct golden *golden)
{
    free(golden->ids);
    qk_checkpoint_close(golden->file);
}

struct pass {
    const struct qk_model *model;
    const struct golden *golden;
    struct comparison worst;
    bool trained, thinned;
    int n_states, n_maps, layer;
    float *expected; /* of the map that is being seen */
};

/* The last states of fixtures follow the final norm. */
static void norm_last(const struct pass *c, size_t T, size_t d, float *x)
{
    struct qk_parts parts;
    struct qk_layer_weights owner = {0};
    struct qk_norm norm;
    struct qk_error err = {0};
    expect_ok(qk_parts_open(c->model, NULL, 0, &parts, &err), &err);
    expect_ok(qk_norm_read(&parts, NULL, -1, "final_norm", d, &owner, &norm, &err), &err);
    qk_norm_apply(&norm, T, d, x, x);
    qk_layer_weights_free(&owner);
    qk_parts_close(&parts);
}

static enum qk_code see_state(
    void *context, int layer, const float *x, size_t T, size_t d, struct qk_error *err)
{
    (void)err;
    struct pass *c = context;
    const struct qk_tensor *tensor = golden_tensor(c->golden, "hidden_states", layer);
    if (tensor == NULL && c->thinned)
        return QK_OK;
    assert_non_null(tensor);
    assert_int_equal(tensor->shape[0], T);
    size_t own = layer < c->model->n_layers ? (size_t)qk_model_own_width(c->model) : d;
    assert_int_equal(tensor->shape[1], own);
    float *expected = golden_values(c->golden, tensor);
    if (layer == c->model->n_layers && c->trained)
        norm_last(c, T, d, expected);
    if (own == d)
        c->worst.state = fmax(c->worst.state, worst(x, expected, T * d));
    else { /* the embedded tokens go along behind them */
        float *rows = malloc(T * own * sizeof *rows);
        for (size_t t = 0; t < T; t++)
            memcpy(rows + t * own, x + t * d, own * sizeof *rows);
        c->worst.state = fmax(c->worst.state, worst(rows, expected, T * own));
        free(rows);
    }
    c->n_states++;
    free(expected);
    return QK_OK;
}

static void see_attention(void *context, int layer, size_t worker, const struct qk_attention_map *map)
{
    static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
    struct pass *c = context;
    size_t T = c->golden->T;
    (void)worker;
    if (c->model->layer[layer].kind == QK_LINEAR) /* coefficients: tests/unit/test_coefficients.c */
        return;
    pthread_mutex_lock(&one_at_a_time);
    if (c->layer != layer) {
        const struct qk_tensor *tensor = golden_tensor(c->golden, "attentions", layer);
        assert_non_null(tensor);
        free(c->expected);
        c->expected = golden_values(c->golden, tensor);
        c->layer = layer;
        c->n_maps++;
    }
    float *row = malloc(T * sizeof *row);
    for (size_t i = 0; i < map->n; i++) {
        size_t t = map->t0 + i;
        map_row(map, i, row);
        c->worst.map = fmax(c->worst.map, worst(row, c->expected + (map->head * T + t) * T, t + 1));
    }
    free(row);
    pthread_mutex_unlock(&one_at_a_time);
}

void compare_golden(const struct qk_model *model, const struct golden *golden, bool trained, bool thinned,
    struct comparison *total)
{
    struct qk_error err = {0};
    struct pass c = {.model = model, .golden = golden, .layer = -1, .trained = trained, .thinned = thinned};
    const struct qk_forward_hooks hooks = {
        .context = &c, .state = see_state, .attention = thinned ? NULL : see_attention};
    const char *missing;
    expect_ok(qk_forward_missing(model, &missing, &err), &err);
    if (missing != NULL)
        fail_msg("%s: %s", model->family, missing);
    const struct qk_tensor *tensor = golden_tensor(golden, "logits", -1);
    size_t vocabulary = vocabulary_of(model);
    assert_int_equal(vocabulary, tensor->shape[1]);
    float *logits = malloc(golden->T * vocabulary * sizeof *logits),
          *expected = golden_values(golden, tensor);
    expect_ok(qk_forward(model, NULL, golden->ids, golden->T, &hooks, logits, golden->T, NULL, &err), &err);
    int maps = 0, states = 0;
    for (int i = 0; i <= model->n_layers; i++) {
        maps += golden_tensor(golden, "attentions", i) != NULL;
        states += golden_tensor(golden, "hidden_states", i) != NULL;
    }
    assert_true(thinned ? states > 0 : states == model->n_layers + 1);
    assert_int_equal(c.n_states, states);
    assert_int_equal(c.n_maps, maps);
    total->state = fmax(total->state, c.worst.state);
    total->map = fmax(total->map, c.worst.map);
    total->logits = fmax(total->logits, worst(logits, expected, golden->T * vocabulary));
    free(c.expected);
    free(logits);
    free(expected);
}
