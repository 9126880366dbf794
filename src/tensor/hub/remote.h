/* remote.h - files of the Hugging Face hub, read in place. Only the blocks that a reader needs are fetched, and kept
 * in the folder remote/ of the cache (base/cache.h).
 *
 * Nothing is remote before qk_remote_start. After it, every path that begins with the endpoint is the address of a
 * remote file, and qk_source_open opens it. Opened files stay known until qk_remote_stop, so that a file is examined
 * once a run. A file's last name may hold any character; this module escapes it. */
#ifndef QK_TENSOR_HUB_REMOTE_H
#define QK_TENSOR_HUB_REMOTE_H

#include "base/error.h"
#include "base/progress.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The endpoint is $HF_ENDPOINT without slashes at its end, else https://huggingface.co; the token is $HF_TOKEN. Empty
 * variables count as unset. $QKSCOPE_RETRIES is how often a failed request is repeated (0 to 100; 6 without it), and
 * $QKSCOPE_TIMEOUT how many seconds a request may take with all that (1 to 604800; 3600 without it). QK_USAGE when one
 * of them cannot be used, or $HF_HUB_OFFLINE forbids the network; QK_IO when there is no cache folder. */
enum qk_code qk_remote_start(struct qk_error *err);
/* The limit on disk for the kept parts of the hub's models: q and k of a pair of 9B take 4.40 GB. */
#define QK_REMOTE_CACHE_BYTES ((uint64_t)16 << 30)

/* Called after the last file was closed: trims the cache folder to QK_REMOTE_CACHE_BYTES. Does nothing before
 * qk_remote_start. */
void qk_remote_stop(void);

/* The endpoint; NULL before qk_remote_start. */
const char *qk_remote_endpoint(void);
/* True when the path is the address of a remote file or folder. */
bool qk_remote_has(const char *path);

/* *pinned = the folder ENDPOINT/ORG/NAME/resolve/REVISION with the revision's present commit in place of the
 * revision; the caller frees. A branch that moves meanwhile thus does not mix two states of a model. It is a copy of
 * `folder` where the server gives no commit (mirrors need not). Requests config.json. Codes as in http.h. */
enum qk_code qk_remote_pin(const char *folder, char **pinned, struct qk_error *err);

/* Until a call with NULL, the cancel flag of this progress ends reading with QK_CANCELLED. */
void qk_remote_watch(struct qk_progress *progress);

/* One file. Owned by this module. */
struct qk_remote_file;

/* *found = false, with *out = NULL, when the server has no such file, which is no failure. Codes as in http.h, and
 * QK_INPUT for a size of more than 2^40 bytes. */
enum qk_code qk_remote_open(const char *path, bool *found, struct qk_remote_file **out, struct qk_error *err);
uint64_t qk_remote_size(const struct qk_remote_file *file);

/* Reads n bytes at `offset`, within the file, from the cache, after fetching the missing ones. A block that an earlier
 * run kept is checked before its first use, and fetched again where it was damaged on the disk. Where the reader
 * continues from blocks that are there, up to 16 MiB more are fetched along. Nothing at or behind `limit` is, except
 * the rest of its block. Safe from several threads at once; a block is fetched once. Codes as in http.h; QK_IO when
 * the cache cannot be written. */
enum qk_code qk_remote_read(struct qk_remote_file *file, uint64_t offset, void *buffer, size_t n,
    uint64_t limit, struct qk_error *err);

/* Bytes fetched and requests answered so far, the total bytes of all opened files, kept blocks that were damaged, and
 * the cache folder (borrowed). */
struct qk_remote_account {
    uint64_t fetched, requests, bytes, damaged;
    const char *folder;
};
struct qk_remote_account qk_remote_account(void);

#endif
