/* suggest.c - selections from recall heads, with their reasons and measured masses. */
#include "eval/suggest.h"

#include "base/mem.h"
#include "base/text.h"
#include "blend/change.h"
#include "blend/spec.h"

#include <math.h>
#include <stdlib.h>

void qk_suggestion_free(struct qk_suggestion *suggestion)
{
    for (int i = 0; i < suggestion->n; i++) {
        struct qk_proposal *proposal = &suggestion->proposal[i];
        free(proposal->reason);
        free(proposal->set);
        qk_selection_free(&proposal->selection);
    }
    qk_recall_free(&suggestion->recall);
    free(suggestion->verdict);
    *suggestion = (struct qk_suggestion){0};
}

/* --- the mean of the recall heads --- */

/* Adds the heads' masses of each needle to sum (n_needles). False when a layer has no numbers. */
static bool add_masses(const struct qk_recall *recall, const struct qk_needle_layer *layers, double *sum)
{
    for (size_t i = 0; i < recall->n_recall; i++) {
        const struct qk_needle_head *head = &recall->head[i].of;
        const struct qk_needle_layer *layer = &layers[head->layer];
        if (head->head >= layer->n_heads || layer->n_needles != recall->n_needles)
            return false;
        for (size_t k = 0; k < recall->n_needles; k++)
            sum[k] += layer->mass[(size_t)head->head * layer->n_needles + k] / (double)recall->n_recall;
    }
    return recall->n_recall > 0;
}

/* The mean over the recall heads in one model, and its difference from another one (both of n_layers) on the same
 * needles. NaN where there are no numbers. QK_IO when there is no memory. */
static enum qk_code mean_of_heads(const struct qk_recall *recall, const struct qk_needle_layer *of,
    const struct qk_needle_layer *other, struct qk_needle_mean *mass, struct qk_needle_mean *difference,
    struct qk_error *err)
{
    double *sum;
    size_t n = recall->n_needles;
    *mass = *difference = (struct qk_needle_mean){NAN, NAN};
    QK_TRY(qk_alloc(&sum, 2 * n, sizeof *sum, err));
    const struct qk_needle_layer one = {1, n, sum, NULL}, two = {1, n, sum + n, NULL};
    if (add_masses(recall, of, sum) && add_masses(recall, other, sum + n)) {
        *mass = qk_needle_mass(&one, 0);
        *difference = qk_needle_drop(&one, &two, 0);
    }
    free(sum);
    return QK_OK;
}

enum qk_code qk_proposal_measure(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_needle_pair *measured, size_t memory, struct qk_progress *progress,
    struct qk_suggestion *suggestion, int i, struct qk_error *err)
{
    struct qk_proposal *proposal = &suggestion->proposal[i];
    struct qk_needle_layer *with;
    if (suggestion->recall.n_recall == 0)
        return QK_OK;
    enum qk_code code =
        qk_needle_measure_current(pair, needles, &proposal->selection, false, memory, progress, &with, err);
    if (code == QK_OK)
        code = mean_of_heads(
            &suggestion->recall, with, measured->side[QK_POST], &proposal->mass, &proposal->gained, err);
    proposal->measured = code == QK_OK;
    qk_needle_layers_free(with, pair->n_layers);
    return code;
}

double qk_proposal_share(const struct qk_suggestion *suggestion, const struct qk_proposal *proposal)
{
    bool lost = qk_recall_bound(&suggestion->recall, suggestion->drop) > 0;
    return proposal->measured && lost ? proposal->gained.mean / suggestion->drop.mean : NAN;
}

/* --- words --- */

/* True when a head comes before another one by layer and number. */
static bool is_before(const struct qk_needle_head *a, const struct qk_needle_head *b)
{
    return a->layer != b->layer ? a->layer < b->layer : a->head < b->head;
}

/* "10/q0, 10/q1": the heads that lost most, by layer and number, and how many more there are. */
static void add_heads(struct qk_text *text, const struct qk_recall *recall)
{
    enum { MOST = 8 };
    size_t n = recall->n_recall < MOST ? recall->n_recall : MOST;
    const struct qk_needle_head *last = NULL;
    for (size_t done = 0; done < n; done++) {
        const struct qk_needle_head *next = NULL;
        for (size_t i = 0; i < n; i++) {
            const struct qk_needle_head *head = &recall->head[i].of;
            if ((last == NULL || is_before(last, head)) && (next == NULL || is_before(head, next)))
                next = head;
        }
        qk_text_add(text, "%s%d/q%d", last != NULL ? ", " : "", next->layer, next->head);
        last = next;
    }
    if (recall->n_recall > n)
        qk_text_add(text, " and %zu more", recall->n_recall - n);
}

static int count_layers(const struct qk_pair *pair, bool softmax)
{
    int n = 0;
    for (int i = 0; i < pair->n_layers; i++) {
        const struct qk_pair_layer *layer = &pair->layer[i];
        n += softmax ? qk_kind_softmax(layer->kind) && layer->has_qk : layer->kind == QK_LINEAR;
    }
    return n;
}

static void say_found(struct qk_text *text, const struct qk_suggestion *s)
{
    bool one = s->recall.n_recall == 1;
    qk_text_add(text, "%zu of %zu query heads %s needles: ", s->recall.n_recall, s->recall.n,
        one ? "fetches" : "fetch");
    add_heads(text, &s->recall);
    double bound = qk_recall_bound(&s->recall, s->drop);
    if (bound > 0)
        qk_text_add(text, ". %s mass fell from %.3f to %.3f, by %.3f with a standard error of %.3f.",
            one ? "Its" : "Their mean", s->mass[QK_PRE].mean, s->mass[QK_POST].mean, s->drop.mean,
            s->drop.error);
    else
        qk_text_add(text,
            ". Fine-tuning took no mass from %s that is above noise (%.3f before, %.3f after), so there may be "
            "little to put back.",
            one ? "it" : "them", s->mass[QK_PRE].mean, s->mass[QK_POST].mean);
}

static void say_unsure(struct qk_text *text, const struct qk_recall *recall)
{
    const struct qk_recall_head *head = &recall->head[0];
    qk_text_add(text,
        "The recall heads cannot be known: the mass of %d/q%d is %.3f, but %zu prompt%s not enough "
        "to separate that from noise",
        head->of.layer, head->of.head, head->of.mass[QK_PRE].mean, recall->n_needles,
        recall->n_needles == 1 ? " is" : "s are");
    if (isfinite(head->of.mass[QK_PRE].error))
        qk_text_add(
            text, " (standard error %.3f, %.1f of them count)", head->of.mass[QK_PRE].error, recall->margin);
    qk_text_add(text, ".");
}

static void say_none(struct qk_text *text, const struct qk_pair *pair, const struct qk_recall *recall)
{
    int linear = count_layers(pair, false);
    qk_text_add(text, "The recall heads cannot be known: no head of PRE fetches the needle");
    if (recall->n > 0 && isfinite(recall->head[0].of.mass[QK_PRE].mean))
        qk_text_add(text, " (largest mass %.3f, of %d/q%d; an even attention has %.3f)",
            recall->head[0].of.mass[QK_PRE].mean, recall->head[0].of.layer, recall->head[0].of.head,
            recall->background);
    qk_text_add(text, ". The prompts may be unlike the model's training or too long for it");
    if (linear > 0)
        qk_text_add(text, ", or recall is in the %d linear layer%s, where no single position shows it",
            linear, linear == 1 ? "" : "s");
    qk_text_add(text, ".");
}

static enum qk_code say_verdict(const struct qk_pair *pair, struct qk_suggestion *s, struct qk_error *err)
{
    struct qk_text text = {0};
    if (s->recall.verdict == QK_RECALL_FOUND)
        say_found(&text, s);
    else if (s->recall.verdict == QK_RECALL_UNSURE)
        say_unsure(&text, &s->recall);
    else
        say_none(&text, pair, &s->recall);
    return qk_text_take(&text, &s->verdict, err);
}

/* --- proposals --- */

static const struct qk_choice RESTORE = {QK_RESTORE, 0};

static enum qk_code restore_heads(const struct qk_pair *pair, const struct qk_recall *recall, bool queries,
    struct qk_selection *selection, struct qk_error *err)
{
    for (size_t i = 0; i < recall->n_recall; i++) {
        const struct qk_recall_head *head = &recall->head[i];
        struct qk_head_run run[QK_ROLE_COUNT];
        size_t n = 0;
        if (queries)
            run[n++] = (struct qk_head_run){QK_HEAD_Q, head->of.head, head->of.head};
        if (head->key >= 0)
            run[n++] = (struct qk_head_run){QK_HEAD_K, head->key, head->key};
        if (n > 0)
            QK_TRY(qk_selection_set_heads(selection, pair, head->of.layer, run, n, RESTORE, err));
    }
    return QK_OK;
}

static enum qk_code select_careful(const struct qk_pair *pair, const struct qk_recall *recall,
    struct qk_selection *selection, struct qk_error *err)
{
    return restore_heads(pair, recall, false, selection, err);
}

static enum qk_code select_recall_heads(const struct qk_pair *pair, const struct qk_recall *recall,
    struct qk_selection *selection, struct qk_error *err)
{
    return restore_heads(pair, recall, true, selection, err);
}

static enum qk_code select_softmax(const struct qk_pair *pair, const struct qk_recall *recall,
    struct qk_selection *selection, struct qk_error *err)
{
    (void)recall;
    for (int i = 0; i < pair->n_layers; i++) {
        const struct qk_pair_layer *layer = &pair->layer[i];
        if (qk_kind_softmax(layer->kind) && qk_selection_takes(layer, -1, RESTORE))
            QK_TRY(qk_selection_set(selection, pair, i, -1, RESTORE, err));
    }
    return QK_OK;
}

static void explain_careful(struct qk_text *text, const struct qk_pair *pair, const struct qk_recall *recall)
{
    (void)pair;
    qk_text_add(text, "It puts back the keys that ");
    add_heads(text, recall);
    qk_text_add(text, " %s, and leaves every query as fine-tuning made it.",
        recall->n_recall == 1 ? "reads" : "read");
}

static void explain_recall_heads(
    struct qk_text *text, const struct qk_pair *pair, const struct qk_recall *recall)
{
    (void)pair;
    qk_text_add(text, "It puts back the heads that fetch needles (");
    add_heads(text, recall);
    qk_text_add(text, ") with the keys that they read, and no other head.");
}

static void explain_softmax(struct qk_text *text, const struct qk_pair *pair, const struct qk_recall *recall)
{
    int n = count_layers(pair, true);
    qk_text_add(text, "It puts back q and k of %s softmax layer%s, as in the paper (arXiv 2606.11052), ",
        n == 1 ? "the" : "all", n == 1 ? "" : "s");
    qk_text_add(text, recall->n_recall > 0 ? "whether a head fetches needles or not."
                                           : "because no narrower choice has a reason here.");
}

static const struct rule {
    const char *name, *slug;
    enum qk_code (*select)(const struct qk_pair *pair, const struct qk_recall *recall,
        struct qk_selection *selection, struct qk_error *err);
    void (*explain)(struct qk_text *text, const struct qk_pair *pair, const struct qk_recall *recall);
} RULES[QK_PROPOSALS] = {
    {"careful", "careful", select_careful, explain_careful},
    {"recall heads", "recall-heads", select_recall_heads, explain_recall_heads},
    {"QK-Restore", "qk-restore", select_softmax, explain_softmax},
};

/* The numbers of a selection: layers, heads and bytes. */
static enum qk_code count_changes(
    const struct qk_pair *pair, struct qk_proposal *proposal, struct qk_error *err)
{
    struct qk_change *change;
    size_t n;
    proposal->layers = qk_selection_count(&proposal->selection);
    for (int i = 0; i < pair->n_layers; i++)
        for (int r = 0; r < QK_ROLE_COUNT; r++)
            for (int h = 0; h < qk_selection_heads(&pair->layer[i], (enum qk_head_kind)r); h++)
                proposal->heads[r] +=
                    qk_layer_choice_of(&proposal->selection.choice[i], (enum qk_role)r, h).mode != QK_KEEP;
    QK_TRY(qk_changes_find(pair, &proposal->selection, false, false, &change, &n, err));
    for (size_t i = 0; i < n; i++)
        proposal->bytes += change[i].layer >= 0 ? change[i].bytes_changed : 0;
    free(change);
    return QK_OK;
}

static bool is_new(const struct qk_suggestion *s, const struct qk_selection *selection)
{
    for (int i = 0; i < s->n; i++)
        if (qk_selection_equal(&s->proposal[i].selection, selection))
            return false;
    return qk_selection_count(selection) > 0;
}

/* s->n counts the proposal from when it owns something. */
static enum qk_code propose(
    const struct qk_pair *pair, const struct rule *rule, struct qk_suggestion *s, struct qk_error *err)
{
    struct qk_proposal *proposal = &s->proposal[s->n];
    struct qk_selection selection;
    struct qk_text text = {0};
    QK_TRY(qk_selection_init(&selection, pair->n_layers, err));
    enum qk_code code = rule->select(pair, &s->recall, &selection, err);
    if (code != QK_OK || !is_new(s, &selection)) {
        qk_selection_free(&selection);
        return code;
    }
    *proposal = (struct qk_proposal){.name = rule->name, .slug = rule->slug, .selection = selection};
    proposal->mass = proposal->gained = (struct qk_needle_mean){NAN, NAN};
    s->n++;
    rule->explain(&text, pair, &s->recall);
    QK_TRY(qk_text_take(&text, &proposal->reason, err));
    QK_TRY(qk_spec_text(&proposal->selection, pair, &proposal->set, err));
    return count_changes(pair, proposal, err);
}

enum qk_code qk_suggest(const struct qk_pair *pair, const struct qk_needles *needles,
    const struct qk_needle_pair *measured, struct qk_suggestion *out, struct qk_error *err)
{
    struct qk_needle_mean less;
    *out = (struct qk_suggestion){0};
    QK_TRY(qk_recall_find(pair, measured, qk_recall_background(needles), &out->recall, err));
    const struct qk_needle_layer *pre = measured->side[QK_PRE], *post = measured->side[QK_POST];
    QK_TRY(mean_of_heads(&out->recall, pre, post, &out->mass[QK_PRE], &out->drop, err));
    QK_TRY(mean_of_heads(&out->recall, post, pre, &out->mass[QK_POST], &less, err));
    QK_TRY(say_verdict(pair, out, err));
    for (int i = 0; i < QK_PROPOSALS; i++)
        QK_TRY(propose(pair, &RULES[i], out, err));
    return QK_OK;
}
