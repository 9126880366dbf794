/* model.h - the meaning of a checkpoint's tensors: layers with their kinds (model.c), and W_Q and W_K of each
 * head (views.c).
 *
 * Words (design): kind full | window | linear | none; role q | k; head view = the (head_dim, d) block of one
 * head. Query head h uses key head h / (n_q / n_k). A view never covers a row that is not W_Q or W_K: gates,
 * V and z rows of a fused tensor belong to no view. */
#ifndef QK_MODEL_MODEL_H
#define QK_MODEL_MODEL_H

#include "base/error.h"
#include "base/text.h"
#include "model/config.h"
#include "tensor/checkpoint.h"

#include <stdbool.h>
#include <stdint.h>

enum qk_kind { QK_FULL, QK_WINDOW, QK_LINEAR, QK_NONE, QK_KIND_COUNT };
enum qk_role { QK_Q, QK_K, QK_ROLE_COUNT };

const char *qk_kind_name(enum qk_kind kind); /* "full" "window" "linear" "none" */
bool qk_kind_parse(const char *name, enum qk_kind *kind);
/* Layers of the kind have softmax attention: over the whole past, or in a window. */
static inline bool qk_kind_softmax(enum qk_kind kind)
{
    return kind == QK_FULL || kind == QK_WINDOW;
}
const char *qk_role_name(enum qk_role role); /* "q" "k" */

/* How positions enter q and k after the projection; decides which rotations of a head's rows leave attention
 * unchanged (blend/blend.h). */
enum qk_positions {
    QK_POSITIONS_NONE, /* none, or added outside q and k (learned, ALiBi): any rotation of q and k together */
    QK_POSITIONS_ROPE_HALF,  /* pairs (j, j + rotary_dims/2) of the rotary rows */
    QK_POSITIONS_ROPE_INTER, /* pairs (2j, 2j+1) of the rotary rows */
    QK_POSITIONS_FIXED, /* an elementwise map (convolution, SiLU, feature map) follows: no rotation at all */
};

/* Rows of a tensor that a restore of the role copies: `count` runs of `length` rows, `step` apart, from `first` on.
 * `latent` rows make values, too. */
struct qk_slice {
    const struct qk_tensor *tensor;
    uint64_t first, length, step, count;
    bool latent;
};
enum { QK_MAX_SLICES = 9 };

/* What 8-bit values are multiplied by: one number for each block of `rows` x `columns` of them, row by row. A block is
 * the whole tensor, a row, a part of a row, or a square. */
struct qk_scaling {
    const struct qk_tensor *tensor; /* NULL: the values are the numbers */
    uint64_t rows, columns;
    uint64_t
        height; /* rows after which blocks begin anew: of each matrix of a tensor (matrices, rows, columns), or of
                      * each part; else 0 */
};

/* Where one role of one layer is stored. The tensor is (rows, d), or (d, rows) when `transposed` (Conv1D). Head h
 * owns rows (columns when transposed) [first_row[h], first_row[h] + head_dim). With `down` (latent attention, MLA)
 * the head view is a product instead. Its factors are rows [first_row[h], first_row[h] + head_dim - tail) of weight,
 * (rows, rank), diag(down_norm), and the first `rank` rows of down, (rank + tail, d). Below it are the last `tail`
 * rows of down, the same for every head. This leaves out the factor by which the norm scales each token. Such a role
 * is read factor by factor, and restored slice by slice. */
struct qk_view {
    const struct qk_tensor *weight; /* NULL: the layer has no such role */
    const struct qk_tensor *bias;   /* 1-D over the same rows, or NULL */
    const struct qk_tensor *norm;   /* gain after the projection, of head_dim, n_heads*head_dim or (n_heads,
                                     * head_dim), or NULL */
    const struct qk_tensor *down, *down_norm, *down_bias; /* NULL: weight holds the rows themselves */
    struct qk_scaling scale, down_scale;                  /* of weight and down */
    int tail;
    /* Scales are restored with their values, so a scaled role has slices, too. */
    struct qk_slice slice[QK_MAX_SLICES];
    int n_slices; /* 0 without `down` and scales */
    bool transposed;
    int n_heads;
    uint64_t *first_row; /* n_heads entries, NULL where the layer has a problem; owned by the model */
};

struct qk_layer {
    int index;
    enum qk_kind kind;
    char *mixer;   /* the family's own word for it ("lightning-attn", "jet", "mamba"); owned */
    char *problem; /* NULL, or why this layer's q and k cannot be used; owned */
    char *no_k;    /* NULL, or why it has q alone (its role k has neither tensor nor heads); owned */
    char *fixed;   /* NULL, or why its q and k can be read, but not changed; owned */
    bool shares;   /* its tensors are those of an earlier layer, and it is `fixed` */
    int stored; /* the layer under whose number tensors stand that it does not have itself; its own, or earlier */
    int head_dim; /* 0 when kind is none */
    uint64_t d;   /* input width of q and k */
    struct qk_view role[QK_ROLE_COUNT];
    enum qk_positions positions, turn; /* turn: how a forward pass rotates, also where `positions` is fixed */
    int rotary_dims;   /* rows of each head that rotate, from rotary_first on; 0 without RoPE */
    int rotary_first;  /* 0, or of latent attention the first row behind those without positions */
    int rope_width;    /* pair j turns by rope_theta^(-2j / rope_width) a token: rotary_dims, or one less */
    double rope_theta; /* 0 without RoPE */
    const cJSON *rope; /* the config's scaling of these frequencies (model/rope.h), or NULL; borrowed */
    bool plain_scores; /* YaRN does not multiply the scores of its latent attention */
    bool norm_after_rope; /* q/k norms are applied to rotated rows */
    bool recurs;          /* kind linear, with a recurrence that is built in (forward/mixer.h) */
    int window;           /* 0 unless kind is window and the config has it */
    bool gain_plus_one;   /* stored q/k norm gain w acts as 1 + w */
};

/* Where the rows of fused tensors lie, as far as a file's scales tell (model/fused.h). */
enum qk_fused { QK_FUSED_UNKNOWN, QK_FUSED_WHOLE, QK_FUSED_PARTS, QK_FUSED_BOTH };

struct qk_model {
    struct qk_checkpoint *checkpoint; /* owned */
    struct qk_config config;          /* owned */
    char *family;                     /* name of the layout row, "generic" for the fallback; owned */
    bool guessed;                     /* true when the generic rule was used */
    struct qk_layer *layer;
    int n_layers;
    bool joined; /* a layer sees the embedded tokens behind its input: both go from layer to layer */
    long
        layer_input; /* values that each layer has of its own for a token (forward/layer_inputs.h); 0: none */
    long n_parts;    /* in which its tensors were split, each with blocks of scales of its own; 1: none */
    enum qk_fused fused;
    struct qk_lines remarks; /* what was found and why; `qkscope info` prints them */
};

/* Opens the checkpoint at `path`, with the adapter in the folder `adapter` merged into it unless that is NULL
 * (tensor/adapter.h), and applies the layout table. QK_INPUT when there is no layer at all, when a tensor's shape
 * contradicts its row ("... (found (96, 64), expected (128, 64) for 4 heads of 32)"), or when q and k of an unknown
 * family are fused (with advice). In a family that is not in the table, a layer that contradicts the guess gets a
 * problem, unless every layer does. Freed with qk_model_close. */
enum qk_code qk_model_open_adapted(
    const char *path, const char *adapter, struct qk_model **out, struct qk_error *err);
enum qk_code qk_model_open(const char *path, struct qk_model **out, struct qk_error *err); /* without one */
void qk_model_close(struct qk_model *model);

/* True when q or k of the layer is made of this tensor: rows, bias, gain, and with slices every factor and scale. */
bool qk_layer_holds(const struct qk_layer *layer, const struct qk_tensor *tensor);

/* Width of what goes from layer to layer: the input width of q and k of the first layer that has them, and the inputs
 * that layers have of their own. */
uint64_t qk_model_width(const struct qk_model *model);
/* Width of what a layer adds to: that without what goes along. */
uint64_t qk_model_own_width(const struct qk_model *model);

/* Reads the head view of head h as float64, row-major (head_dim, d), into out; not of a role with `down`
 * (drift/product.h). QK_IO on read errors. Values that are not finite stay as they are. Thread-safe.
 * */
enum qk_code qk_view_read(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int h, double *out, struct qk_error *err);

/* Read the factors of a role with `down`, as float64. They are head h's own rows of weight, (head_dim - tail, rank);
 * the gain of the latent's norm, (rank); and rows first .. first + n of down, (n, d). The first `rank` rows of down
 * make the latent. Errors as qk_view_read. */
enum qk_code qk_view_read_up(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int h, double *out, struct qk_error *err);
enum qk_code qk_view_read_latent_gain(const struct qk_model *model, const struct qk_layer *layer,
    enum qk_role role, double *out, struct qk_error *err);
enum qk_code qk_view_read_down(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    size_t first, size_t n, double *out, struct qk_error *err);

/* Rows first .. first + n of head h, (n, d), row-major in the tensor's own dtype and without conversion. Of a
 * transposed tensor a part costs as much as the whole. */
enum qk_code qk_view_read_stored(const struct qk_model *model, const struct qk_layer *layer,
    enum qk_role role, int h, size_t first, size_t n, void *bytes, struct qk_error *err);

/* Reads head h's entries of the bias (head_dim values), all 0 without a bias. */
enum qk_code qk_view_read_bias(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int h, double *out, struct qk_error *err);

/* Reads the effective gains of head h (head_dim values; 1 + w where gain_plus_one), all 1 without a norm. */
enum qk_code qk_view_read_gain(const struct qk_model *model, const struct qk_layer *layer, enum qk_role role,
    int h, double *out, struct qk_error *err);

/* The contiguous byte ranges of head h inside the view's weight: one when it is stored by rows, d when it is
 * transposed. Range i, i < *count, begins at *first + i * *stride within the tensor and is *length bytes. */
void qk_view_ranges(const struct qk_layer *layer, enum qk_role role, int h, uint64_t *first, uint64_t *stride,
    uint64_t *length, uint64_t *count);

#endif
