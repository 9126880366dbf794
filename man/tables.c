/* tables.c - the filler of the manual pages: it takes tables from the program, so that the manual cannot lie.
 *
 * Usage: tables TEMPLATE. It runs at build time alone. A line of the template that is nothing but @NAME@ becomes
 * that table. A line "@KEY OBJECT NAME@" becomes this key of a layout row with its type. A template that holds one
 * such line must hold one for each key. @VERSION@ is replaced wherever it stands. */
#include "blend/choice.h"
#include "cli/command.h"
#include "drift/drift.h"
#include "model/layout.h"
#include "ui/actions.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_SIZE = 4096 };

/* --- roff --- */

/* Length of the UTF-8 sequence at p, and its value. The texts are this program's own: well-formed. */
static size_t character(const char *p, unsigned *code)
{
    unsigned char first = (unsigned char)*p;
    size_t n = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    *code = n == 1 ? first : first & (0x7fu >> n);
    for (size_t i = 1; i < n; i++)
        *code = *code << 6 | ((unsigned char)p[i] & 0x3fu);
    return n;
}

/* The text as roff: nothing in it is taken for a request, an escape or a typographic quote or dash. */
static void put(const char *text)
{
    static const struct {
        char plain;
        const char *roff;
    } names[] = {{'\\', "\\e"}, {'-', "\\-"}, {'\'', "\\(aq"}, {'`', "\\(ga"}, {'^', "\\(ha"}, {'~', "\\(ti"},
        {'"', "\\(dq"}};
    if (*text == '.')
        fputs("\\&", stdout);
    while (*text != '\0') {
        unsigned code;
        size_t n = character(text, &code), i = 0;
        while (i < sizeof names / sizeof names[0] && (unsigned)names[i].plain != code)
            i++;
        if (i < sizeof names / sizeof names[0])
            fputs(names[i].roff, stdout);
        else if (code >= 0x80)
            printf("\\[u%04X]", code);
        else
            putchar((int)code);
        text += n;
    }
}

static void put_bold(const char *text)
{
    fputs("\\fB", stdout);
    put(text);
    fputs("\\fR", stdout);
}

/* A help text as a sentence. */
static void put_sentence(const char *text)
{
    char first[2] = {(char)toupper((unsigned char)text[0]), '\0'};
    put(first);
    put(text[0] != '\0' ? text + 1 : "");
    fputs(".\n", stdout);
}

/* "PRE POST" or "auto|always|never": words in capitals are the reader's to fill in. */
static void put_argument(const char *text)
{
    char word[LINE_SIZE];
    for (const char *p = text; *p != '\0'; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        fputs(p > text ? " " : "", stdout);
        fputs(strchr(word, '|') != NULL ? "\\fB" : "\\fI", stdout);
        put(word);
        fputs("\\fR", stdout);
        p += n;
    }
}

/* --- the tables --- */

static void put_options(const struct qk_option_info *const *table)
{
    for (; *table != NULL; table++) {
        const struct qk_option_info *row = *table;
        char name[64];
        fputs(".TP\n", stdout);
        if (row->letter != 0) {
            snprintf(name, sizeof name, "-%c", row->letter);
            put_bold(name);
            fputs(", ", stdout);
        }
        snprintf(name, sizeof name, "--%s", row->name);
        put_bold(name);
        if (row->argument != NULL) {
            putchar(' ');
            put_argument(row->argument);
        }
        putchar('\n');
        put_sentence(row->help);
    }
}

static void put_synopsis(void)
{
    for (int i = 0; qk_command_info(i) != NULL; i++) {
        const struct qk_command *command = qk_command_info(i);
        fputs(i > 0 ? ".br\n" : "", stdout);
        put_bold("qkscope");
        if (command->name[0] != '\0') {
            putchar(' ');
            put_bold(command->name);
        }
        if (command->options[0] != NULL)
            fputs(" [\\fIOPTION\\fR]...", stdout);
        if (command->operands[0] != '\0') {
            putchar(' ');
            put_argument(command->operands);
        }
        putchar('\n');
    }
}

static void put_commands(void)
{
    for (int i = 1; qk_command_info(i) != NULL; i++) {
        const struct qk_command *command = qk_command_info(i);
        printf(".SS \"");
        put_bold("qkscope ");
        put_bold(command->name);
        if (command->operands[0] != '\0') {
            putchar(' ');
            put_argument(command->operands);
        }
        fputs("\"\n", stdout);
        put_sentence(command->summary);
        put_options(command->options);
    }
}

static void put_screen_options(void)
{
    put_options(qk_command_info(0)->options);
    put_options(qk_common_options);
}

static void put_keys(void)
{
    const char *group = "";
    for (int i = 0; qk_action_info(i) != NULL; i++) {
        const struct qk_action_info *action = qk_action_info(i);
        if (strcmp(group, action->group) != 0) {
            group = action->group;
            fputs(".SS ", stdout);
            put(group);
            putchar('\n');
        }
        fputs(".TP\n", stdout);
        put_bold(action->keys[0] != '\0' ? action->keys : "(no key)");
        fputs(" (\\fI:", stdout);
        put(action->name);
        fputs("\\fR)\n", stdout);
        put_sentence(action->help);
    }
}

static void put_modes(void)
{
    for (int i = 0; i < QK_MODE_COUNT; i++) {
        const struct qk_mode_info *mode = qk_mode_info((enum qk_mode)i);
        fputs(".TP\n", stdout);
        put_bold(mode->name);
        if (mode->has_param)
            printf(":\\fI%s\\fR", mode->placeholder);
        putchar('\n');
        put_sentence(mode->help);
    }
}

/* "keep, restore or lerp.": the modes for which `among` is true. */
static void put_mode_list(bool (*among)(const struct qk_mode_info *mode))
{
    const struct qk_mode_info *member[QK_MODE_COUNT];
    int n = 0;
    for (int i = 0; i < QK_MODE_COUNT; i++)
        if (among(qk_mode_info((enum qk_mode)i)))
            member[n++] = qk_mode_info((enum qk_mode)i);
    for (int i = 0; i < n; i++) {
        fputs(i == 0 ? "" : i == n - 1 ? " or " : ", ", stdout);
        put_bold(member[i]->name);
    }
    fputs(".\n", stdout);
}

static bool is_mode(const struct qk_mode_info *mode)
{
    (void)mode;
    return true;
}

static bool acts_on_both(const struct qk_mode_info *mode)
{
    return mode->both_roles;
}

static void put_mode_names(void)
{
    put_mode_list(is_mode);
}

static void put_modes_of_both(void)
{
    put_mode_list(acts_on_both);
}

/* "ALPHA of lerp, from 0 to 1; LAMBDA of qk-pro, from 0." */
static void put_mode_params(void)
{
    const char *before = "";
    for (int i = 0; i < QK_MODE_COUNT; i++) {
        const struct qk_mode_info *mode = qk_mode_info((enum qk_mode)i);
        if (!mode->has_param)
            continue;
        printf("%s\\fI%s\\fR of ", before, mode->placeholder);
        put_bold(mode->name);
        printf(", from %g", mode->low);
        if (isfinite(mode->high))
            printf(" to %g", mode->high);
        before = "; ";
    }
    fputs(".\n", stdout);
}

static void put_metrics(void)
{
    for (int i = 0; i < QK_METRIC_COUNT; i++) {
        const struct qk_metric_info *metric = qk_metric_info((enum qk_metric)i);
        fputs(".TP\n", stdout);
        put_bold(metric->key);
        putchar('\n');
        put_sentence(metric->help);
    }
}

static const struct {
    const char *mark;
    void (*put)(void);
} TABLES[] = {{"@SYNOPSIS@\n", put_synopsis}, {"@COMMANDS@\n", put_commands},
    {"@OPTIONS@\n", put_screen_options}, {"@KEYS@\n", put_keys}, {"@MODES@\n", put_modes},
    {"@MODE_NAMES@\n", put_mode_names}, {"@MODES_OF_BOTH@\n", put_modes_of_both},
    {"@MODE_PARAMS@\n", put_mode_params}, {"@METRICS@\n", put_metrics}};

/* --- keys of layout rows --- */

enum { MAX_KEYS = 256 };

/* How often the template holds each key. */
static int key_count[MAX_KEYS];

/* The words with commas between them: "one of full, window, none". */
static void put_words(const char *words)
{
    fputs("one of", stdout);
    for (const char *p = words + strspn(words, " "); *p != '\0'; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        printf("%s \\fB%.*s\\fR", p > words + strspn(words, " ") ? "," : "", (int)n, p);
        p += n;
    }
}

static void put_layout_key(const struct qk_layout_key *key)
{
    fputs(".TP\n", stdout);
    put_bold(key->key);
    fputs(" (", stdout);
    if (key->words != NULL && strcmp(key->type, "word") == 0)
        put_words(key->words);
    else
        put(key->type);
    fputs(key->needed ? "; required)\n" : ")\n", stdout);
}

/* False when the line asks for a key that there is not. */
static bool put_key_line(const char *line)
{
    char object[64], name[64];
    struct qk_layout_key key;
    if (sscanf(line, "@KEY %63s %63[^@ \n]@", object, name) == 2)
        for (size_t i = 0; i < MAX_KEYS && qk_layout_key(i, &key); i++)
            if (strcmp(key.object, object) == 0 && strcmp(key.key, name) == 0) {
                key_count[i]++;
                put_layout_key(&key);
                return true;
            }
    fprintf(stderr, "tables: no such key: %s", line);
    return false;
}

/* Every key stands in the template once, or none does. */
static bool check_keys(void)
{
    struct qk_layout_key key;
    bool any = false, good = true;
    for (size_t i = 0; i < MAX_KEYS; i++)
        any = any || key_count[i] > 0;
    for (size_t i = 0; any && qk_layout_key(i, &key); i++)
        if (i >= MAX_KEYS || key_count[i] != 1) {
            fprintf(
                stderr, "tables: the template does not hold the key %s of %s once\n", key.key, key.object);
            good = false;
        }
    return good;
}

/* --- the template --- */

/* False when the line cannot be filled. */
static bool put_line(char *line)
{
    if (strncmp(line, "@KEY ", 5) == 0)
        return put_key_line(line);
    for (size_t i = 0; i < sizeof TABLES / sizeof TABLES[0]; i++) {
        if (strcmp(line, TABLES[i].mark) == 0) {
            TABLES[i].put();
            return true;
        }
    }
    char *mark = strstr(line, "@VERSION@");
    if (mark != NULL) {
        *mark = '\0';
        printf("%s%s%s", line, PACKAGE_VERSION, mark + strlen("@VERSION@"));
        return true;
    }
    fputs(line, stdout);
    return true;
}

int main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: tables TEMPLATE\n");
        return EXIT_FAILURE;
    }
    char line[LINE_SIZE];
    bool good = true;
    while (fgets(line, sizeof line, file) != NULL)
        good = put_line(line) && good;
    good = check_keys() && good && !ferror(file);
    fclose(file);
    return good && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
