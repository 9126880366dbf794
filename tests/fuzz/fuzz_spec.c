/* fuzz_spec.c - any text as a --set: refused with a message, or applied to a pair in memory. */
#include "fuzz.h"

#include "blend/spec.h"

#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "spec";
const struct fuzz_seed fuzz_seeds[] = {FUZZ_SEED("full=restore"), FUZZ_SEED("1,4-7:q=lerp:0.25"),
    FUZZ_SEED("routing>0.15=procrustes:0.5"), FUZZ_SEED("q.angle>=4:k=keep"), FUZZ_SEED("all=qk-pro:1e-3"),
    FUZZ_SEED(" linear : qk = restore "), FUZZ_SEED("k.cosine<=0.99=keep"), FUZZ_SEED("1,4/q0-1,k0=restore"),
    FUZZ_SEED("all/g1=qk-pro:0.3"), FUZZ_SEED("drop>0.02/g=restore")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"all", "full", "window", "linear", "none", "=", ":", "-", ",", ">",
    "<=", "q", "k", "qk", "/", "/q0", "/g1", ",k0", "needle", "drop", "lerp:", "qk-pro:", "routing",
    "rel_fro", "cosine", "norm_ratio", "angle_max", "99999999999", "1e308", "0x1p3", "nan", NULL};

enum { LAYERS = 6 };

static void apply(const struct qk_spec *spec)
{
    struct qk_pair_layer layers[LAYERS];
    struct qk_layer_drift drift[LAYERS];
    const struct qk_layer heads = {.role = {{.n_heads = 4}, {.n_heads = 2}}};
    const double mass[4] = {0, 0.1, 0.5, 1};
    struct qk_head_numbers masses[LAYERS];
    const struct qk_spec_numbers numbers = {drift, masses};
    const struct qk_pair pair = {.layer = layers, .n_layers = LAYERS};
    struct qk_selection selection;
    struct qk_error err = {0};
    int matched = -1;
    for (int i = 0; i < LAYERS; i++) {
        layers[i] =
            (struct qk_pair_layer){.index = i, .kind = (enum qk_kind)(i % QK_KIND_COUNT), .has_qk = i != 3};
        layers[i].side[QK_POST] = &heads;
        masses[i] = (struct qk_head_numbers){4, {mass, mass}};
        drift[i] = (struct qk_layer_drift){.has_qk = i != 3, .routing_rel_fro = i / 10.0};
    }
    fuzz_check(qk_selection_init(&selection, LAYERS, &err) == QK_OK, "memory");
    enum qk_code code = qk_spec_apply(spec, &pair, &numbers, &selection, &matched, &err);
    fuzz_check(code == QK_OK || code == QK_USAGE, "applied or refused");
    fuzz_check(code != QK_OK || (matched >= 0 && matched <= LAYERS), "matched layers");
    fuzz_check(code == QK_OK || qk_selection_count(&selection) == 0, "unchanged on failure");
    for (int i = 0; i < LAYERS; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            for (int h = 0; h < qk_layer_choice_count(&selection.choice[i], (enum qk_role)r); h++)
                fuzz_check(qk_choice_check(
                               qk_layer_choice_of(&selection.choice[i], (enum qk_role)r, h), &err) == QK_OK,
                    "choices in range");
    qk_selection_free(&selection);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    fuzz_check(text != NULL, "memory");
    memcpy(text, data, size);
    text[size] = '\0';
    enum qk_code (*const parsers[])(const char *, struct qk_spec *, struct qk_error *) = {
        qk_spec_parse, qk_spec_parse_selector};
    for (size_t i = 0; i < 2; i++) {
        struct qk_spec spec;
        struct qk_error err = {0};
        enum qk_code code = parsers[i](text, &spec, &err);
        fuzz_check(code == QK_OK || (code == QK_USAGE && strstr(err.text, "expected") != NULL),
            "says what it expected");
        if (code == QK_OK)
            apply(&spec);
        qk_spec_free(&spec);
    }
    free(text);
    return 0;
}
