/* needle_report.c - the three forms of a report on needle masses. */
#include "cli/needle_report.h"

#include "base/json.h"
#include "cli/print.h"
#include "cli/report.h"

#include <math.h>
#include <stdio.h>

/* Models whose masses are shown. */
enum { RESTORED = QK_SIDE_COUNT, CURRENT, MODELS };
static const char *const MODEL[MODELS] = {"pre", "post", "restored", "current"};

static const struct qk_needle_layer *layer_of(const struct qk_needle_report *report, int model, int layer)
{
    const struct qk_needle_pair *m = report->measured;
    const struct qk_needle_layer *layers = model == RESTORED  ? m->restored
                                           : model == CURRENT ? m->current
                                                              : m->side[model];
    return layers != NULL && layers[layer].n_heads > 0 ? &layers[layer] : NULL;
}

static struct qk_needle_mean mass_of(
    const struct qk_needle_report *report, int model, const struct qk_needle_head *head)
{
    const struct qk_needle_layer *layer = layer_of(report, model, head->layer);
    return layer != NULL ? qk_needle_mass(layer, head->head) : (struct qk_needle_mean){NAN, NAN};
}

static double copies_of(const struct qk_needle_report *report, int side, const struct qk_needle_head *head)
{
    const struct qk_needle_layer *layer = layer_of(report, side, head->layer);
    return layer != NULL ? qk_needle_copies(layer, head->head).mean : NAN;
}

static double routing_of(const struct qk_needle_report *report, const struct qk_needle_head *head)
{
    return qk_metric_head(&report->drift[head->layer], QK_METRIC_ROUTING, QK_Q, head->head);
}

static double angle_of(const struct qk_needle_report *report, const struct qk_needle_head *head)
{
    return qk_metric_head(&report->drift[head->layer], QK_METRIC_ANGLE_MEAN, QK_Q, head->head);
}

/* --- the table --- */

/* Prints one character for each bin of distances, as high as its mass; a blank without needles. */
static void print_curve(const struct qk_needle_report *report, int side, const struct qk_needle_head *head)
{
    static const char *const UTF8[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"}, *const ASCII[] = {"_", "1",
                                                                                    "2", "3", "4", "5", "6",
                                                                                    "7"};
    const struct qk_needle_layer *layer = layer_of(report, side, head->layer);
    int first, last;
    if (layer == NULL || !qk_needle_bins(&report->prompts->needles, &first, &last))
        return;
    for (int bin = first; bin <= last; bin++) {
        size_t n;
        double mass = qk_needle_mass_at(&report->prompts->needles, layer, head->head, bin, &n).mean;
        int level = n > 0 ? (int)(fmin(fmax(mass, 0), 1) * 7.999) : -1;
        qk_print("%s", level < 0 ? " " : report->ascii ? ASCII[level] : UTF8[level]);
    }
}

static void print_heading(const struct qk_needle_report *report)
{
    int first, last;
    qk_needle_bins(&report->prompts->needles, &first, &last);
    qk_print("Needle mass on %zu prompts (", report->prompts->needles.n);
    qk_print_name(report->source);
    qk_print("); distances %zu to %zu tokens\n\n", qk_range_bin_first(first), 2 * qk_range_bin_first(last));
    qk_print("%-8s %-6s %6s %6s %7s %6s %6s", "head", "kind", "pre", "post", "drop", "+-", "rest.");
    if (report->measured->current != NULL)
        qk_print(" %6s", "curr.");
    qk_print(" %11s %7s %6s  by distance, pre and post\n", "copies", "routing", "angle");
}

void qk_needle_table(const struct qk_needle_report *report)
{
    print_heading(report);
    for (size_t i = 0; i < report->n && i < report->rows; i++) {
        const struct qk_needle_head *head = &report->head[i];
        char name[32];
        snprintf(name, sizeof name, "%d/q%d", head->layer, head->head);
        qk_print("%-8s %-6s", name, qk_kind_name(report->pair->layer[head->layer].kind));
        qk_print_number(7, 3, head->mass[QK_PRE].mean, "");
        qk_print_number(7, 3, head->mass[QK_POST].mean, "");
        qk_print_number(8, 3, head->drop.mean, "");
        qk_print_number(7, 3, head->drop.error, "");
        qk_print_number(7, 3, mass_of(report, RESTORED, head).mean, "");
        if (report->measured->current != NULL)
            qk_print_number(7, 3, mass_of(report, CURRENT, head).mean, "");
        qk_print_number(6, 2, copies_of(report, QK_PRE, head), "");
        qk_print_number(6, 2, copies_of(report, QK_POST, head), "");
        qk_print_number(8, 1, 100 * routing_of(report, head), "%");
        qk_print_number(7, 1, angle_of(report, head), "");
        qk_print("  ");
        print_curve(report, QK_PRE, head);
        qk_print(" ");
        print_curve(report, QK_POST, head);
        qk_print("\n");
    }
    if (report->n > report->rows)
        qk_print("\n%zu more heads: --csv and --json list all\n", report->n - report->rows);
}

/* --- CSV --- */

void qk_needle_csv(const struct qk_needle_report *report)
{
    qk_print(
        "layer,head,kind,mass_pre,mass_post,drop,drop_error,mass_restored,mass_current,copies_pre,copies_post,"
        "routing_rel_fro,angle_mean_deg\n");
    for (size_t i = 0; i < report->n; i++) {
        const struct qk_needle_head *head = &report->head[i];
        qk_print("%d,q%d,%s", head->layer, head->head, qk_kind_name(report->pair->layer[head->layer].kind));
        qk_print_csv_number(head->mass[QK_PRE].mean);
        qk_print_csv_number(head->mass[QK_POST].mean);
        qk_print_csv_number(head->drop.mean);
        qk_print_csv_number(head->drop.error);
        qk_print_csv_number(mass_of(report, RESTORED, head).mean);
        qk_print_csv_number(mass_of(report, CURRENT, head).mean);
        qk_print_csv_number(copies_of(report, QK_PRE, head));
        qk_print_csv_number(copies_of(report, QK_POST, head));
        qk_print_csv_number(routing_of(report, head));
        qk_print_csv_number(angle_of(report, head));
        qk_print("\n");
    }
}

/* --- JSON --- */

cJSON *qk_needle_json_root(
    const struct qk_pair *pair, const char *source, const struct qk_needle_prompts *prompts)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "qkscope", PACKAGE_VERSION);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_report_json_side(root, pair, (enum qk_side)s);
    qk_json_add_text(root, "source", source);
    cJSON_AddNumberToObject(root, "prompts", (double)prompts->needles.n);
    cJSON *skipped = cJSON_AddArrayToObject(root, "skipped");
    for (size_t i = 0; i < prompts->skipped.n; i++)
        cJSON_AddItemToArray(skipped, cJSON_CreateString(prompts->skipped.line[i]));
    return root;
}

void qk_needle_json_mean(cJSON *object, const char *key, struct qk_needle_mean mean)
{
    cJSON *item = cJSON_AddObjectToObject(object, key);
    qk_json_add_number(item, "mean", mean.mean);
    qk_json_add_number(item, "error", mean.error);
}

static void json_curve(cJSON *to, const struct qk_needle_report *report, const struct qk_needle_head *head)
{
    int first, last;
    cJSON *curve = cJSON_AddArrayToObject(to, "by_distance");
    if (!qk_needle_bins(&report->prompts->needles, &first, &last))
        return;
    for (int bin = first; bin <= last; bin++) {
        cJSON *item = cJSON_CreateObject();
        size_t n = 0;
        qk_json_add_number(item, "from", (double)qk_range_bin_first(bin));
        for (int m = 0; m < MODELS; m++) {
            const struct qk_needle_layer *layer = layer_of(report, m, head->layer);
            if (layer != NULL)
                qk_needle_json_mean(
                    item, MODEL[m], qk_needle_mass_at(&report->prompts->needles, layer, head->head, bin, &n));
        }
        qk_json_add_number(item, "prompts", (double)n);
        cJSON_AddItemToArray(curve, item);
    }
}

static void json_head(cJSON *heads, const struct qk_needle_report *report, const struct qk_needle_head *head)
{
    cJSON *item = cJSON_CreateObject();
    qk_json_add_number(item, "layer", head->layer);
    qk_json_add_number(item, "head", head->head);
    cJSON_AddStringToObject(item, "kind", qk_kind_name(report->pair->layer[head->layer].kind));
    cJSON *mass = cJSON_AddObjectToObject(item, "mass");
    for (int m = 0; m < MODELS; m++)
        if (layer_of(report, m, head->layer) != NULL)
            qk_needle_json_mean(mass, MODEL[m], mass_of(report, m, head));
    qk_needle_json_mean(item, "drop", head->drop);
    cJSON *copies = cJSON_AddObjectToObject(item, "copies");
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        qk_json_add_number(copies, MODEL[s], copies_of(report, s, head));
    qk_json_add_number(item, "routing_rel_fro", routing_of(report, head));
    qk_json_add_number(item, "angle_mean_deg", angle_of(report, head));
    json_curve(item, report, head);
    cJSON_AddItemToArray(heads, item);
}

enum qk_code qk_needle_json(const struct qk_needle_report *report, struct qk_error *err)
{
    cJSON *root = qk_needle_json_root(report->pair, report->source, report->prompts);
    cJSON *heads = cJSON_AddArrayToObject(root, "heads");
    for (size_t i = 0; i < report->n; i++)
        json_head(heads, report, &report->head[i]);
    return qk_print_json(root, err);
}
