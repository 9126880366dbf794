/* arguments.c - the parser of the command line. It does not use getopt_long, which is not in POSIX and takes
 * abbreviations. A later option would make these ambiguous in existing scripts. */
#include "cli/arguments.h"

#include "base/guess.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "base/text.h"
#include "linalg/gemm.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How the user reaches the help of this command. */
#define HELP_HINT "see 'qkscope%s%s --help'"

static const char *blank_before_name(const struct qk_command *command)
{
    return command->name[0] != '\0' ? " " : "";
}

static const struct qk_option_info *find_long(
    const struct qk_option_info *const *table, const char *name, size_t n)
{
    for (; *table != NULL; table++)
        if (strlen((*table)->name) == n && memcmp((*table)->name, name, n) == 0)
            return *table;
    return NULL;
}

static const struct qk_option_info *find_short(const struct qk_option_info *const *table, char letter)
{
    for (; *table != NULL; table++)
        if ((*table)->letter == letter)
            return *table;
    return NULL;
}

/* The row of a name in the command's own table; any other name is a bug. */
static const struct qk_option_info *known_option(const struct qk_arguments *arguments, const char *name)
{
    const struct qk_option_info *option = find_long(arguments->command->options, name, strlen(name));
    assert(option != NULL);
    return option;
}

/* --- corrections --- */

static const char *nearest_option(const struct qk_command *command, const char *name, size_t n)
{
    struct qk_guess guess = qk_guess_begin(name, n);
    const struct qk_option_info *const *tables[] = {command->options, qk_common_options};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const struct qk_option_info *const *row = tables[t]; *row != NULL; row++)
            qk_guess_consider(&guess, (*row)->name);
    return guess.best;
}

static const char *nearest_command(const char *name)
{
    struct qk_guess guess = qk_guess_begin(name, strlen(name));
    for (int i = 1; qk_command_info(i) != NULL; i++)
        qk_guess_consider(&guess, qk_command_info(i)->name);
    return guess.best;
}

static enum qk_code unknown_option(
    const struct qk_command *command, const char *word, size_t n, struct qk_error *err)
{
    bool is_long = n > 2 && word[1] == '-';
    const char *meant = is_long ? nearest_option(command, word + 2, n - 2) : NULL;
    if (meant != NULL)
        return qk_fail(err, QK_USAGE, "unknown option '%.*s' (did you mean --%s?); " HELP_HINT, (int)n, word,
            meant, blank_before_name(command), command->name);
    return qk_fail(err, QK_USAGE, "unknown option '%.*s'; " HELP_HINT, (int)n, word,
        blank_before_name(command), command->name);
}

/* --- parsing --- */

struct parser {
    struct qk_arguments *out;
    int argc, next;
    char *const *argv;
    struct qk_error *err;
};

/* The words end with the text, or with a blank where others follow. */
static bool is_one_of(const char *text, const char *words, int *index)
{
    size_t n = strlen(text);
    *index = 0;
    for (const char *p = words;; p++, ++*index) {
        size_t m = strcspn(p, "| ");
        if (n == m && memcmp(text, p, n) == 0)
            return true;
        p += m;
        if (*p != '|')
            return false;
    }
}

static enum qk_code take_option(struct parser *p, const struct qk_option_info *option, const char *attached)
{
    struct qk_arguments *out = p->out;
    const char *text = attached;
    int ignored;
    if (option->argument == NULL) {
        if (attached != NULL)
            return qk_fail(p->err, QK_USAGE, "--%s takes no argument (found '%s')", option->name, attached);
    } else if (attached == NULL) {
        if (p->next == p->argc)
            return qk_fail(
                p->err, QK_USAGE, "--%s needs an argument (expected %s)", option->name, option->argument);
        text = p->argv[p->next++];
    }
    if (option->argument != NULL && strchr(option->argument, '|') != NULL &&
        !is_one_of(text, option->argument, &ignored))
        return qk_fail(p->err, QK_USAGE, "--%s: unknown word (found '%s', expected %s)", option->name, text,
            option->argument);
    out->help = out->help || (option == &qk_option_help);
    out->version = out->version || (option == &qk_option_version);
    out->given[out->n_given].option = option;
    out->given[out->n_given].text = text;
    out->n_given++;
    return QK_OK;
}

static enum qk_code take_long(struct parser *p, const char *word)
{
    const struct qk_command *command = p->out->command;
    size_t n = strcspn(word, "=");
    const struct qk_option_info *option = find_long(command->options, word + 2, n - 2);
    if (option == NULL)
        option = find_long(qk_common_options, word + 2, n - 2);
    if (option == NULL)
        return unknown_option(command, word, n, p->err);
    return take_option(p, option, word[n] == '=' ? word + n + 1 : NULL);
}

/* "-fo DIR": letters without argument may share a dash with those after them. */
static enum qk_code take_letters(struct parser *p, const char *word)
{
    const struct qk_command *command = p->out->command;
    for (const char *letter = word + 1; *letter != '\0'; letter++) {
        const struct qk_option_info *option = find_short(command->options, *letter);
        if (option == NULL)
            option = find_short(qk_common_options, *letter);
        if (option == NULL)
            return unknown_option(command, word, strlen(word), p->err);
        bool takes_rest = option->argument != NULL && letter[1] != '\0';
        QK_TRY(take_option(p, option, takes_rest ? letter + 1 : NULL));
        if (takes_rest)
            break;
    }
    return QK_OK;
}

static size_t count_words(const char *text)
{
    size_t n = 0;
    for (const char *p = text; *p != '\0'; p += strspn(p, " ")) {
        n++;
        p += strcspn(p, " ");
    }
    return n;
}

/* The first word of operand i in the command's table. */
static const char *operand_words(const struct qk_command *command, size_t i)
{
    const char *p = command->operands;
    for (; i > 0; i--) {
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    return p;
}

static enum qk_code check_operand_words(const struct qk_arguments *out, struct qk_error *err)
{
    for (size_t i = 0; i < out->n_operands && i < count_words(out->command->operands); i++) {
        const char *words = operand_words(out->command, i);
        int n = (int)strcspn(words, " "), ignored;
        if (memchr(words, '|', (size_t)n) != NULL && !is_one_of(out->operand[i], words, &ignored))
            return qk_fail(err, QK_USAGE, "%s: unknown word (found '%s', expected %.*s); " HELP_HINT,
                out->command->name, out->operand[i], n, words, " ", out->command->name);
    }
    return QK_OK;
}

static enum qk_code check_operands(const struct qk_arguments *out, struct qk_error *err)
{
    const struct qk_command *command = out->command;
    size_t wanted = count_words(command->operands);
    if (out->n_operands == wanted || (out->n_operands > wanted && qk_ends_with(command->operands, "...")))
        return check_operand_words(out, err);
    if (wanted == 0)
        return qk_fail(err, QK_USAGE, "%s: takes no operands (found '%s'); " HELP_HINT, command->name,
            out->operand[0], " ", command->name);
    /* `qkscope dif A B`: the user did not ask for the screen */
    const char *meant =
        command->name[0] == '\0' && out->n_operands > 0 ? nearest_command(out->operand[0]) : NULL;
    if (meant != NULL)
        return qk_fail(err, QK_USAGE, "unknown command '%s' (did you mean %s?); see 'qkscope --help'",
            out->operand[0], meant);
    return qk_fail(err, QK_USAGE, "%s%swrong number of operands (found %zu, expected %s); " HELP_HINT,
        command->name, command->name[0] != '\0' ? ": " : "", out->n_operands, command->operands,
        blank_before_name(command), command->name);
}

enum qk_code qk_arguments_parse(const struct qk_command *command, int argc, char *const *argv,
    struct qk_arguments *out, struct qk_error *err)
{
    size_t letters = 0;
    *out = (struct qk_arguments){.command = command};
    for (int i = 0; i < argc; i++) /* each word is at most one operand, and one option a letter */
        letters += strlen(argv[i]) + 1;
    QK_TRY(qk_alloc(&out->operand, (size_t)argc, sizeof *out->operand, err));
    QK_TRY(qk_alloc(&out->given, letters, sizeof *out->given, err));
    struct parser p = {.out = out, .argc = argc, .argv = argv, .err = err};
    bool only_operands = false;
    while (p.next < argc && !out->help && !out->version) {
        const char *word = argv[p.next++];
        if (only_operands || word[0] != '-' || word[1] == '\0')
            out->operand[out->n_operands++] = word;
        else if (strcmp(word, "--") == 0)
            only_operands = true;
        else if (word[1] == '-')
            QK_TRY(take_long(&p, word));
        else
            QK_TRY(take_letters(&p, word));
    }
    return out->help || out->version ? QK_OK : check_operands(out, err);
}

void qk_arguments_free(struct qk_arguments *arguments)
{
    free(arguments->operand);
    free(arguments->given);
    *arguments = (struct qk_arguments){0};
}

/* --- the getters --- */

bool qk_arguments_takes(const struct qk_arguments *arguments, const char *name)
{
    return find_long(arguments->command->options, name, strlen(name)) != NULL;
}

bool qk_arguments_has(const struct qk_arguments *arguments, const char *name)
{
    const struct qk_option_info *option = known_option(arguments, name);
    for (size_t i = 0; i < arguments->n_given; i++)
        if (arguments->given[i].option == option)
            return true;
    return false;
}

const char *qk_arguments_text(const struct qk_arguments *arguments, const char *name)
{
    const struct qk_option_info *option = known_option(arguments, name);
    for (size_t i = arguments->n_given; i > 0; i--)
        if (arguments->given[i - 1].option == option)
            return arguments->given[i - 1].text;
    return NULL;
}

enum qk_code qk_arguments_all(const struct qk_arguments *arguments, const char *name, const char *const **out,
    size_t *n, struct qk_error *err)
{
    const struct qk_option_info *option = known_option(arguments, name);
    const char **list;
    *out = NULL;
    *n = 0;
    QK_TRY(qk_alloc(&list, arguments->n_given, sizeof *list, err));
    for (size_t i = 0; i < arguments->n_given; i++)
        if (arguments->given[i].option == option)
            list[(*n)++] = arguments->given[i].text;
    *out = list;
    return QK_OK;
}

int qk_arguments_word(const struct qk_arguments *arguments, const char *name)
{
    const char *text = qk_arguments_text(arguments, name);
    int index = 0;
    if (text != NULL)
        is_one_of(text, known_option(arguments, name)->argument, &index);
    return index;
}

int qk_arguments_operand_word(const struct qk_arguments *arguments, size_t i)
{
    int index;
    is_one_of(arguments->operand[i], operand_words(arguments->command, i), &index);
    return index;
}

enum qk_code qk_arguments_number(const struct qk_arguments *arguments, const char *name, int low, int high,
    int fallback, int *out, struct qk_error *err)
{
    const char *text = qk_arguments_text(arguments, name);
    *out = fallback;
    if (text == NULL)
        return QK_OK;
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < low || value > high)
        return qk_fail(err, QK_USAGE, "--%s: not a number in range (found '%s', expected %d to %d)", name,
            text, low, high);
    *out = (int)value;
    return QK_OK;
}

enum qk_code qk_arguments_threads(const struct qk_arguments *arguments, int *out, struct qk_error *err)
{
    enum { MOST_THREADS = 1024 };
    QK_TRY(qk_arguments_number(arguments, "threads", 1, MOST_THREADS, 0, out, err));
    qk_parallel_limit((size_t)*out);
    return QK_OK;
}

enum qk_code qk_arguments_memory(const struct qk_arguments *arguments, size_t *out, struct qk_error *err)
{
    static const char UNITS[] = "KMGT";
    const char *text = qk_arguments_text(arguments, "memory");
    *out = 0;
    if (text == NULL)
        return QK_OK;
    char *end;
    double bytes = strtod(text, &end);
    const char *unit = *end != '\0' ? strchr(UNITS, *end) : NULL;
    if (unit != NULL)
        bytes = ldexp(bytes, 10 * (int)(unit - UNITS + 1));
    if (unit == NULL || end[1] != '\0' || !(bytes >= 1 && bytes <= 0x1p62))
        return qk_fail(err, QK_USAGE,
            "--memory: not a size (found '%s', expected a number with K, M, G or T, as in 8G)", text);
    *out = (size_t)bytes;
    return QK_OK;
}

enum qk_code qk_arguments_precision(const struct qk_arguments *arguments, struct qk_error *err)
{
    const char *text = qk_arguments_text(arguments, "precision");
    struct qk_error why_not;
    enum qk_precision precision = text != NULL && strcmp(text, "bf16") == 0 ? QK_BFLOAT16 : QK_FLOAT32;
    if (qk_precision_set(precision, &why_not) != QK_OK)
        return qk_fail(err, QK_INPUT, "--precision bf16: %s", why_not.text);
    return QK_OK;
}

enum qk_code qk_arguments_exclude(
    const struct qk_arguments *arguments, const char *one, const char *other, struct qk_error *err)
{
    if (qk_arguments_has(arguments, one) && qk_arguments_has(arguments, other))
        return qk_fail(err, QK_USAGE, "--%s and --%s cannot be given together", one, other);
    return QK_OK;
}
