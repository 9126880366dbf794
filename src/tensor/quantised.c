/* quantised.c - the signs of quantised weights, in two tables. */
#include "tensor/quantised.h"

#include "base/text.h"

#include <string.h>

/* --- scales --- */

/* What follows the module's name, or the tensor's where that does not end in ".weight". All of these multiply. */
static const char *const SCALES[] = {
    "weight_scale_inv", /* DeepSeek, transformers: blocks */
    "weight_scale",     /* compressed-tensors, FBGEMM, ModelOpt: rows or the whole */
    "scale_weight",     /* ComfyUI: the whole */
    "scale",            /* DeepSeek's own files */
    "weight.scale",
    "weight._scale",
    "_scale_inv", /* experts in one tensor */
    "_scale",
    NULL,
};

static bool is_listed(const char *const *list, const char *text)
{
    for (; *list != NULL; list++)
        if (strcmp(*list, text) == 0)
            return true;
    return false;
}

bool qk_scale_is_aside(const char *name)
{
    static const char *const cache[] = {"k_scale", "v_scale", "q_scale", "kv_scale", NULL};
    static const char *const words[] = {"input", "output", "activation", "act_scale"};
    const char *dot = strrchr(name, '.'), *last = dot != NULL ? dot + 1 : name;
    bool aside = is_listed(cache, last);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        aside = aside || strstr(last, words[i]) != NULL;
    return aside && strstr(last, "scale") != NULL;
}

/* True for what follows a module's name in that of a scale: no part of it is another module. */
static bool is_scale(const char *rest)
{
    const char *own = strncmp(rest, "weight.", 7) == 0 ? rest + 7 : rest;
    return strchr(own, '.') == NULL && strstr(own, "scale") != NULL && !qk_scale_is_aside(own);
}

/* The place of the first tensor whose name is not less than the n characters of `start`. */
static size_t first_from(const struct qk_checkpoint *c, const char *start, size_t n)
{
    size_t low = 0, high = c->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strncmp(c->by_name[middle]->name, start, n) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct qk_tensor *qk_scale_find(
    const struct qk_checkpoint *c, const struct qk_tensor *weight, bool *known)
{
    const struct qk_tensor *found = NULL;
    size_t n = strlen(weight->name) - (qk_ends_with(weight->name, ".weight") ? strlen("weight") : 0);
    *known = true;
    if (qk_dtype_bits(weight->dtype) != 8)
        return NULL;
    for (size_t i = first_from(c, weight->name, n); i < c->n_tensors; i++) {
        const struct qk_tensor *tensor = c->by_name[i];
        if (strncmp(tensor->name, weight->name, n) != 0)
            break;
        if (tensor == weight || !is_scale(tensor->name + n))
            continue;
        bool form = found == NULL && is_listed(SCALES, tensor->name + n);
        if (found == NULL || !form) /* the one of an unknown form is named */
            found = *known ? tensor : found;
        *known = *known && form;
    }
    return found;
}

/* --- packed values --- */

/* The first row that fits counts. */
static const struct {
    const char *suffix, *method;
} PACKED[] = {
    {".weight.quant_state.bitsandbytes__nf4", "bitsandbytes, 4 bits"},
    {".weight.quant_state.bitsandbytes__fp4", "bitsandbytes, 4 bits"},
    {".weight.absmax", "bitsandbytes, 4 bits"},
    {".SCB", "bitsandbytes, 8 bits"},
    {".weight.SCB", "bitsandbytes, 8 bits"},
    {".g_idx", "GPTQ"},
    {".qweight", "AWQ"}, /* GPTQ's order of groups is not there */
    {".weight_packed", "compressed-tensors"},
    {".weight_scale_2", "NVFP4"},
    {".weight_blocks", "MXFP4"},
    {".blocks", "MXFP4"},
    {"_blocks", "MXFP4"},
    {".weight._data", "quanto"},
    {".weight._packed", "quanto"},
    {".W_q", "HQQ"},
    {".codebooks", "AQLM"},
    {".Qidxs", "QuIP#"},
    {".q_weight", "EXL2"},
    {".trellis", "EXL3"},
};

const struct qk_tensor *qk_packed_find(
    const struct qk_names *names, int layer, const char *below, const char **method)
{
    const struct qk_tensor *found = NULL;
    for (size_t i = 0; i < sizeof PACKED / sizeof PACKED[0] && found == NULL; i++) {
        found = qk_names_find(names, layer, below, PACKED[i].suffix);
        *method = PACKED[i].method;
    }
    return found;
}
