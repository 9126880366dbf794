/* experts_read.c - the router and the shared expert of a layer, and its experts, at their turn. */
#include "forward/experts.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "forward/feed_forward.h"
#include "forward/weights.h"
#include "tensor/mxfp4.h"

#include <stdlib.h>
#include <string.h>

/* --- the router --- */

static enum qk_code read_groups(
    struct qk_reading *r, const cJSON *object, const struct qk_config *config, struct qk_router *router)
{
    long value = 1;
    double ignored;
    router->groups = router->groups_chosen = 1;
    if (!qk_layout_value(object, "groups", config, &ignored))
        return QK_OK;
    QK_TRY(qk_layout_count(object, "groups", config, QK_MOST_GROUPS, &value, r->err));
    router->groups = (size_t)value;
    QK_TRY(qk_layout_count(object, "groups_chosen", config, value, &value, r->err));
    router->groups_chosen = (size_t)value;
    if (qk_layout_value(object, "group_best", config, &ignored)) {
        QK_TRY(qk_layout_count(object, "group_best", config, 2, &value, r->err));
        router->group_best = (size_t)value;
    }
    if (router->n % router->groups != 0 ||
        router->n / router->groups * router->groups_chosen < router->chosen)
        return qk_fail_row(r, "its experts do not fit into groups");
    return QK_OK;
}

static enum qk_code read_router(struct qk_reading *r, const cJSON *object, struct qk_experts *experts)
{
    static const struct qk_bounds positive = {0, 1e6, "a number from 0 on"};
    struct qk_config config = r->parts->model->config;
    struct qk_router *router = &experts->router;
    const struct qk_tensor *correction;
    double factor = 1, eps = 0;
    float *values;
    long chosen;
    bool found;
    config.layer = r->layer->index + 1;
    QK_TRY(qk_read_projection(r, object, "router", 0, r->out->width, true, &experts->route));
    router->n = experts->route.n;
    QK_TRY(qk_layout_count(object, "per_token", &config, (long)router->n, &chosen, r->err));
    router->chosen = (size_t)chosen;
    QK_TRY(read_groups(r, object, &config, router));
    const char *scoring = qk_layout_word(object, "scoring", &config);
    router->scoring = strcmp(scoring, "sigmoid") == 0 ? QK_SCORING_SIGMOID : QK_SCORING_SOFTMAX;
    router->normalised = qk_layout_flag(object, "normalised", &config, false);
    QK_TRY(qk_layout_number(object, "factor", &config, positive, &found, &factor, r->err));
    QK_TRY(qk_layout_number(object, "normalised_eps", &config, positive, &found, &eps, r->err));
    router->factor = (float)factor;
    router->eps = (float)eps;
    QK_TRY(qk_parts_layer_tensor(
        r->parts, experts->layer, object, "correction", "", false, &correction, r->err));
    if (correction == NULL)
        return QK_OK;
    QK_TRY(qk_read_owned(r->parts, correction, router->n, 0, r->out, &values, r->err));
    router->correction = values;
    router->group_best = router->group_best == 0 ? 2 : router->group_best;
    return QK_OK;
}

/* --- where the experts are --- */

/* Finds the tensor of one expert, or of all of them; those of all are named with .weight or as they stand. */
static enum qk_code find_one(struct qk_reading *r, const cJSON *object, const char *key, size_t number,
    bool bias, bool needed, const struct qk_tensor **out, bool *each)
{
    static const char *const weights[] = {"", ".weight"}, *const biases[] = {"_bias", ".bias"};
    const char *const *suffix = bias ? biases : weights;
    QK_TRY(qk_parts_expert_tensor(
        r->parts, r->layer->index, object, key, number, suffix[0], false, out, each, r->err));
    return *out != NULL ? QK_OK
                        : qk_parts_expert_tensor(r->parts, r->layer->index, object, key, number, suffix[1],
                              needed, out, each, r->err);
}

/* Finds the blocks of all experts' values in MXFP4, and sets their scales. */
static enum qk_code find_blocks(struct qk_reading *r, const cJSON *object, const char *key,
    struct qk_expert_matrix *matrix, const struct qk_tensor **blocks)
{
    int layer = r->layer->index;
    bool each;
    QK_TRY(qk_parts_expert_tensor(r->parts, layer, object, key, 0, "_blocks", false, blocks, &each, r->err));
    if (*blocks == NULL || each)
        return QK_OK;
    const struct qk_tensor *b = *blocks, *s;
    QK_TRY(qk_parts_expert_tensor(r->parts, layer, object, key, 0, "_scales", true, &s, NULL, r->err));
    if (b->n_dims != 4 || b->shape[3] != QK_MXFP4_BYTES || b->dtype != QK_U8 || s->n_dims != 3 ||
        memcmp(s->shape, b->shape, 3 * sizeof *s->shape) != 0 || s->dtype != QK_U8)
        return qk_fail(r->err, QK_INPUT, "%s: %s: it does not hold MXFP4 that %s fits",
            qk_checkpoint_file(r->parts->model->checkpoint, b), b->name, s->name);
    matrix->scales = s;
    return QK_OK;
}

/* Finds the tensors of a matrix, unless no expert has it. */
static enum qk_code find_matrix(
    struct qk_reading *r, const cJSON *object, const char *key, bool needed, struct qk_expert_matrix *matrix)
{
    const struct qk_tensor *weight, *bias;
    size_t n = r->out->experts->router.n;
    QK_TRY(find_blocks(r, object, key, matrix, &weight));
    if (matrix->scales == NULL)
        QK_TRY(find_one(r, object, key, 0, false, needed, &weight, &matrix->each));
    if (weight == NULL)
        return QK_OK;
    QK_TRY(find_one(r, object, key, 0, true, false, &bias, NULL));
    n = matrix->each ? n : 1;
    QK_TRY(qk_alloc(&matrix->weight, n, sizeof *matrix->weight, r->err));
    if (bias != NULL)
        QK_TRY(qk_alloc(&matrix->bias, n, sizeof *matrix->bias, r->err));
    for (size_t i = 0; i < n; i++) {
        matrix->weight[i] = weight;
        if (i > 0)
            QK_TRY(find_one(r, object, key, i, false, true, &matrix->weight[i], NULL));
        if (bias != NULL)
            QK_TRY(find_one(r, object, key, i, true, true, &matrix->bias[i], NULL));
    }
    return QK_OK;
}

/* Rows (of both) that a matrix of k columns has, stored either way; 0: no such shape. */
static size_t rows_of(const struct qk_expert_matrix *matrix, bool transposed, size_t k)
{
    const struct qk_tensor *tensor = matrix->weight[0];
    if (matrix->scales != NULL)
        return !transposed && k % QK_MXFP4_VALUES == 0 && tensor->shape[2] == k / QK_MXFP4_VALUES
                   ? (size_t)tensor->shape[1]
                   : 0;
    if (tensor->n_dims < 2)
        return 0;
    const uint64_t *shape = tensor->shape + tensor->n_dims - 2;
    return shape[transposed ? 0 : 1] == k ? (size_t)shape[transposed ? 1 : 0] : 0;
}

/* True for the shape (n, k), or for (experts, n, k) of all experts: in MXFP4 (experts, n, k / 32, 16). */
static bool is_shape(const struct qk_experts *experts, const struct qk_expert_matrix *matrix,
    const struct qk_tensor *tensor, size_t n, size_t k)
{
    int first = matrix->each ? 0 : 1;
    if (matrix->scales != NULL)
        return tensor->shape[0] == experts->router.n && tensor->shape[1] == n &&
               rows_of(matrix, false, k) == n && tensor->bytes > 0;
    return tensor->n_dims == first + 2 && (first == 0 || tensor->shape[0] == experts->router.n) &&
           tensor->shape[first] == n && tensor->shape[first + 1] == k && tensor->bytes > 0;
}

/* Sets whether the matrix is transposed; QK_INPUT when a tensor is neither (n, k) nor (k, n). */
static enum qk_code set_shape(struct qk_reading *r, struct qk_expert_matrix *matrix, size_t n, size_t k)
{
    const struct qk_experts *experts = r->out->experts;
    matrix->n = n;
    matrix->k = k;
    matrix->transposed = matrix->transposed || !is_shape(experts, matrix, matrix->weight[0], n, k);
    for (size_t i = 0; i < (matrix->each ? experts->router.n : 1); i++) {
        const struct qk_tensor *weight = matrix->weight[i];
        char found[QK_SHAPE_TEXT];
        if (!is_shape(experts, matrix, weight, matrix->transposed ? k : n, matrix->transposed ? n : k))
            return qk_fail(r->err, QK_INPUT,
                "%s: %s: its shape does not fit the model (found %s, expected (%s%zu, %zu))",
                qk_checkpoint_file(r->parts->model->checkpoint, weight), weight->name,
                qk_shape_text(found, weight), matrix->each ? "" : "experts, ", n, k);
        if (matrix->bias != NULL &&
            qk_tensor_values(matrix->bias[i]) != (matrix->each ? 1 : experts->router.n) * n)
            return qk_fail(r->err, QK_INPUT, "%s: %s: its shape does not fit the model",
                qk_checkpoint_file(r->parts->model->checkpoint, matrix->bias[i]), matrix->bias[i]->name);
    }
    return QK_OK;
}

/* Finds how wide the experts are between their projections, by the shapes of up and down together. */
static enum qk_code set_shapes(struct qk_reading *r, bool both)
{
    struct qk_experts *experts = r->out->experts;
    struct qk_expert_matrix *up = &experts->matrix[QK_EXPERT_UP], *down = &experts->matrix[QK_EXPERT_DOWN],
                            *gate = &experts->matrix[QK_EXPERT_GATE];
    size_t k = experts->width, times = both ? 2 : 1;
    for (int transposed = 0; transposed < 2; transposed++) {
        size_t rows = rows_of(up, transposed, k), f = rows / times;
        if (f == 0 || rows % times != 0 || rows_of(down, transposed, f) != k)
            continue;
        experts->hidden = f;
        up->transposed = down->transposed = gate->transposed = transposed != 0;
        break;
    }
    if (experts->hidden == 0)
        return qk_fail_row(r, "the shapes of its experts do not fit the model");
    QK_TRY(set_shape(r, up, times * experts->hidden, k));
    if (gate->weight != NULL)
        QK_TRY(set_shape(r, gate, experts->hidden, k));
    return set_shape(r, down, k, experts->hidden);
}

/* Where a matrix begins among the bytes of an expert, and where its bias does: all weights are before the biases. */
static size_t weight_at(const struct qk_experts *experts, int role)
{
    size_t values = 0;
    for (int i = 0; i < role; i++)
        values += experts->matrix[i].n * experts->matrix[i].k;
    return values * (qk_dtype_bits(experts->dtype) / 8);
}

static size_t bias_at(const struct qk_experts *experts, int role)
{
    size_t values = 0, weights = weight_at(experts, QK_EXPERT_ROLES);
    for (int i = 0; i < role; i++)
        values += experts->matrix[i].bias != NULL ? experts->matrix[i].n : 0;
    return (weights + sizeof(float) - 1) / sizeof(float) * sizeof(float) + values * sizeof(float);
}

/* The format that all weights of the experts share in memory. */
static enum qk_dtype common_dtype(const struct qk_reading *r, const struct qk_experts *experts)
{
    const struct qk_expert_matrix *up = &experts->matrix[QK_EXPERT_UP];
    enum qk_dtype dtype = up->scales == NULL ? qk_weights_dtype(r->parts, up->weight[0]) : QK_F32;
    for (int i = 0; i < QK_EXPERT_ROLES && dtype != QK_F32; i++) {
        const struct qk_expert_matrix *m = &experts->matrix[i];
        for (size_t e = 0; m->n > 0 && e < (m->each ? experts->router.n : 1); e++)
            if (m->scales != NULL || qk_weights_dtype(r->parts, m->weight[e]) != dtype)
                return QK_F32;
    }
    return dtype;
}

static enum qk_code find_experts(struct qk_reading *r, const cJSON *object)
{
    struct qk_experts *experts = r->out->experts;
    struct qk_expert_matrix *matrix = experts->matrix;
    bool alone = qk_json_get(object, "up") == NULL, gated = qk_json_get(object, "gate") != NULL;
    if (qk_json_get(object, "gate_up") != NULL)
        QK_TRY(find_matrix(r, object, "gate_up", alone, &matrix[QK_EXPERT_UP]));
    bool both = matrix[QK_EXPERT_UP].weight != NULL;
    if (!both) {
        QK_TRY(find_matrix(r, object, "up", true, &matrix[QK_EXPERT_UP]));
        QK_TRY(find_matrix(r, object, "gate", gated, &matrix[QK_EXPERT_GATE]));
    }
    QK_TRY(find_matrix(r, object, "down", true, &matrix[QK_EXPERT_DOWN]));
    matrix[QK_EXPERT_UP].interleaved = both && qk_json_bool(object, "interleaved", false);
    QK_TRY(set_shapes(r, both));
    for (int i = 0; i < QK_EXPERT_ROLES; i++)
        experts->values += matrix[i].n * (matrix[i].k + (matrix[i].bias != NULL ? 1 : 0));
    experts->dtype = common_dtype(r, experts);
    experts->bytes = bias_at(experts, QK_EXPERT_ROLES);
    return QK_OK;
}

static enum qk_code read_swiglu(struct qk_reading *r, const cJSON *object, struct qk_swiglu *swiglu)
{
    static const struct qk_bounds positive = {0, 1e6, "a number from 0 on"};
    struct qk_config config = r->parts->model->config;
    double limit = 0, alpha = 0, plus = 0;
    bool found;
    config.layer = r->layer->index + 1;
    QK_TRY(qk_layout_number(object, "limit", &config, positive, &found, &limit, r->err));
    QK_TRY(qk_layout_number(object, "alpha", &config, positive, &found, &alpha, r->err));
    QK_TRY(qk_layout_number(object, "up_plus", &config, positive, &found, &plus, r->err));
    *swiglu = (struct qk_swiglu){(float)limit, (float)alpha, (float)plus};
    return QK_OK;
}

static enum qk_code read_latents(struct qk_reading *r, const cJSON *object, struct qk_experts *experts)
{
    size_t d = r->out->width;
    QK_TRY(qk_read_projection(r, object, "latent_in", 0, d, false, &experts->latent_in));
    experts->width = experts->latent_in.weight != NULL ? experts->latent_in.n : d;
    return experts->latent_in.weight != NULL
               ? qk_read_projection(r, object, "latent_out", d, experts->width, true, &experts->latent_out)
               : QK_OK;
}

enum qk_code qk_experts_read(struct qk_reading *r)
{
    struct qk_experts *experts;
    const cJSON *object = qk_parts_experts(r->parts, r->layer->index), *shared;
    QK_TRY(qk_alloc(&experts, 1, sizeof *experts, r->err));
    r->out->experts = experts;
    experts->parts = r->parts;
    experts->layer = r->layer->index;
    QK_TRY(read_router(r, object, experts));
    QK_TRY(read_latents(r, object, experts));
    QK_TRY(read_swiglu(r, object, &experts->swiglu));
    experts->input_scaled = qk_json_bool(object, "input_scaled", false);
    QK_TRY(qk_alloc(&experts->held, experts->router.n, sizeof *experts->held, r->err));
    QK_TRY(find_experts(r, object));
    shared = qk_json_get(object, "shared");
    if (shared == NULL)
        return QK_OK;
    QK_TRY(qk_mlp_read(r, shared, r->out->width, false, &experts->shared));
    return qk_read_projection(r, shared, "weight", 1, r->out->width, false, &experts->shared_gate);
}

void qk_experts_free(struct qk_experts *experts)
{
    if (experts == NULL)
        return;
    for (size_t i = 0; experts->held != NULL && i < experts->router.n; i++)
        free(experts->held[i].values);
    for (int i = 0; i < QK_EXPERT_ROLES; i++) {
        free(experts->matrix[i].weight);
        free(experts->matrix[i].bias);
    }
    free(experts->held);
    free(experts);
}

/* --- reading experts --- */

/* Experts that are read. `stored` has the values in the files' order, where that is another. */
struct load {
    const struct qk_experts *experts;
    struct qk_expert *out;
    char **stored;
    size_t blocks; /* of rows, of an expert's matrices */
};
enum { BLOCK = 16 };

static size_t blocks_of(const struct qk_expert_matrix *matrix)
{
    return (matrix->n + BLOCK - 1) / BLOCK;
}

/* Sets the expert's projections to their places in its values. */
static void lay_out(const struct qk_experts *experts, struct qk_expert *expert)
{
    struct qk_projection p[QK_EXPERT_ROLES] = {{0}};
    size_t f = experts->hidden;
    char *values = expert->values;
    for (int i = 0; i < QK_EXPERT_ROLES; i++) {
        const struct qk_expert_matrix *matrix = &experts->matrix[i];
        if (matrix->n == 0)
            continue;
        p[i] = (struct qk_projection){.weight = values + weight_at(experts, i),
            .n = matrix->n,
            .k = matrix->k,
            .dtype = experts->dtype};
        p[i].bias = matrix->bias != NULL ? (float *)(void *)(values + bias_at(experts, i)) : NULL;
    }
    struct qk_projection *gate = &p[QK_EXPERT_GATE], *up = &p[QK_EXPERT_UP];
    if (up->n != f) { /* both */
        *gate = qk_projection_rows(up, 0, f);
        *up = qk_projection_rows(up, f, f);
    }
    expert->mlp = (struct qk_mlp){*gate, *up, p[QK_EXPERT_DOWN]};
}

/* True when the file's order is that of an expert's values. */
static bool is_in_order(const struct qk_experts *experts)
{
    for (int i = 0; i < QK_EXPERT_ROLES; i++)
        if (experts->matrix[i].n > 0 && (experts->matrix[i].transposed || experts->matrix[i].interleaved))
            return false;
    return true;
}

/* Copies rows first .. end of a matrix whose rows row[0], row[1] ... are stored as columns; inlined for each size of a
 * value. */
static inline __attribute__((always_inline)) void turn_rows(const struct qk_expert_matrix *m, size_t size,
    const size_t *row, size_t first, size_t end, const char *from, char *to)
{
    for (size_t j = 0; j < m->k; j++)
        for (size_t i = first; i < end; i++)
            memcpy(to + (i * m->k + j) * size, from + (j * m->n + row[i - first]) * size, size);
}

/* Item: a block of rows of an expert's matrix. Copies them in the order of its values. */
static void arrange(void *context, size_t item, size_t worker)
{
    (void)worker;
    const struct load *load = context;
    const struct qk_experts *experts = load->experts;
    size_t number = item / load->blocks, block = item % load->blocks,
           size = qk_dtype_bits(experts->dtype) / 8;
    int role = 0;
    for (; block >= blocks_of(&experts->matrix[role]); role++)
        block -= blocks_of(&experts->matrix[role]);
    const struct qk_expert_matrix *m = &experts->matrix[role];
    size_t first = block * BLOCK, end = m->n - first < BLOCK ? m->n : first + BLOCK, bytes = m->k * size;
    const char *stored = load->stored[number], *from = stored + weight_at(experts, role),
               *bias = stored + bias_at(experts, role);
    char *values = load->out[number].values, *to = values + weight_at(experts, role),
         *to_bias = values + bias_at(experts, role);
    size_t row[BLOCK];
    for (size_t i = first; i < end; i++)
        row[i - first] = !m->interleaved ? i : i < m->n / 2 ? 2 * i : 2 * (i - m->n / 2) + 1;
    for (size_t i = first; m->bias != NULL && i < end; i++)
        memcpy(to_bias + i * sizeof(float), bias + row[i - first] * sizeof(float), sizeof(float));
    for (size_t i = first; !m->transposed && i < end; i++)
        memcpy(to + i * bytes, from + row[i - first] * bytes, bytes);
    if (m->transposed && size == sizeof(float))
        turn_rows(m, sizeof(float), row, first, end, from, to);
    else if (m->transposed)
        turn_rows(m, sizeof(uint16_t), row, first, end, from, to);
}

/* Lists what to read of expert `number` into values (NULL: nowhere); returns how many slices. */
static size_t list_slices(
    const struct qk_experts *experts, size_t number, char *values, struct qk_values *slice)
{
    size_t n = 0;
    for (int i = 0; i < QK_EXPERT_ROLES; i++) {
        const struct qk_expert_matrix *m = &experts->matrix[i];
        size_t which = m->each ? number : 0, before = m->each ? 0 : number;
        if (m->n == 0)
            continue;
        slice[n++] = (struct qk_values){m->weight[which], m->scales, before * m->n * m->k, m->n * m->k,
            values != NULL ? values + weight_at(experts, i) : NULL, experts->dtype};
        if (m->bias != NULL)
            slice[n++] = (struct qk_values){m->bias[which], NULL, before * m->n, m->n,
                values != NULL ? values + bias_at(experts, i) : NULL, QK_F32};
    }
    return n;
}

/* Makes the arrays, reads into those in the files' order, and puts them into the order of values. */
static enum qk_code load_all(struct load *load, const size_t *number, size_t n, struct qk_values *slice,
    const struct qk_parts *parts, struct qk_error *err)
{
    const struct qk_experts *experts = load->experts;
    bool in_order = is_in_order(experts);
    size_t slices = 0;
    for (size_t i = 0; i < n; i++) {
        QK_TRY(qk_alloc_aligned(&load->out[i].values, experts->bytes, 1, err));
        if (!in_order)
            QK_TRY(qk_alloc_aligned(&load->stored[i], experts->bytes, 1, err));
        lay_out(experts, &load->out[i]);
        slices +=
            list_slices(experts, number[i], in_order ? load->out[i].values : load->stored[i], slice + slices);
    }
    QK_TRY(qk_weights_slices(parts, slice, slices, err));
    if (!in_order)
        qk_parallel_for(n * load->blocks, arrange, load, parts->progress);
    return qk_progress_check(parts->progress, err);
}

enum qk_code qk_experts_load(const struct qk_experts *experts, const size_t *number, size_t n,
    struct qk_expert *out, struct qk_progress *progress, struct qk_error *err)
{
    struct load load = {.experts = experts, .out = out};
    struct qk_parts parts = *experts->parts; /* borrowed, but for the progress */
    struct qk_values *slice = NULL;
    parts.progress = progress;
    memset(out, 0, n * sizeof *out);
    for (int i = 0; i < QK_EXPERT_ROLES; i++)
        load.blocks += blocks_of(&experts->matrix[i]);
    enum qk_code code = qk_alloc(&load.stored, n, sizeof *load.stored, err);
    if (code == QK_OK)
        code = qk_alloc(&slice, n * 2 * QK_EXPERT_ROLES, sizeof *slice, err);
    if (code == QK_OK)
        code = load_all(&load, number, n, slice, &parts, err);
    for (size_t i = 0; i < n; i++) {
        if (load.stored != NULL)
            free(load.stored[i]);
        if (code != QK_OK) {
            free(out[i].values);
            out[i].values = NULL;
        }
    }
    free(load.stored);
    free(slice);
    return code;
}

void qk_experts_borrow(struct qk_experts *experts, struct qk_experts *lender)
{
    if (experts == NULL || lender == NULL)
        return;
    for (int i = 0; i < QK_EXPERT_ROLES; i++) {
        const struct qk_expert_matrix *m = &experts->matrix[i];
        for (size_t e = 0; m->n > 0 && e < (m->each ? experts->router.n : 1); e++)
            if (qk_weights_patched(experts->parts, m->weight[e]) ||
                (m->bias != NULL && qk_weights_patched(experts->parts, m->bias[e])))
                return;
    }
    experts->lender = lender;
}

void qk_experts_expect(const struct qk_experts *experts, size_t number)
{
    struct qk_values slice[2 * QK_EXPERT_ROLES];
    size_t n = list_slices(experts, number, NULL, slice);
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = slice[i].scales != NULL ? 4 : qk_dtype_bits(slice[i].tensor->dtype);
        qk_checkpoint_expect(experts->parts->model->checkpoint, slice[i].tensor, slice[i].first * bits / 8,
            slice[i].n * bits / 8);
    }
}
