/* suggest_report.c - the two forms of a suggestion. */
#include "cli/suggest_report.h"

#include "base/json.h"
#include "base/text.h"
#include "cli/needle_report.h"
#include "cli/print.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t qk_suggest_listed(const struct qk_suggestion *suggestion)
{
    enum { MOST_RECALL = 20, OTHERS = 3 };
    size_t n = suggestion->recall.n_recall;
    if (n > MOST_RECALL)
        return MOST_RECALL;
    return n + OTHERS < suggestion->recall.n ? n + OTHERS : suggestion->recall.n;
}

/* --- paragraphs --- */

/* Prints a text of ASCII words in lines that fit, each behind `indent` blanks. */
static void print_wrapped(int indent, const char *text)
{
    enum { WIDEST = 100 };
    int width = qk_print_width() < WIDEST ? qk_print_width() : WIDEST, column = 0;
    for (const char *word = text + strspn(text, " "); *word != '\0'; word += strspn(word, " ")) {
        int length = (int)strcspn(word, " ");
        bool first = column == 0, breaks = !first && column + 1 + length > width;
        if (breaks)
            qk_print("\n");
        if (first || breaks)
            qk_print("%*s%.*s", indent, "", length, word);
        else
            qk_print(" %.*s", length, word);
        column = (first || breaks ? indent : column + 1) + length;
        word += length;
    }
    qk_print("\n");
}

static void print_paragraph(int indent, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print_paragraph(int indent, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    print_wrapped(indent, text);
}

/* A word of a command line, quoted for a shell where that is needed. */
static void print_word(const char *text)
{
    static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./,:=@+%";
    char one[2] = {0};
    qk_print(" ");
    if (*text != '\0' && strspn(text, PLAIN) == strlen(text)) {
        qk_print("%s", text);
        return;
    }
    qk_print("'");
    for (const char *end; *text != '\0'; text = end) {
        end = text + strcspn(text, "'");
        char *part = strndup(text, (size_t)(end - text));
        if (part != NULL)
            qk_print_name(part);
        free(part);
        if (*end == '\'') {
            one[0] = *end++;
            qk_print("'\\%s'", one);
        }
    }
    qk_print("'");
}

/* --- heads --- */

static double routing_of(const struct qk_suggest_report *report, const struct qk_needle_head *head)
{
    return qk_metric_head(&report->drift[head->layer], QK_METRIC_ROUTING, QK_Q, head->head);
}

static void print_head(const struct qk_suggest_report *report, const struct qk_recall_head *head)
{
    char name[32];
    double routing = routing_of(report, &head->of);
    snprintf(name, sizeof name, "%d/q%d", head->of.layer, head->of.head);
    qk_print("  %-8s %-6s", name, qk_kind_name(report->pair->layer[head->of.layer].kind));
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        qk_print_number(7, 3, head->of.mass[s].mean, "");
        qk_print_number(7, 3, head->of.mass[s].error, "");
    }
    qk_print_number(8, 3, head->of.drop.mean, "");
    qk_print_number(7, 3, head->of.drop.error, "");
    qk_print_number(8, 1, 100 * routing, "%");
    qk_print("\n");
}

static void print_heads(const struct qk_suggest_report *report)
{
    const struct qk_recall *recall = &report->suggestion->recall;
    size_t listed = qk_suggest_listed(report->suggestion);
    qk_print("\n  %-8s %-6s %6s %6s %6s %6s %7s %6s %7s\n", "head", "kind", "pre", "+-", "post", "+-", "drop",
        "+-", "routing");
    for (size_t i = 0; i < listed; i++) {
        if (i == recall->n_recall && i > 0)
            qk_print("  and below them\n");
        print_head(report, &recall->head[i]);
    }
    if (listed < recall->n)
        qk_print("  %zu more heads: qkscope heads and --json list all\n", recall->n - listed);
}

/* --- the certainty --- */

static void print_rule(const struct qk_suggest_report *report)
{
    const struct qk_recall *recall = &report->suggestion->recall;
    double least = recall->background + QK_NEEDLE_FETCHES;
    qk_print("\n");
    if (isinf(recall->margin)) {
        print_paragraph(0, "A single prompt has no standard error, so no head can be above noise.");
        return;
    }
    print_paragraph(0,
        "A head fetches when its mass in PRE, less %.2f standard errors, is above %.3f (an even attention has "
        "%.3f), and it is in the upper of the two groups of masses, above %.3f. A drop counts that is above %.1f, "
        "less as many standard errors. These bounds of %zu heads on %zu prompts hold all at once with a "
        "probability of %.2f.",
        recall->margin, least, recall->background, isnan(recall->split) ? 0 : recall->split,
        QK_NEEDLE_FETCHES, recall->n, recall->n_needles, 1 - QK_RECALL_LEVEL);
    if (recall->n_unsure > 0)
        print_paragraph(0,
            "Too few prompts to be sure: %zu more head%s such a mass, but not with these errors. --prompts N "
            "makes more.",
            recall->n_unsure, recall->n_unsure == 1 ? " has" : "s have");
    if (!isfinite(recall->gap.mean))
        return;
    print_paragraph(0,
        "From the recall heads to the next head there is a gap of %.3f, with a standard error of "
        "%.3f: %s.",
        recall->gap.mean, recall->gap.error,
        recall->clear ? "they are clearly apart"
                      : "they are not clearly apart, and the next head may count as well");
}

/* --- proposals --- */

static void print_set(const char *set)
{
    for (const char *word = set; *word != '\0'; word += strspn(word, " ")) {
        int length = (int)strcspn(word, " ");
        qk_print(" --set %.*s", length, word);
        word += length;
    }
}

static void print_effect(const struct qk_suggestion *s, const struct qk_proposal *proposal)
{
    double share = qk_proposal_share(s, proposal);
    if (!proposal->measured)
        return;
    qk_print("    mass of the recall heads %.3f +- %.3f (post %.3f, pre %.3f)", proposal->mass.mean,
        proposal->mass.error, s->mass[QK_POST].mean, s->mass[QK_PRE].mean);
    if (isfinite(share))
        qk_print(": %.0f %% of the drop", 100 * share);
    qk_print("\n");
}

static void print_proposal(const struct qk_suggest_report *report, int i)
{
    const struct qk_suggestion *s = report->suggestion;
    const struct qk_proposal *proposal = &s->proposal[i];
    char bytes[QK_BYTES_TEXT];
    qk_print(
        "\n%d. %s%s\n", i + 1, proposal->name, proposal->measured ? "" : " (the fallback, not measured)");
    print_wrapped(4, proposal->reason);
    qk_print("   ");
    print_set(proposal->set);
    qk_print("\n    %d query head%s and %d key head%s of %d layer%s, %s\n", proposal->heads[QK_Q],
        proposal->heads[QK_Q] == 1 ? "" : "s", proposal->heads[QK_K], proposal->heads[QK_K] == 1 ? "" : "s",
        proposal->layers, proposal->layers == 1 ? "" : "s", qk_format_bytes(bytes, proposal->bytes));
    print_effect(s, proposal);
    const char *recipe = qk_recipe_folder_at(report->recipes, (size_t)i);
    if (recipe != NULL) {
        qk_print("    -> ");
        qk_print_name(recipe);
        qk_print("\n");
    }
}

/* --- the next commands --- */

static void print_choice(const struct qk_suggest_report *report, int i)
{
    const char *recipe = qk_recipe_folder_at(report->recipes, (size_t)i);
    if (recipe == NULL) {
        print_set(report->suggestion->proposal[i].set);
        return;
    }
    qk_print(" --recipe");
    print_word(recipe);
}

static void print_command(const struct qk_suggest_report *report, const char *name)
{
    qk_print("  qkscope %s", name);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        print_word(report->operand[s]);
}

/* The choice that the last line exports: the recall heads, else the first. */
static int export_of(const struct qk_suggestion *s)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->proposal[i].slug, "recall-heads") == 0)
            return i;
    return 0;
}

static void print_next(const struct qk_suggest_report *report)
{
    const struct qk_suggestion *s = report->suggestion;
    qk_print("\n");
    if (s->recall.verdict != QK_RECALL_FOUND)
        print_paragraph(0,
            "Other prompts may show more: --needles FILE takes your own, --length N makes shorter or "
            "longer ones, and --prompts N more of them.");
    if (s->n == 0)
        return;
    print_paragraph(0,
        "Not measured here: the right answers that a choice gives, and its cost in other skills. "
        "These commands measure that on cases of yours, and write the checkpoint:");
    print_command(report, "eval");
    qk_print(" --baselines");
    for (int i = 0; i < s->n; i++) {
        qk_print(" \\\n      --as");
        print_word(s->proposal[i].slug);
        print_choice(report, i);
    }
    qk_print(" \\\n      --cases RECALL.jsonl --cases SKILL.jsonl\n");
    print_command(report, "export");
    print_choice(report, export_of(s));
    qk_print(" -o FOLDER\n");
}

void qk_suggest_text(const struct qk_suggest_report *report)
{
    const struct qk_suggestion *s = report->suggestion;
    qk_print("Needle mass on %zu prompts (", report->prompts->needles.n);
    qk_print_name(report->source);
    qk_print(")\n\n");
    print_wrapped(0, s->verdict);
    print_heads(report);
    print_rule(report);
    for (int i = 0; i < s->n; i++)
        print_proposal(report, i);
    if (s->n == 0)
        qk_print("\nThere is nothing to propose: no softmax layer can be restored.\n");
    print_next(report);
}

/* --- JSON --- */

static const char *const VERDICT[] = {
    [QK_RECALL_FOUND] = "found", [QK_RECALL_UNSURE] = "unsure", [QK_RECALL_NONE] = "none"};

static void json_masses(
    cJSON *object, const struct qk_needle_mean mass[QK_SIDE_COUNT], struct qk_needle_mean drop)
{
    cJSON *item = cJSON_AddObjectToObject(object, "mass");
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_needle_json_mean(item, qk_side_name((enum qk_side)s), mass[s]);
    qk_needle_json_mean(object, "drop", drop);
}

static void json_rule(cJSON *root, const struct qk_recall *recall)
{
    cJSON *rule = cJSON_AddObjectToObject(root, "rule");
    qk_json_add_number(rule, "background", recall->background);
    qk_json_add_number(rule, "least", recall->background + QK_NEEDLE_FETCHES);
    qk_json_add_number(rule, "least_drop", QK_NEEDLE_FETCHES);
    qk_json_add_number(rule, "level", QK_RECALL_LEVEL);
    qk_json_add_number(rule, "margin", recall->margin);
    qk_json_add_number(rule, "split", recall->split);
    qk_needle_json_mean(root, "gap", recall->gap);
    cJSON_AddBoolToObject(root, "clear", recall->clear);
}

static void json_head(cJSON *heads, const struct qk_suggest_report *report, const struct qk_recall_head *head)
{
    cJSON *item = qk_json_append_object(heads);
    cJSON_AddNumberToObject(item, "layer", head->of.layer);
    cJSON_AddNumberToObject(item, "head", head->of.head);
    qk_json_add_number(item, "key", head->key >= 0 ? (double)head->key : NAN);
    cJSON_AddStringToObject(item, "kind", qk_kind_name(report->pair->layer[head->of.layer].kind));
    cJSON_AddBoolToObject(item, "fetches", head->fetches);
    cJSON_AddBoolToObject(item, "lost", head->lost);
    cJSON_AddBoolToObject(item, "unsure", head->unsure);
    json_masses(item, head->of.mass, head->of.drop);
    qk_json_add_number(item, "routing_rel_fro", routing_of(report, &head->of));
}

static void json_proposal(cJSON *proposals, const struct qk_suggest_report *report, int i)
{
    const struct qk_proposal *proposal = &report->suggestion->proposal[i];
    const char *recipe = qk_recipe_folder_at(report->recipes, (size_t)i);
    cJSON *item = qk_json_append_object(proposals);
    cJSON_AddStringToObject(item, "name", proposal->name);
    cJSON_AddStringToObject(item, "set", proposal->set);
    cJSON_AddStringToObject(item, "reason", proposal->reason);
    cJSON_AddNumberToObject(item, "layers", proposal->layers);
    cJSON_AddNumberToObject(item, "query_heads", proposal->heads[QK_Q]);
    cJSON_AddNumberToObject(item, "key_heads", proposal->heads[QK_K]);
    cJSON_AddNumberToObject(item, "bytes", (double)proposal->bytes);
    cJSON_AddBoolToObject(item, "measured", proposal->measured);
    qk_needle_json_mean(item, "mass", proposal->mass);
    qk_needle_json_mean(item, "gained", proposal->gained);
    qk_json_add_number(item, "share", qk_proposal_share(report->suggestion, proposal));
    if (recipe != NULL)
        qk_json_add_text(item, "recipe", recipe);
}

enum qk_code qk_suggest_json(const struct qk_suggest_report *report, struct qk_error *err)
{
    const struct qk_suggestion *s = report->suggestion;
    cJSON *root = qk_needle_json_root(report->pair, report->source, report->prompts);
    cJSON_AddStringToObject(root, "recall_heads", VERDICT[s->recall.verdict]);
    cJSON_AddStringToObject(root, "verdict", s->verdict);
    json_rule(root, &s->recall);
    json_masses(root, s->mass, s->drop);
    cJSON *heads = cJSON_AddArrayToObject(root, "heads");
    for (size_t i = 0; i < s->recall.n; i++)
        json_head(heads, report, &s->recall.head[i]);
    cJSON *proposals = cJSON_AddArrayToObject(root, "proposals");
    for (int i = 0; i < s->n; i++)
        json_proposal(proposals, report, i);
    return qk_print_json(root, err);
}
