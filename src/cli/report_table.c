/* report_table.c - the drift table, whose numbers and a short bar fit into 80 columns. */
#include "cli/print.h"
#include "cli/report.h"

#include <math.h>
#include <string.h>

/* The columns of one role, in this order; `width` includes the blank before it. */
static const struct {
    enum qk_metric metric;
    const char *heading;
    int width, digits;
} COLUMNS[] = {
    {QK_METRIC_REL_FRO, "rel.", 7, 2},
    {QK_METRIC_COSINE, "cos.", 7, 4},
    {QK_METRIC_NORM_RATIO, "norm", 6, 3},
    {QK_METRIC_ANGLE_MEAN, "angle", 6, 2},
};
enum {
    N_COLUMNS = sizeof COLUMNS / sizeof COLUMNS[0],
    LABEL_WIDTH = 12, /* "layer kind  " */
    ROUTING_WIDTH = 8,
    ROLE_WIDTH = 7 + 7 + 6 + 6,
    TABLE_WIDTH = LABEL_WIDTH + 2 * ROLE_WIDTH + ROUTING_WIDTH + 2,
    LEAST_BAR = 4,
    MOST_BAR = 24,
};

static void print_value(enum qk_metric metric, double value, int width, int digits)
{
    bool percent = qk_metric_info(metric)->percent;
    qk_print_number(width, digits, percent ? 100 * value : value, percent ? "%" : "");
}

static void print_role(const struct qk_layer_drift *drift, int role, int head)
{
    for (size_t i = 0; i < N_COLUMNS; i++) {
        enum qk_metric metric = COLUMNS[i].metric;
        double value = head < 0 ? qk_metric_layer(drift, metric, role)
                                : qk_metric_head(drift, metric, (enum qk_role)role, head);
        print_value(metric, value, COLUMNS[i].width, COLUMNS[i].digits);
    }
}

/* --- bars --- */

struct bars {
    int width; /* 0: none */
    bool ascii;
    double largest;
};

static struct bars choose_bars(const struct qk_report *report)
{
    struct bars bars = {.ascii = report->ascii || !qk_print_utf8()};
    int room = qk_print_width() - 1 - TABLE_WIDTH;
    if (report->selection == NULL && room >= LEAST_BAR)
        bars.width = room < MOST_BAR ? room : MOST_BAR;
    for (int i = 0; i < report->n; i++) {
        const struct qk_layer_drift *drift = &report->drift[report->order[i]];
        double value = qk_metric_layer(drift, QK_METRIC_ROUTING, -1);
        bars.largest = value > bars.largest ? value : bars.largest;
        for (int h = 0; report->heads && h < drift->n_routing; h++)
            bars.largest = drift->routing_head[h] > bars.largest ? drift->routing_head[h] : bars.largest;
    }
    return bars;
}

static void print_bar(const struct bars *bars, double value)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    if (bars->width == 0 || !(value > 0) || !isfinite(value))
        return;
    int parts = (int)lround(value / bars->largest * 8 * bars->width);
    qk_print("  ");
    if (bars->ascii) {
        for (int i = 0; i < (parts + 4) / 8; i++)
            qk_print("#");
        return;
    }
    for (int i = 0; i < parts / 8; i++)
        qk_print("█");
    qk_print("%s", eighths[parts % 8]);
}

/* --- rows --- */

static void print_headings(const struct qk_report *report)
{
    qk_print("%*s%*s%*s\n", LABEL_WIDTH + COLUMNS[0].width, "q", ROLE_WIDTH - COLUMNS[0].width, "",
        COLUMNS[0].width, "k");
    qk_print("%-*s", LABEL_WIDTH, "layer kind");
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        for (size_t i = 0; i < N_COLUMNS; i++)
            qk_print("%*s", COLUMNS[i].width, COLUMNS[i].heading);
    qk_print("%*s%s\n", ROUTING_WIDTH, "routing", report->selection != NULL ? "  choice" : "");
}

static void print_choice(const struct qk_report *report, int layer)
{
    if (report->selection == NULL)
        return;
    const struct qk_layer_choice *choice = &report->selection->choice[layer];
    char q[QK_ROLE_CHOICE_TEXT], k[QK_ROLE_CHOICE_TEXT];
    qk_layer_choice_text(q, choice, QK_Q);
    qk_layer_choice_text(k, choice, QK_K);
    if (qk_layer_choice_alike(choice))
        qk_print("  %s", q);
    else
        qk_print("  q %s, k %s", q, k);
}

static void print_layer(const struct qk_report *report, const struct bars *bars, int layer)
{
    const struct qk_layer_drift *drift = &report->drift[layer];
    qk_print("%5d %-*s", drift->index, LABEL_WIDTH - 6, qk_kind_name(drift->kind));
    for (int r = 0; r < QK_ROLE_COUNT; r++)
        print_role(drift, r, -1);
    double routing = qk_metric_layer(drift, QK_METRIC_ROUTING, -1);
    print_value(QK_METRIC_ROUTING, routing, ROUTING_WIDTH, 2);
    print_bar(bars, routing);
    print_choice(report, layer);
    qk_print("\n");
}

/* The rank is shown only where rows depend on each other. */
static void print_rank(const struct qk_report *report, int layer, int role, int head)
{
    const int *rank = report->drift[layer].role[role].head[head].rank;
    int whole = report->pair->layer[layer].side[QK_POST]->head_dim;
    if (rank[0] < whole || rank[1] < whole)
        qk_print("  %s%d rank %d, %d", qk_role_name((enum qk_role)role), head, rank[0], rank[1]);
}

/* Query head h beside key head h while there are key heads left. */
static void print_heads(const struct qk_report *report, const struct bars *bars, int layer)
{
    const struct qk_layer_drift *drift = &report->drift[layer];
    int n_q = drift->role[QK_Q].n_heads, n_k = drift->role[QK_K].n_heads;
    for (int h = 0; h < n_q || h < n_k; h++) {
        qk_print("%*s%-*d", 7, "head ", LABEL_WIDTH - 7, h);
        if (h < n_q)
            print_role(drift, QK_Q, h);
        if (h < n_k)
            print_role(drift, QK_K, h);
        else
            qk_print("%*s", ROLE_WIDTH, "");
        double routing = qk_metric_head(drift, QK_METRIC_ROUTING, QK_Q, h);
        print_value(QK_METRIC_ROUTING, routing, ROUTING_WIDTH, 2);
        print_bar(bars, routing);
        print_rank(report, layer, QK_Q, h);
        if (h < n_k)
            print_rank(report, layer, QK_K, h);
        qk_print("\n");
    }
}

void qk_report_table(const struct qk_report *report)
{
    struct bars bars = choose_bars(report);
    print_headings(report);
    for (int i = 0; i < report->n; i++) {
        int layer = report->order[i];
        print_layer(report, &bars, layer);
        if (report->heads && report->drift[layer].has_qk)
            print_heads(report, &bars, layer);
    }
}
