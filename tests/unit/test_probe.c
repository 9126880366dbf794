/* test_probe.c - the sources of a probe: states files, ids and text, the built-in document, and the estimate. */
#include "range/probe.h"

#include "base/blas.h"
#include "models.h"
#include "range/profile.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- faults of files --- */

static void expect_probe(
    const struct qk_pair *pair, const struct qk_probe_options *options, const char *words)
{
    struct qk_probe *probe;
    struct qk_error err = {0};
    expect_failure(qk_probe_open(pair, options, &probe, &err), &err, QK_INPUT, words);
    assert_null(probe);
}

/* A states file of the two ids 3 and 5, the rest of `tensors`, and 512 bytes 0xff behind
 * the ids when there is any. */
static void write_ids_file(const char *path, const char *tensors)
{
    char header[512];
    unsigned char bytes[1024] = {0};
    int length = snprintf(header, sizeof header,
        "{%s\"input_ids\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]}}", tensors);
    size_t n = 8, data = tensors[0] != '\0' ? 528 : 16;
    bytes[0] = (unsigned char)(length & 0xff);
    bytes[1] = (unsigned char)(length >> 8);
    memcpy(bytes + n, header, (size_t)length);
    n += (size_t)length;
    memset(bytes + n, 0xff, data);
    memset(bytes + n, 0, 16);
    bytes[n] = 3;
    bytes[n + 8] = 5;
    write_bytes(path, bytes, n + data);
}

static void test_wrong_states(void **state)
{
    char path[PATH_SIZE], post[PATH_SIZE];
    struct qk_pair *pair = open_family("hypenet");
    const struct qk_probe_options options = {.states_path = {NULL, path_in(path, *state, "s.safetensors")}};
    const double ids[] = {1, 2, 3};
    const struct test_tensor floats[] = {{"input_ids", "F32", 1, {3}, ids}};
    write_safetensors(path, floats, 1, 1);
    expect_probe(pair, &options, "input_ids|found F32|I32 or I64");
    const struct test_tensor none[] = {{"x", "F32", 1, {3}, ids}};
    write_safetensors(path, none, 1, 1);
    expect_probe(pair, &options, "no tensor input_ids");
    write_header(path, "{\"input_ids\":{\"dtype\":\"I32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0);
    expect_probe(pair, &options, "input_ids|found (0)");
    write_header(path, "{\"input_ids\":{\"dtype\":\"I32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", 16);
    expect_probe(pair, &options, "input_ids|found (2, 2)");
    write_header(path, "{\"input_ids\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]}}", 16);
    expect_probe(pair, &options, "input_ids|entry 0|not a token id"); /* pseudo-random bytes */
    write_ids_file(path, "");
    expect_probe(pair, &options, "no hidden_states");
    write_ids_file(
        path, "\"hidden_states.7\":{\"dtype\":\"F32\",\"shape\":[2,64],\"data_offsets\":[16,528]},");
    expect_probe(pair, &options, "hidden_states.7|found (2, 64)|expected (2, 128)");
    write_ids_file(
        path, "\"hidden_states.7\":{\"dtype\":\"U8\",\"shape\":[2,256],\"data_offsets\":[16,528]},");
    expect_probe(pair, &options, "hidden_states.7|found U8");
    write_ids_file(
        path, "\"hidden_states.7\":{\"dtype\":\"BF16\",\"shape\":[1,2,128],\"data_offsets\":[16,528]},");
    expect_probe(pair, &options, "hidden_states.7|not finite");
    const struct qk_probe_options other = {.states_path = {demo_path(post, "pre/model.safetensors"),
                                               demo_path(path, "golden-post.safetensors")}};
    expect_probe(pair, &other, "no tensor input_ids");
    qk_pair_close(pair);
}

static void test_wrong_ids(void **state)
{
    static const struct {
        const char *text, *words;
    } wrong[] = {{"", "holds no token id"}, {" \n\t", "holds no token id"},
        {"1 2 x", "byte 4|not a token id"}, {"1 -2", "byte 2"}, {"1,2", "byte 0"}, {"2147483648", "byte 0"},
        {"99999999999999999999999", "byte 0"}, {"0x10", "byte 0"}, {"1.5", "byte 0"}};
    char path[PATH_SIZE];
    path_in(path, *state, "ids");
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int32_t *ids;
        size_t n;
        struct qk_error err = {0};
        write_text(path, "%s", wrong[i].text);
        expect_failure(qk_probe_read_ids(path, &ids, &n, &err), &err, QK_INPUT, wrong[i].words);
        assert_null(ids);
    }
    int32_t *ids;
    size_t n;
    struct qk_error err = {0};
    write_text(path, "  1\t22\r\n 2147483647");
    expect_ok(qk_probe_read_ids(path, &ids, &n, &err), &err);
    assert_int_equal(n, 3);
    assert_int_equal(ids[1], 22);
    assert_int_equal(ids[2], INT32_MAX);
    free(ids);
    struct qk_pair *pair = open_family("hypenet");
    struct qk_probe *probe;
    const struct qk_probe_options options = {.ids_path = path};
    expect_failure(qk_probe_open(pair, &options, &probe, &err), &err, QK_INPUT, "token 2|2147483647|259");
    assert_null(probe);
    qk_pair_close(pair);
}

/* A pair of a family of the user's, whose row describes attention without positions, and nothing around it. */
static struct qk_pair *open_bare(const char *folder)
{
    char path[PATH_SIZE], post[PATH_SIZE];
    struct qk_pair *pair;
    struct qk_error err = {0};
    make_folder(path_in(path, folder, "qkscope/layouts"));
    write_text(path_in(path, folder, "qkscope/layouts/bare.json"),
        "{\"family\":\"bare\",\"model_types\":[\"bare\"],\"kinds\":[{\"rule\":\"all\",\"mixer\":\"a\"}],"
        "\"mixers\":{\"a\":{\"kind\":\"full\",\"q\":\"self_attn.q_proj\",\"k\":\"self_attn.k_proj\","
        "\"rows\":\"separate\",\"heads\":4,\"key_heads\":2,\"head_dim\":16,\"positions\":\"none\"}},"
        "\"forward\":{\"norm\":\"rms\",\"eps\":1e-6,\"mixer_norm\":\"input_layernorm\"}}");
    setenv("XDG_CONFIG_HOME", folder, 1);
    copy_model("llama", "pre", path_in(path, folder, "pre"), NULL, NULL);
    set_config(path, "model_type", "\"bare\"");
    copy_model("llama", "post", path_in(post, folder, "post"), NULL, NULL);
    set_config(post, "model_type", "\"bare\"");
    expect_ok(qk_pair_open(path, post, &pair, &err), &err);
    return pair;
}

static void test_no_source(void **state)
{
    const struct qk_probe_options options = {0};
    struct qk_pair *pair = open_bare(*state);
    expect_probe(pair, &options, "no forward pass|--states FILE");
    qk_pair_close(pair);
    unsetenv("XDG_CONFIG_HOME");
    pair = open_family("llama"); /* fixtures have no tokenizer */
    expect_probe(pair, &options, "tokenizer.json|--ids FILE");
    qk_pair_close(pair);
}

/* The logit that the formula speaks of, added up the long way: every unit vector as a token, its query turned
 * to the position tau, its key left at 0. */
static double turned_logit(const struct qk_model *model, const struct qk_layer *layer, int head, size_t tau)
{
    size_t n = (size_t)layer->head_dim, d = (size_t)layer->d, rotary = (size_t)layer->rotary_dims;
    int group = layer->role[QK_Q].n_heads / layer->role[QK_K].n_heads;
    double *rows[QK_ROLE_COUNT], sum = 0;
    struct qk_error err = {0};
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        rows[r] = calloc(n * d, sizeof **rows);
        expect_ok(qk_view_read(model, layer, (enum qk_role)r, r == QK_Q ? head : head / group, rows[r], &err),
            &err);
    }
    for (size_t c = 0; c < d; c++)
        for (size_t i = 0; i < n; i++) {
            double q = rows[QK_Q][i * d + c];
            if (i < rotary) { /* half-split: i turns with its partner */
                bool first = i < rotary / 2;
                double partner = rows[QK_Q][(first ? i + rotary / 2 : i - rotary / 2) * d + c];
                size_t pair = first ? i : i - rotary / 2;
                double angle = (double)tau * pow(layer->rope_theta, -2.0 * (double)pair / (double)rotary);
                q = q * cos(angle) + (first ? -1 : 1) * partner * sin(angle);
            }
            sum += q * rows[QK_K][i * d + c];
        }
    free(rows[QK_Q]);
    free(rows[QK_K]);
    return sum / sqrt((double)n);
}

static void test_profile(void **state)
{
    static const char *const families[] = {"llama", "phi3", "minimax"};
    (void)state;
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
        struct qk_pair *pair = open_family(families[f]);
        const struct qk_model *model = pair->model[QK_POST];
        int n = 0;
        for (int i = 0; i < model->n_layers; i++) {
            const struct qk_layer *layer = &model->layer[i];
            struct qk_profile profile;
            struct qk_error err = {0};
            if (qk_profile_missing(layer) != NULL)
                continue;
            n++;
            expect_ok(qk_profile_make(model, layer, 9, &profile, &err), &err);
            for (int h = 0; h < profile.n_heads; h++)
                for (int point = 0; point < 9; point++)
                    /* sums of a thousand products in float64 */
                    assert_true(fabs(profile.logit[h * 9 + point] -
                                     turned_logit(model, layer, h, qk_range_bin_first(point))) < 1e-10);
            qk_profile_free(&profile);
        }
        assert_true(n > 0);
        qk_pair_close(pair);
    }
    struct qk_pair *pair = open_family("hypenet");
    assert_non_null(qk_profile_missing(&pair->model[QK_PRE]->layer[1])); /* no positions */
    assert_non_null(qk_profile_missing(&pair->model[QK_PRE]->layer[0])); /* linear */
    qk_pair_close(pair);
}

static void test_document(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 12, 100, 160, 511, 4096, 100000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char *text, *again;
        struct qk_error err = {0};
        expect_ok(qk_probe_document(lengths[i], &text, &err), &err);
        expect_ok(qk_probe_document(lengths[i], &again, &err), &err);
        assert_string_equal(text, again);
        assert_true(strlen(text) <= lengths[i] && strlen(text) + 100 >= lengths[i]);
        for (const char *question = strstr(text, "What is the code of "); question != NULL;
             question = strstr(question + 1, "What is the code of ")) {
            char fact[64];
            snprintf(fact, sizeof fact, "The code of %.5s is %.4s. ", question + 20, question + 33);
            const char *stated = strstr(text, fact);
            assert_true(stated != NULL && stated < question);
        }
        free(text);
        free(again);
    }
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        test_in_folder(test_wrong_states),
        test_in_folder(test_wrong_ids),
        test_in_folder(test_no_source),
        cmocka_unit_test(test_profile),
        cmocka_unit_test(test_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
