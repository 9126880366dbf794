/* haystack.c - prompts of needles and as much filler as the length allows. */
#include "eval/haystack.h"

#include "base/mem.h"
#include "eval/cases.h"
#include "range/prose.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_SENTENCE = 400, VALUE_SIZE = QK_VALUE_MOST * 12, TRIES = 200 };

struct needle {
    char key[QK_PROSE_KEY + 1], value[VALUE_SIZE];
    double place; /* of a distractor, 0 to 1 */
};

struct sentence {
    size_t at, n; /* bytes of the pool */
};

struct maker {
    const struct qk_haystack *haystack;
    size_t length;
    double depth;
    uint64_t random;       /* of the filler */
    size_t next;           /* byte of the user's text, or sentence of the noise */
    struct needle *needle; /* the needle of the question, then the distractors */
    size_t n_needles;
    struct qk_text pool;     /* sentences one behind the other: needles first, then filler */
    struct sentence *filler; /* n_filler so far; more are made when needed */
    size_t n_filler, filler_capacity;
    struct sentence *fact, *order; /* of the needles; of a prompt */
    size_t order_capacity;
    struct qk_text prompt;
};

static void free_maker(struct maker *maker)
{
    free(maker->needle);
    free(maker->filler);
    free(maker->fact);
    free(maker->order);
    qk_text_free(&maker->pool);
    qk_text_free(&maker->prompt);
}

/* --- needles --- */

static void make_value(const struct qk_haystack *haystack, char value[VALUE_SIZE], uint64_t *random)
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0, base = haystack->value == QK_VALUE_HEX ? 16 : 10;
    for (int i = 0; i < haystack->digits; i++) {
        if (haystack->value == QK_VALUE_WORDS)
            at += (size_t)snprintf(
                value + at, VALUE_SIZE - at, "%s%s", i > 0 ? "-" : "", qk_prose_noun(random));
        else
            value[at++] = digits[qk_random_below(random, base)];
    }
    value[at] = '\0';
}

static bool is_taken(const struct maker *maker, size_t n, const struct needle *needle)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(maker->needle[i].key, needle->key) == 0 ||
            strstr(maker->needle[i].value, needle->value) != NULL)
            return true;
    return false;
}

/* Makes needles of which no two share a key or a value, as far as there are enough of them. */
static enum qk_code make_needles(struct maker *maker, uint64_t random, struct qk_error *err)
{
    const struct qk_haystack *haystack = maker->haystack;
    for (size_t i = 0; i < maker->n_needles; i++) {
        struct needle *needle = &maker->needle[i];
        int tries = 0;
        do {
            qk_prose_key(needle->key, &random);
            make_value(haystack, needle->value, &random);
        } while (is_taken(maker, i, needle) && ++tries < TRIES);
        if (tries == TRIES)
            return qk_fail(err, QK_USAGE, "values are too short for so many needles (found %zu of %d digits)",
                maker->n_needles, haystack->digits);
        needle->place = (double)(qk_random(&random) >> 11) * 0x1p-53;
        maker->fact[i].at = maker->pool.length;
        qk_prose_fact(&maker->pool, needle->key, needle->value);
        maker->fact[i].n = maker->pool.length - maker->fact[i].at;
    }
    return QK_OK;
}

/* --- filler --- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

size_t qk_sentence_length(const char *text, size_t n)
{
    static const char *const wide[] = {"\xe3\x80\x82", "\xef\xbc\x81", "\xef\xbc\x9f"}; /* 。！？ */
    size_t blank = 0, at = 0;
    for (; at < n && at < MOST_SENTENCE; at++) {
        bool mark = strchr(".!?", text[at]) != NULL, ends = mark && at + 1 < n && is_blank(text[at + 1]);
        for (size_t i = 0; i < 3 && at + 3 <= n; i++)
            if (memcmp(text + at, wide[i], 3) == 0) {
                at += 2;
                ends = true;
                break;
            }
        if (ends || (text[at] == '\n' && at + 1 < n && text[at + 1] == '\n')) {
            for (at++; at < n && is_blank(text[at]); at++)
                ;
            return at;
        }
        if (is_blank(text[at]))
            blank = at + 1;
    }
    if (at >= n)
        return n;
    if (blank > 0)
        return blank;
    while (at > 1 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

static void add_text(struct maker *maker)
{
    const struct qk_haystack *haystack = maker->haystack;
    if (maker->next >= haystack->n_text)
        maker->next = 0;
    const char *text = haystack->text + maker->next;
    size_t n = qk_sentence_length(text, haystack->n_text - maker->next);
    qk_text_add_bytes(&maker->pool, text, n);
    if (!is_blank(text[n - 1])) /* ends in a blank, as the needles do */
        qk_text_add_bytes(&maker->pool, " ", 1);
    maker->next += n;
}

static enum qk_code add_filler(struct maker *maker, struct qk_error *err)
{
    static const char *const noise[] = {"The grass is green. ", "The sky is blue. ", "The sun is yellow. ",
        "Here we go. ", "There and back again. "};
    QK_TRY(qk_grow(&maker->filler, &maker->filler_capacity, maker->n_filler + 1, sizeof *maker->filler, err));
    struct sentence *sentence = &maker->filler[maker->n_filler++];
    sentence->at = maker->pool.length;
    if (maker->haystack->filler == QK_FILLER_TEXT)
        add_text(maker);
    else if (maker->haystack->filler == QK_FILLER_PROSE)
        qk_prose_filler(&maker->pool, &maker->random);
    else
        qk_text_add(&maker->pool, "%s", noise[maker->next++ % (sizeof noise / sizeof noise[0])]);
    sentence->n = maker->pool.length - sentence->at;
    return maker->pool.failed ? qk_fail_memory(err, maker->pool.length) : QK_OK;
}

/* A random sentence of the user's text: the first that begins behind a random byte. */
static void draw_start(struct maker *maker)
{
    const struct qk_haystack *haystack = maker->haystack;
    if (haystack->filler != QK_FILLER_TEXT)
        return;
    size_t wanted = qk_random_below(&maker->random, haystack->n_text);
    while (maker->next < wanted)
        maker->next += qk_sentence_length(haystack->text + maker->next, haystack->n_text - maker->next);
}

/* --- prompts --- */

static void insert(struct maker *maker, size_t *n, size_t at, struct sentence sentence)
{
    memmove(maker->order + at + 1, maker->order + at, (*n - at) * sizeof *maker->order);
    maker->order[at] = sentence;
    ++*n;
}

/* The boundary between sentences that is nearest to `depth` of all bytes. */
static size_t place_of_needle(const struct maker *maker, size_t n)
{
    size_t total = 0, begin = 0, i = 0;
    for (size_t k = 0; k < n; k++)
        total += maker->order[k].n;
    double wanted = maker->depth * (double)total;
    while (i < n && (double)begin + (double)maker->order[i].n / 2 < wanted)
        begin += maker->order[i++].n;
    return i;
}

/* Makes maker->prompt from the first n_filler sentences of filler. */
static enum qk_code make_prompt(struct maker *maker, size_t n_filler, struct qk_error *err)
{
    size_t n = n_filler;
    while (maker->n_filler < n_filler)
        QK_TRY(add_filler(maker, err));
    QK_TRY(qk_grow(
        &maker->order, &maker->order_capacity, n_filler + maker->n_needles, sizeof *maker->order, err));
    if (n > 0)
        memcpy(maker->order, maker->filler, n * sizeof *maker->order);
    for (size_t i = 1; i < maker->n_needles; i++)
        insert(maker, &n, (size_t)(maker->needle[i].place * (double)(n + 1)), maker->fact[i]);
    insert(maker, &n, place_of_needle(maker, n), maker->fact[0]);
    maker->prompt.length = 0;
    for (size_t i = 0; i < n; i++)
        qk_text_add_bytes(&maker->prompt, maker->pool.s + maker->order[i].at, maker->order[i].n);
    qk_prose_question(&maker->prompt, maker->needle[0].key);
    return maker->prompt.failed ? qk_fail_memory(err, maker->prompt.length) : QK_OK;
}

static enum qk_code measure(const struct maker *maker, size_t *length, struct qk_error *err)
{
    const struct qk_tokenizer *tokenizer = maker->haystack->tokenizer;
    int32_t *ids;
    *length = maker->prompt.length;
    if (tokenizer == NULL)
        return QK_OK;
    QK_TRY(qk_tokenizer_encode(tokenizer, maker->prompt.s, maker->prompt.length, true, &ids, length, err));
    *length -= qk_tokenizer_trailing(tokenizer);
    free(ids);
    return QK_OK;
}

/* The next number to try between low, which fits and is `fits` long, and high, which does not fit (SIZE_MAX:
 * unknown). Sentences are about equally long, so it is where a line through 0 and low reaches the length. Every third
 * time it is the middle, so that the search ends soon in any case. */
static size_t next_try(const struct maker *maker, size_t low, size_t high, size_t fits, int tried)
{
    double rate = low > 0 ? (double)fits / (double)low : 0;
    size_t rest = maker->length - fits;
    size_t step = rate > 0 ? (size_t)((double)rest / rate) + 1 : 8;
    if (high == SIZE_MAX)
        return low + step;
    if (tried % 3 == 2 || step >= high - low)
        return low + (high - low) / 2;
    return low + step;
}

/* Finds how many sentences of filler fit, and leaves their prompt in maker->prompt. */
static enum qk_code fill(struct maker *maker, struct qk_error *err)
{
    size_t low = 0, high = SIZE_MAX, fits, now;
    QK_TRY(make_prompt(maker, 0, err));
    QK_TRY(measure(maker, &fits, err));
    if (fits > maker->length)
        return qk_fail(err, QK_USAGE, "length %zu is too short: needles and question alone have %zu %s",
            maker->length, fits, maker->haystack->tokenizer != NULL ? "tokens" : "bytes");
    for (int tried = 0; high - low > 1; tried++) {
        size_t n = next_try(maker, low, high, fits, tried);
        QK_TRY(make_prompt(maker, n, err));
        QK_TRY(measure(maker, &now, err));
        if (now > maker->length) {
            high = n;
        } else {
            low = n;
            fits = now;
        }
    }
    return make_prompt(maker, low, err);
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *found = strstr(text, what); found != NULL; found = strstr(found + 1, what))
        n++;
    return n;
}

/* --- a case --- */

/* Makes one try with the needles of `random`; *found = key and value are nowhere else. */
static enum qk_code try_needles(struct maker *maker, uint64_t random, bool *found, struct qk_error *err)
{
    QK_TRY(make_needles(maker, random, err));
    QK_TRY(fill(maker, err));
    *found = count(maker->prompt.s, maker->needle[0].value) == 1 &&
             count(maker->prompt.s, maker->needle[0].key) == 2;
    return QK_OK;
}

static enum qk_code make(struct maker *maker, uint64_t random, struct qk_error *err)
{
    bool found = false;
    QK_TRY(qk_alloc(&maker->needle, maker->n_needles, sizeof *maker->needle, err));
    QK_TRY(qk_alloc(&maker->fact, maker->n_needles, sizeof *maker->fact, err));
    for (int tries = 0; !found; tries++) {
        if (tries == TRIES / 10)
            return qk_fail(err, QK_USAGE,
                "every value that was tried is elsewhere in the text, too (tried %d of %d digits)", tries,
                maker->haystack->digits);
        maker->random = qk_random(&random);
        maker->next = maker->n_filler = maker->pool.length = 0;
        draw_start(maker);
        QK_TRY(try_needles(maker, qk_random(&random), &found, err));
    }
    return QK_OK;
}

enum qk_code qk_haystack_make(const struct qk_haystack *haystack, size_t length, double depth, int number,
    char **prompt, char **value, struct qk_error *err)
{
    assert(haystack->digits >= 1 && haystack->digits <= QK_VALUE_MOST);
    struct maker maker = {.haystack = haystack,
        .length = length,
        .depth = depth,
        .n_needles = 1 + (size_t)haystack->distractors};
    uint64_t random = qk_random_mix(haystack->seed, length);
    random = qk_random_mix(random, (uint64_t)(depth * 1e9));
    random = qk_random_mix(random, (uint64_t)number);
    *prompt = *value = NULL;
    enum qk_code code = make(&maker, random, err);
    if (code == QK_OK)
        code = qk_strdup_to(value, maker.needle[0].value, err);
    if (code == QK_OK)
        code = qk_text_take(&maker.prompt, prompt, err);
    if (code != QK_OK) {
        free(*value);
        *value = NULL;
    }
    free_maker(&maker);
    return code;
}

enum qk_code qk_haystack_write(const struct qk_haystack *haystack, size_t length, double depth, int number,
    struct qk_text *out, struct qk_error *err)
{
    static const char *const filler[] = {"noise", "prose", "text"}, *const value[] = {
                                                                        "digits", "hex", "words"};
    struct qk_case item = {.depth = depth};
    char task[64];
    QK_TRY(qk_haystack_make(haystack, length, depth, number, &item.prompt, &item.answer, err));
    snprintf(task, sizeof task, "needle-%s-%s@%zu", filler[haystack->filler], value[haystack->value], length);
    enum qk_code code = qk_case_write(&item, task, out, err);
    free(item.prompt);
    free(item.answer);
    return code;
}
