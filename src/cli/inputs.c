/* inputs.c - the operands, opened, and the selection from --recipe and --set. */
#include "cli/inputs.h"

#include "base/mem.h"
#include "cli/drifts.h"
#include "cli/masses.h"
#include "cli/print.h"
#include "tensor/hub/hub.h"
#include "tensor/hub/remote.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum qk_code qk_inputs_remote(const struct qk_arguments *arguments, struct qk_error *err)
{
    return qk_arguments_has(arguments, "remote") ? qk_remote_start(err) : QK_OK;
}

void qk_inputs_end_remote(void)
{
    const struct qk_remote_account account = qk_remote_account();
    char fetched[QK_BYTES_TEXT], all[QK_BYTES_TEXT];
    if (account.fetched > 0)
        qk_print_note("fetched %s of %s; kept in %s", qk_format_bytes(fetched, account.fetched),
            qk_format_bytes(all, account.bytes), account.folder);
    if (account.damaged > 0)
        qk_print_note("%" PRIu64 " kept block%s in %s had other bytes than were fetched: fetched again",
            account.damaged, account.damaged == 1 ? "" : "s", account.folder);
    qk_remote_stop();
}

static enum qk_code locate(const char *operand, char **path, struct qk_error *err)
{
    const char *endpoint = qk_remote_endpoint();
    char *folder;
    if (endpoint == NULL)
        return qk_hub_resolve(operand, path, err);
    QK_TRY(qk_hub_address(operand, endpoint, &folder, err));
    if (!qk_remote_has(folder)) { /* a path of this machine */
        *path = folder;
        return QK_OK;
    }
    enum qk_code code = qk_remote_pin(folder, path, err);
    free(folder);
    return code;
}

enum qk_code qk_inputs_model(const char *operand, struct qk_model **out, struct qk_error *err)
{
    char *path;
    *out = NULL;
    QK_TRY(locate(operand, &path, err));
    enum qk_code code = qk_model_open(path, out, err);
    free(path);
    return code;
}

static enum qk_code print_notes(const struct qk_pair *pair, struct qk_error *err)
{
    struct qk_lines notes;
    enum qk_code code = qk_pair_notes(pair, &notes, err);
    for (size_t i = 0; i < notes.n && code == QK_OK; i++)
        qk_print_note("%s", notes.line[i]);
    qk_lines_free(&notes);
    return code;
}

enum qk_code qk_inputs_pair_of(const char *pre, const char *post, struct qk_pair **out, struct qk_error *err)
{
    char *path[QK_SIDE_COUNT] = {NULL, NULL};
    *out = NULL;
    enum qk_code code = locate(pre, &path[QK_PRE], err);
    if (code == QK_OK)
        code = locate(post, &path[QK_POST], err);
    if (code == QK_OK)
        code = qk_pair_open(path[QK_PRE], path[QK_POST], out, err);
    if (code == QK_OK)
        code = print_notes(*out, err);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        free(path[s]);
    return code;
}

enum qk_code qk_inputs_pair(const struct qk_arguments *arguments, struct qk_pair **out, struct qk_error *err)
{
    const char *const *last = arguments->operand + arguments->n_operands - QK_SIDE_COUNT;
    return qk_inputs_pair_of(last[QK_PRE], last[QK_POST], out, err);
}

enum qk_code qk_inputs_cases(const struct qk_arguments *arguments, struct qk_cases *out, struct qk_error *err)
{
    const char *const *file;
    size_t n;
    QK_TRY(qk_arguments_all(arguments, "cases", &file, &n, err));
    enum qk_code code = n > 0 ? QK_OK
                              : qk_fail(err, QK_USAGE, "%s: nothing to ask (expected --cases FILE)",
                                    arguments->command->name);
    for (size_t i = 0; i < n && code == QK_OK; i++)
        code = qk_cases_read(file[i], out, err);
    free((void *)file);
    return code;
}

enum qk_code qk_inputs_want_choice(const struct qk_arguments *arguments, struct qk_error *err)
{
    if (qk_arguments_has(arguments, "set") || qk_arguments_has(arguments, "recipe"))
        return QK_OK;
    return qk_fail(err, QK_USAGE, "%s: nothing is chosen (expected --set SPEC or --recipe FILE)",
        arguments->command->name);
}

enum qk_code qk_inputs_check_layers(
    const struct qk_spec *spec, const struct qk_pair *pair, struct qk_error *err)
{
    for (size_t i = 0; i < spec->n_ranges; i++)
        if (spec->range[i][1] >= pair->n_layers)
            return qk_fail(err, QK_USAGE, "--layers: no such layer (found %d, expected 0 to %d)",
                spec->range[i][1], pair->n_layers - 1);
    return QK_OK;
}

/* --- --recipe --- */

static enum qk_code apply_recipe(struct qk_inputs *inputs, const char *path, bool force, struct qk_error *err)
{
    struct qk_recipe recipe;
    QK_TRY(qk_recipe_read(path, &recipe, err));
    enum qk_code code = qk_recipe_replay(&recipe, inputs->pair, force, &inputs->selection, err);
    inputs->norms = inputs->norms || recipe.norms;
    if (inputs->comment == NULL) {
        inputs->comment = recipe.comment;
        recipe.comment = NULL;
    }
    qk_recipe_free(&recipe);
    return code;
}

/* --- --set --- */

struct specs {
    const struct qk_choices *of;
    struct qk_spec *spec; /* n_parsed */
    size_t n_parsed;
};

static void free_specs(struct specs *specs)
{
    for (size_t i = 0; i < specs->n_parsed; i++)
        qk_spec_free(&specs->spec[i]);
    free(specs->spec);
}

static enum qk_code parse_specs(const struct qk_choices *choices, struct specs *specs, struct qk_error *err)
{
    *specs = (struct specs){.of = choices};
    QK_TRY(qk_alloc(&specs->spec, choices->n_set, sizeof *specs->spec, err));
    for (; specs->n_parsed < choices->n_set; specs->n_parsed++)
        QK_TRY(qk_spec_parse(choices->set[specs->n_parsed], &specs->spec[specs->n_parsed], err));
    return QK_OK;
}

static bool any_of(const struct specs *specs, enum qk_selector selector)
{
    for (size_t i = 0; i < specs->n_parsed; i++)
        if (specs->spec[i].selector == selector)
            return true;
    return false;
}

static enum qk_code apply_specs(
    struct qk_inputs *inputs, const struct specs *specs, int threads, struct qk_error *err)
{
    struct qk_layer_drift *drift = NULL;
    struct qk_head_numbers *masses = NULL;
    enum qk_code code = QK_OK;
    if (any_of(specs, QK_SELECT_TEST))
        code = qk_drifts_compute(inputs->pair, NULL, false, threads, &drift, err);
    if (code == QK_OK && any_of(specs, QK_SELECT_HEADS))
        code = qk_masses_compute(inputs->pair, &masses, err);
    const struct qk_spec_numbers numbers = {drift, masses};
    for (size_t i = 0; i < specs->n_parsed && code == QK_OK; i++) {
        int matched = 0;
        code = qk_spec_apply(&specs->spec[i], inputs->pair, &numbers, &inputs->selection, &matched, err);
        if (code == QK_OK && matched == 0)
            qk_print_note("--set %s: no layer matches", specs->of->set[i]);
    }
    qk_drifts_free(drift, inputs->pair->n_layers);
    qk_needle_numbers_free(masses, inputs->pair->n_layers);
    return code;
}

static enum qk_code select_with(
    const struct specs *specs, bool force, int threads, struct qk_inputs *out, struct qk_error *err)
{
    if (specs->of->recipe != NULL)
        QK_TRY(apply_recipe(out, specs->of->recipe, force, err));
    else
        QK_TRY(qk_selection_init(&out->selection, out->pair->n_layers, err));
    return apply_specs(out, specs, threads, err);
}

enum qk_code qk_inputs_select(
    const struct qk_choices *choices, bool force, int threads, struct qk_inputs *out, struct qk_error *err)
{
    struct specs specs;
    enum qk_code code = parse_specs(choices, &specs, err);
    if (code == QK_OK)
        code = select_with(&specs, force, threads, out, err);
    free_specs(&specs);
    return code;
}

/* Options that the command does not take count as not given. */
static bool was_given(const struct qk_arguments *arguments, const char *name)
{
    return qk_arguments_takes(arguments, name) && qk_arguments_has(arguments, name);
}

static enum qk_code open_with(const struct qk_arguments *arguments, const struct specs *specs,
    struct qk_inputs *out, struct qk_error *err)
{
    int threads;
    QK_TRY(qk_arguments_threads(arguments, &threads, err));
    out->norms = was_given(arguments, "norms");
    if (was_given(arguments, "comment"))
        QK_TRY(qk_strdup_to(&out->comment, qk_arguments_text(arguments, "comment"), err));
    QK_TRY(qk_inputs_pair(arguments, &out->pair, err));
    return select_with(specs, was_given(arguments, "force"), threads, out, err);
}

enum qk_code qk_inputs_open(const struct qk_arguments *arguments, struct qk_inputs *out, struct qk_error *err)
{
    struct qk_choices choices = {.recipe = qk_arguments_text(arguments, "recipe")};
    struct specs specs = {0};
    *out = (struct qk_inputs){0};
    QK_TRY(qk_arguments_all(arguments, "set", &choices.set, &choices.n_set, err));
    enum qk_code code = parse_specs(&choices, &specs, err); /* before any file is opened */
    if (code == QK_OK)
        code = open_with(arguments, &specs, out, err);
    free_specs(&specs);
    free((void *)choices.set);
    return code;
}

void qk_inputs_free(struct qk_inputs *inputs)
{
    qk_selection_free(&inputs->selection);
    qk_pair_close(inputs->pair);
    free(inputs->comment);
    *inputs = (struct qk_inputs){0};
}

/* --- the table --- */

static bool same_row(const struct qk_inputs *inputs, int a, int b)
{
    return inputs->pair->layer[a].kind == inputs->pair->layer[b].kind &&
           qk_layer_choice_equal(&inputs->selection.choice[a], &inputs->selection.choice[b]);
}

static bool is_kept(const struct qk_inputs *inputs, int layer)
{
    return qk_layer_choice_keeps(&inputs->selection.choice[layer]);
}

/* "restore", or "q0-1 restore, q3 lerp 0.5" where heads of the role differ. */
static void print_row_choices(const struct qk_inputs *inputs, int layer)
{
    qk_print("%-8s", qk_kind_name(inputs->pair->layer[layer].kind));
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        char text[QK_ROLE_CHOICE_TEXT];
        qk_layer_choice_text(text, &inputs->selection.choice[layer], (enum qk_role)r);
        qk_print("%-17s ", text);
    }
}

void qk_inputs_print(const struct qk_inputs *inputs)
{
    int n = inputs->pair->n_layers, chosen = qk_selection_count(&inputs->selection);
    if (chosen > 0)
        qk_print("%-8s%-18s%-18s%s\n", "kind", "q", "k", "layers");
    for (int i = 0; i < n; i++) {
        int first = 0;
        while (!same_row(inputs, first, i))
            first++;
        if (first < i || is_kept(inputs, i))
            continue;
        print_row_choices(inputs, i);
        const char *comma = "";
        for (int j = i; j < n; j++) {
            if (!same_row(inputs, i, j))
                continue;
            int last = j;
            while (last + 1 < n && same_row(inputs, i, last + 1))
                last++;
            qk_print(last > j ? "%s%d-%d" : "%s%d", comma, j, last);
            comma = ",";
            j = last;
        }
        qk_print("\n");
    }
    qk_print("%d of %d layers keep post's q and k%s\n", n - chosen, n,
        inputs->norms ? "; q/k norm gains follow their role" : "");
}
