/* pattern.c - the matches of a pattern with PCRE2, within limits. */
#include "token/pattern.h"

#include "base/mem.h"
#include "token/ruby.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A pattern comes with the file, so it may be made to take for ever. These limits bound the steps of one attempt, and
 * the processor time of a whole text. Real patterns take less than a microsecond a byte. */
enum {
    STEPS = 20000000,
    HEAP_KIB = 1 << 18,
    PATTERN_BYTES = 1 << 16,
    LITERAL_BYTES = 256,
    FREE_SECONDS = 10,
    NS_PER_BYTE = 50000
};

struct qk_pattern {
    char *literal; /* owned; or */
    pcre2_code *code;
};

/* --- compiling --- */

/* `text` is what the file has, `rewritten` the same for PCRE2. */
static enum qk_code compile(
    const char *where, const char *text, const char *rewritten, pcre2_code **out, struct qk_error *err)
{
    int number;
    PCRE2_SIZE offset;
    PCRE2_UCHAR message[128] = "";
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL)
        return qk_fail_memory(err, sizeof(void *));
    pcre2_set_max_pattern_length(context, PATTERN_BYTES);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    /* ^ and $ match at lines in Ruby's syntax */
    *out = pcre2_compile((PCRE2_SPTR)rewritten, PCRE2_ZERO_TERMINATED,
        PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &number, &offset, context);
    pcre2_compile_context_free(context);
    if (*out != NULL)
        return QK_OK;
    pcre2_get_error_message(number, message, sizeof message);
    return qk_fail(
        err, QK_INPUT, "%s: the pattern is not valid (found %.200s: %s)", where, text, (const char *)message);
}

enum qk_code qk_pattern_regex(
    const char *where, const char *text, struct qk_pattern **out, struct qk_error *err)
{
    char *rewritten;
    *out = NULL;
    if (strlen(text) > PATTERN_BYTES)
        return qk_fail(err, QK_INPUT, "%s: pattern: too long (found %zu bytes, at most %d)", where,
            strlen(text), PATTERN_BYTES);
    QK_TRY(qk_ruby_to_pcre2(where, text, &rewritten, err));
    enum qk_code code = qk_alloc(out, 1, sizeof **out, err);
    if (code == QK_OK)
        code = compile(where, text, rewritten, &(*out)->code, err);
    free(rewritten);
    if (code != QK_OK) {
        qk_pattern_free(*out);
        *out = NULL;
    }
    return code;
}

enum qk_code qk_pattern_literal(const char *text, struct qk_pattern **out, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 1, sizeof **out, err));
    enum qk_code code = qk_strdup_to(&(*out)->literal, text, err);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}

enum qk_code qk_pattern_read(
    const char *where, const cJSON *pattern, struct qk_pattern **out, struct qk_error *err)
{
    *out = NULL;
    const char *literal = qk_json_string(pattern, "String", NULL);
    const char *regex = qk_json_string(pattern, "Regex", NULL);
    if (literal != NULL && strlen(literal) > LITERAL_BYTES)
        return qk_fail(err, QK_INPUT, "%s: pattern: too long (found %zu bytes, at most %d)", where,
            strlen(literal), LITERAL_BYTES);
    if (literal != NULL)
        return qk_pattern_literal(literal, out, err);
    if (regex != NULL)
        return qk_pattern_regex(where, regex, out, err);
    return qk_fail(err, QK_INPUT, "%s: pattern: neither a String nor a Regex", where);
}

void qk_pattern_free(struct qk_pattern *pattern)
{
    if (pattern == NULL)
        return;
    free(pattern->literal);
    pcre2_code_free(pattern->code);
    free(pattern);
}

/* --- finding --- */

static enum qk_code add_range(
    struct qk_ranges *found, size_t from, size_t to, bool match, struct qk_error *err)
{
    if (!match && from == to)
        return QK_OK;
    QK_TRY(qk_grow(&found->range, &found->capacity, found->n + 1, sizeof *found->range, err));
    found->range[found->n++] = (struct qk_range){from, to, match};
    return QK_OK;
}

static enum qk_code find_literal(
    const char *literal, const char *text, size_t n, struct qk_ranges *found, struct qk_error *err)
{
    size_t length = strlen(literal), done = 0, at = 0;
    const char *hit;
    while (length > 0 && n - at >= length &&
           (hit = memchr(text + at, literal[0], n - at - length + 1)) != NULL) {
        at = (size_t)(hit - text);
        if (memcmp(hit, literal, length) != 0) {
            at++;
            continue;
        }
        QK_TRY(add_range(found, done, at, false, err));
        QK_TRY(add_range(found, at, at + length, true, err));
        done = at += length;
    }
    return add_range(found, done, n, false, err);
}

/* What a search needs besides the pattern. */
struct search {
    pcre2_match_context *context;
    pcre2_match_data *data;
    struct timespec start;
    double seconds; /* at most */
    size_t attempts;
};

static enum qk_code search_start(
    const struct qk_pattern *pattern, size_t n, struct search *search, struct qk_error *err)
{
    *search = (struct search){.context = pcre2_match_context_create(NULL),
        .data = pcre2_match_data_create_from_pattern(pattern->code, NULL),
        .seconds = FREE_SECONDS + (double)n * NS_PER_BYTE * 1e-9};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &search->start);
    if (search->context == NULL || search->data == NULL)
        return qk_fail_memory(err, sizeof(void *));
    pcre2_set_match_limit(search->context, STEPS);
    pcre2_set_heap_limit(search->context, HEAP_KIB);
    return QK_OK;
}

static bool too_slow(struct search *search)
{
    struct timespec now;
    if (++search->attempts % 64 != 0)
        return false;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)(now.tv_sec - search->start.tv_sec) +
               1e-9 * (double)(now.tv_nsec - search->start.tv_nsec) >
           search->seconds;
}

/* *to = the end of a match that begins exactly at `at`; *hit is false without a match. Attempts are anchored: when
 * PCRE2 searches for the next match by itself, nothing bounds its time. */
static enum qk_code match_at(const struct qk_pattern *pattern, struct search *search, const char *text,
    size_t n, size_t at, bool *hit, size_t *to, struct qk_error *err)
{
    int code = too_slow(search)
                   ? PCRE2_ERROR_MATCHLIMIT
                   : pcre2_match(pattern->code, (PCRE2_SPTR)text, n, at,
                         PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, search->data, search->context);
    *hit = code >= 0;
    if (code < 0 && code != PCRE2_ERROR_NOMATCH)
        return qk_fail(
            err, QK_INPUT, "a pattern of the tokenizer takes too long on this text (PCRE2 error %d)", code);
    if (*hit)
        *to = pcre2_get_ovector_pointer(search->data)[1];
    if (*hit && *to < at)
        return qk_fail(err, QK_INPUT, "a pattern of the tokenizer matches backwards");
    return QK_OK;
}

/* text[from, end) is UTF-8; *done is where the last match ended. `last`: the text ends there, and an empty match there
 * counts. */
static enum qk_code find_in_valid(const struct qk_pattern *pattern, struct search *search, const char *text,
    size_t from, size_t end, bool last, size_t *done, struct qk_ranges *found, struct qk_error *err)
{
    size_t at = 0, n = end - from;
    while (at < n + last) {
        bool hit;
        size_t to = at;
        int32_t code;
        QK_TRY(match_at(pattern, search, text + from, n, at, &hit, &to, err));
        /* Oniguruma's search skips an empty match where the last one ended */
        if (hit && !(to == at && found->n > 0 && *done == from + at)) {
            QK_TRY(add_range(found, *done, from + at, false, err));
            QK_TRY(add_range(found, from + at, from + to, true, err));
            *done = from + to;
        }
        at = to > at ? to : at == n ? n + 1 : at + qk_character(text + from + at, n - at, &code);
    }
    return QK_OK;
}

static enum qk_code find_regex(const struct qk_pattern *pattern, struct search *search, const char *text,
    size_t n, struct qk_ranges *found, struct qk_error *err)
{
    size_t done = 0;
    for (size_t from = 0; from < n;) {
        size_t end = from, length;
        int32_t code;
        for (; end < n; end += length) {
            length = qk_character(text + end, n - end, &code);
            if (code < 0)
                break;
        }
        QK_TRY(find_in_valid(pattern, search, text, from, end, end == n, &done, found, err));
        from = end + (end < n); /* a byte that is no character */
    }
    return add_range(found, done, n, false, err);
}

enum qk_code qk_pattern_find(const struct qk_pattern *pattern, const char *text, size_t n,
    struct qk_ranges *found, struct qk_error *err)
{
    found->n = 0;
    if (pattern->literal != NULL)
        return find_literal(pattern->literal, text, n, found, err);
    struct search search;
    enum qk_code code = search_start(pattern, n, &search, err);
    if (code == QK_OK)
        code = find_regex(pattern, &search, text, n, found, err);
    pcre2_match_data_free(search.data);
    pcre2_match_context_free(search.context);
    return code;
}

/* --- cutting --- */

enum qk_code qk_split_read(const char *where, const char *name, enum qk_split *out, struct qk_error *err)
{
    static const char *const names[] = {
        "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) != 0)
            continue;
        *out = (enum qk_split)i;
        return QK_OK;
    }
    return qk_fail(err, QK_INPUT, "%s: behavior is not supported (found %.64s)", where, name);
}

/* Joins ranges in place, as the original's folds do. A range joins the one before it (or behind it) depending on
 * whether it and its neighbour in the unjoined list are matches. */
static void join(struct qk_ranges *ranges, enum qk_split split)
{
    struct qk_range *range = ranges->range;
    size_t n = ranges->n, kept = 0;
    bool next_way = split == QK_MERGED_WITH_NEXT, previous = false;
    for (size_t i = 0; i < n; i++) {
        /* MergedWithNext is MergedWithPrevious from the end */
        struct qk_range here = range[next_way ? n - 1 - i : i];
        bool joins = split == QK_CONTIGUOUS ? here.match == previous : here.match && !previous;
        previous = here.match;
        if (joins && kept > 0 && next_way)
            range[n - kept].from = here.from;
        else if (joins && kept > 0)
            range[kept - 1].to = here.to;
        else if (next_way)
            range[n - ++kept] = here;
        else
            range[kept++] = here;
    }
    if (next_way)
        memmove(range, range + n - kept, kept * sizeof *range);
    ranges->n = kept;
}

/* Keeps the bytes that are not UTF-8 of a range that is left out. A pattern matches characters, so it can neither
 * keep nor remove them. */
static enum qk_code keep_strays(
    const char *text, const struct qk_range *range, struct qk_pieces *out, struct qk_error *err)
{
    size_t length, begin = out->n_bytes;
    for (size_t at = range->from; at < range->to; at += length) {
        int32_t code;
        length = qk_character(text + at, range->to - at, &code);
        if (code < 0)
            QK_TRY(qk_pieces_add(out, text + at, length, err));
        if (code >= 0 || at + length == range->to) {
            QK_TRY(qk_pieces_cut(out, begin, QK_NO_TOKEN, 0, err));
            begin = out->n_bytes;
        }
    }
    return QK_OK;
}

enum qk_code qk_pattern_split(const struct qk_pattern *pattern, bool invert, enum qk_split split,
    const char *text, size_t n, size_t lead, struct qk_pieces *out, struct qk_error *err)
{
    struct qk_ranges ranges = {0};
    enum qk_code code = qk_pattern_find(pattern, text, n, &ranges, err);
    for (size_t i = 0; i < ranges.n && invert; i++)
        ranges.range[i].match = !ranges.range[i].match;
    if (code == QK_OK && ranges.n > 0 && split != QK_ISOLATED && split != QK_REMOVED)
        join(&ranges, split);
    for (size_t i = 0; i < ranges.n && code == QK_OK; i++) {
        const struct qk_range *range = &ranges.range[i];
        code = split == QK_REMOVED && range->match
                   ? keep_strays(text, range, out, err)
                   : qk_pieces_put(out, text + range->from, range->to - range->from, QK_NO_TOKEN,
                         qk_lead_behind(lead, range->from), err);
    }
    free(ranges.range);
    return code;
}
