/* print.c - standard output, with a record of its failures. */
#include "cli/print.h"

#include "base/json.h"
#include "base/text.h"

#include <errno.h>
#include <langinfo.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* errno of the first write that failed, or 0. Only the front end's thread uses it. */
static int first_failure;

static void put_bytes(const char *bytes, size_t n)
{
    errno = 0;
    if (first_failure == 0 && n > 0 && fwrite(bytes, 1, n, stdout) != n)
        first_failure = errno != 0 ? errno : EIO;
}

/* Writes n bytes through the filter of names; `lines` as for qk_text_add_visible. It takes no memory: output does not
 * end in the middle for the lack of some. */
static void put(const char *bytes, size_t n, bool lines)
{
    while (n > 0) {
        char piece[QK_VISIBLE];
        size_t wide, plain = qk_plain(bytes, n, lines), taken = 0;
        put_bytes(bytes, plain);
        if (plain < n) {
            taken = qk_visible(bytes + plain, n - plain, piece, &wide);
            put_bytes(piece, wide);
        }
        bytes += plain + taken;
        n -= plain + taken;
    }
}

void qk_print(const char *format, ...)
{
    char small[256], *large = NULL;
    va_list arguments;
    if (first_failure != 0)
        return;
    va_start(arguments, format);
    int n = vsnprintf(small, sizeof small, format, arguments);
    va_end(arguments);
    if (n >= (int)sizeof small) {
        va_start(arguments, format);
        n = vasprintf(&large, format, arguments);
        va_end(arguments);
    }
    if (n < 0)
        first_failure = ENOMEM;
    else
        put(large != NULL ? large : small, (size_t)n, true);
    free(large);
}

void qk_print_name(const char *text)
{
    put(text, strlen(text), false);
}

void qk_print_csv_name(const char *text)
{
    qk_print("\"");
    for (const char *end; *text != '\0'; text = end) {
        end = text + strcspn(text, "\"");
        put(text, (size_t)(end - text), false);
        if (*end == '"') {
            qk_print("\"\"");
            end++;
        }
    }
    qk_print("\"");
}

void qk_print_note(const char *format, ...)
{
    char raw[QK_ERROR_TEXT], visible[QK_ERROR_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    fprintf(stderr, "qkscope: %s\n", qk_printable(visible, sizeof visible, raw));
}

/* "6.2e7%": printf would write two digits of the exponent at least. */
static int format_power(char *out, size_t n, int digits, double value, const char *unit)
{
    char text[40];
    snprintf(text, sizeof text, "%.*e", digits, value);
    char *e = strchr(text, 'e');
    return snprintf(out, n, "%.*se%d%s", (int)(e - text), text, atoi(e + 1), unit);
}

void qk_print_number(int width, int digits, double value, const char *unit)
{
    enum { DOUBLE_TEXT = 330 }; /* 309 digits of the largest double */
    char text[DOUBLE_TEXT + 16] = "-";
    int room = width - 1, length = room + 1;
    if (!isfinite(value))
        length = 1;
    for (int d = digits; d >= 0 && length > room; d--)
        length = snprintf(text, sizeof text, "%.*f%s", d, value, unit);
    for (int d = 2; d >= 0 && length > room; d--)
        length = format_power(text, sizeof text, d, value, unit);
    qk_print(" %*s", room, text);
}

void qk_print_csv_number(double value)
{
    if (isfinite(value))
        qk_print(",%.10g", value);
    else
        qk_print(",");
}

enum qk_code qk_print_json(cJSON *root, struct qk_error *err)
{
    char *text;
    QK_TRY(qk_json_text(root, true, &text, err));
    put(text, strlen(text), true);
    put("\n", 1, true);
    free(text);
    return QK_OK;
}

void qk_json_add_text(cJSON *object, const char *key, const char *text)
{
    if (qk_utf8_valid(text, strlen(text))) {
        cJSON_AddStringToObject(object, key, text);
        return;
    }
    size_t room = 4 * strlen(text) + 1;
    char *visible = cJSON_malloc(room); /* qk_json_text reports when there is no memory */
    if (visible != NULL)
        cJSON_AddStringToObject(object, key, qk_printable(visible, room, text));
    cJSON_free(visible);
}

const char *qk_json_key(char *out, size_t n, const char *text)
{
    return qk_utf8_valid(text, strlen(text)) ? text : qk_printable(out, n, text);
}

enum qk_code qk_print_end(struct qk_error *err)
{
    errno = 0;
    if (fflush(stdout) != 0 && first_failure == 0)
        first_failure = errno != 0 ? errno : EIO;
    if (first_failure == 0 || first_failure == EPIPE)
        return QK_OK;
    errno = first_failure;
    return qk_fail_errno(err, "standard output", "write");
}

bool qk_print_utf8(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

int qk_print_width(void)
{
    enum { USUAL = 100, LEAST = 20, MOST = 1000 };
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    const char *text = getenv("COLUMNS");
    int columns = text != NULL ? atoi(text) : 0;
    return columns >= LEAST && columns <= MOST ? columns : USUAL;
}

void qk_print_ranges(const int *number, int n)
{
    for (int i = 0; i < n;) {
        int last = i;
        while (last + 1 < n && number[last + 1] == number[last] + 1)
            last++;
        qk_print("%s%d", i > 0 ? "," : "", number[i]);
        if (last > i)
            qk_print("-%d", number[last]);
        i = last + 1;
    }
}
