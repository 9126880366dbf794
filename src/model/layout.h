/* layout.h - the table of model families (layout.c), and the check of its rows (layout_row.c): where each stores
 * q and k. Data (data/layouts), not code.
 *
 * A row (one file):
 *   "family"       name shown to users
 *   "model_types"  the config.json model_type strings it is for; "*": every other one
 *   "layer_count"  value
 *   "kinds"        rules, tried in order; the first that applies to a layer names its mixer
 *   "mixers"       {name: mixer}
 *   "names"        {config value: mixer name} for list, pattern and cycle
 * A rule names the mixer of layer i:
 *   {"rule": "all", "mixer": M}
 *   {"rule": "list", "key": K}        K[i], or K as a string that holds a list; through "names"
 *   {"rule": "pattern", "key": K}     character i of the string K; through "names"; with "again": true the
 *                                     string begins again at its end
 *   {"rule": "cycle", "key": K}       K[i % length]; through "names"
 *   {"rule": "interval", "period": value, "offset": value, "mixer": M, "otherwise": M}
 *                                     M when i % period == offset; a negative offset means period - 1; with
 *                                     "rest": true also for the layers behind the last whole period; with
 *                                     "when": K only where K is true
 *   {"rule": "indexes", "key": K, "base": 0 or 1, "mixer": M, "otherwise": M}   M when i + base is in K;
 * where a 0 is in K or in the list "beside" names, base is 0; "at" is the list where K is none; with "when":
 * K2 only where K2 is true
 *   {"rule": "second_half", "plus": number, "mixer": M, "otherwise": M}   M when i >= n / 2 + plus
 *   {"rule": "from", "key": K, "when": K2, "mixer": M, "otherwise": M}          M when K2 is true and i >= K
 *   {"rule": "when", "key": K, "mixer": M}      M for all when K is present, not null, not false, not 0
 * A mixer:
 *   "kind"       full | window | linear | none (nothing more is read then)
 *   "q", "k"     tensor name (or a list: the first that exists) below the layer, without ".weight";
 *                "*.NAME" is the one tensor of the layer that ends so
 *   "rows"       separate | gated | block | head3 | grouped | conv1d | key_group | quarters | latent
 *   "rows_when"  [[key, rows], ...]: the first whose key is true in the config, or is the word behind it
 *                (KEY=WORD), replaces "rows"
 *   "heads", "key_heads", "head_dim"  values
 *   "key_heads_when"  [[key, value], ...]: likewise
 *   "value_heads", "value_dim"        values, for key_group, and for a block whose V is not key_heads wide
 *   for latent (MLA: the rows of q and k are products, model.h):
 *   "q_down", "k_down"   tensor names: what makes the latent; q has its own rows where q_down is not there
 *   "q_down_norm", "k_down_norm"   tensor names: the latent's norm
 *   "rope_dim"   value: rows of each head that rotate, of k the last rows of k_down
 *   "q_norm", "k_norm"   tensor names (with ".weight" or as they are);  "gain_plus_one"  true when the stored
 * gain w acts as 1 + w "positions"  none | fixed | rope_half | rope_inter;  "positions_when" [[key,
 * positions], ...] "rope_layers"  key of a list with an entry a layer: 0 or false there makes its positions
 * none; "rope_interval"  value, where there is no such list: every layer with (i + 1) % value == 0 has none
 *   "k_is_v"     flag: the keys' tensor is the values', too, so that restoring it moves both
 *   "borrows_k"  value: so many of the last layers take their keys from an earlier one, whatever is stored:
 *                they have q alone, of a block its rows without those of k and v
 *   "borrows_k_groups"  key of a list of groups (lists of layers): those behind the first of each, likewise
 *   "more_rows"  value: rows of a block behind those of v
 *   "shared_by"  value: the layers of this mixer use the tensors of the first so many of them, in turn
 *   "rotary"     value: rotary dims;  "rotary_fraction"  value: part of head_dim;  "theta"  value
 *   "window"     value
 *   and for attention on given inputs and the forward pass (forward/forward.h):
 *   "rope"       config paths of the object that tells the scaling of the rotary frequencies: the first
 *                that exists
 *   "qk_norm_if" flag: without it the layer has no q and k norms although their names are told
 *   "score_dim"  value: scores are divided by its root; head_dim when it is left out
 *   "softcap"    value: scores s become softcap tanh(s / softcap)
 *   "query_scaling"  config path: null, a factor of the queries, or "hype A": ln(t + A) / ln(A) at position t
 *   "v", "o"     tensor names: values (where "rows" does not tell them), output projection
 *   "gate"       tensor name: the heads' output times sigmoid(gate x), or silu as "gate_activation" says,
 *                which holds for a gate that "rows" tells, too
 *   "gate_if"    flag: without it there is none
 *   "o_norm"     tensor name: RMS norm of the heads' output, each head or all as its size tells, before the
 *                gate;  "o_norm_if" flag;  "o_norm_eps" value
 *   "recurrence" of a linear layer: lightning | delta.  Delta has
 *     "alpha", "beta"  tensor names, or "beta_alpha": both in one, by key group
 *     "decay_log", "decay_bias"  tensor names as they are (no ".weight"):
 *                e^g with g = -e^decay_log softplus(alpha x + decay_bias)
 *     "conv"     tensor name: depthwise convolution over [q; k; v], or
 *     "kernel_in", "kernel_out"  tensor names: the convolution of v by kernels made of the input:
 *                kernel_out(silu(kernel_in x))
 * "forward", an object, tells what surrounds the mixers. Tensor names are below the layer, or (+) of the
 * whole model: beside the layers, else at the root.
 *   "missing"    why the family has no forward pass; then only the mixers' norm is needed
 *   "refuse"     {config path: why}: no forward pass and no attention where the config says true
 *                (why: mamba | experts | alibi | convolutions | bidirectional | layer_scale)
 *   "norm"       rms | layer;  "norm_plus_one"  true when a gain w acts as 1 + w;  "eps"  value
 *   "mixer_norm", "mlp_norm"            of the input; none when left out
 *   "mixer_post_norm", "mlp_post_norm"  of what is added to the input; none when left out
 *   "parallel"   flag: the MLP sees the layer's input, not the mixer's output
 *   "gate", "up", "down"  down(activation(gate x) * up x), without "gate" down(activation(up x));
 *                "gate_up"  gate and up in one
 *   "activation" config paths of the activation's name: the first that exists, else silu
 *   "router"     tensor name: where a layer has it, its MLP is a mixture of experts: no forward pass
 *   "embedding"+, "position_embedding"+ (learned positions), "final_norm"+, "head"+ (the embedding when it
 *                is tied);  "embedding_root"  value: the embedding is multiplied by its root
 *   "logit_softcap"  value
 * A flag is a value that may be true or false in the config, too.
 * A value is a number, a config path ("a.b.c"), paths and numbers with the operators / * + between them,
 * worked out from left to right ("2*a/b"), or a list of these: the first that exists. For a layer's mixer a
 * list in the config stands for its entry of that layer, and a path leads through a list of objects to the
 * one whose own list "layers" names the layer. Anything else in a row is an error that names file and key.
 *
 * Users extend the table: every *.json in $XDG_CONFIG_HOME/qkscope/layouts (else ~/.config/qkscope/layouts)
 * is a row, too, and goes before the built-in ones, so it may replace one or add a family. A mistake in any
 * of them is an error (QK_INPUT names the file), whatever model is opened: silence would hide it. */
#ifndef QK_MODEL_LAYOUT_H
#define QK_MODEL_LAYOUT_H

#include "base/error.h"
#include "model/config.h"

#include <stdbool.h>
#include <stddef.h>

struct qk_embedded_layout {
    const char *file, *text;
    size_t length;
};
extern const struct qk_embedded_layout qk_embedded_layouts[]; /* generated at build time */
extern const size_t qk_n_embedded_layouts;

struct qk_layout {
    cJSON *row;         /* owned */
    char *file;         /* where the row came from, for messages; owned */
    const char *family; /* borrowed from row */
    bool guessed;       /* a "*" row: the model type is not in the table */
};

/* The row for a model type: a user's, a built-in one, a "*" row. QK_INPUT when a row has a mistake, QK_IO
 * when the user's folder exists and cannot be read. */
enum qk_code qk_layout_find(const char *model_type, struct qk_layout *layout, struct qk_error *err);
void qk_layout_free(struct qk_layout *layout);

/* Parses and checks one row; `file` is used in messages. */
enum qk_code qk_layout_parse(
    const char *file, const char *text, size_t n, struct qk_layout *layout, struct qk_error *err);

/* Checks a row that is JSON (layout_row.c): unknown and missing keys, wrong values, mixers that are not there. */
enum qk_code qk_layout_check(const char *file, const cJSON *row, struct qk_error *err);

/* *out = the folder of the users' rows, whether it exists or not; NULL when neither variable
 * tells one. The caller frees. */
enum qk_code qk_layout_folder(char **out, struct qk_error *err);

/* Calls visit for every model type of the table, the user's rows first, in the order of the files' names. */
enum qk_code qk_layout_families(void (*visit)(void *context, const char *family, const char *model_type),
    void *context, struct qk_error *err);

/* mixer[i] = name of the mixer of layer i, for n layers; borrowed from the row. QK_INPUT names the config key
 * that does not fit. Linear in n and in the size of the config. */
enum qk_code qk_layout_kinds(const struct qk_layout *layout, const struct qk_config *config, int n,
    const char **mixer, struct qk_error *err);
/* The mixer of that name. */
const cJSON *qk_layout_mixer(const struct qk_layout *layout, const char *name);

/* The value of `key` of an object of the row (of KEY_when, where a config key of it is true), looked up in
 * the config; false when nothing is there. */
bool qk_layout_value(const cJSON *object, const char *key, const struct qk_config *config, double *out);
/* Like it for whole numbers in 1..limit; QK_INPUT names the key and what was found. */
enum qk_code qk_layout_count(const cJSON *object, const char *key, const struct qk_config *config, long limit,
    long *out, struct qk_error *err);
/* A flag; `fallback` when nothing tells. */
bool qk_layout_flag(const cJSON *object, const char *key, const struct qk_config *config, bool fallback);
/* A word, replaced by the first of KEY_when whose config key is true. */
const char *qk_layout_word(const cJSON *object, const char *key, const struct qk_config *config);

/* True for what is present and not null, false or 0. */
bool qk_config_true(const cJSON *item);
/* config path "a.b.c" below the text config, or NULL. */
const cJSON *qk_config_path(const struct qk_config *config, const char *path);

#endif
