/* error.c - the writers of a failure's message. */
#include "base/error.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum qk_code qk_fail(struct qk_error *err, enum qk_code code, const char *format, ...)
{
    if (err == NULL)
        return code;
    char raw[QK_ERROR_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    /* Names from files come here: no character that a terminal would obey may pass. */
    qk_printable(err->text, sizeof err->text, raw);
    err->code = code;
    return code;
}

const char *qk_error_text(const struct qk_error *error)
{
    return error->code != QK_OK ? error->text : NULL;
}

enum qk_code qk_fail_errno(struct qk_error *err, const char *path, const char *verb)
{
    return qk_fail(err, QK_IO, "%s: cannot %s: %s", path, verb, strerror(errno));
}

enum qk_code qk_fail_memory(struct qk_error *err, size_t bytes)
{
    return qk_fail(err, QK_IO, "out of memory (%zu bytes)", bytes);
}

enum qk_code qk_fail_cancelled(struct qk_error *err)
{
    return qk_fail(err, QK_CANCELLED, "interrupted");
}
