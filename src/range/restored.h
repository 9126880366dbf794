/* restored.h - the ranges that a restore of each layer can reach, found by the probe. */
#ifndef QK_RANGE_RESTORED_H
#define QK_RANGE_RESTORED_H

#include "range/probe.h"

/* qk_probe_run, and with it what a restore of each layer can reach. */
enum qk_code qk_probe_run_restored(struct qk_probe *probe, const bool *wanted,
    const struct qk_probe_watch *watch, struct qk_progress *progress, struct qk_error *err);

#endif
