/* probe_text.h - the texts of a probe: the built-in needle document, and files of text or token ids. */
#ifndef QK_RANGE_PROBE_TEXT_H
#define QK_RANGE_PROBE_TEXT_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { QK_PROBE_LENGTH = 512, QK_PROBE_MOST = 1 << 20 }; /* tokens by default, and at most */

/* *out = a document in which short facts ("The code of tezav is 3406. ") stand among filler sentences. Questions for
 * them and the answers follow at its end, which takes attention that looks far back. The style is that of needles in
 * a haystack (Kamradt 2023). At most n bytes of ASCII, always the same ones; the caller frees. */
enum qk_code qk_probe_document(size_t n, char **out, struct qk_error *err);

/* Reads a whole UTF-8 file. QK_INPUT when it is empty, not UTF-8, or holds a NUL. The caller frees. */
enum qk_code qk_probe_read_text(const char *path, char **out, size_t *n, struct qk_error *err);

/* Reads decimal ids separated by white space. QK_INPUT names the place of anything that is no id (0 to 2^31 - 1), and
 * refuses a file without ids or with more than QK_PROBE_MOST. The caller frees. */
enum qk_code qk_probe_read_ids(const char *path, int32_t **out, size_t *n, struct qk_error *err);

#endif
