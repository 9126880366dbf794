/* embedding.h - both ends of a pass: tokens to vectors, vectors to logits. */
#ifndef QK_FORWARD_EMBEDDING_H
#define QK_FORWARD_EMBEDDING_H

#include "forward/parts.h"

/* x (T, qk_model_width) = the embedded tokens ids (T) at the positions t0, t0 + 1 ... These are rows of the embedding,
 * read one by one, scaled, with the learned positions where the family has them; twice in a row of a joined model,
 * with the layers' own inputs behind them where there are any.
 * QK_INPUT when an id is outside the vocabulary, or a tensor is missing or has another shape. */
enum qk_code qk_embed(
    const struct qk_parts *parts, const int32_t *ids, size_t t0, size_t T, float *x, struct qk_error *err);

/* x (n, qk_model_own_width) = x (n, qk_model_width) without what goes along. */
void qk_rows_narrow(const struct qk_model *model, size_t n, float *x);

/* The output head, which is the embedding where they are tied. */
struct qk_head {
    const struct qk_tensor *tensor; /* (vocabulary, d); borrowed from the checkpoint */
    size_t vocabulary, d;
    float factor;        /* of the logits */
    float softcap;       /* 0: none; else logits become c tanh(logits / c) */
    float *bias;         /* owned: (vocabulary), or NULL */
    enum qk_dtype dtype; /* in which rows are in memory (qk_weights_dtype) */
    void *rows;          /* owned: all rows; NULL: each call reads them in blocks */
};

/* Finds the head. QK_INPUT when the model has none. qk_head_free frees it, also after a failure. */
enum qk_code qk_head_find(const struct qk_parts *parts, struct qk_head *out, struct qk_error *err);
/* Reads the rows once for all calls. qk_head_free frees them. */
enum qk_code qk_head_hold(struct qk_head *head, const struct qk_parts *parts, struct qk_error *err);
/* Bytes of all rows. */
size_t qk_head_bytes(const struct qk_head *head);
void qk_head_free(struct qk_head *head);

/* logits (n, vocabulary) of x (n, d), after the final norm. Those of a row do not depend on the others for n at most
 * 128. */
enum qk_code qk_head_logits(const struct qk_head *head, const struct qk_parts *parts, const float *x,
    size_t n, float *logits, struct qk_progress *progress, struct qk_error *err);

#endif
