/* fuzz_layout.c - any bytes as a row of the layout table and, behind a NUL, a config for it: refused with a
 * message, or every question that a model asks is answered. */
#include "fuzz.h"

#include "base/json.h"
#include "model/layout.h"

#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "layout";
#define ROW(kinds)                                                                                           \
    "{\"family\":\"f\",\"model_types\":[\"a\",\"b\"],\"layer_count\":[\"n\",4],\"kinds\":[" kinds "],"
#define MIXERS                                                                                               \
    "\"names\":{\"x\":\"m\",\"0\":\"none\"},\"mixers\":{\"m\":{\"kind\":\"window\",\"q\":[\"q\",\"*.q\"],"   \
    "\"k\":\"k\","                                                                                           \
    "\"rows\":\"separate\",\"rows_when\":[[\"g\",\"gated\"]],\"heads\":[\"h\",\"d/"                          \
    "h\"],\"key_heads\":\"k*h\","                                                                            \
    "\"key_heads_when\":[[\"g\",1]],\"head_dim\":4,\"positions\":\"rope_half\",\"rotary\":\"r\",\"theta\":"  \
    "1e4,"                                                                                                   \
    "\"window\":\"w.size\",\"gain_plus_one\":true},\"none\":{\"kind\":\"none\"}}}"
const struct fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED(ROW("{\"rule\":\"list\",\"key\":\"types\"},{\"rule\":\"all\",\"mixer\":\"m\"}") MIXERS
        "\0{\"types\":[\"x\",0,\"x\"],\"n\":3,\"h\":2,\"d\":8,\"g\":true,\"w\":{\"size\":9}}"),
    FUZZ_SEED(ROW("{\"rule\":\"pattern\",\"key\":\"p\"}") MIXERS "\0{\"p\":\"xx0x\"}"),
    FUZZ_SEED(ROW("{\"rule\":\"cycle\",\"key\":\"types\"}") MIXERS "\0{\"types\":\"['x', 'x']\"}"),
    FUZZ_SEED(ROW(
        "{\"rule\":\"interval\",\"period\":[\"p\",4],\"offset\":-1,\"mixer\":\"m\",\"otherwise\":\"none\"}")
            MIXERS "\0{\"p\":3}"),
    FUZZ_SEED(ROW("{\"rule\":\"indexes\",\"key\":\"i\",\"base\":1,\"mixer\":\"m\",\"otherwise\":\"none\"}")
            MIXERS "\0{\"i\":[1,3,1e300]}"),
    FUZZ_SEED(ROW("{\"rule\":\"when\",\"key\":\"a.b\",\"mixer\":\"m\"},{\"rule\":\"from\",\"key\":\"i\","
                  "\"when\":\"w\",\"mixer\":"
                  "\"m\",\"otherwise\":\"none\"}") MIXERS "\0{\"i\":2,\"w\":1,\"a\":{\"b\":0}}")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"\"rule\":\"list\"", "\"rule\":\"all\"", "\"rule\":\"pattern\"",
    "\"rule\":\"cycle\"", "\"rule\":\"interval\"", "\"rule\":\"indexes\"", "\"rule\":\"from\"",
    "\"mixer\":\"m\"", "\"key\":\"types\"", "\"kind\":\"full\"", "\"rows\":\"block\"",
    "\"positions\":\"none\"", "\"value_heads\":2", "\"a/b\"", "\"a*b\"", "\"a.b.c\"", "{", "}", "[", "]", ",",
    ":", NULL};

enum { LAYERS = 9 };

static void ask_mixer(const cJSON *mixer, const struct qk_config *config)
{
    static const char *const values[] = {"heads", "key_heads", "head_dim", "value_heads", "value_dim",
        "rotary", "rotary_fraction", "theta", "window"};
    struct qk_error err = {0};
    double number;
    long count;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        (void)qk_layout_value(mixer, values[i], config, &number);
        if (qk_layout_count(mixer, values[i], config, 100, &count, &err) == QK_OK)
            fuzz_check(count >= 1 && count <= 100, "counts are in range");
    }
    fuzz_check(qk_layout_word(mixer, "rows", config) != NULL, "rows is a word");
    fuzz_check(qk_layout_word(mixer, "positions", config) != NULL, "positions is a word");
}

static void ask(const struct qk_layout *layout, const cJSON *root)
{
    const struct qk_config config = {(char *)"config.json", (cJSON *)(uintptr_t)root, root, "a", 2, NULL, 0};
    const char *mixer[LAYERS];
    struct qk_error err = {0};
    enum qk_code code = qk_layout_kinds(layout, &config, NULL, LAYERS, mixer, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "kinds are found or refused");
    for (int i = 0; i < LAYERS && code == QK_OK; i++) {
        fuzz_check(qk_layout_mixer(layout, mixer[i]) != NULL, "every name is a mixer");
        ask_mixer(qk_layout_mixer(layout, mixer[i]), &config);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *end = size > 0 ? memchr(text, '\0', size) : NULL;
    size_t n = end != NULL ? (size_t)(end - text) : size;
    struct qk_layout layout;
    struct qk_error err = {0};
    cJSON *root = NULL;
    enum qk_code code = qk_layout_parse("row", text, n, &layout, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "refused with a message");
    if (code == QK_OK && n < size &&
        qk_json_parse("config", text + n + 1, size - n - 1, &root, &err) == QK_OK)
        ask(&layout, root);
    cJSON_Delete(root);
    qk_layout_free(&layout);
    return 0;
}
