/* adapter.c - the reader of an adapter's config and factors, which adds their product to the base's values. */
#include "tensor/adapter.h"

#include "base/blas.h"
#include "base/digest.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/adapter_internal.h"
#include "tensor/factors.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_CONFIG_BYTES = 8 << 20, PATTERN_STEPS = 100000 };
enum { BLOCK = 1 << 16 }; /* elements merged at a time, unless a row is longer */

/* The names of newer and older PEFT. Where a folder has both, the first counts, as in PEFT. */
static const char *const WEIGHTS[] = {"adapter_model.safetensors", "adapter_model.bin"};

const struct qk_tensor_file *qk_adapter_file(const struct qk_adapter *adapter)
{
    return &adapter->own->shard[0].file;
}

bool qk_adapter_weights_name(const char *name)
{
    for (size_t i = 0; i < sizeof WEIGHTS / sizeof WEIGHTS[0]; i++)
        if (strcmp(name, WEIGHTS[i]) == 0)
            return true;
    return false;
}

bool qk_adapter_has_weights(const struct qk_lines *names)
{
    for (size_t i = 0; i < sizeof WEIGHTS / sizeof WEIGHTS[0]; i++)
        if (qk_lines_hold(names, WEIGHTS[i]))
            return true;
    return false;
}

bool qk_adapter_left_over(const struct qk_lines *names)
{
    bool whole = false;
    for (size_t i = 0; i < names->n; i++) {
        const char *name = names->line[i];
        whole = whole || qk_ends_with(name, ".safetensors") ||
                qk_ends_with(name, ".safetensors.index.json") || strncmp(name, "pytorch_model.bin", 17) == 0;
    }
    return whole && !qk_adapter_has_weights(names);
}

enum qk_code qk_adapter_is(const char *path, bool *is, struct qk_error *err)
{
    char *config;
    struct stat info;
    struct qk_lines names;
    QK_TRY(qk_path_join(path, QK_ADAPTER_CONFIG, &config, err));
    *is = stat(config, &info) == 0;
    enum qk_code code = *is || errno == ENOENT || errno == ENOTDIR ? QK_OK : qk_fail_errno(err, path, "open");
    free(config);
    if (code != QK_OK || !*is)
        return code;
    QK_TRY(qk_folder_names(path, NULL, &names, err));
    *is = !qk_adapter_left_over(&names);
    qk_lines_free(&names);
    return QK_OK;
}

/* --- adapter_config.json --- */

static enum qk_code wrong(const struct qk_adapter_reader *r, const char *key, const char *what)
{
    return qk_fail(r->err, QK_INPUT, "%s: %s: %s", r->adapter->config.path, key, what);
}

static enum qk_code read_config(struct qk_adapter_reader *r)
{
    struct qk_source *source = &r->adapter->config;
    char *path, *bytes;
    size_t n;
    QK_TRY(qk_path_join(r->adapter->folder, QK_ADAPTER_CONFIG, &path, r->err));
    enum qk_code code = qk_source_open(path, source, r->err);
    free(path);
    QK_TRY(code);
    QK_TRY(qk_source_whole(source, MAX_CONFIG_BYTES, &bytes, &n, r->err));
    code = qk_json_parse(source->path, bytes, n, &r->config, r->err);
    struct qk_digest digest;
    qk_digest_init(&digest);
    qk_digest_add(&digest, bytes, n);
    qk_digest_hex(&digest, r->adapter->config_digest);
    free(bytes);
    if (code == QK_OK && !cJSON_IsObject(r->config))
        code = qk_fail(r->err, QK_INPUT, "%s: not a JSON object", source->path);
    return code;
}

/* True when the item exists and is not null, false, 0 or empty. */
static bool is_set(const cJSON *item)
{
    if (item == NULL || cJSON_IsNull(item) || cJSON_IsFalse(item))
        return false;
    if (cJSON_IsArray(item) || cJSON_IsObject(item))
        return item->child != NULL;
    return !cJSON_IsNumber(item) || item->valuedouble != 0;
}

static enum qk_code check_config(const struct qk_adapter_reader *r)
{
    /* With each of these, the factors do not give W + s B A. */
    static const char *const variants[] = {"use_dora", "use_qalora", "lora_bias", "layer_replication",
        "alora_invocation_tokens", "use_bdlora", "arrow_config", "monteclora_config", "kasa_config"};
    /* Some of the others remove a part of the base's own weights. */
    static const char *const plain[] = {"gaussian", "eva", "orthogonal"};
    const char *type = qk_json_string(r->config, "peft_type", "");
    if (strcmp(type, "LORA") != 0)
        return qk_fail(r->err, QK_INPUT, "%s: peft_type: not supported (found \"%s\", expected \"LORA\")",
            r->adapter->config.path, type);
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++)
        if (is_set(qk_json_get(r->config, variants[i])))
            return wrong(r, variants[i], "this variant of LoRA is not supported");
    const char *start = qk_json_string(r->config, "init_lora_weights", NULL);
    bool known = start == NULL;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0] && !known; i++)
        known = strcmp(start, plain[i]) == 0;
    return known ? QK_OK
                 : wrong(r, "init_lora_weights", "an initialisation that may change the base's weights");
}

/* --- rank_pattern and alpha_pattern --- */

/* True for a key of letters, digits, _ and dots (any character) that is the whole module name, or its end behind a
 * dot. */
static bool plain_key_matches(const char *key, size_t n, const char *module)
{
    size_t length = strlen(module);
    if (n > length || (n < length && module[length - n - 1] != '.'))
        return false;
    for (size_t i = 0; i < n; i++)
        if (key[i] != '.' && key[i] != module[length - n + i])
            return false;
    return true;
}

static enum qk_code pattern_matches(
    const struct qk_adapter_reader *r, const char *where, const char *key, const char *module, bool *out)
{
    size_t n = strlen(key);
    *out = false;
    if (strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == n) {
        *out = plain_key_matches(key, n, module);
        return QK_OK;
    }
    struct qk_text text = {0};
    char *pattern;
    qk_text_add(&text, "(?:.*\\.)?(?:%s)$", key);
    QK_TRY(qk_text_take(&text, &pattern, r->err));
    int number;
    PCRE2_SIZE offset;
    pcre2_code *code = pcre2_compile(
        (PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_ANCHORED, &number, &offset, NULL);
    free(pattern);
    if (code == NULL)
        return wrong(r, where, "a key is not a regular expression");
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    enum qk_code result = QK_OK;
    if (data == NULL || context == NULL) {
        result = qk_fail_memory(r->err, sizeof(void *));
    } else {
        pcre2_set_match_limit(context, PATTERN_STEPS);
        int found = pcre2_match(code, (PCRE2_SPTR)module, PCRE2_ZERO_TERMINATED, 0, 0, data, context);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH)
            result = wrong(r, where, "the search for a key takes too long");
        *out = found >= 0;
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return result;
}

/* The number for this module: that of the first key of `patterns` that matches, else of `key`. */
static enum qk_code module_number(
    const struct qk_adapter_reader *r, const char *patterns, const char *key, const char *module, double *out)
{
    const cJSON *object = qk_json_get(r->config, patterns), *item = qk_json_get(r->config, key);
    const char *where = key;
    for (const cJSON *entry = cJSON_IsObject(object) ? object->child : NULL; entry != NULL;
         entry = entry->next) {
        bool matches;
        QK_TRY(pattern_matches(r, patterns, entry->string, module, &matches));
        if (matches) {
            item = qk_json_get(object, entry->string); /* the last of equal keys counts */
            where = patterns;
            break;
        }
    }
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble))
        return wrong(r, where, "missing or wrong (expected a number)");
    *out = item->valuedouble;
    return QK_OK;
}

enum qk_code qk_adapter_scale(
    const struct qk_adapter_reader *r, const char *module, const struct qk_tensor *a, double *scale)
{
    double rank, alpha;
    QK_TRY(module_number(r, "rank_pattern", "r", module, &rank));
    QK_TRY(module_number(r, "alpha_pattern", "lora_alpha", module, &alpha));
    if (rank != (double)a->shape[0])
        return qk_fail(r->err, QK_INPUT,
            "%s: %s: its rank differs from the config's (found %llu, expected "
            "%g)",
            qk_adapter_file(r->adapter)->source.path, a->name, (unsigned long long)a->shape[0], rank);
    *scale = alpha / (qk_json_bool(r->config, "use_rslora", false) ? sqrt(rank) : rank);
    return QK_OK;
}

/* --- opening --- */

/* *out = the path of the adapter's file, or of the newer name when there is neither; the caller frees. */
static enum qk_code find_weights(const char *folder, char **path, struct qk_error *err)
{
    struct stat info;
    char *older;
    QK_TRY(qk_path_join(folder, WEIGHTS[0], path, err));
    if (stat(*path, &info) == 0)
        return QK_OK;
    enum qk_code code = qk_path_join(folder, WEIGHTS[1], &older, err);
    bool found = code == QK_OK && stat(older, &info) == 0;
    if (found || code != QK_OK) {
        free(*path);
        *path = code == QK_OK ? older : NULL;
    } else {
        free(older);
    }
    return code;
}

static enum qk_code open_adapter(struct qk_adapter_reader *r, const char *folder)
{
    char *path;
    QK_TRY(qk_strdup_to(&r->adapter->folder, folder, r->err));
    QK_TRY(read_config(r));
    QK_TRY(check_config(r));
    QK_TRY(find_weights(folder, &path, r->err));
    enum qk_code code = qk_checkpoint_open(path, &r->adapter->own, r->err);
    free(path);
    return code == QK_OK ? qk_adapter_find_additions(r) : code;
}

enum qk_code qk_adapter_attach(struct qk_checkpoint *checkpoint, const char *folder, struct qk_error *err)
{
    struct qk_adapter_reader r = {.base = checkpoint, .err = err};
    char *path = NULL;
    QK_TRY(qk_alloc(&r.adapter, 1, sizeof *r.adapter, err));
    r.adapter->config.fd = -1;
    enum qk_code code = qk_factor_cache_new(&r.adapter->factors, err);
    if (code == QK_OK)
        code = open_adapter(&r, folder);
    if (code == QK_OK)
        code = qk_strdup_to(&path, folder, err);
    cJSON_Delete(r.config);
    if (code != QK_OK) {
        qk_adapter_close(r.adapter);
        return code;
    }
    r.adapter->base_path = checkpoint->path;
    checkpoint->path = path;
    checkpoint->adapter = r.adapter;
    return QK_OK;
}

void qk_adapter_close(struct qk_adapter *adapter)
{
    if (adapter == NULL)
        return;
    qk_factor_cache_free(adapter->factors);
    qk_checkpoint_close(adapter->own);
    qk_source_close(&adapter->config);
    for (size_t i = 0; i < adapter->n_taken; i++)
        free(adapter->taken[i].name);
    free(adapter->taken);
    free(adapter->unmerged);
    free(adapter->addition);
    free(adapter->base_path);
    free(adapter->folder);
    free(adapter);
}

/* --- merging --- */

int qk_addition_order(const void *a, const void *b)
{
    const struct qk_tensor *x = ((const struct qk_addition *)a)->base,
                           *y = ((const struct qk_addition *)b)->base;
    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

const struct qk_addition *qk_adapter_addition(
    const struct qk_adapter *adapter, const struct qk_tensor *tensor)
{
    const struct qk_addition key = {.base = tensor};
    return adapter == NULL ? NULL
                           : bsearch(&key, adapter->addition, adapter->n_additions, sizeof *adapter->addition,
                                 qk_addition_order);
}

static enum qk_code store(const struct qk_adapter *adapter, const struct qk_tensor *tensor,
    const double *values, size_t n, char *bytes, struct qk_error *err)
{
    if (qk_dtype_from_f64(tensor->dtype, values, n, bytes) == 0)
        return QK_OK;
    return qk_fail(err, QK_INPUT, "%s: %s: the merged weight does not fit %s",
        qk_adapter_file(adapter)->source.path, tensor->name, tensor->dtype_text);
}

/* Adds scale * B A to bytes, (rows, columns) elements: `rows` rows from `row` on and `columns` columns from `column`
 * on. With fan_in_fan_out the stored weight is (B A)^T = A^T B^T. */
static enum qk_code add_block(const struct qk_adapter *adapter, const struct qk_addition *addition,
    const struct qk_factors *factors, size_t row, size_t rows, size_t column, size_t columns, char *bytes,
    double *values, struct qk_error *err)
{
    size_t rank = (size_t)addition->a->shape[0], in = (size_t)addition->a->shape[1];
    const double *a = factors->a, *b = factors->b;
    qk_dtype_to_f64(addition->base->dtype, bytes, rows * columns, values);
    if (addition->transposed)
        qk_blas.dgemm(CblasRowMajor, CblasTrans, CblasTrans, (int)rows, (int)columns, (int)rank,
            addition->scale, a + row, (int)in, b + column * rank, (int)rank, 1, values, (int)columns);
    else
        qk_blas.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)columns, (int)rank,
            addition->scale, b + row * rank, (int)rank, a + column, (int)in, 1, values, (int)columns);
    return store(adapter, addition->base, values, rows * columns, bytes, err);
}

static enum qk_code add_product(const struct qk_adapter *adapter, const struct qk_addition *addition,
    uint64_t first, size_t n, char *bytes, struct qk_error *err)
{
    const struct qk_tensor *base = addition->base;
    size_t width = (size_t)base->shape[1], size = qk_dtype_bits(base->dtype) / 8,
           most = width < BLOCK ? BLOCK / width : 1;
    bool whole = n * size == base->bytes;
    const struct qk_factors *factors;
    double *values;
    QK_TRY(qk_alloc_aligned(&values, most * width < n ? most * width : n, sizeof *values, err));
    enum qk_code code =
        qk_factors_hold(adapter->factors, qk_adapter_file(adapter), addition->a, addition->b, &factors, err);
    bool held = code == QK_OK;
    while (code == QK_OK && n > 0) {
        size_t column = (size_t)(first % width), rows = 1, columns = width - column;
        if (columns > n)
            columns = n;
        else if (column == 0)
            rows = n / width < most ? n / width : most;
        code = add_block(
            adapter, addition, factors, (size_t)(first / width), rows, column, columns, bytes, values, err);
        first += rows * columns;
        bytes += rows * columns * size;
        n -= rows * columns;
    }
    if (held)
        qk_factors_release(adapter->factors, factors, !whole);
    free(values);
    return code;
}

static enum qk_code put_instead(const struct qk_adapter *adapter, const struct qk_addition *addition,
    uint64_t first, size_t n, char *bytes, struct qk_error *err)
{
    double *values;
    QK_TRY(qk_finite_read(qk_adapter_file(adapter), addition->instead, first, n, &values, err));
    enum qk_code code = store(adapter, addition->base, values, n, bytes, err);
    free(values);
    return code;
}

enum qk_code qk_adapter_apply(const struct qk_adapter *adapter, const struct qk_tensor *tensor,
    uint64_t offset, void *bytes, size_t n, struct qk_error *err)
{
    const struct qk_addition *addition = qk_adapter_addition(adapter, tensor);
    if (addition == NULL || n == 0)
        return QK_OK;
    if (addition->unknown != NULL)
        return qk_fail(err, QK_INPUT, "%s: %s: %s", qk_adapter_file(adapter)->source.path,
            addition->instead->name, addition->unknown);
    size_t size = qk_dtype_bits(tensor->dtype) / 8;
    assert(offset % size == 0 && n % size == 0);
    if (addition->instead != NULL)
        QK_TRY(put_instead(adapter, addition, offset / size, n / size, bytes, err));
    return addition->a == NULL ? QK_OK : add_product(adapter, addition, offset / size, n / size, bytes, err);
}
