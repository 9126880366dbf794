/* probe.h - a text that two checkpoints read, and their attention ranges over it.
 *
 * Ranges have three sources. The best is a forward pass of each checkpoint over the probe, the next layers' inputs
 * from a file (states.h). The last, for layers with rotary positions, is an estimate from the weights alone
 * (profile.h). Pre's and post's ranges each have their own inputs. What compares them has post's inputs. That is the
 * shift, to which everything that attention depends on contributes (input norm, q/k norms, W_Q, W_K). It is also the
 * shift of post's layer with pre's W_Q and W_K alone, which a restore can reach. */
#ifndef QK_RANGE_PROBE_H
#define QK_RANGE_PROBE_H

#include "model/pair.h"
#include "range/probe_text.h"
#include "range/range.h"
#include "range/states.h"

struct qk_patch;
struct qk_tokenizer;

/* Zero-initialised: the built-in document. Paths are borrowed. */
struct qk_probe_options {
    const char *text_path;                  /* UTF-8, through post's tokenizer */
    const char *ids_path;                   /* decimal ids, separated by white space, taken as they are */
    const char *states_path[QK_SIDE_COUNT]; /* post's alone: pre has the same inputs */
    bool cached;   /* a session: keep states for the next time, and use those that are there */
    size_t length; /* cut to so many tokens; 0: the whole file, or QK_PROBE_LENGTH */
    size_t memory; /* bytes that the passes may take; 0: what is free when they begin */
    struct qk_range_options range;
};

enum qk_range_origin { QK_ORIGIN_PASS, QK_ORIGIN_STATES };

/* The result of one layer; n_heads 0 in all of it: it has no ranges. */
struct qk_layer_ranges {
    struct qk_layer_range side[QK_SIDE_COUNT]; /* each on its own inputs */
    double shift;                              /* of pre's whole layer from post's, on post's inputs */
    /* Post's layer restored, on post's inputs, and its divergence from post. n_heads 0 and NaN when it cannot be
     * restored, or was not asked for. */
    struct qk_layer_range restored;
    double restored_shift;
};

struct qk_probe {
    const struct qk_pair *pair; /* borrowed */
    struct qk_range_options range;
    size_t memory;
    enum qk_range_origin origin;
    size_t T;
    int32_t *ids;                   /* T; owned */
    struct qk_tokenizer *tokenizer; /* of the ids; NULL when it is not known; owned */
    /* Inputs of layers: from files or a cache, else from qk_probe_run, which keeps post's, and pre's with keep_pre. A
     * side whose wanted layers are all here before qk_probe_run needs no pass. */
    struct qk_states states[QK_SIDE_COUNT];
    bool keep_pre;
    /* Why pre cannot read the probe: tokens that it does not know. Its layers then have post's inputs. NULL: it can.
     * Owned. */
    char *pre_cannot;
    struct qk_layer_ranges *layer; /* n_layers of the pair; owned */
};

/* True when the layer of the pair can have ranges: softmax attention or a built-in recurrence on both sides, with q and
 * k that fit. */
bool qk_probe_has(const struct qk_pair *pair, int layer);
/* True when such a layer has a profile (profile.h) on both sides: an estimate, where no pass can run. */
bool qk_probe_has_profile(const struct qk_pair *pair, int layer);
/* *why = NULL when both checkpoints have a forward pass, else why not (static). */
enum qk_code qk_probe_pass_missing(const struct qk_pair *pair, const char **why, struct qk_error *err);
/* *what = what to do for a pair without a forward pass: each way it names works (static). */
enum qk_code qk_probe_way_out(const struct qk_pair *pair, const char **what, struct qk_error *err);
/* Distances of the points of a profile, for a probe with these options. */
int qk_probe_profile_points(const struct qk_probe_options *options);

/* Gets the probe's tokens, and states where they come from files. Freed with qk_probe_close. QK_INPUT when this
 * family has no forward pass and there are no states (the message says how to go on). Also when no layer has ranges,
 * the tokenizer is missing or not supported, or a file does not fit. Tokens that pre does not know are no failure
 * (pre_cannot). */
enum qk_code qk_probe_open(const struct qk_pair *pair, const struct qk_probe_options *options,
    struct qk_probe **out, struct qk_error *err);
void qk_probe_close(struct qk_probe *probe); /* NULL allowed */

/* A callback of qk_probe_run, one call at a time, in the order of the layers. */
struct qk_probe_watch {
    void *context;
    void (*ready)(void *context, int layer); /* probe->layer[layer] is filled, and stays as it is */
};

/* Called once: fills probe->layer for the wanted layers (NULL: all that can). `restored` (NULL: not asked for)
 * applies a restore of each layer to post; blend/patch.h has it. A layer that it refuses with QK_INPUT cannot be
 * restored, which is no failure. The sides run beside each other where there are four workers or more and memory for
 * both: one has work for those that wait for the other. progress counts layers of both sides; the run can be cancelled
 * between layers and blocks of queries. watch may be NULL. QK_INPUT, before anything is read, when the passes need more
 * memory than they may take. */
enum qk_code qk_probe_run(struct qk_probe *probe, const struct qk_patch *restored, const bool *wanted,
    const struct qk_probe_watch *watch, struct qk_progress *progress, struct qk_error *err);

/* Runs one layer of post with a patch (NULL allowed) on post's own states. The layer must be ready. *shift = the
 * divergence of its attention from that of pre's layer on the same states (range.h), in nats; shift NULL: not asked. */
enum qk_code qk_probe_same(const struct qk_probe *probe, int layer, const struct qk_patch *patch,
    struct qk_progress *progress, struct qk_layer_range *out, double *shift, struct qk_error *err);

/* *shift = the divergence of pre's whole layer from post's with a patch, on post's own inputs (shift of struct
 * qk_layer_ranges without one). The layer must be ready. */
enum qk_code qk_probe_shift(const struct qk_probe *probe, int layer, const struct qk_patch *patch,
    struct qk_progress *progress, double *shift, struct qk_error *err);

/* Runs the whole of post with a patch again. out[i] (n_layers) are the ranges of the wanted layers that can have
 * them; the others are zeroed. The caller frees each. QK_INPUT when the probe's origin is no forward pass. progress
 * counts layers. */
enum qk_code qk_probe_exact(const struct qk_probe *probe, const struct qk_patch *patch, const bool *wanted,
    struct qk_progress *progress, struct qk_layer_range *out, struct qk_error *err);

/* *rows (n_heads, query + 1) = the attention of every head of the layer from one query, on post's states; the caller
 * frees. The layer must be ready. */
enum qk_code qk_probe_rows(const struct qk_probe *probe, int layer, enum qk_side side,
    const struct qk_patch *patch, size_t query, float **rows, struct qk_error *err);

#endif
