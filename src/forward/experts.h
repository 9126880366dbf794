/* experts.h - a mixture of experts (experts_read.c, experts.c): its router, a shared expert, and where the experts are
 * stored.
 *
 * The experts stay in the file until a token chooses them. A run then reads those that its tokens chose
 * (experts_read.c), each once, and uses it for all its tokens (experts.c). Those that may be held stay for the next
 * run. */
#ifndef QK_FORWARD_EXPERTS_H
#define QK_FORWARD_EXPERTS_H

#include "forward/layer_internal.h"
#include "forward/router.h"

enum qk_expert_role { QK_EXPERT_GATE, QK_EXPERT_UP, QK_EXPERT_DOWN, QK_EXPERT_ROLES };

/* A matrix (n, k) of every expert, as it is stored. Gate and up may be one, of n rows together: then it is that of
 * QK_EXPERT_UP, and QK_EXPERT_GATE has no tensors. */
struct qk_expert_matrix {
    size_t n, k;                    /* n 0: no expert has it */
    bool each;                      /* every expert has a tensor of its own, else one has those of all */
    bool transposed;                /* stored (k, n) */
    bool interleaved;               /* rows of gate and up take turns */
    const struct qk_tensor *scales; /* of values in MXFP4, whose blocks are the weight's; or NULL */
    const struct qk_tensor **weight, **bias; /* (experts), or one; owned; bias NULL: none */
};

/* An expert: its weights in one format, and behind them its biases in float32. */
struct qk_expert {
    struct qk_mlp mlp;
    void *values; /* owned; NULL: not read */
};

/* How gate g and up u become one: f(min(g, limit)) (clamp(u, -limit, limit) + plus), where f is the activation, or
 * g sigmoid(alpha g). */
struct qk_swiglu {
    float limit, alpha, plus; /* limit 0: none; alpha 0: the activation */
};

struct qk_experts {
    const struct qk_parts *parts; /* borrowed */
    int layer;
    struct qk_router router;
    struct qk_projection route; /* (experts, d) */
    struct qk_mlp shared;       /* an expert of all tokens; may be empty */
    struct qk_projection latent_in,
        latent_out; /* before and behind the experts, (width, d) and (d, width); or none */
    struct qk_swiglu swiglu;
    bool input_scaled;                /* an expert's weight multiplies its input, not its output */
    struct qk_projection shared_gate; /* (1, d): a sigmoid of it multiplies the shared expert's output */
    struct qk_expert_matrix matrix[QK_EXPERT_ROLES];
    size_t width, hidden;      /* of an expert's input and output, and between its projections */
    size_t values, bytes;      /* of an expert */
    enum qk_dtype dtype;       /* of its weights in memory: the file's where all have it (qk_weights_dtype) */
    struct qk_expert *held;    /* (experts) */
    struct qk_experts *lender; /* the same experts of another network, which holds them; borrowed, or NULL */
    /* Counts so many bytes and returns true when they may stay after a run; NULL: none may. */
    bool (*may_hold)(void *context, size_t bytes);
    void *context;
};

/* Reads the layer's router and shared expert, and finds its experts, into r->out->experts. */
enum qk_code qk_experts_read(struct qk_reading *r);
void qk_experts_free(struct qk_experts *experts);

/* Reads n experts, given by number, into `out`, whose values the caller frees. */
enum qk_code qk_experts_load(const struct qk_experts *experts, const size_t *number, size_t n,
    struct qk_expert *out, struct qk_progress *progress, struct qk_error *err);
/* Has a layer's experts be held by those of the same layer of another network (both NULL allowed), unless the layer's
 * patch may change one. */
void qk_experts_borrow(struct qk_experts *experts, struct qk_experts *lender);
/* Asks the system to have an expert in memory soon. */
void qk_experts_expect(const struct qk_experts *experts, size_t number);

#endif
