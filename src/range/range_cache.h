/* range_cache.h - the inputs of layers from passes, kept in the cache folder (base/cache.h) so that the same probe
 * need not run again.
 *
 * There is one states file (range/states.h) for each checkpoint and probe. Its name is a digest of all that its
 * content depends on. That is the version, the config, the layout row, every shard's header and identity (size,
 * inode, change time), and the token ids. Headers and sizes alone cannot distinguish pre from post. The file is read
 * like any states file, and its ids are compared; a file that does not fit counts as missing. For a checkpoint that
 * changes while it is open, nothing is read or kept. */
#ifndef QK_RANGE_RANGE_CACHE_H
#define QK_RANGE_RANGE_CACHE_H

#include "range/probe.h"

/* The limit for the folder: beyond it the oldest files go. Nothing larger than a quarter of it is kept. */
#define QK_RANGE_CACHE_BYTES ((uint64_t)1 << 30)

/* Called between qk_probe_open and qk_probe_run. It reads what the cache has for either side of a forward pass, and
 * makes the probe keep what qk_range_cache_store will write. A cache that cannot be read counts as empty. */
void qk_range_cache_load(struct qk_probe *probe);
/* Called after qk_probe_run: writes what the cache lacked. A cache that cannot be written is no failure of the run,
 * so callers may ignore the code. */
enum qk_code qk_range_cache_store(const struct qk_probe *probe, struct qk_error *err);

#endif
