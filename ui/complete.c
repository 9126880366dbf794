/* complete.c - the words that Tab offers: action names, selectors and modes, columns, paths. */
#include "ui/complete.h"

#include "ui/app.h"
#include "ui/dispatch.h"
#include "ui/screen.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Offers head + word for the words that begin with `start`. */
static void offer(struct qk_lines *to, int head, const char *text, const char *start, const char *word)
{
    if (strncmp(word, start, strlen(start)) == 0)
        qk_lines_add(to, NULL, "%.*s%s", head, text, word);
}

char *typed_path(const char *text)
{
    const char *home = getenv("HOME");
    struct qk_text path = {0};
    char *out;
    bool at_home = text[0] == '~' && (text[1] == '/' || text[1] == '\0') && home != NULL;
    qk_text_add(&path, "%s%s", at_home ? home : "", text + at_home);
    return qk_text_take(&path, &out, NULL) == QK_OK ? out : NULL;
}

static bool names_file(const char *text, size_t n)
{
    struct stat info;
    char part[PROMPT_TEXT];
    snprintf(part, sizeof part, "%.*s", (int)n, text);
    char *path = typed_path(part);
    bool there = path != NULL && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    free(path);
    return there;
}

const char *second_path(const char *text)
{
    if (names_file(text, strlen(text)))
        return NULL;
    for (const char *space = strchr(text, ' '); space != NULL; space = strchr(space + 1, ' '))
        if (names_file(text, (size_t)(space - text)))
            return space + strspn(space, " ");
    return NULL;
}

static void offer_paths(struct qk_lines *to, int head, const char *text)
{
    glob_t found;
    char *pattern;
    struct qk_text with_star = {0};
    /* The text is a name, not a pattern. */
    for (const char *p = text + head; *p != '\0'; p++)
        qk_text_add(&with_star, strchr("*?[\\", *p) != NULL ? "\\%c" : "%c", *p);
    qk_text_add(&with_star, "*");
    if (qk_text_take(&with_star, &pattern, NULL) != QK_OK)
        return;
    if (glob(pattern, GLOB_MARK | GLOB_TILDE, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            qk_lines_add(to, NULL, "%.*s%s", head, text, found.gl_pathv[i]);
        globfree(&found);
    }
    free(pattern);
}

static void offer_selectors(struct qk_lines *to, int head, const char *text)
{
    static const char *const WORDS[] = {"all", "full", "window", "linear"};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
        offer(to, head, text, text + head, WORDS[i]);
    for (int m = 0; m < QK_METRIC_COUNT; m++)
        offer(to, head, text, text + head, qk_metric_info((enum qk_metric)m)->key);
    for (int m = 0; m < QK_HEAD_METRICS; m++)
        offer(to, head, text, text + head, qk_head_metric_name((enum qk_head_metric)m));
}

static void offer_modes(struct qk_lines *to, int head, const char *text)
{
    for (int m = 0; m < QK_MODE_COUNT; m++) {
        const struct qk_mode_info *info = qk_mode_info((enum qk_mode)m);
        char word[32];
        snprintf(word, sizeof word, "%s%s", info->name, info->has_param ? ":" : "");
        offer(to, head, text, text + head, word);
    }
}

static void offer_spec(struct qk_lines *to, int head, const char *text)
{
    const char *equals = strchr(text + head, '=');
    if (equals != NULL)
        offer_modes(to, (int)(equals + 1 - text), text);
    else
        offer_selectors(to, head, text);
}

static void offer_columns(struct qk_lines *to, int head, const char *text)
{
    for (int c = 0; c < COLUMN_COUNT; c++)
        if (column_of((enum column_id)c)->name != NULL)
            offer(to, head, text, text + head, column_of((enum column_id)c)->name);
}

static void offer_two_paths(struct qk_lines *to, int head, const char *text)
{
    const char *second = second_path(text + head);
    offer_paths(to, second != NULL ? (int)(second - text) : head, text);
}

/* The argument's name in the table of actions decides the words to offer. */
static const struct {
    const char *argument;
    void (*offer)(struct qk_lines *to, int head, const char *text);
} OFFERS[] = {
    {"[COLUMN]", offer_columns},
    {"[FILE]", offer_paths},
    {"[FOLDER]", offer_paths},
    {"[NAME[:PARAMETER]]", offer_modes},
    {"FILE", offer_paths},
    {"FOLDER", offer_paths},
    {"POST [PRE]", offer_two_paths},
    {"SELECTOR", offer_selectors},
    {"SPEC", offer_spec},
    {"TEXT", offer_selectors},
};

/* Completes the argument of `action` that begins at text + head. */
static void offer_argument(struct qk_lines *to, enum action action, int head, const char *text)
{
    const char *argument = action_traits(action)->argument;
    for (size_t i = 0; argument != NULL && i < sizeof OFFERS / sizeof OFFERS[0]; i++)
        if (strcmp(argument, OFFERS[i].argument) == 0)
            OFFERS[i].offer(to, head, text);
}

void complete_argument(void *context, const char *text, struct qk_lines *to)
{
    const struct app *app = context;
    if (app->prompt_action != ACTION_COMMAND) {
        offer_argument(to, app->prompt_action, 0, text);
        return;
    }
    size_t n = strcspn(text, " ");
    if (text[n] == ' ') {
        enum action action = action_of_name(text, n, here(app));
        if (action != ACTION_NONE)
            offer_argument(to, action, (int)(n + strspn(text + n, " ")), text);
        return;
    }
    for (int i = 0; i < ACTION_COUNT; i++) {
        if (!action_exists(app, (enum action)i) || (action_traits((enum action)i)->where & here(app)) == 0)
            continue;
        const char *name = qk_action_info(i)->name, *argument = action_traits((enum action)i)->argument;
        char word[48];
        snprintf(word, sizeof word, "%s%s", name, argument != NULL ? " " : "");
        offer(to, 0, "", text, word);
    }
}
