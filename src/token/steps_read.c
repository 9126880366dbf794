/* steps_read.c - the reader of the normalizer, pre_tokenizer and decoder of a tokenizer.json. */
#include "base/mem.h"
#include "token/pattern.h"
#include "token/steps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char GPT2_PATTERN[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* The input of a reader of one part. */
struct part {
    const char *where; /* "PATH: pre_tokenizer: Split" */
    const char *type;
    const cJSON *item;
};

typedef enum qk_code read_part(const struct part *part, struct qk_steps *steps, struct qk_error *err);

static enum qk_code add(
    struct qk_steps *steps, enum qk_step_kind kind, struct qk_step **out, struct qk_error *err)
{
    QK_TRY(qk_grow(&steps->step, &steps->capacity, steps->n + 1, sizeof *steps->step, err));
    *out = &steps->step[steps->n++];
    **out = (struct qk_step){.kind = kind};
    return QK_OK;
}

static enum qk_code add_text(
    struct qk_steps *steps, enum qk_step_kind kind, const char *text, bool first, struct qk_error *err)
{
    struct qk_step *step;
    QK_TRY(add(steps, kind, &step, err));
    step->first = first;
    return qk_strdup_to(&step->text, text, err);
}

static enum qk_code missing(const struct part *part, const char *key, struct qk_error *err)
{
    return qk_fail(err, QK_INPUT, "%s: %s is missing or of the wrong type", part->where, key);
}

static enum qk_code unsupported(const struct part *part, struct qk_error *err)
{
    return qk_fail(err, QK_INPUT, "%s is not supported; give token ids instead", part->where);
}

/* Reads a part with `read`, or each part of a Sequence. The JSON parser bounds the depth. */
static enum qk_code read_each(const char *path, const char *name, const char *list, const cJSON *item,
    read_part *read, struct qk_steps *steps, struct qk_error *err)
{
    if (item == NULL || cJSON_IsNull(item))
        return QK_OK;
    const char *type = qk_json_string(item, "type", NULL);
    if (type == NULL)
        return qk_fail(err, QK_INPUT, "%s: %s: type is missing", path, name);
    if (strcmp(type, "Sequence") == 0) {
        const cJSON *parts = qk_json_get(item, list);
        if (!cJSON_IsArray(parts))
            return qk_fail(err, QK_INPUT, "%s: %s: Sequence: %s is not a list", path, name, list);
        for (const cJSON *part = parts->child; part != NULL; part = part->next)
            QK_TRY(read_each(path, name, list, part, read, steps, err));
        return QK_OK;
    }
    char *where;
    size_t n = strlen(path) + strlen(name) + strlen(type) + 8;
    QK_TRY(qk_alloc(&where, n, 1, err));
    snprintf(where, n, "%s: %s: %.64s", path, name, type);
    const struct part part = {where, type, item};
    enum qk_code code = read(&part, steps, err);
    free(where);
    return code;
}

/* --- shared by the three --- */

static enum qk_code read_replace(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    struct qk_step *step;
    const char *content = qk_json_string(part->item, "content", NULL);
    if (content == NULL)
        return missing(part, "content", err);
    QK_TRY(add(steps, QK_STEP_REPLACE, &step, err));
    QK_TRY(qk_strdup_to(&step->text, content, err));
    return qk_pattern_read(part->where, qk_json_get(part->item, "pattern"), &step->pattern, err);
}

static enum qk_code add_split(const struct part *part, const char *regex, enum qk_split split,
    struct qk_steps *steps, struct qk_error *err)
{
    struct qk_step *step;
    QK_TRY(add(steps, QK_STEP_SPLIT, &step, err));
    step->split = (int)split;
    return qk_pattern_regex(part->where, regex, &step->pattern, err);
}

/* --- normalizer --- */

static enum qk_code read_normalizer(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    static const struct {
        const char *type;
        int form;
    } forms[] = {{"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE}, {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
        {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
        {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
    struct qk_step *step;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strcmp(part->type, forms[i].type) != 0)
            continue;
        QK_TRY(add(steps, QK_STEP_NORMAL_FORM, &step, err));
        step->form = forms[i].form;
        return QK_OK;
    }
    if (strcmp(part->type, "Replace") == 0)
        return read_replace(part, steps, err);
    if (strcmp(part->type, "Prepend") == 0) {
        const char *text = qk_json_string(part->item, "prepend", NULL);
        return text != NULL ? add_text(steps, QK_STEP_PREPEND, text, false, err)
                            : missing(part, "prepend", err);
    }
    return unsupported(part, err);
}

enum qk_code qk_steps_read_normalizer(
    const char *path, const cJSON *part, struct qk_steps *steps, struct qk_error *err)
{
    return read_each(path, "normalizer", "normalizers", part, read_normalizer, steps, err);
}

/* --- pre_tokenizer --- */

/* The character for a space, and whether one is put before the text: always, only where it begins (first), or
 * never. */
struct metaspace {
    const char *replacement;
    bool never, first;
};

static enum qk_code read_metaspace_keys(const struct part *part, struct metaspace *keys, struct qk_error *err)
{
    int32_t character;
    keys->replacement = qk_json_string(part->item, "replacement", "\xe2\x96\x81");
    size_t n = strlen(keys->replacement);
    if (n == 0 || qk_character(keys->replacement, n, &character) != n)
        return qk_fail(err, QK_INPUT, "%s: replacement is not one character", part->where);
    /* older files have only add_prefix_space */
    bool prefix = qk_json_bool(part->item, "add_prefix_space", true);
    const char *scheme = qk_json_string(part->item, "prepend_scheme", prefix ? "always" : "never");
    keys->never = strcmp(scheme, "never") == 0;
    keys->first = strcmp(scheme, "first") == 0;
    if (!keys->never && !keys->first && strcmp(scheme, "always") != 0)
        return qk_fail(
            err, QK_INPUT, "%s: prepend_scheme is not supported (found %.64s)", part->where, scheme);
    return QK_OK;
}

static enum qk_code read_metaspace(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    struct metaspace keys;
    struct qk_step *step;
    QK_TRY(read_metaspace_keys(part, &keys, err));
    QK_TRY(add(steps, QK_STEP_REPLACE, &step, err));
    QK_TRY(qk_strdup_to(&step->text, keys.replacement, err));
    QK_TRY(qk_pattern_literal(" ", &step->pattern, err));
    if (!keys.never)
        QK_TRY(add_text(steps, QK_STEP_PREFIX, keys.replacement, keys.first, err));
    if (!qk_json_bool(part->item, "split", true))
        return QK_OK;
    QK_TRY(add(steps, QK_STEP_SPLIT, &step, err));
    step->split = QK_MERGED_WITH_NEXT;
    return qk_pattern_literal(keys.replacement, &step->pattern, err);
}

static enum qk_code read_byte_level(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    struct qk_step *step;
    if (qk_json_bool(part->item, "add_prefix_space", true))
        QK_TRY(add_text(steps, QK_STEP_PREFIX, " ", false, err));
    if (qk_json_bool(part->item, "use_regex", true))
        QK_TRY(add_split(part, GPT2_PATTERN, QK_ISOLATED, steps, err));
    return add(steps, QK_STEP_TO_BYTES, &step, err);
}

static enum qk_code read_split(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    enum qk_split split;
    struct qk_step *step;
    const char *behavior = qk_json_string(part->item, "behavior", NULL);
    if (behavior == NULL)
        return missing(part, "behavior", err);
    QK_TRY(qk_split_read(part->where, behavior, &split, err));
    QK_TRY(add(steps, QK_STEP_SPLIT, &step, err));
    step->split = (int)split;
    step->invert = qk_json_bool(part->item, "invert", false);
    return qk_pattern_read(part->where, qk_json_get(part->item, "pattern"), &step->pattern, err);
}

static enum qk_code read_digits(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    bool single = qk_json_bool(part->item, "individual_digits", false);
    return add_split(part, "\\p{N}", single ? QK_ISOLATED : QK_CONTIGUOUS, steps, err);
}

static enum qk_code read_punctuation(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    enum qk_split split;
    QK_TRY(qk_split_read(part->where, qk_json_string(part->item, "behavior", "Isolated"), &split, err));
    return add_split(part, "[\\p{P}!-/:-@\\[-`{-~]", split, steps, err);
}

static enum qk_code read_whitespace_split(
    const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    return add_split(part, "\\s", QK_REMOVED, steps, err);
}

static enum qk_code read_pre_tokenizer(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    static const struct {
        const char *type;
        read_part *read;
    } readers[] = {{"ByteLevel", read_byte_level}, {"Split", read_split}, {"Digits", read_digits},
        {"Metaspace", read_metaspace}, {"Punctuation", read_punctuation},
        {"WhitespaceSplit", read_whitespace_split}};
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++)
        if (strcmp(part->type, readers[i].type) == 0)
            return readers[i].read(part, steps, err);
    return unsupported(part, err);
}

enum qk_code qk_steps_read_pre_tokenizer(
    const char *path, const cJSON *part, struct qk_steps *steps, struct qk_error *err)
{
    return read_each(path, "pre_tokenizer", "pretokenizers", part, read_pre_tokenizer, steps, err);
}

/* --- decoder --- */

static enum qk_code read_strip(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    const char *content = qk_json_string(part->item, "content", NULL);
    uint64_t start, stop;
    int32_t character;
    if (content == NULL || content[0] == '\0' ||
        qk_character(content, strlen(content), &character) != strlen(content))
        return missing(part, "content (one character)", err);
    if (!qk_json_u64(qk_json_get(part->item, "start"), &start) ||
        !qk_json_u64(qk_json_get(part->item, "stop"), &stop))
        return missing(part, "start or stop", err);
    QK_TRY(add_text(steps, QK_STEP_STRIP, content, false, err));
    steps->step[steps->n - 1].start = (size_t)start;
    steps->step[steps->n - 1].stop = (size_t)stop;
    return QK_OK;
}

static enum qk_code read_decoder(const struct part *part, struct qk_steps *steps, struct qk_error *err)
{
    struct qk_step *step;
    struct metaspace keys;
    if (strcmp(part->type, "ByteLevel") == 0) {
        QK_TRY(add(steps, QK_STEP_FROM_BYTES, &step, err));
        return add(steps, QK_STEP_FUSE, &step, err);
    }
    if (strcmp(part->type, "Metaspace") == 0) {
        QK_TRY(read_metaspace_keys(part, &keys, err));
        return add_text(steps, QK_STEP_SPACES, keys.replacement, !keys.never, err);
    }
    if (strcmp(part->type, "Replace") == 0)
        return read_replace(part, steps, err);
    if (strcmp(part->type, "ByteFallback") == 0)
        return add(steps, QK_STEP_BYTE_FALLBACK, &step, err);
    if (strcmp(part->type, "Fuse") == 0)
        return add(steps, QK_STEP_FUSE, &step, err);
    if (strcmp(part->type, "Strip") == 0)
        return read_strip(part, steps, err);
    return unsupported(part, err);
}

enum qk_code qk_steps_read_decoder(
    const char *path, const cJSON *part, struct qk_steps *steps, struct qk_error *err)
{
    return read_each(path, "decoder", "decoders", part, read_decoder, steps, err);
}

void qk_steps_free(struct qk_steps *steps)
{
    for (size_t i = 0; i < steps->n; i++) {
        qk_pattern_free(steps->step[i].pattern);
        free(steps->step[i].text);
    }
    free(steps->step);
    *steps = (struct qk_steps){0};
}
