/* restored.h - the ranges that a restore of each layer can reach. */
#ifndef QK_RANGE_RESTORED_H
#define QK_RANGE_RESTORED_H

#include "blend/patch.h"
#include "range/probe.h"

/* Makes post with q and k of every layer restored that can be, for runs of one layer at a time on post's own inputs. It
 * refuses a layer that cannot be restored with QK_INPUT at its turn. Freed with qk_selection_patch_free. */
enum qk_code qk_restored_patch_make(
    const struct qk_pair *pair, struct qk_selection_patch *out, struct qk_error *err);

/* Runs qk_probe_run, and with it what a restore of each layer can reach. */
enum qk_code qk_probe_run_restored(struct qk_probe *probe, const bool *wanted,
    const struct qk_probe_watch *watch, struct qk_progress *progress, struct qk_error *err);

#endif
