/* range_report.c - attention ranges as a table, as CSV and as JSON. */
#include "cli/range_report.h"

#include "base/json.h"
#include "cli/print.h"
#include "cli/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The sides, post restored, and the current model. */
enum { RESTORED = QK_SIDE_COUNT, CURRENT, MODELS };
static const char *const MODEL[MODELS] = {"pre", "post", "restored", "current"};

static bool has_model(const struct qk_range_report *report, int model)
{
    return model < QK_SIDE_COUNT || (model == RESTORED ? report->probe != NULL : report->current != NULL);
}

/* The table has one number of the restored model, not its columns. */
static bool in_table(const struct qk_range_report *report, int model)
{
    return model != RESTORED && has_model(report, model);
}

static int table_models(const struct qk_range_report *report)
{
    int n = 0;
    for (int m = 0; m < MODELS; m++)
        n += in_table(report, m);
    return n;
}

static const struct qk_layer_range *layer_range(const struct qk_range_report *report, int layer, int model)
{
    const struct qk_layer_ranges *ranges = &report->probe->layer[layer];
    return model == RESTORED  ? &ranges->restored
           : model == CURRENT ? &report->current[layer]
                              : &ranges->side[model];
}

/* The shift of pre's layer from post's, or in the row of the restored layer, its own. */
static double layer_shift(const struct qk_range_report *report, int layer, int model)
{
    const struct qk_layer_ranges *ranges = &report->probe->layer[layer];
    return model == RESTORED ? ranges->restored_shift : ranges->shift;
}

/* The numbers of the layer (head < 0) or of a head; NULL without any. */
static const struct qk_range *range_of(const struct qk_range_report *report, int layer, int model, int head)
{
    const struct qk_layer_range *range = layer_range(report, layer, model);
    if (head >= range->n_heads)
        return NULL;
    return head >= 0 ? &range->head[head] : range->n_heads > 0 ? &range->layer : NULL;
}

static int n_heads(const struct qk_range_report *report, int layer)
{
    return report->probe != NULL ? report->probe->layer[layer].side[QK_POST].n_heads
                                 : report->profile[QK_POST][layer].n_heads;
}

/* The layer's numbers are of coefficients, not of attention. */
static bool is_linear(const struct qk_range_report *report, int layer)
{
    return report->pair->layer[layer].kind == QK_LINEAR;
}

/* Queries of linear layers that count; 0 where the report has no such layer. */
static size_t linear_queries(const struct qk_range_report *report)
{
    bool any = false;
    for (int i = 0; i < report->n; i++)
        any = any || is_linear(report, report->layer[i]);
    const struct qk_block_choice chosen = qk_range_blocks(&report->probe->range, QK_LINEAR, report->probe->T);
    return any ? qk_chosen_queries(&chosen) : 0;
}

static size_t long_from(const struct qk_range_report *report)
{
    size_t given = report->probe->range.long_from;
    return given > 0 ? given : QK_RANGE_LONG;
}

static int n_points(const struct qk_range_report *report)
{
    return report->n > 0 ? report->profile[QK_POST][report->layer[0]].n_points : 0;
}

/* --- the table --- */

enum { LABEL = 11, NUMBER = 7, SHIFTS = 2, GAP = 2, LEAST_BARS = 7, SHORT_PROBE = 1000 };

/* Mean distances are below 1000 then: with a cell less, everything fits into 100 columns. */
static int mean_cells(const struct qk_range_report *report)
{
    return report->probe->T <= SHORT_PROBE ? NUMBER - 1 : NUMBER;
}

static void print_label(const struct qk_range_report *report, int layer, int head)
{
    if (head < 0)
        qk_print("%4d %-*s", report->pair->layer[layer].index, LABEL - 5,
            qk_kind_name(report->pair->layer[layer].kind));
    else
        qk_print("%*s%-*d", 6, "head ", LABEL - 6, head);
}

/* Columns of one histogram: its heading must fit above it. */
static int bars_width(const struct qk_range_report *report)
{
    int bins = qk_range_bins(report->probe->T);
    return bins < LEAST_BARS ? LEAST_BARS : bins;
}

static bool room_for_bars(const struct qk_range_report *report)
{
    int numbers = mean_cells(report) + NUMBER + GAP + bars_width(report);
    return LABEL + table_models(report) * numbers + SHIFTS * NUMBER <= qk_print_width();
}

static void print_bars(const struct qk_range_report *report, int layer, int head)
{
    static const char *const eighths[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char ascii[] = " .:-=+*#@";
    bool plain = report->ascii || !qk_print_utf8();
    int bins = qk_range_bins(report->probe->T);
    double most = 0;
    for (int m = 0; m < MODELS; m++)
        for (int b = 0; b < bins && in_table(report, m) && range_of(report, layer, m, head) != NULL; b++)
            most = fmax(most, range_of(report, layer, m, head)->hist[b]);
    for (int m = 0; m < MODELS; m++) {
        if (!in_table(report, m))
            continue;
        const struct qk_range *range = range_of(report, layer, m, head);
        qk_print("%*s", m == 0 ? GAP : GAP + bars_width(report) - bins, "");
        for (int b = 0; b < bins; b++) {
            double part = range != NULL && most > 0 ? range->hist[b] / most : 0;
            int level = part > 0 ? (int)lround(part * 8) : 0;
            if (plain)
                qk_print("%c", ascii[level]);
            else
                qk_print("%s", eighths[level]);
        }
    }
}

static void print_row(const struct qk_range_report *report, int layer, int head, bool bars)
{
    print_label(report, layer, head);
    for (int m = 0; m < MODELS; m++) {
        const struct qk_range *range = in_table(report, m) ? range_of(report, layer, m, head) : NULL;
        if (in_table(report, m))
            qk_print_number(mean_cells(report), 1, range != NULL ? range->mean : NAN, "");
    }
    for (int m = 0; m < MODELS; m++) {
        const struct qk_range *range = in_table(report, m) ? range_of(report, layer, m, head) : NULL;
        if (in_table(report, m))
            qk_print_number(NUMBER, 2, range != NULL ? 100 * range->long_mass : NAN, "%");
    }
    if (head < 0) {
        qk_print_number(NUMBER, 4, layer_shift(report, layer, QK_POST), "");
        qk_print_number(NUMBER, 4, layer_shift(report, layer, RESTORED), "");
    } else {
        qk_print("%*s", bars ? SHIFTS * NUMBER : 0, "");
    }
    if (bars)
        print_bars(report, layer, head);
    qk_print("\n");
}

static void print_range_headings(const struct qk_range_report *report, bool bars)
{
    const struct qk_probe *probe = report->probe;
    int models = table_models(report), mean = mean_cells(report);
    char text[64];
    qk_print("%zu tokens, ", probe->T);
    qk_print_name(report->text);
    qk_print("; queries %zu to %zu%s\n", qk_range_first_query(&probe->range, probe->T), probe->T - 1,
        report->current == NULL ? ""
        : report->exact         ? "; current: the whole model run again"
                                : "; current: on post's states");
    snprintf(text, sizeof text, "mass >= %zu", long_from(report));
    qk_print("%*s%*s%*s", LABEL + models * mean, "mean distance", models * NUMBER, text, SHIFTS * NUMBER,
        "shift of");
    if (bars)
        qk_print("%*sdistance 0, 1, 2, 4 ... %zu", GAP, "", qk_range_bin_first(qk_range_bins(probe->T) - 1));
    qk_print("\n%-*s", LABEL, "layer kind");
    for (int i = 0; i < 2; i++)
        for (int m = 0; m < MODELS; m++)
            if (in_table(report, m))
                qk_print("%*s", i == 0 ? mean : NUMBER, m < QK_SIDE_COUNT ? MODEL[m] : "curr.");
    qk_print("%*s%*s", NUMBER, "all", NUMBER, "q,k");
    for (int m = 0, left = models; bars && m < MODELS; m++)
        if (in_table(report, m))
            qk_print("%*s%-*s", GAP, "", --left > 0 ? bars_width(report) : 0, MODEL[m]);
    qk_print("\n");
}

/* The difference of linear layers' numbers. */
static void print_linear_note(const struct qk_range_report *report)
{
    size_t queries = linear_queries(report),
           all = report->probe->T - qk_range_first_query(&report->probe->range, report->probe->T);
    if (queries == 0)
        return;
    qk_print("linear: coefficients, not attention");
    if (queries < all)
        qk_print("; %zu of %zu queries", queries, all);
    qk_print("\n");
}

static void print_profile_row(const struct qk_range_report *report, int layer, int head)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        if (s == 0)
            print_label(report, layer, head);
        else
            qk_print("%*s", LABEL, "");
        qk_print("%-5s", MODEL[s]);
        for (int point = 0; point < n_points(report); point++)
            qk_print_number(NUMBER, 3, qk_profile_value(&report->profile[s][layer], head, point), "");
        qk_print("\n");
    }
}

static void print_profiles(const struct qk_range_report *report)
{
    qk_print("estimate from weights alone: mean logit of a token with itself, by distance\n");
    qk_print("%-*s%-5s", LABEL, "layer kind", "");
    for (int point = 0; point < n_points(report); point++)
        qk_print("%*zu", NUMBER, qk_range_bin_first(point));
    qk_print("\n");
    for (int i = 0; i < report->n; i++)
        for (int h = -1; h < (report->heads ? n_heads(report, report->layer[i]) : 0); h++)
            print_profile_row(report, report->layer[i], h);
}

void qk_range_table(const struct qk_range_report *report)
{
    if (report->probe == NULL) {
        print_profiles(report);
        return;
    }
    bool bars = room_for_bars(report);
    print_range_headings(report, bars);
    for (int i = 0; i < report->n; i++)
        for (int h = -1; h < (report->heads ? n_heads(report, report->layer[i]) : 0); h++)
            print_row(report, report->layer[i], h, bars);
    print_linear_note(report);
    if (report->timing != NULL)
        qk_timing_report_print(report->timing);
}

/* --- CSV --- */

static void csv_row(const struct qk_range_report *report, int layer, int model, int head)
{
    qk_print("%d,%s", report->pair->layer[layer].index, qk_kind_name(report->pair->layer[layer].kind));
    if (report->heads)
        qk_print(",%d", head);
    qk_print(",%s", MODEL[model]);
    if (report->probe == NULL) {
        for (int point = 0; point < n_points(report); point++)
            qk_print_csv_number(qk_profile_value(&report->profile[model][layer], head, point));
        qk_print("\n");
        return;
    }
    const struct qk_range *range = range_of(report, layer, model, head);
    qk_print_csv_number(layer_shift(report, layer, model));
    qk_print_csv_number(range != NULL ? range->mean : NAN);
    qk_print_csv_number(range != NULL ? range->long_mass : NAN);
    for (int b = 0; b < qk_range_bins(report->probe->T); b++)
        qk_print_csv_number(range != NULL ? range->hist[b] : NAN);
    qk_print("\n");
}

void qk_range_csv(const struct qk_range_report *report)
{
    bool ranges = report->probe != NULL;
    qk_print("layer,kind%s,model%s", report->heads ? ",head" : "", ranges ? ",shift,mean,long_mass" : "");
    for (int b = 0; b < (ranges ? qk_range_bins(report->probe->T) : n_points(report)); b++)
        qk_print(",%s_%zu", ranges ? "from" : "logit", qk_range_bin_first(b));
    qk_print("\n");
    for (int i = 0; i < report->n; i++) {
        int layer = report->layer[i], heads = report->heads ? n_heads(report, layer) : 1;
        for (int h = 0; h < heads; h++)
            for (int m = 0; m < MODELS; m++)
                if (has_model(report, m))
                    csv_row(report, layer, m, report->heads ? h : -1);
    }
}

/* --- JSON --- */

static void json_range(cJSON *object, const struct qk_range *range, int bins)
{
    qk_json_add_number(object, "mean", range->mean);
    qk_json_add_number(object, "long_mass", range->long_mass);
    cJSON *hist = cJSON_AddArrayToObject(object, "hist");
    for (int b = 0; b < bins; b++)
        qk_json_append(
            hist, isfinite(range->hist[b]) ? cJSON_CreateNumber(range->hist[b]) : cJSON_CreateNull());
}

static void json_model(cJSON *layer, const struct qk_range_report *report, int index, int model)
{
    const struct qk_layer_range *range = layer_range(report, index, model);
    if (range->n_heads == 0) {
        if (model == RESTORED)
            cJSON_AddNullToObject(layer, MODEL[model]);
        return;
    }
    cJSON *object = cJSON_AddObjectToObject(layer, MODEL[model]);
    if (model == RESTORED)
        qk_json_add_number(object, "shift", layer_shift(report, index, model));
    json_range(object, &range->layer, range->n_bins);
    cJSON *heads = cJSON_AddArrayToObject(object, "heads");
    for (int h = 0; h < range->n_heads; h++) {
        cJSON *head = qk_json_append_object(heads);
        json_range(head, &range->head[h], range->n_bins);
    }
}

static void json_logits(cJSON *object, const struct qk_profile *profile, int head)
{
    cJSON *logits = cJSON_AddArrayToObject(object, "logit");
    for (int point = 0; point < profile->n_points; point++) {
        double value = qk_profile_value(profile, head, point);
        qk_json_append(logits, isfinite(value) ? cJSON_CreateNumber(value) : cJSON_CreateNull());
    }
}

static void json_profile(cJSON *layer, const struct qk_profile *profile, const char *name)
{
    cJSON *object = cJSON_AddObjectToObject(layer, name);
    json_logits(object, profile, -1);
    cJSON *heads = cJSON_AddArrayToObject(object, "heads");
    for (int h = 0; h < profile->n_heads; h++) {
        cJSON *head = qk_json_append_object(heads);
        json_logits(head, profile, h);
    }
}

static void json_layer(cJSON *layers, const struct qk_range_report *report, int layer)
{
    cJSON *object = qk_json_append_object(layers);
    cJSON_AddNumberToObject(object, "index", report->pair->layer[layer].index);
    cJSON_AddStringToObject(object, "kind", qk_kind_name(report->pair->layer[layer].kind));
    if (report->probe != NULL) {
        cJSON_AddStringToObject(object, "of", is_linear(report, layer) ? "coefficients" : "attention");
        qk_json_add_number(object, "shift", layer_shift(report, layer, QK_POST));
    }
    for (int m = 0; m < MODELS; m++) {
        if (report->probe != NULL && has_model(report, m))
            json_model(object, report, layer, m);
        else if (has_model(report, m))
            json_profile(object, &report->profile[m][layer], MODEL[m]);
    }
}

static void json_probe(cJSON *root, const struct qk_range_report *report)
{
    const struct qk_probe *probe = report->probe;
    cJSON_AddStringToObject(root, "source", probe->origin == QK_ORIGIN_STATES ? "states" : "forward pass");
    if (probe->pre_cannot != NULL)
        qk_json_add_text(root, "pre_cannot", probe->pre_cannot);
    if (report->current != NULL)
        cJSON_AddStringToObject(root, "current", report->exact ? "exact" : "same states");
    cJSON_AddNumberToObject(root, "tokens", (double)probe->T);
    cJSON_AddNumberToObject(root, "first_query", (double)qk_range_first_query(&probe->range, probe->T));
    if (linear_queries(report) > 0)
        cJSON_AddNumberToObject(root, "linear_queries", (double)linear_queries(report));
    cJSON_AddNumberToObject(root, "long", (double)long_from(report));
}

enum qk_code qk_range_json(const struct qk_range_report *report, struct qk_error *err)
{
    bool ranges = report->probe != NULL;
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "qkscope", PACKAGE_VERSION);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_report_json_side(root, report->pair, (enum qk_side)s);
    if (ranges)
        json_probe(root, report);
    else
        cJSON_AddStringToObject(root, "source", "estimate");
    /* Bin b holds bin_edges[b] <= distance < bin_edges[b + 1]. */
    cJSON *edges = cJSON_AddArrayToObject(root, ranges ? "bin_edges" : "distances");
    for (int b = 0; b < (ranges ? qk_range_bins(report->probe->T) + 1 : n_points(report)); b++)
        qk_json_append(edges, cJSON_CreateNumber((double)qk_range_bin_first(b)));
    cJSON *layers = cJSON_AddArrayToObject(root, "layers");
    for (int i = 0; i < report->n; i++)
        json_layer(layers, report, report->layer[i]);
    if (report->timing != NULL)
        qk_timing_report_json(root, report->timing);
    return qk_print_json(root, err);
}
