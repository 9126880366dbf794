/* probe_text.h - the text of a probe: the built-in needle document, and files of text or token ids. */
#ifndef QK_RANGE_PROBE_TEXT_H
#define QK_RANGE_PROBE_TEXT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { QK_PROBE_LENGTH = 512, QK_PROBE_MOST = 1 << 20 }; /* tokens by default, and at most */

/* A document in which short facts ("The code of tezav is 3406. ") stand among sentences that say nothing, and at
 * whose end they are asked for and answered: what an attention that looks far back is for. The style is that of
 * needles in a haystack (Kamradt 2023). At most n bytes of ASCII, always the same ones; the caller frees. */
enum qk_code qk_probe_document(size_t n, char **out, struct qk_error *err);

/* A UTF-8 file, whole. QK_INPUT when it is empty, not UTF-8, or holds a NUL. The caller frees. */
enum qk_code qk_probe_read_text(const char *path, char **out, size_t *n, struct qk_error *err);

/* Decimal ids separated by white space, as they are. QK_INPUT names the place of what is no id (0 to 2^31 -
 * 1), and refuses none or more than QK_PROBE_MOST. The caller frees. */
enum qk_code qk_probe_read_ids(const char *path, int32_t **out, size_t *n, struct qk_error *err);

#endif
