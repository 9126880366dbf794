/* models.c - models made of the fixtures and the demo pair (models.h). */
#include "models.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void copy_model(const char *family, const char *side, const char *folder, const char *from, const char *to)
{
    char name[PATH_SIZE], original[PATH_SIZE], path[PATH_SIZE];
    size_t n;
    if (access(folder, F_OK) != 0)
        make_folder(folder);
    snprintf(name, sizeof name, "fixtures/%s/%s", family, side);
    if (strcmp(family, "hypenet") == 0)
        demo_path(original, side);
    else
        data_path(original, name);
    char *bytes = read_bytes(path_in(path, original, "model.safetensors"), &n);
    if (from != NULL) {
        char *at = memmem(bytes, n, from, strlen(from));
        assert_non_null(at);
        assert_int_equal(strlen(from), strlen(to));
        memcpy(at, to, strlen(to));
    }
    write_bytes(path_in(path, folder, "model.safetensors"), bytes, n);
    free(bytes);
    bytes = read_bytes(path_in(path, original, "config.json"), &n);
    write_bytes(path_in(path, folder, "config.json"), bytes, n);
    free(bytes);
}

void set_config(const char *folder, const char *key, const char *value)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    cJSON *config, *item = cJSON_Parse(value);
    assert_non_null(item);
    expect_ok(qk_json_read(path_in(path, folder, "config.json"), 1 << 20, &config, &err), &err);
    cJSON_DeleteItemFromObject(config, key);
    cJSON_AddItemToObject(config, key, item);
    char *text = cJSON_Print(config);
    write_text(path, "%s", text);
    free(text);
    cJSON_Delete(config);
}

void copy_pair_without_pass(const char *folder)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        char path[PATH_SIZE];
        const char *side = qk_side_name((enum qk_side)s);
        copy_model("gemma3_text", side, path_in(path, folder, side), NULL, NULL);
        set_config(path, "use_bidirectional_attention", "true");
    }
}

void make_ids(int32_t ids[N_IDS])
{
    for (int t = 0; t < N_IDS; t++)
        ids[t] = (t * t * 7 + 3) % VOCABULARY;
}

size_t vocabulary_of(const struct qk_model *model)
{
    struct qk_error err = {0};
    size_t n;
    expect_ok(qk_forward_vocabulary(model, &n, &err), &err);
    return n;
}

float *logits_of(const char *folder, const struct qk_patch *patch)
{
    struct qk_model *model;
    struct qk_error err = {0};
    int32_t ids[N_IDS];
    make_ids(ids);
    expect_ok(qk_model_open(folder, &model, &err), &err);
    size_t vocabulary = vocabulary_of(model);
    assert_true(vocabulary >= VOCABULARY);
    float *logits = malloc(N_IDS * vocabulary * sizeof *logits);
    expect_ok(qk_forward(model, patch, ids, N_IDS, NULL, logits, N_IDS, NULL, &err), &err);
    qk_model_close(model);
    return logits;
}

void expect_refused(const char *folder, const char *words)
{
    struct qk_model *model;
    struct qk_error err = {0};
    int32_t ids[N_IDS];
    float logits[MOST_VOCABULARY];
    make_ids(ids);
    expect_ok(qk_model_open(folder, &model, &err), &err);
    expect_failure(qk_forward(model, NULL, ids, N_IDS, NULL, logits, 1, NULL, &err), &err, QK_INPUT, words);
    qk_model_close(model);
}

void halve_values(const struct qk_tensor *tensor, void *bytes)
{
    size_t n = (size_t)qk_tensor_values(tensor);
    double *values = malloc(n * sizeof *values);
    assert_non_null(values);
    qk_dtype_to_f64(tensor->dtype, bytes, n, values);
    for (size_t i = 0; i < n; i++)
        values[i] *= 0.5;
    qk_dtype_from_f64(tensor->dtype, values, n, bytes);
    free(values);
}

double worst(const float *found, const float *expected, size_t n)
{
    double difference = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        difference = fmax(difference, fabs((double)found[i] - (double)expected[i]));
        difference = isfinite(found[i]) ? difference : INFINITY;
        largest = fmax(largest, fabs((double)expected[i]));
    }
    return difference / largest;
}
