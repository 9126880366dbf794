/* remote.h - files of the Hugging Face hub that are read where they are: of each only the blocks that are
 * asked for are fetched, and kept in the cache folder (base/cache.h, below it remote/).
 *
 * Nothing is remote before qk_remote_start; after it, every path that begins with the endpoint is the address
 * of a remote file, and qk_source_open opens it. What was opened stays known until qk_remote_stop, so that a
 * file is examined once a run. A file's last name may hold any character: it is escaped here. */
#ifndef QK_TENSOR_HUB_REMOTE_H
#define QK_TENSOR_HUB_REMOTE_H

#include "base/error.h"
#include "base/progress.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* $HF_ENDPOINT without slashes at its end, else https://huggingface.co; the token is $HF_TOKEN; empty
 * variables count as unset. $QKSCOPE_RETRIES is how often a request that failed is tried again (0 to 100;
 * 6 without it). QK_USAGE when one of them cannot be used, or $HF_HUB_OFFLINE forbids the network; QK_IO when
 * there is no cache folder. */
enum qk_code qk_remote_start(struct qk_error *err);
/* What is kept of the models of the hub takes at most so much of the disk: 4.40 GB are q and k of a pair of 9B. */
#define QK_REMOTE_CACHE_BYTES ((uint64_t)16 << 30)

/* After the last file was closed; trims the cache folder to QK_REMOTE_CACHE_BYTES. Does
 * nothing before qk_remote_start. */
void qk_remote_stop(void);

/* The endpoint; NULL before qk_remote_start. */
const char *qk_remote_endpoint(void);
/* Is the path the address of a remote file or folder? */
bool qk_remote_has(const char *path);

/* *pinned = the folder ENDPOINT/ORG/NAME/resolve/REVISION with the commit that the revision stands for now in its
 * place, so that a branch that moves meanwhile does not mix two states of a model; the caller frees. A copy of
 * `folder` where the server tells no commit (mirrors need not). Asks for config.json. Codes as in http.h. */
enum qk_code qk_remote_pin(const char *folder, char **pinned, struct qk_error *err);

/* Until it is called with NULL, this progress' cancel flag ends reading with QK_CANCELLED. */
void qk_remote_watch(struct qk_progress *progress);

/* One file. Owned by this module. */
struct qk_remote_file;

/* *found = false when the server has no such file (*out = NULL then), which is no failure; codes as in
 * http.h, and QK_INPUT for a size of more than 2^40 bytes. */
enum qk_code qk_remote_open(const char *path, bool *found, struct qk_remote_file **out, struct qk_error *err);
uint64_t qk_remote_size(const struct qk_remote_file *file);

/* Reads n bytes at `offset`, which the file has, out of the cache; what is not there is fetched first. Where
 * the reader comes on from what is there already, up to 16 MiB more are fetched along with it, but nothing at
 * or behind `limit` (but for the rest of its block). Safe from several threads at once; a block is fetched
 * once. Codes as in http.h; QK_IO when the cache cannot be written. */
enum qk_code qk_remote_read(struct qk_remote_file *file, uint64_t offset, void *buffer, size_t n,
    uint64_t limit, struct qk_error *err);

/* Bytes fetched and requests answered so far, bytes that all files opened have together, and the folder that
 * keeps what was fetched (borrowed). */
struct qk_remote_account {
    uint64_t fetched, requests, bytes;
    const char *folder;
};
struct qk_remote_account qk_remote_account(void);

#endif
