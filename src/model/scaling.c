/* scaling.c - the form of scales, from their shape and the config. */
#include "model/scaling.h"

#include "base/json.h"

static uint64_t pieces(uint64_t n, uint64_t size)
{
    return n / size + (n % size != 0);
}

uint64_t qk_scaling_block(const struct qk_config *config, int dimension)
{
    const cJSON *size = qk_json_get(qk_json_get(config->root, "quantization_config"), "weight_block_size");
    const cJSON *item = cJSON_IsArray(size) ? cJSON_GetArrayItem(size, dimension) : NULL;
    double given = cJSON_IsNumber(item) ? item->valuedouble : 128;
    return given >= 1 && given <= 1 << 20 ? (uint64_t)given : 128;
}

/* The same for a matrix (rows, columns) and numbers of that shape. */
static bool fit_matrix(const struct qk_config *config, uint64_t rows, uint64_t columns, int n_dims,
    const uint64_t *shape, struct qk_scaling *scale)
{
    uint64_t n = 1, high = qk_scaling_block(config, 0), wide = qk_scaling_block(config, 1);
    for (int i = 0; i < n_dims; i++)
        n *= shape[i];
    bool flat = n_dims == 2;
    if (n == 1) {
        scale->rows = rows;
        scale->columns = columns;
    } else if (flat && shape[0] == pieces(rows, high) && shape[1] == pieces(columns, wide)) {
        scale->rows = high;
        scale->columns = wide;
    } else if ((flat || n_dims == 1) && shape[0] == rows && n > 0 && columns % (n / rows) == 0) {
        scale->rows = 1;
        scale->columns = columns / (n / rows);
    } else {
        return false;
    }
    return true;
}

bool qk_scaling_counts(const struct qk_config *config, const struct qk_tensor *of,
    const struct qk_tensor *numbers, uint64_t parts)
{
    uint64_t rows = of->shape[0], columns = of->shape[1];
    return rows % parts == 0 &&
           numbers->shape[0] == parts * pieces(rows / parts, qk_scaling_block(config, 0)) &&
           numbers->shape[1] == pieces(columns, qk_scaling_block(config, 1));
}

/* The same for blocks that begin anew in each of the model's parts. */
static bool fit_parts(const struct qk_model *model, const struct qk_tensor *of, struct qk_scaling *scale)
{
    uint64_t parts = (uint64_t)model->n_parts;
    if (parts < 2 || scale->tensor->n_dims != 2 ||
        !qk_scaling_counts(&model->config, of, scale->tensor, parts))
        return false;
    scale->rows = qk_scaling_block(&model->config, 0);
    scale->columns = qk_scaling_block(&model->config, 1);
    scale->height = of->shape[0] / parts;
    return true;
}

bool qk_scaling_fit(const struct qk_model *model, const struct qk_tensor *of, struct qk_scaling *scale)
{
    const struct qk_config *config = &model->config;
    const struct qk_tensor *numbers = scale->tensor;
    uint64_t n = qk_tensor_values(numbers);
    const uint64_t *shape = of->shape;
    if (of->bytes == 0 || n == 0 || !qk_dtype_readable(numbers->dtype))
        return false;
    scale->height = 0;
    if (of->n_dims == 2)
        return (model->fused == QK_FUSED_PARTS && fit_parts(model, of, scale)) ||
               fit_matrix(config, shape[0], shape[1], numbers->n_dims, numbers->shape, scale) ||
               fit_parts(model, of, scale);
    if (of->n_dims != 3)
        return false;
    if (n == 1)
        return fit_matrix(config, shape[0] * shape[1], shape[2], numbers->n_dims, numbers->shape, scale);
    scale->height = shape[1];
    return numbers->shape[0] == shape[0] &&
           fit_matrix(config, shape[1], shape[2], numbers->n_dims - 1, numbers->shape + 1, scale);
}

bool qk_scaling_covers(const struct qk_scaling *scale, uint64_t first, uint64_t n, uint64_t rows)
{
    uint64_t height = scale->height > 0 ? scale->height : rows, end = first + n;
    return first % height % scale->rows == 0 && end % height % scale->rows == 0;
}

size_t qk_scaling_row(const struct qk_scaling *scale, uint64_t row)
{
    if (scale->height == 0)
        return (size_t)(row / scale->rows);
    return (
        size_t)(row / scale->height * pieces(scale->height, scale->rows) + row % scale->height / scale->rows);
}

size_t qk_scaling_per_row(const struct qk_scaling *scale, uint64_t columns)
{
    return (size_t)pieces(columns, scale->columns);
}
