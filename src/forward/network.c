/* network.c - a model's weights for many passes. */
#include "forward/network.h"

#include "base/mem.h"
#include "forward/embedding.h"
#include "forward/experts.h"
#include "forward/layer_inputs.h"
#include "forward/weights.h"

#include <stdlib.h>

struct qk_network {
    struct qk_network *base; /* NULL: this is a base itself */
    struct qk_parts parts;
    struct qk_layer_weights *layer; /* n_layers: the layers that are held; d is 0 for the others */
    bool *changed;                  /* in a derived network: the layers of its own */
    size_t held;                    /* bytes of its own that are held */
    /* In a base alone. */
    size_t rest;         /* bytes of its layers and of the head that are not held yet, without experts */
    size_t memory, used; /* bytes that may be held, and that are held, also by networks derived from it */
    struct qk_layer_weights turn; /* a layer that is not held */
    struct qk_layer_weights final_owner;
    struct qk_norm final_norm;
    float *projection; /* of the layers' own inputs; owned; NULL: none, or not held */
    struct qk_head head;
};

static struct qk_network *base_of(struct qk_network *network)
{
    return network->base != NULL ? network->base : network;
}

static const struct qk_network *const_base_of(const struct qk_network *network)
{
    return network->base != NULL ? network->base : network;
}

/* Counts so many bytes and returns true when they may be held. */
static bool may_hold(struct qk_network *network, size_t bytes)
{
    struct qk_network *base = base_of(network);
    if (bytes > base->memory - base->used)
        return false;
    base->used += bytes;
    network->held += bytes;
    return true;
}

/* The same for an expert, which leaves room for the layers that will be read. */
static bool may_hold_expert(void *context, size_t bytes)
{
    struct qk_network *network = context;
    const struct qk_network *base = base_of(network);
    size_t left = base->memory - base->used;
    return left >= base->rest && bytes <= left - base->rest && may_hold(network, bytes);
}

/* --- opening --- */

static enum qk_code make(const struct qk_model *model, const struct qk_patch *patch, size_t tokens,
    struct qk_network **out, struct qk_error *err)
{
    struct qk_network *network;
    *out = NULL;
    QK_TRY(qk_alloc(&network, 1, sizeof *network, err));
    enum qk_code code = qk_alloc(&network->layer, (size_t)model->n_layers, sizeof *network->layer, err);
    if (code == QK_OK)
        code = qk_parts_open(model, patch, tokens, &network->parts, err);
    if (code != QK_OK) {
        free(network->layer);
        free(network);
        return code;
    }
    *out = network;
    return QK_OK;
}

/* Bytes of a layer without its experts. */
static size_t bytes_of_layer(const struct qk_parts *parts, int layer)
{
    uint64_t of_turn;
    return (size_t)qk_weights_of_layer(parts, layer, &of_turn);
}

static enum qk_code open_ends(struct qk_network *network, struct qk_error *err)
{
    const struct qk_parts *parts = &network->parts;
    QK_TRY(qk_parts_check(parts, err));
    QK_TRY(qk_head_find(parts, &network->head, err));
    network->rest = qk_head_bytes(&network->head);
    for (int i = 0; i < parts->model->n_layers; i++)
        network->rest += bytes_of_layer(parts, i);
    return qk_norm_read(
        parts, NULL, -1, "final_norm", network->head.d, &network->final_owner, &network->final_norm, err);
}

enum qk_code qk_network_open(const struct qk_model *model, const struct qk_patch *patch, size_t tokens,
    size_t memory, struct qk_network **out, struct qk_error *err)
{
    QK_TRY(make(model, patch, tokens, out, err));
    (*out)->memory = memory;
    enum qk_code code = open_ends(*out, err);
    if (code != QK_OK) {
        qk_network_close(*out);
        *out = NULL;
    }
    return code;
}

enum qk_code qk_network_derive(struct qk_network *base, const struct qk_patch *patch, const bool *changed,
    struct qk_network **out, struct qk_error *err)
{
    const struct qk_model *model = base->parts.model;
    QK_TRY(make(model, patch, base->parts.T, out, err));
    (*out)->base = base_of(base);
    enum qk_code code = qk_alloc(&(*out)->changed, (size_t)model->n_layers, sizeof *(*out)->changed, err);
    for (int i = 0; code == QK_OK && i < model->n_layers; i++)
        (*out)->changed[i] = changed[i];
    if (code != QK_OK) {
        qk_network_close(*out);
        *out = NULL;
    }
    return code;
}

void qk_network_close(struct qk_network *network)
{
    if (network == NULL)
        return;
    for (int i = 0; i < network->parts.model->n_layers; i++)
        qk_layer_weights_free(&network->layer[i]);
    base_of(network)->used -= network->held;
    qk_layer_weights_free(&network->turn);
    qk_layer_weights_free(&network->final_owner);
    qk_head_free(&network->head);
    qk_parts_close(&network->parts);
    free(network->projection);
    free(network->changed);
    free(network->layer);
    free(network);
}

/* --- asking --- */

const struct qk_model *qk_network_model(const struct qk_network *network)
{
    return network->parts.model;
}

size_t qk_network_tokens(const struct qk_network *network)
{
    return network->parts.T;
}

size_t qk_network_width(const struct qk_network *network)
{
    return (size_t)qk_model_width(network->parts.model);
}

size_t qk_network_vocabulary(const struct qk_network *network)
{
    return const_base_of(network)->head.vocabulary;
}

enum qk_code qk_network_embed(
    struct qk_network *network, const int32_t *ids, size_t t0, size_t T, float *x, struct qk_error *err)
{
    struct qk_network *base = base_of(network);
    size_t d = (size_t)qk_model_own_width(network->parts.model), values = (qk_network_width(network) - d) * d;
    if (network->parts.model->layer_input > 0 && base->projection == NULL &&
        may_hold(base, values * sizeof(float)))
        QK_TRY(qk_layer_inputs_hold(&base->parts, &base->projection, err));
    network->parts.layer_projection = base->projection;
    return qk_embed(&network->parts, ids, t0, T, x, err);
}

/* Reads one of the network's own layers into `turn` of its base. */
static enum qk_code read_layer(struct qk_network *network, int layer, struct qk_error *err)
{
    struct qk_layer_weights *turn = &base_of(network)->turn;
    const struct qk_model *model = network->parts.model;
    qk_layer_weights_free(turn);
    QK_TRY(qk_layer_weights_read(&network->parts, &model->layer[layer], true, turn, err));
    if (turn->stream != qk_network_width(network))
        return qk_fail(err, QK_INPUT, "%s: layer %d has another width (found %zu, expected %zu)",
            model->checkpoint->path, layer, turn->stream, qk_network_width(network));
    return QK_OK;
}

/* The network whose layer it is: a derived one has those that it changes. */
static struct qk_network *owner_of(struct qk_network *network, int layer)
{
    return network->changed != NULL && !network->changed[layer] ? network->base : network;
}

/* Has the system read a layer while the one before it computes, unless that is held. */
static void expect_layer(struct qk_network *network, int layer)
{
    const struct qk_parts *parts = &network->parts;
    if (layer < parts->model->n_layers && owner_of(network, layer)->layer[layer].d == 0)
        qk_weights_expect(parts, layer);
}

enum qk_code qk_network_layer(
    struct qk_network *network, int layer, const struct qk_layer_weights **out, struct qk_error *err)
{
    struct qk_network *owner = owner_of(network, layer);
    struct qk_layer_weights *held = &owner->layer[layer], *turn = &base_of(network)->turn;
    *out = held;
    if (held->d > 0)
        return QK_OK;
    QK_TRY(read_layer(owner, layer, err));
    if (owner->base != NULL)
        qk_experts_borrow(turn->experts, owner->base->layer[layer].experts);
    expect_layer(network, layer + 1);
    if (may_hold(owner, turn->bytes)) {
        *held = *turn;
        *turn = (struct qk_layer_weights){0};
        if (owner->base == NULL)
            owner->rest -= bytes_of_layer(&owner->parts, layer);
        if (held->experts != NULL) {
            held->experts->may_hold = may_hold_expert;
            held->experts->context = owner;
        }
    } else {
        *out = turn;
    }
    return QK_OK;
}

enum qk_code qk_network_logits(struct qk_network *network, float *x, size_t n, float *logits,
    struct qk_progress *progress, struct qk_error *err)
{
    struct qk_network *base = base_of(network);
    struct qk_head *head = &base->head;
    qk_rows_narrow(base->parts.model, n, x);
    qk_norm_apply(&base->final_norm, n, head->d, x, x);
    if (head->rows == NULL && may_hold(base, qk_head_bytes(head))) {
        QK_TRY(qk_head_hold(head, &base->parts, err));
        base->rest -= qk_head_bytes(head);
    }
    return qk_head_logits(head, &base->parts, x, n, logits, progress, err);
}
