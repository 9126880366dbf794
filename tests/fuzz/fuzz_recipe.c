/* fuzz_recipe.c - any bytes as a recipe: refused with a message, or one that is written and read again as it was. */
#include "fuzz.h"

#include "base/mem.h"
#include "export/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char fuzz_name[] = "recipe";
#define DIGEST "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""
#define SIDE(name)                                                                                           \
    "\"" name "\":{\"path\":\"/"                                                                             \
    "a\",\"model_type\":\"m\",\"files\":[{\"name\":\"f\",\"bytes\":9,\"header_sha256\":" DIGEST "}]}"
#define START_OF(version)                                                                                    \
    "{\"format\":\"qkscope-recipe\",\"version\":" version "," SIDE("pre") "," SIDE("post") ","
#define START START_OF("1")
const struct fuzz_seed fuzz_seeds[] = {FUZZ_SEED(START "\"choices\":[]}"),
    FUZZ_SEED(START
        "\"comment\":\"c\",\"options\":{\"norms\":true},\"choices\":[{\"layers\":[1,2],\"roles\":[\"q\"],"
        "\"mode\":\"lerp\",\"param\":0.5}],\"outputs\":[{\"tensor\":\"t\",\"sha256\":" DIGEST "}]}"),
    FUZZ_SEED(
        START "\"choices\":[{\"layers\":[0],\"roles\":[\"q\",\"k\"],\"mode\":\"qk-pro\",\"param\":1e-3},"
              "{\"layers\":[65535],\"roles\":[\"k\"],\"mode\":\"restore\"}]}"),
    FUZZ_SEED(START_OF(
        "2") "\"choices\":[{\"layers\":[1,9],\"heads\":{\"q\":[0,3],\"k\":[1]},\"mode\":\"lerp\",\"param\":0.5},"
             "{\"layers\":[1],\"heads\":{\"q\":[1]},\"mode\":\"keep\"}]}")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"\"layers\":[0]", "\"roles\":[\"q\",\"k\"]", "\"heads\":{\"q\":[0]}",
    "\"version\":2", "\"mode\":\"keep\"", "\"mode\":\"restore\"", "\"mode\":\"procrustes\",\"param\":0",
    "\"param\":1", "\"choices\":", "\"outputs\":[]", "\"options\":{}", "\"files\":[]", "65535", "65536", "{",
    "}", "[", "]", ",", "\\u0000", NULL};

static enum qk_code read_bytes(const void *bytes, size_t n, struct qk_recipe *recipe, struct qk_error *err)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_check(fd >= 0 && write(fd, bytes, n) == (ssize_t)n, "write");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum qk_code code = qk_recipe_read(path, recipe, err);
    close(fd);
    return code;
}

/* The choice of a head; heads that the recipe does not name are kept. */
static struct qk_choice choice_of(const struct qk_selection *selection, int layer, int role, int head)
{
    const struct qk_layer_choice *choice = &selection->choice[layer];
    bool kept = choice->head[role] != NULL && head >= qk_layer_choice_count(choice, (enum qk_role)role);
    return kept ? (struct qk_choice){QK_KEEP, 0} : qk_layer_choice_of(choice, (enum qk_role)role, head);
}

static void check_round_trip(const struct qk_recipe *recipe)
{
    struct qk_error err = {0};
    struct qk_recipe again;
    char *text;
    fuzz_check(qk_recipe_text(recipe, &text, &err) == QK_OK, "a recipe that was read has a text");
    fuzz_check(read_bytes(text, strlen(text), &again, &err) == QK_OK, "and the text is a recipe");
    free(text);
    /* layers that are kept have no entry: the second selection may be shorter */
    const struct qk_selection *a = &recipe->selection, *b = &again.selection;
    fuzz_check(b->n_layers <= a->n_layers, "no layers are added");
    for (int i = 0; i < a->n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            for (int h = 0; h < qk_layer_choice_count(&a->choice[i], (enum qk_role)r); h++)
                fuzz_check(i < b->n_layers ? qk_choice_equal(choice_of(a, i, r, h), choice_of(b, i, r, h))
                                           : choice_of(a, i, r, h).mode == QK_KEEP,
                    "the choices are the same");
    fuzz_check(again.n_outputs == recipe->n_outputs && again.norms == recipe->norms, "so is the rest");
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        fuzz_check(strcmp(again.path[s], recipe->path[s]) == 0 && again.n_files[s] == recipe->n_files[s],
            "and the sides");
    qk_recipe_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qk_recipe recipe;
    struct qk_error err = {0};
    enum qk_code code = read_bytes(data, size, &recipe, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "refused with a message");
    if (code == QK_OK) {
        check_round_trip(&recipe);
        qk_recipe_free(&recipe);
    }
    return 0;
}
