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

void qk_print(const char *format, ...)
{
    if (first_failure != 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    if (vprintf(format, arguments) < 0)
        first_failure = errno != 0 ? errno : EIO;
    va_end(arguments);
}

void qk_print_name(const char *text)
{
    size_t room = 4 * strlen(text) + 1;
    char *visible = malloc(room);
    if (visible == NULL) {
        if (first_failure == 0)
            first_failure = ENOMEM;
        return;
    }
    qk_print("%s", qk_printable(visible, room, text));
    free(visible);
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
    const char *from = text;
    for (const char *p = text; *p != '\0'; p++) {
        const unsigned char *u = (const unsigned char *)p;
        bool c1 = u[0] == 0xc2 && u[1] >= 0x80 && u[1] < 0xa0; /* U+0080 to U+009f in UTF-8 */
        if (!c1 && u[0] != 0x7f)
            continue;
        qk_print("%.*s\\u%04x", (int)(p - from), from, c1 ? u[1] : u[0]);
        p += c1 ? 1 : 0;
        from = p + 1;
    }
    qk_print("%s\n", from);
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
