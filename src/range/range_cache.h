/* range_cache.h - the inputs of layers that passes came to, kept in the cache folder (base/cache.h) so that
 * the same probe of the same checkpoint need not be run again.
 *
 * One states file (range/states.h) a checkpoint and probe. Its name is a digest of all that its content
 * depends on: the version, the config, the layout row, every shard's header and which file it is, unchanged
 * since (size, inode, change time), and the token ids. Headers and sizes alone would take pre for post. It is
 * read as any states file is, and its ids are compared: what does not fit is as good as not there. Of a
 * checkpoint that is written to while it is open nothing is taken and nothing kept. */
#ifndef QK_RANGE_RANGE_CACHE_H
#define QK_RANGE_RANGE_CACHE_H

#include "range/probe.h"

/* Folders grow to this much at most: then the oldest files go. Nothing larger than a quarter of it is kept. */
#define QK_RANGE_CACHE_BYTES ((uint64_t)1 << 30)

/* Between qk_probe_open and qk_probe_run: takes what is there for either side of a forward pass, and has the
 * probe keep what qk_range_cache_store will want. A cache that cannot be read is none. */
void qk_range_cache_load(struct qk_probe *probe);
/* After qk_probe_run: writes what was not there. A cache that cannot be written is no failure of the run:
 * callers may ignore the code. */
enum qk_code qk_range_cache_store(const struct qk_probe *probe, struct qk_error *err);

#endif
