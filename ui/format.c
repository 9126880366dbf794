/* format.c - numbers and choices as short text. */
#include "ui/format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "3e-5": printf would write two digits of the exponent at least. */
static void format_power(char out[NUMBER_TEXT], double value)
{
    char text[NUMBER_TEXT + 8];
    snprintf(text, sizeof text, "%.0e", value);
    char *e = strchr(text, 'e');
    snprintf(out, NUMBER_TEXT, "%.*se%d", e != NULL ? (int)(e - text) : 0, text, e != NULL ? atoi(e + 1) : 0);
}

char *format_number(char out[NUMBER_TEXT], double value)
{
    double size = fabs(value);
    if (isnan(value))
        snprintf(out, NUMBER_TEXT, "-");
    else if (size == 0)
        snprintf(out, NUMBER_TEXT, "0");
    else if (size < 0.005 || size >= 9999.5)
        format_power(out, value);
    else
        snprintf(out, NUMBER_TEXT, "%.*f", size < 9.995 ? 2 : size < 99.95 ? 1 : 0, value);
    return out;
}

char *format_signed(char out[NUMBER_TEXT], double value, bool ascii)
{
    char number[NUMBER_TEXT];
    const char *sign = value > 0 ? "+" : value < 0 ? (ascii ? "-" : "−") : ""; /* none of NaN and 0 */
    snprintf(out, NUMBER_TEXT, "%s%.*s", sign, NUMBER_TEXT - 4, format_number(number, fabs(value)));
    return out;
}

char *format_metric(char out[NUMBER_TEXT], enum qk_metric metric, double value, int width)
{
    const struct qk_metric_info *info = qk_metric_info(metric);
    if (info->percent)
        return format_number(out, 100 * value);
    if (info->degrees) /* the rounding error of equal spaces is not an angle */
        return format_number(out, fabs(value) < 1e-9 ? 0 : value);
    if (isnan(value))
        return format_number(out, value);
    int n = snprintf(out, NUMBER_TEXT, "%.4f", value);
    char *digits = out + (out[0] == '-');
    if (n > width && digits[0] == '0')
        memmove(digits, digits + 1, strlen(digits));
    else if (n > width)
        n = snprintf(out, NUMBER_TEXT, "%.3f", value);
    return n > width && digits[0] != '.' ? format_number(out, value) : out;
}

char *format_mass(char out[NUMBER_TEXT], double mass, int width)
{
    if (isnan(mass)) {
        snprintf(out, NUMBER_TEXT, "-");
        return out;
    }
    snprintf(out, NUMBER_TEXT, "%.*f", width <= 3 ? 2 : 3, mass);
    if (strtod(out, NULL) == 0) /* "-0.000" */
        snprintf(out, NUMBER_TEXT, "%.*f", width <= 3 ? 2 : 3, 0.0);
    char *digits = out + (out[0] == '-');
    if ((int)strlen(out) > width && digits[0] == '0')
        memmove(digits, digits + 1, strlen(digits));
    return out;
}

char *format_choice(char out[CHOICE_LABEL], struct qk_choice choice, bool ascii)
{
    const struct qk_mode_info *info = qk_mode_info(choice.mode);
    if (info->has_param)
        snprintf(
            out, CHOICE_LABEL, "%s %s %.4g", info->name, ascii ? info->ascii : info->symbol, choice.param);
    else
        snprintf(out, CHOICE_LABEL, "%s", info->name);
    return out;
}

/* "proc 0.5": four letters of the mode's name. */
static void cut_name(char *text)
{
    enum { LETTERS = 4 };
    size_t n = strcspn(text, " ");
    if (n > LETTERS)
        memmove(text + LETTERS, text + n, strlen(text + n) + 1);
}

/* "q 2/4 k 1/2", "q 2/4 k restore": without a role that is kept. */
static char *format_heads(char out[CHOICE_LABEL], const struct qk_layer_choice *choice)
{
    size_t used = 0;
    out[0] = '\0';
    for (int r = 0; r < QK_ROLE_COUNT; r++) {
        char text[QK_CHOICE_TEXT];
        enum qk_role role = (enum qk_role)r;
        int n = qk_layer_choice_count(choice, role), chosen = qk_layer_choice_chosen(choice, role);
        if (qk_layer_choice_mode(choice, role) == QK_KEEP)
            continue;
        if (n > 1)
            snprintf(text, sizeof text, "%d/%d", chosen, n);
        else
            qk_choice_text(text, choice->role[r]);
        used += (size_t)snprintf(
            out + used, CHOICE_LABEL - used, "%s%s %s", used > 0 ? " " : "", qk_role_name(role), text);
    }
    return out;
}

char *format_choices(
    char out[CHOICE_LABEL], const struct qk_layer_choice *choice, bool ascii, enum choice_length length)
{
    char q[CHOICE_LABEL], k[CHOICE_LABEL];
    if (qk_layer_choice_by_head(choice))
        return format_heads(out, choice);
    if (qk_choice_equal(choice->role[QK_Q], choice->role[QK_K]))
        return format_choice(out, choice->role[QK_Q], ascii);
    bool brief = length != CHOICE_WHOLE;
    if (brief) {
        qk_choice_text(q, choice->role[QK_Q]);
        qk_choice_text(k, choice->role[QK_K]);
    }
    if (length == CHOICE_SHORTEST) {
        cut_name(q);
        cut_name(k);
    }
    if (brief && choice->role[QK_K].mode == QK_KEEP)
        snprintf(out, CHOICE_LABEL, "Q %.40s", q);
    else if (brief && choice->role[QK_Q].mode == QK_KEEP)
        snprintf(out, CHOICE_LABEL, "K %.40s", k);
    else if (brief)
        snprintf(out, CHOICE_LABEL, "Q %.40s K %.40s", q, k);
    else
        snprintf(out, CHOICE_LABEL, "Q %.40s  K %.40s", format_choice(q, choice->role[QK_Q], ascii),
            format_choice(k, choice->role[QK_K], ascii));
    return out;
}

char *format_seconds(char out[NUMBER_TEXT], double seconds)
{
    unsigned s = seconds >= 0 && seconds < 3600000 ? (unsigned)lround(seconds) : 0;
    unsigned hours = s / 3600 % 1000, minutes = s / 60 % 60;
    if (hours == 0)
        snprintf(out, NUMBER_TEXT, "%u:%02u", minutes, s % 60);
    else
        snprintf(out, NUMBER_TEXT, "%u:%02u:%02u", hours, minutes, s % 60);
    return out;
}
