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

bool qk_scaling_fit(const struct qk_config *config, const struct qk_tensor *of, struct qk_scaling *scale)
{
    const struct qk_tensor *numbers = scale->tensor;
    uint64_t n = qk_tensor_values(numbers), high = qk_scaling_block(config, 0),
             wide = qk_scaling_block(config, 1);
    if (of->n_dims != 2 || of->bytes == 0 || n == 0 || !qk_dtype_readable(numbers->dtype))
        return false;
    uint64_t rows = of->shape[0], columns = of->shape[1];
    bool flat = numbers->n_dims == 2;
    if (n == 1)
        *scale = (struct qk_scaling){numbers, rows, columns};
    else if (flat && numbers->shape[0] == pieces(rows, high) && numbers->shape[1] == pieces(columns, wide))
        *scale = (struct qk_scaling){numbers, high, wide};
    else if ((flat || numbers->n_dims == 1) && numbers->shape[0] == rows && columns % (n / rows) == 0)
        *scale = (struct qk_scaling){numbers, 1, columns / (n / rows)};
    else
        return false;
    return true;
}

size_t qk_scaling_per_row(const struct qk_scaling *scale, uint64_t columns)
{
    return (size_t)pieces(columns, scale->columns);
}
