/* mamba2_mixer.c - the mixer of Mamba2 layers (Dao & Gu 2024): one projection, a convolution, a state space.
 *
 * Their C, B and x are q, k and v here, their steps dt are beta, and dt A is g. */
#include "forward/convolution.h"
#include "forward/mixer.h"
#include "forward/state_space.h"

#include "base/json.h"
#include "base/mem.h"
#include "forward/weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- weights --- */

/* Turns rows of so many bytes from the file's order [x; B; C], of `values` and twice `part` rows, to [C; B; x]. */
static enum qk_code put_values_last(
    void *rows, size_t values, size_t part, size_t bytes, struct qk_error *err)
{
    char *parts, *to = rows;
    if (rows == NULL)
        return QK_OK;
    QK_TRY(qk_alloc(&parts, 2 * part, bytes, err));
    memcpy(parts, to + values * bytes, 2 * part * bytes);
    memmove(to + 2 * part * bytes, to, values * bytes);
    memcpy(to, parts + part * bytes, part * bytes);
    memcpy(to + part * bytes, parts, part * bytes);
    free(parts);
    return QK_OK;
}

static enum qk_code read_sizes(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    static const char *const keys[] = {"value_heads", "value_dim", "key_heads", "head_dim"};
    size_t *const sizes[] = {&out->n_v, &out->value_dim, &out->n_k, &out->head_dim};
    long value;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        QK_TRY(qk_layout_count(r->mixer, keys[i], &r->parts->model->config, 1 << 16, &value, r->err));
        *sizes[i] = (size_t)value;
    }
    out->n_q = out->n_out = out->n_decay = out->n_v;
    return out->n_v % out->n_k == 0 ? QK_OK : qk_fail_row(r, "its groups do not divide its heads");
}

/* Rows first .. first + n of a projection, times the factor that a list in the config holds for this part. */
static enum qk_code take_part(struct qk_reading *r, struct qk_projection *all, size_t first, size_t n,
    int part, struct qk_projection *out)
{
    const char *path = qk_json_string(r->mixer, "part_multipliers", NULL);
    const cJSON *list = path != NULL ? qk_config_path(&r->parts->model->config, path) : NULL,
                *item = cJSON_IsArray(list) ? cJSON_GetArrayItem(list, part) : NULL;
    bool scaled = list != NULL && !cJSON_IsNull(list);
    if (scaled)
        QK_TRY(qk_widen_projection(r->out, all, r->err));
    *out = qk_projection_rows(all, first, n);
    if (!scaled)
        return QK_OK;
    if (!cJSON_IsNumber(item) || !isfinite((float)item->valuedouble))
        return qk_fail(r->err, QK_INPUT, "%s: %s is not a list of five numbers, for z, x, B, C and dt",
            r->parts->model->config.path, path);
    return qk_scale_projection(r, out, (float)item->valuedouble);
}

/* Cuts the one projection [z; x; B; C; dt] into the gate, q, k and v, and the steps. */
static enum qk_code read_projection(struct qk_reading *r)
{
    struct qk_layer_weights *out = r->out;
    size_t values = out->n_v * out->value_dim, part = out->n_k * out->head_dim, n = values + 2 * part,
           first[] = {0, values, 2 * values, 2 * values + part, values + n, values + n + out->n_v};
    struct qk_projection all = {0}, parts[5];
    QK_TRY(qk_read_projection(r, r->mixer, "in", values + n + out->n_v, out->d, true, &all));
    for (int i = 0; i < 5; i++)
        QK_TRY(take_part(r, &all, first[i], first[i + 1] - first[i], i, &parts[i]));
    out->gate = parts[0];
    out->qkv = qk_projection_rows(&all, values, n);
    out->alpha = parts[4];
    QK_TRY(
        put_values_last(out->qkv.weight, values, part, out->d * (qk_dtype_bits(out->qkv.dtype) / 8), r->err));
    QK_TRY(put_values_last(out->qkv.bias, values, part, sizeof(float), r->err));
    QK_TRY(qk_convolution_read(r, n));
    QK_TRY(put_values_last(out->conv, values, part, out->conv_width * sizeof(float), r->err));
    return put_values_last(out->conv_bias, values, part, sizeof(float), r->err);
}

/* Reads the bounds of the steps. A bound that is not a number (JSON has no infinity) does not bound. */
static void read_bounds(struct qk_reading *r)
{
    const char *path = qk_json_string(r->mixer, "step_limits", NULL);
    const cJSON *list = path != NULL ? qk_config_path(&r->parts->model->config, path) : NULL,
                *least = cJSON_IsArray(list) ? list->child : NULL, *most = least != NULL ? least->next : NULL;
    r->out->step_least = cJSON_IsNumber(least) ? (float)least->valuedouble : 0.0f;
    r->out->step_most = cJSON_IsNumber(most) ? (float)most->valuedouble : INFINITY;
}

static enum qk_code read_mamba2(struct qk_reading *r, bool all)
{
    struct qk_layer_weights *out = r->out;
    (void)all;
    QK_TRY(read_sizes(r));
    QK_TRY(read_projection(r));
    QK_TRY(qk_read_named(r, "decay_log", out->n_v, 0, &out->decay_log));
    QK_TRY(qk_read_named(r, "decay_bias", out->n_v, 0, &out->decay_bias));
    QK_TRY(qk_read_named(r, "skip", out->n_v, 0, &out->skip));
    read_bounds(r);
    return qk_read_output(r);
}

/* --- running --- */

/* beta = the step softplus(g + decay_bias) in its bounds, g = -e^decay_log beta. */
static void finish_steps(const struct qk_run *run, const struct qk_block *block)
{
    const struct qk_layer_weights *w = run->w;
    float *g = run->p.g + block->row * w->n_v, *beta = run->p.beta + block->row * w->n_v;
    for (size_t i = 0; i < block->n; i++)
        for (size_t h = 0; h < w->n_v; h++) {
            size_t at = i * w->n_v + h;
            beta[at] = fminf(fmaxf(qk_softplus(g[at] + w->decay_bias[h]), w->step_least), w->step_most);
            g[at] = -expf(w->decay_log[h]) * beta[at];
        }
}

static enum qk_code make_mamba2_past(
    struct qk_run *run, struct qk_past *past, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_layer_weights *w = run->w;
    QK_TRY(qk_convolution_qkv(run, progress, err));
    QK_TRY(qk_alloc(&past->gates, run->batch->n, sizeof *past->gates, err));
    for (size_t i = 0; i < run->batch->n; i++) {
        size_t at = run->batch->sequence[i].first * w->n_v;
        past->gates[i] = (struct qk_gates){.g = run->p.g + at, .beta = run->p.beta + at};
    }
    past->skip = w->skip;
    return QK_OK;
}

static enum qk_code attend_mamba2(
    const struct qk_past *past, size_t n, const struct qk_attention_watch *maps, struct qk_error *err)
{
    (void)maps;
    return qk_state_space(past->a, past->gates, past->skip, n, err);
}

static void size_mamba2(const struct qk_layer_weights *w, struct qk_layer_state *state)
{
    state->tail_values = qk_convolution_tail(w, w->qkv.n);
    state->recurrent_values = w->n_out * w->head_dim * w->value_dim;
}

const struct qk_mixer_ops qk_mamba2_mixer = {
    .word = "mamba2",
    .read = read_mamba2,
    .size_state = size_mamba2,
    .mix = qk_qkv_mix,
    .value_heads = true,
    .recurs = true,
    .finish_projection = finish_steps,
    .make_past = make_mamba2_past,
    .attend = attend_mamba2,
};
