/* hub.h - names of the Hugging Face hub: their folders in the local cache, or their addresses.
 *
 *   CACHE/models--ORG--NAME/refs/REV           a commit hash in text
 *   CACHE/models--ORG--NAME/snapshots/HASH/    the files, as links into ../../blobs
 * A name without an organisation, such as gpt2, has CACHE/models--NAME. CACHE is $HF_HUB_CACHE, else
 * $HUGGINGFACE_HUB_CACHE, else $HF_HOME/hub, else $XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub; an
 * empty variable counts as unset. In these, a leading ~ and $NAME or ${NAME} stand for their values. */
#ifndef QK_TENSOR_HUB_HUB_H
#define QK_TENSOR_HUB_HUB_H

#include "base/error.h"

/* *out = the path that `operand` stands for; the caller frees. An existing path stands for itself. So does anything
 * that is not [ORG/]NAME[@REVISION]: the open that follows reports it best. Else it is the snapshot folder in the
 * cache. REVISION is a branch or tag (default main), a commit hash, or the start of one that only one snapshot has (4
 * digits at least). QK_IO when it does not exist, and QK_INPUT when the name or the cache is malformed; the message
 * says where it looked. */
enum qk_code qk_hub_resolve(const char *operand, char **out, struct qk_error *err);

/* *out = ENDPOINT/ORG/NAME/resolve/REVISION, the folder on the hub that `operand` stands for, with the revision's
 * slashes escaped. A path in the sense of qk_hub_resolve stands for itself. The caller frees. QK_IO when the name is
 * malformed. */
enum qk_code qk_hub_address(const char *operand, const char *endpoint, char **out, struct qk_error *err);

/* *out = CACHE, whether it exists or not; the caller frees. NULL when no variable is set, not even HOME. */
enum qk_code qk_hub_cache(char **out, struct qk_error *err);

#endif
