/* cmd_cases.c - qkscope cases: files of random questions with their answers. */
#include "cli/arguments.h"
#include "cli/print.h"

#include "base/atomic_file.h"
#include "base/mem.h"
#include "eval/arithmetic.h"
#include "eval/cases.h"
#include "eval/haystack.h"
#include "eval/ruler.h"
#include "range/probe_text.h"
#include "tensor/hub/hub.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum kind { NEEDLE, ARITHMETIC }; /* order of the operand's words */
enum { MOST_LENGTHS = 64, MOST_DEPTHS = 101, MOST_COUNT = 1000000 };

struct request {
    enum kind kind;
    int length[MOST_LENGTHS], n_lengths;
    double depth[MOST_DEPTHS];
    int n_depths, count, low, high;
    struct qk_haystack haystack;
    bool is_ruler; /* its cases are RULER's */
    int ruler_task;
    char *text, *folder; /* owned: the text that haystack borrows, the tokenizer's path */
    struct qk_tokenizer *tokenizer;
    const char *output;
    struct qk_text out;
};

static void free_request(struct request *r)
{
    free(r->text);
    free(r->folder);
    qk_tokenizer_free(r->tokenizer);
    qk_text_free(&r->out);
}

/* --- options --- */

static enum qk_code refuse_foreign(const struct qk_arguments *arguments, enum kind kind, struct qk_error *err)
{
    static const char *const needle[] = {
        "length", "tokenizer", "depths", "haystack", "value", "digits", "distractors", "ruler"};
    static const char *const own[] = {"value", "digits", "distractors"};
    for (size_t i = 0; i < sizeof needle / sizeof needle[0] && kind == ARITHMETIC; i++)
        if (qk_arguments_has(arguments, needle[i]))
            return qk_fail(err, QK_USAGE, "--%s: goes with needle, not with arithmetic", needle[i]);
    for (size_t i = 0; i < sizeof own / sizeof own[0] && qk_arguments_has(arguments, "ruler"); i++)
        QK_TRY(qk_arguments_exclude(arguments, "ruler", own[i], err));
    if (kind == NEEDLE && qk_arguments_has(arguments, "steps"))
        return qk_fail(err, QK_USAGE, "--steps: goes with arithmetic, not with needle");
    return QK_OK;
}

/* Reads a number of a list; *end is behind it. False for anything but a decimal number. */
static bool take_number(const char *text, const char *characters, double *out, const char **end)
{
    char word[32], *stop;
    size_t n = strspn(text, characters);
    if (n == 0 || n >= sizeof word)
        return false;
    memcpy(word, text, n);
    word[n] = '\0';
    *out = strtod(word, &stop);
    *end = text + n;
    return *stop == '\0' && (**end == ',' || **end == '\0');
}

/* Reads the numbers of an option's list, low to high, none twice. */
static enum qk_code read_list(const char *name, const char *text, const char *characters, double low,
    double high, int most, double *out, int *n, struct qk_error *err)
{
    const char *p = text, *end;
    for (*n = 0;; p = end + 1) {
        double value;
        if (*n == most)
            return qk_fail(err, QK_USAGE, "--%s: too many numbers (expected at most %d)", name, most);
        if (!take_number(p, characters, &value, &end) || value < low || value > high)
            return qk_fail(err, QK_USAGE,
                "--%s: not a list of numbers in range (found '%s', expected %g to %.9g, with commas)", name,
                text, low, high);
        for (int i = 0; i < *n; i++)
            if (out[i] == value)
                return qk_fail(err, QK_USAGE, "--%s: %g appears twice", name, value);
        out[(*n)++] = value;
        if (*end == '\0')
            return QK_OK;
    }
}

static enum qk_code read_lengths(const char *text, struct request *r, struct qk_error *err)
{
    double length[MOST_LENGTHS];
    QK_TRY(read_list("length",
        text != NULL  ? text
        : r->is_ruler ? "4096"
                      : "512,1024,2048",
        "0123456789", 1, QK_PROBE_MOST, MOST_LENGTHS, length, &r->n_lengths, err));
    for (int i = 0; i < r->n_lengths; i++)
        r->length[i] = (int)length[i];
    return QK_OK;
}

static enum qk_code read_depths(const char *text, struct request *r, struct qk_error *err)
{
    double count;
    const char *end;
    bool whole = text != NULL && take_number(text, "0123456789", &count, &end) && *end == '\0';
    if (!whole || count < 2 || count > MOST_DEPTHS)
        return read_list("depths", text != NULL ? text : "0.1,0.3,0.5,0.7,0.9", "0123456789.", 0, 1,
            MOST_DEPTHS, r->depth, &r->n_depths, err);
    r->n_depths = (int)count;
    for (int i = 0; i < r->n_depths; i++)
        r->depth[i] = i / (count - 1);
    return QK_OK;
}

static enum qk_code read_haystack(const char *what, struct request *r, struct qk_error *err)
{
    r->haystack.filler = QK_FILLER_PROSE;
    if (what == NULL || strcmp(what, "prose") == 0)
        return QK_OK;
    if (strcmp(what, "noise") == 0) {
        r->haystack.filler = QK_FILLER_NOISE;
        return QK_OK;
    }
    r->haystack.filler = QK_FILLER_TEXT;
    QK_TRY(qk_probe_read_text(what, &r->text, &r->haystack.n_text, err));
    r->haystack.text = r->text;
    return QK_OK;
}

static enum qk_code read_tokenizer(const char *operand, struct request *r, struct qk_error *err)
{
    if (operand == NULL)
        return QK_OK;
    QK_TRY(qk_hub_resolve(operand, &r->folder, err));
    QK_TRY(qk_tokenizer_open(r->folder, &r->tokenizer, err));
    r->haystack.tokenizer = r->tokenizer;
    return QK_OK;
}

/* --depths of RULER's tasks: without it each case draws its own. */
static enum qk_code read_ruler(const struct qk_arguments *arguments, struct request *r, struct qk_error *err)
{
    const char *depths = qk_arguments_text(arguments, "depths");
    const char *haystack = qk_arguments_text(arguments, "haystack");
    if (depths != NULL && !qk_ruler_has_depth(r->ruler_task))
        return qk_fail(err, QK_USAGE, "--depths: this task of --ruler has several answers, at random places");
    if (haystack != NULL && !qk_ruler_has_essays(r->ruler_task))
        return qk_fail(err, QK_USAGE, "--haystack: this task of --ruler has a haystack of its own");
    if (haystack != NULL && strcmp(haystack, "noise") == 0)
        return qk_fail(
            err, QK_USAGE, "--haystack: noise is that of --ruler niah_single_1 (expected prose or a file)");
    QK_TRY(read_lengths(qk_arguments_text(arguments, "length"), r, err));
    QK_TRY(read_haystack(haystack, r, err));
    if (depths != NULL)
        return read_depths(depths, r, err);
    r->n_depths = 1;
    r->depth[0] = NAN;
    return QK_OK;
}

static enum qk_code read_needle(const struct qk_arguments *arguments, struct request *r, struct qk_error *err)
{
    static const int digits[] = {[QK_VALUE_DIGITS] = 4, [QK_VALUE_HEX] = 8, [QK_VALUE_WORDS] = 2};
    struct qk_haystack *haystack = &r->haystack;
    haystack->value = (enum qk_value)qk_arguments_word(arguments, "value");
    QK_TRY(qk_arguments_number(
        arguments, "digits", 1, QK_VALUE_MOST, digits[haystack->value], &haystack->digits, err));
    QK_TRY(qk_arguments_number(
        arguments, "distractors", 0, QK_DISTRACTORS_MOST, 3, &haystack->distractors, err));
    r->is_ruler = qk_arguments_has(arguments, "ruler");
    r->ruler_task = qk_arguments_word(arguments, "ruler");
    if (r->is_ruler) {
        QK_TRY(read_ruler(arguments, r, err));
    } else {
        QK_TRY(read_lengths(qk_arguments_text(arguments, "length"), r, err));
        QK_TRY(read_depths(qk_arguments_text(arguments, "depths"), r, err));
        QK_TRY(read_haystack(qk_arguments_text(arguments, "haystack"), r, err));
    }
    return read_tokenizer(qk_arguments_text(arguments, "tokenizer"), r, err);
}

/* Reads "3-5", or "4" for 4 alone. */
static enum qk_code read_steps(const char *text, struct request *r, struct qk_error *err)
{
    char *end, digits[] = "0123456789";
    text = text != NULL ? text : "3-5";
    long low = strspn(text, digits) > 0 ? strtol(text, &end, 10) : 0, high = low;
    if (low > 0 && *end == '-' && strspn(end + 1, digits) > 0)
        high = strtol(end + 1, &end, 10);
    if (low < 1 || *end != '\0' || high < low || high > QK_ARITHMETIC_STEPS)
        return qk_fail(err, QK_USAGE,
            "--steps: not a range (found '%s', expected one such as 3-5, of 1 to %d)", text,
            QK_ARITHMETIC_STEPS);
    r->low = (int)low;
    r->high = (int)high;
    return QK_OK;
}

/* Refuses to replace an existing file without --force, and a file of a checkpoint in any case. */
static enum qk_code check_output(
    const struct qk_arguments *arguments, struct request *r, struct qk_error *err)
{
    struct stat info;
    char folder[PATH_MAX], input[PATH_MAX], *parent, *name;
    r->output = qk_arguments_text(arguments, "output");
    if (r->output == NULL || strcmp(r->output, "-") == 0) {
        r->output = NULL;
        return QK_OK;
    }
    bool there = lstat(r->output, &info) == 0;
    if (!there && errno != ENOENT)
        return qk_fail_errno(err, r->output, "examine");
    if (there && !qk_arguments_has(arguments, "force"))
        return qk_fail(err, QK_USAGE, "%s: exists: not replaced without --force", r->output);
    if (r->folder == NULL)
        return QK_OK;
    QK_TRY(qk_split_path(r->output, &parent, &name, err));
    bool inside = realpath(parent, folder) != NULL && realpath(r->folder, input) != NULL &&
                  qk_path_inside(folder, input);
    free(parent);
    free(name);
    return inside
               ? qk_fail(err, QK_USAGE, "%s: refused: it is in the tokenizer's folder (%s)", r->output, input)
               : QK_OK;
}

static enum qk_code read_request(
    const struct qk_arguments *arguments, struct request *r, struct qk_error *err)
{
    int seed;
    r->kind = (enum kind)qk_arguments_operand_word(arguments, 0);
    QK_TRY(refuse_foreign(arguments, r->kind, err));
    QK_TRY(
        qk_arguments_number(arguments, "count", 1, MOST_COUNT, r->kind == NEEDLE ? 20 : 100, &r->count, err));
    QK_TRY(qk_arguments_number(arguments, "seed", 0, INT_MAX, 1, &seed, err));
    r->haystack.seed = (uint64_t)seed;
    QK_TRY(r->kind == NEEDLE ? read_needle(arguments, r, err)
                             : read_steps(qk_arguments_text(arguments, "steps"), r, err));
    return check_output(arguments, r, err);
}

/* --- the command --- */

static enum qk_code check_size(const struct request *r, struct qk_error *err)
{
    return r->out.length <= QK_CASES_BYTES
               ? QK_OK
               : qk_fail(
                     err, QK_USAGE, "too many cases for a file (expected at most %d bytes)", QK_CASES_BYTES);
}

static enum qk_code write_needle(const struct request *r, size_t length, double depth, int number,
    struct qk_text *out, struct qk_error *err)
{
    const struct qk_haystack *haystack = &r->haystack;
    const struct qk_ruler ruler = {
        r->ruler_task, haystack->text, haystack->n_text, haystack->seed, haystack->tokenizer};
    return r->is_ruler ? qk_ruler_write(&ruler, length, depth, number, out, err)
                       : qk_haystack_write(haystack, length, depth, number, out, err);
}

static enum qk_code write_needles(struct request *r, struct qk_error *err)
{
    for (int l = 0; l < r->n_lengths; l++)
        for (int d = 0; d < r->n_depths; d++)
            for (int i = 0; i < r->count; i++) {
                QK_TRY(write_needle(r, (size_t)r->length[l], r->depth[d], i, &r->out, err));
                QK_TRY(check_size(r, err));
            }
    return QK_OK;
}

static enum qk_code write_arithmetic(struct request *r, struct qk_error *err)
{
    for (int i = 0; i < r->count; i++) {
        QK_TRY(qk_arithmetic_write(r->haystack.seed, i, r->low, r->high, &r->out, err));
        QK_TRY(check_size(r, err));
    }
    return QK_OK;
}

static enum qk_code run(const struct qk_arguments *arguments, struct request *r, struct qk_error *err)
{
    QK_TRY(read_request(arguments, r, err));
    QK_TRY(r->kind == NEEDLE ? write_needles(r, err) : write_arithmetic(r, err));
    if (r->output != NULL)
        return qk_write_text(r->output, r->out.s, r->out.length, err);
    qk_print("%s", r->out.s);
    return QK_OK;
}

static enum qk_code run_cases(const struct qk_arguments *arguments, struct qk_error *err)
{
    struct request r = {0};
    enum qk_code code = run(arguments, &r, err);
    free_request(&r);
    return code;
}

static const struct qk_option_info *const OPTIONS[] = {
    QK_OPTION(
        "length", 'n', "LIST", "needle: lengths of the prompts, as in 512,1024; 512,1024,2048 without it"),
    QK_OPTION("tokenizer", 't', "DIR",
        "needle: count lengths in tokens of this checkpoint's tokenizer, with BOS; in bytes without it"),
    QK_OPTION("depths", 'd', "LIST",
        "needle: places of the needle from 0 to 1, as in 0,0.5; a whole number N from 2 on is N even places; "
        "0.1,0.3,0.5,0.7,0.9 without it"),
    QK_OPTION("haystack", 0, "WHAT",
        "needle: noise (five sentences again and again), prose (built-in words), or a UTF-8 file; prose without it"),
    QK_OPTION("ruler", 0, QK_RULER_WORDS,
        "needle: a task of RULER instead, with its texts and answers; lengths count what is generated, too; its essays "
        "are a file of --haystack, or prose"),
    QK_OPTION("value", 0, "digits|hex|words", "needle: the kind of value; digits without it"),
    QK_OPTION("digits", 0, "N", "needle: digits (or words) of a value; 4, of hex 8, of words 2 without it"),
    QK_OPTION("distractors", 0, "N", "needle: other needles without a question; 3 without it"),
    QK_OPTION("steps", 0, "A-B", "arithmetic: steps of a problem; 3-5 without it"),
    QK_OPTION("count", 'c', "N", "cases of each length and depth, 20 without it; of arithmetic, 100"),
    QK_OPTION("seed", 0, "N", "the same number gives the same cases, another number others; 1 without it"),
    QK_OPTION("output", 'o', "FILE", "write to FILE; - and nothing are standard output"),
    QK_OPTION("force", 'f', NULL, "replace FILE where it exists"),
    NULL,
};

const struct qk_command qk_cases_command = {
    .name = "cases",
    .operands = "needle|arithmetic",
    .summary = "Writes questions with their answers: needles in long texts, or problems in several steps",
    .options = OPTIONS,
    .kernels = QK_KERNELS_UNUSED,
    .run = run_cases,
};
