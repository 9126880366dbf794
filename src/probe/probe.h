/* probe.h - the text that two checkpoints are looked at with, and their attention ranges over it.
 *
 * Where ranges come from, best first: a forward pass of each checkpoint over the probe; layers' inputs from a
 * file (states.h); or, for layers with rotary positions, a profile from the weights alone (profile.h), which
 * is an estimate. Each of pre's and post's ranges is taken on its own inputs; the shift, and pre for
 * comparison, on post's. */
#ifndef QK_PROBE_PROBE_H
#define QK_PROBE_PROBE_H

#include "model/pair.h"
#include "probe/range.h"
#include "probe/states.h"

enum { QK_PROBE_LENGTH = 512, QK_PROBE_MOST = 1 << 20 };

/* Zero-initialised: the built-in document. Paths are borrowed. */
struct qk_probe_options {
    const char *text_path;                  /* UTF-8, through post's tokenizer */
    const char *ids_path;                   /* decimal ids, separated by white space, taken as they are */
    const char *states_path[QK_SIDE_COUNT]; /* post's alone: pre is looked at on the same inputs */
    size_t length;                          /* cut to so many tokens; 0: the whole file, or QK_PROBE_LENGTH */
    struct qk_range_options range;
};

enum qk_range_origin { QK_ORIGIN_PASS, QK_ORIGIN_STATES };

/* What one layer came to. */
struct qk_layer_ranges {
    struct qk_layer_range side[QK_SIDE_COUNT]; /* each on its own inputs */
    struct qk_layer_range pre_same;            /* pre on post's inputs */
    double shift;
};

#endif
