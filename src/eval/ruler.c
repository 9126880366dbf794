/* ruler.c - RULER's prompts, with as many units of the haystack as the length allows. */
#include "eval/ruler.h"

#include "base/mem.h"
#include "eval/cases.h"
#include "eval/haystack.h"
#include "eval/ruler_words.h"
#include "range/prose.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum haystack { NOISE, ESSAYS, NEEDLES };

static const struct task {
    const char *name;
    enum haystack haystack;
    bool uuid_keys, uuid_values;
    int keys, values, queries; /* 0 keys: variable tracking */
} TASKS[] = {
#define ROW(name, haystack, uuid_keys, uuid_values, keys, values, queries)                                   \
    {#name, haystack, uuid_keys, uuid_values, keys, values, queries},
    QK_RULER_TASKS(ROW)
#undef ROW
};

enum {
    MOST_NEEDLES = 8,
    WORD = 40,
    NEW_TOKENS = 128,
    VT_NEW_TOKENS = 30,
    HOPS = 4,
    DEPTHS = 40,         /* places that RULER draws from in essays */
    EXAMPLE_NOISES = 15, /* of the example of variable tracking: what fits into RULER's 500 tokens */
    TRIES = 20
};

static const char FIVE[] =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

/* A line that stands in the haystack. */
struct needle {
    char key[WORD], value[WORD];
    double place; /* 0 to 1 */
};

struct unit {
    size_t at, n; /* bytes of the pool */
};

struct maker {
    const struct qk_ruler *ruler;
    const struct task *task;
    uint64_t random; /* of the haystack */
    struct needle needle[MOST_NEEDLES];
    int n_needles, query[MOST_NEEDLES], n_queries; /* query: needles whose keys are asked for */
    char example[MOST_NEEDLES][WORD], example_value[WORD];
    size_t next;           /* byte of the essays */
    struct qk_text essays; /* with single blanks */
    struct qk_text pool;
    struct unit *unit;
    size_t n_units, capacity;
    struct qk_text prompt;
};

static void free_maker(struct maker *m)
{
    qk_text_free(&m->essays);
    qk_text_free(&m->pool);
    qk_text_free(&m->prompt);
    free(m->unit);
}

bool qk_ruler_has_depth(int task)
{
    return TASKS[task].keys > 0 && TASKS[task].values * TASKS[task].queries == 1;
}

bool qk_ruler_has_essays(int task)
{
    return TASKS[task].haystack == ESSAYS;
}

/* --- keys and values --- */

static double fraction(uint64_t *random)
{
    return (double)(qk_random(random) >> 11) * 0x1p-53;
}

/* Adds a random word of a list with one blank between words. */
static size_t add_word(char *out, const char *list, uint64_t *random)
{
    size_t n_words = 1;
    for (const char *p = list; *p != '\0'; p++)
        n_words += *p == ' ';
    for (size_t skip = qk_random_below(random, n_words); skip > 0; skip--)
        list = strchr(list, ' ') + 1;
    size_t n = strcspn(list, " ");
    memcpy(out, list, n);
    return n;
}

static void make_words(char out[WORD], uint64_t *random)
{
    size_t n = add_word(out, QK_RULER_ADJECTIVES, random);
    out[n++] = '-';
    n += add_word(out + n, QK_RULER_NOUNS, random);
    out[n] = '\0';
}

/* Version 4 of RFC 9562: 122 random bits. */
static void make_uuid(char out[WORD], uint64_t *random)
{
    uint64_t a = qk_random(random), b = qk_random(random);
    snprintf(out, WORD, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(a >> 32), (unsigned)(a >> 16 & 0xffff),
        (unsigned)(a & 0xfff), (unsigned)(b >> 48 & 0x3fff) | 0x8000u,
        (unsigned long long)(b & 0xffffffffffff));
}

static void make_number(char out[WORD], int least, int most, uint64_t *random)
{
    snprintf(out, WORD, "%d", least + (int)qk_random_below(random, (size_t)(most - least) + 1));
}

static void make_key(const struct maker *m, char out[WORD], uint64_t *random)
{
    (m->task->uuid_keys ? make_uuid : make_words)(out, random);
}

static void make_value(const struct maker *m, char out[WORD], uint64_t *random)
{
    if (m->task->uuid_values)
        make_uuid(out, random);
    else
        make_number(out, 1000000, 9999999, random);
}

/* n different letters' words of `length` capitals. */
static void make_variables(char (*out)[WORD], int n, int length, uint64_t *random)
{
    for (int i = 0; i < n; i++) {
        bool taken = true;
        while (taken) {
            for (int k = 0; k < length; k++)
                out[i][k] = (char)('A' + qk_random_below(random, 26));
            out[i][length] = '\0';
            taken = false;
            for (int k = 0; k < i; k++)
                taken = taken || strcmp(out[k], out[i]) == 0;
        }
    }
}

/* --- needles --- */

/* Different places: of RULER's forty in essays, else any. */
static void draw_places(struct maker *m, uint64_t *random)
{
    bool used[DEPTHS] = {false};
    for (int i = 0; i < m->n_needles; i++) {
        size_t at = qk_random_below(random, DEPTHS);
        while (used[at])
            at = (at + 1) % DEPTHS;
        used[at] = true;
        m->needle[i].place =
            m->task->haystack == ESSAYS ? round(100.0 * (double)at / (DEPTHS - 1)) / 100 : fraction(random);
    }
}

static void make_needles(struct maker *m, uint64_t *random)
{
    const struct task *task = m->task;
    m->n_needles = 0;
    for (int k = 0; k < task->keys; k++) {
        char key[WORD];
        make_key(m, key, random);
        for (int v = 0; v < task->values; v++) {
            struct needle *needle = &m->needle[m->n_needles++];
            memcpy(needle->key, key, sizeof key);
            make_value(m, needle->value, random);
        }
    }
    draw_places(m, random);
    m->n_queries = 0;
    size_t first = qk_random_below(random, (size_t)task->keys);
    for (int q = 0; q < task->queries; q++)
        m->query[m->n_queries++] = (int)(first + (size_t)q) % task->keys * task->values;
}

/* A chain: VAR A = NUMBER, VAR B = VAR A, and so on, in this order. */
static void make_chain(struct maker *m, uint64_t *random)
{
    char names[HOPS + 1][WORD];
    double place[HOPS + 1];
    make_variables(names, HOPS + 1, 5, random);
    make_variables(m->example, HOPS + 1, 3, random);
    make_number(m->example_value, 10000, 99998, random);
    m->n_needles = HOPS + 1;
    for (int i = 0; i <= HOPS; i++) {
        double now = fraction(random);
        int at = i;
        for (; at > 0 && place[at - 1] > now; at--)
            place[at] = place[at - 1];
        place[at] = now;
        memcpy(m->needle[i].key, names[i], WORD);
    }
    for (int i = 0; i <= HOPS; i++)
        m->needle[i].place = place[i];
    make_number(m->needle[0].value, 10000, 99998, random);
}

static void add_needle(const struct maker *m, const char *key, const char *value, struct qk_text *text)
{
    qk_text_add(text, "One of the special magic %s for %s is: %s.",
        m->task->uuid_values ? "uuids" : "numbers", key, value);
}

static void add_variable(const struct maker *m, int i, struct qk_text *text)
{
    if (i == 0)
        qk_text_add(text, "VAR %s = %s", m->needle[0].key, m->needle[0].value);
    else
        qk_text_add(text, "VAR %s = VAR %s ", m->needle[i].key, m->needle[i - 1].key);
}

/* --- the haystack --- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/* The user's essays with single blanks, one at their end. */
static enum qk_code read_essays(struct maker *m, struct qk_error *err)
{
    const char *text = m->ruler->text;
    bool blank = true;
    for (size_t i = 0; i < m->ruler->n_text; i++) {
        if (!is_blank(text[i]))
            qk_text_add_bytes(&m->essays, text + i, 1);
        else if (!blank)
            qk_text_add_bytes(&m->essays, " ", 1);
        blank = is_blank(text[i]);
    }
    if (!blank)
        qk_text_add_bytes(&m->essays, " ", 1);
    if (m->essays.failed)
        return qk_fail_memory(err, m->ruler->n_text);
    return text == NULL || m->essays.length > 1 ? QK_OK : qk_fail(err, QK_USAGE, "the haystack has no text");
}

static void add_sentence(struct maker *m)
{
    if (m->ruler->text == NULL) {
        qk_prose_filler(&m->pool, &m->random);
        return;
    }
    if (m->next >= m->essays.length)
        m->next = 0;
    size_t n = qk_sentence_length(m->essays.s + m->next, m->essays.length - m->next);
    qk_text_add_bytes(&m->pool, m->essays.s + m->next, n);
    if (m->essays.s[m->next + n - 1] != ' ')
        qk_text_add_bytes(&m->pool, " ", 1);
    m->next += n;
}

static enum qk_code add_unit(struct maker *m, struct qk_error *err)
{
    char key[WORD], value[WORD];
    QK_TRY(qk_grow(&m->unit, &m->capacity, m->n_units + 1, sizeof *m->unit, err));
    struct unit *unit = &m->unit[m->n_units++];
    unit->at = m->pool.length;
    if (m->task->haystack == ESSAYS) {
        add_sentence(m);
    } else if (m->task->haystack == NOISE) {
        qk_text_add(&m->pool, "%s\n", FIVE);
    } else {
        make_key(m, key, &m->random);
        make_value(m, value, &m->random);
        add_needle(m, key, value, &m->pool);
        qk_text_add(&m->pool, "\n");
    }
    unit->n = m->pool.length - unit->at;
    return m->pool.failed ? qk_fail_memory(err, m->pool.length) : QK_OK;
}

/* --- prompts --- */

/* Adds n units and the needles at their places. */
static void add_context(struct maker *m, size_t n, struct qk_text *text)
{
    bool chain = m->task->keys == 0;
    const char *behind = m->task->haystack == ESSAYS ? " " : "\n";
    for (size_t i = 0; i <= n; i++) {
        for (int k = 0; k < m->n_needles; k++) {
            if ((size_t)(m->needle[k].place * (double)n) != i)
                continue;
            if (chain)
                add_variable(m, k, text);
            else
                add_needle(m, m->needle[k].key, m->needle[k].value, text);
            qk_text_add(text, "%s", chain ? " " : behind);
        }
        if (i < n)
            qk_text_add_bytes(text, m->pool.s + m->unit[i].at, m->unit[i].n);
        if (i < n && chain && i + 1 < n)
            qk_text_add(text, " ");
    }
}

static void add_chain_question(const char *value, struct qk_text *text)
{
    qk_text_add(text,
        "\nQuestion: Find all variables that are assigned the value %s in the text above. Answer: According to the "
        "chain(s) of variable assignment in the text above, %d variables are assgined the value %s, they are: ",
        value, HOPS + 1, value);
}

static const char CHAIN_HEAD[] =
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n";

/* One example with short names, then the question itself. "assgined" is RULER's. */
static void make_chain_prompt(struct maker *m, size_t n)
{
    struct qk_text *text = &m->prompt;
    qk_text_add(text, "%s", CHAIN_HEAD);
    for (int i = 0; i < EXAMPLE_NOISES; i++) {
        int hop = i % 3 == 1 ? i / 3 : -1;
        if (hop == 0)
            qk_text_add(text, "VAR %s = %s ", m->example[0], m->example_value);
        else if (hop > 0)
            qk_text_add(text, "VAR %s = VAR %s  ", m->example[hop], m->example[hop - 1]);
        qk_text_add(text, "%s\n%s", FIVE, i + 1 < EXAMPLE_NOISES ? " " : "");
    }
    add_chain_question(m->example_value, text);
    for (int i = 0; i <= HOPS; i++)
        qk_text_add(text, " %s", m->example[i]);
    qk_text_add(text, "\n\n\n\n%s", CHAIN_HEAD);
    add_context(m, n, text);
    add_chain_question(m->needle[0].value, text);
}

/* "a", "a, and b" or "a, b, and c" */
static void add_query(const struct maker *m, struct qk_text *text)
{
    for (int q = 0; q < m->n_queries; q++)
        qk_text_add(text, "%s%s",
            q == 0                 ? ""
            : q + 1 < m->n_queries ? ", "
                                   : ", and ",
            m->needle[m->query[q]].key);
}

static void make_needle_prompt(struct maker *m, size_t n)
{
    struct qk_text *text = &m->prompt;
    bool one = m->task->values * m->task->queries == 1;
    const char *values = m->task->uuid_values ? (one ? "uuid" : "uuids") : (one ? "number" : "numbers");
    qk_text_add(text,
        "%s special magic %s %s hidden within the following text. Make sure to memorize it. I will quiz you about "
        "the %s afterwards.\n",
        one ? "A" : "Some", values, one ? "is" : "are", values);
    add_context(m, n, text);
    while (text->length > 0 && text->s != NULL && is_blank(text->s[text->length - 1]))
        text->length--;
    qk_text_add(text, "\nWhat %s the special magic %s for ", one ? "is" : "are all", values);
    add_query(m, text);
    qk_text_add(text, " mentioned in the provided text? The special magic %s for ", values);
    add_query(m, text);
    qk_text_add(text, " mentioned in the provided text %s", one ? "is" : "are");
}

static enum qk_code make_prompt(struct maker *m, size_t n, struct qk_error *err)
{
    while (m->n_units < n)
        QK_TRY(add_unit(m, err));
    m->prompt.length = 0;
    if (m->task->keys == 0)
        make_chain_prompt(m, n);
    else
        make_needle_prompt(m, n);
    return m->prompt.failed ? qk_fail_memory(err, m->prompt.length) : QK_OK;
}

/* *length = tokens of prompt and generation; without a tokenizer, bytes of the prompt and as many tokens. */
static enum qk_code measure(const struct maker *m, size_t *length, struct qk_error *err)
{
    const struct qk_tokenizer *tokenizer = m->ruler->tokenizer;
    size_t new_tokens = m->task->keys == 0 ? VT_NEW_TOKENS : NEW_TOKENS;
    int32_t *ids;
    *length = m->prompt.length + new_tokens;
    if (tokenizer == NULL)
        return QK_OK;
    QK_TRY(qk_tokenizer_encode(tokenizer, m->prompt.s, m->prompt.length, true, &ids, length, err));
    *length += new_tokens - qk_tokenizer_trailing(tokenizer);
    free(ids);
    return QK_OK;
}

/* Finds how many units fit, and leaves their prompt. Units are about equally long: the next number to try is where a
 * line through the last two measures reaches the length, and every third time the middle. */
static enum qk_code fill(struct maker *m, size_t length, struct qk_error *err)
{
    size_t low = 0, high = SIZE_MAX, fits, empty, now;
    QK_TRY(make_prompt(m, 0, err));
    QK_TRY(measure(m, &empty, err));
    fits = empty;
    if (fits > length)
        return qk_fail(err, QK_USAGE,
            "length %zu is too short: without a haystack %s has %zu %s, with what is generated", length,
            m->task->name, fits, m->ruler->tokenizer != NULL ? "tokens" : "bytes");
    for (int tried = 0; high - low > 1; tried++) {
        double each = low > 0 ? (double)(fits - empty) / (double)low : 0;
        size_t step = each > 0 ? (size_t)((double)(length - fits) / each) + 1 : 8;
        size_t n = high == SIZE_MAX                       ? low + step
                   : tried % 3 == 2 || step >= high - low ? low + (high - low) / 2
                                                          : low + step;
        QK_TRY(make_prompt(m, n, err));
        QK_TRY(measure(m, &now, err));
        if (now > length) {
            high = n;
        } else {
            low = n;
            fits = now;
        }
    }
    return make_prompt(m, low, err);
}

/* --- a case --- */

/* True when the text stands in the prompt so often. */
static bool stands(const struct maker *m, const char *text, int times)
{
    int n = 0;
    for (const char *found = strstr(m->prompt.s, text); found != NULL && n <= times;
         found = strstr(found + 1, text))
        n++;
    return n == times;
}

/* Values and keys that are asked for stand nowhere else. A key is in its needles, and twice in the question. */
static bool is_clear(const struct maker *m)
{
    for (int i = 0; i < m->n_needles && m->task->keys > 0; i++)
        if (!stands(m, m->needle[i].value, 1))
            return false;
    for (int q = 0; q < m->n_queries && m->task->keys > 0; q++)
        if (!stands(m, m->needle[m->query[q]].key, m->task->values + 2))
            return false;
    return m->task->keys > 0 ||
           (stands(m, m->needle[0].value, 3) && strcmp(m->needle[0].value, m->example_value) != 0);
}

static enum qk_code make(struct maker *m, size_t length, double depth, uint64_t random, struct qk_error *err)
{
    QK_TRY(read_essays(m, err));
    for (int tries = 0; tries < TRIES; tries++) {
        m->random = qk_random(&random);
        m->n_units = m->pool.length = m->next = 0;
        if (m->task->keys == 0)
            make_chain(m, &random);
        else
            make_needles(m, &random);
        if (!isnan(depth))
            m->needle[m->query[0]].place = depth;
        QK_TRY(fill(m, length, err));
        if (is_clear(m))
            return QK_OK;
    }
    return qk_fail(
        err, QK_USAGE, "every value that was tried is elsewhere in the text, too (tried %d)", TRIES);
}

/* Adds the answer: the first is `answer`, others follow. */
static enum qk_code add_answer(struct qk_case *item, const char *text, struct qk_error *err)
{
    if (item->answer == NULL)
        return qk_strdup_to(&item->answer, text, err);
    QK_TRY(qk_strdup_to(&item->other[item->n_other], text, err));
    item->n_other++;
    return QK_OK;
}

static enum qk_code add_answers(const struct maker *m, struct qk_case *item, struct qk_error *err)
{
    QK_TRY(qk_alloc(&item->other, MOST_NEEDLES, sizeof *item->other, err));
    for (int i = 0; i < m->n_needles && m->task->keys == 0; i++)
        QK_TRY(add_answer(item, m->needle[i].key, err));
    for (int q = 0; q < m->n_queries && m->task->keys > 0; q++)
        for (int v = 0; v < m->task->values; v++)
            QK_TRY(add_answer(item, m->needle[m->query[q] + v].value, err));
    return QK_OK;
}

static enum qk_code write_case(struct maker *m, size_t length, struct qk_text *out, struct qk_error *err)
{
    bool chain = m->task->keys == 0;
    struct qk_case item = {.contains = true,
        .all = true,
        .max_new_tokens = chain ? VT_NEW_TOKENS : NEW_TOKENS,
        .depth = qk_ruler_has_depth(m->ruler->task) ? m->needle[m->query[0]].place : NAN};
    char task[64];
    snprintf(task, sizeof task, "%s@%zu", m->task->name, length);
    enum qk_code code = qk_text_take(&m->prompt, &item.prompt, err);
    if (code == QK_OK)
        code = add_answers(m, &item, err);
    if (code == QK_OK)
        code = qk_case_write(&item, task, out, err);
    qk_case_free(&item);
    return code;
}

enum qk_code qk_ruler_write(const struct qk_ruler *ruler, size_t length, double depth, int number,
    struct qk_text *out, struct qk_error *err)
{
    assert(ruler->task >= 0 && (size_t)ruler->task < sizeof TASKS / sizeof TASKS[0]);
    struct maker m = {.ruler = ruler, .task = &TASKS[ruler->task]};
    uint64_t random = qk_random_mix(ruler->seed, length);
    random = qk_random_mix(random, (uint64_t)ruler->task);
    random = qk_random_mix(random, isnan(depth) ? UINT64_MAX : (uint64_t)(depth * 1e9));
    random = qk_random_mix(random, (uint64_t)number);
    enum qk_code code = make(&m, length, depth, random, err);
    if (code == QK_OK)
        code = write_case(&m, length, out, err);
    free_maker(&m);
    return code;
}
