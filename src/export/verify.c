/* verify.c - the comparison of an export, every file and every byte, with its recipe, pre and post. */
#include "export/verify.h"

#include "base/digest.h"
#include "base/mem.h"
#include "base/text.h"
#include "blend/blend.h"
#include "blend/change.h"
#include "export/export_files.h"
#include "export/manifest.h"
#include "export/recipe.h"
#include "export/zip_crc.h"
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4 << 20 };

struct verifier {
    const char *folder;
    struct qk_pair *pair;
    const struct qk_checkpoint *post;
    struct qk_recipe recipe;
    struct qk_selection selection;
    struct qk_export_manifest manifest; /* the changes of this shard alone */
    struct qk_export_files expected;
    struct qk_folder found;
    struct qk_progress *progress;
    struct qk_lines *differences;
    struct qk_error first; /* the first difference */
    struct qk_error *err;
};

/* Notes a difference; verification goes on. `place` is "FILE" or "FILE: TENSOR". */
static enum qk_code differs(struct verifier *v, const char *place, const char *what)
{
    if (v->first.code == QK_OK)
        qk_fail(&v->first, QK_DIFFERS, "%s: %s", place, what);
    return v->differences != NULL ? qk_lines_add(v->differences, v->err, "%s: %s", place, what) : QK_OK;
}

static enum qk_code differs_at(
    struct verifier *v, const char *path, const struct qk_tensor *tensor, uint64_t byte, const char *against)
{
    struct qk_text place = {0}, what = {0};
    qk_text_add(&place, tensor != NULL ? "%s: %s" : "%s", path, tensor != NULL ? tensor->name : "");
    qk_text_add(&what, "byte %llu differs from %s", (unsigned long long)byte, against);
    enum qk_code code =
        place.failed || what.failed ? qk_fail_memory(v->err, strlen(path)) : differs(v, place.s, what.s);
    qk_text_free(&place);
    qk_text_free(&what);
    return code;
}

/* --- unchanged bytes --- */

/* *at = the first difference of n bytes at two places, or n. */
static enum qk_code compare_range(struct verifier *v, const struct qk_source *a, uint64_t a_offset,
    const struct qk_source *b, uint64_t b_offset, uint64_t n, uint64_t *at)
{
    const size_t room = n < BLOCK ? (size_t)n : BLOCK; /* most ranges are small */
    char *block;
    QK_TRY(qk_alloc_aligned(&block, 2 * room, 1, v->err));
    enum qk_code code = QK_OK;
    for (*at = 0; *at < n && code == QK_OK;) {
        size_t step = n - *at < room ? (size_t)(n - *at) : room, i = 0;
        code = qk_progress_check(v->progress, v->err);
        if (code == QK_OK)
            code = qk_source_read(a, a_offset + *at, block, step, v->err);
        if (code == QK_OK)
            code = qk_source_read(b, b_offset + *at, block + room, step, v->err);
        if (code != QK_OK)
            break;
        qk_progress_add(v->progress, step);
        if (memcmp(block, block + room, step) == 0) {
            *at += step;
            continue;
        }
        while (block[i] == block[room + i])
            i++;
        *at += i;
        break;
    }
    free(block);
    return code;
}

/* Compares bytes [begin, end) of a file with post's. The message names their tensor where they have one. */
static enum qk_code check_copied(struct verifier *v, const struct qk_source *found,
    const struct qk_source *post, const struct qk_tensor *tensor, uint64_t begin, uint64_t end)
{
    uint64_t at;
    QK_TRY(compare_range(v, found, begin, post, begin, end - begin, &at));
    return at == end - begin ? QK_OK : differs_at(v, found->path, tensor, at + (tensor ? 0 : begin), "post");
}

/* --- changed tensors --- */

/* True for equal numbers and neighbours in the format: another BLAS kernel may round a tie the other way. */
static bool one_step_apart(size_t size, const char *a, const char *b)
{
    uint64_t x = 0, y = 0, sign = 1ull << (8 * size - 1);
    memcpy(&x, a, size); /* little-endian, as the files are */
    memcpy(&y, b, size);
    x = x & sign ? 2 * sign - x : x + sign; /* now in the order of the numbers, with both zeros equal */
    y = y & sign ? 2 * sign - y : y + sign;
    return x > y ? x - y <= 1 : y - x <= 1;
}

/* *at = the first of n bytes that differs from the selection's result, or n. */
static void compare_tensor(const struct verifier *v, const struct qk_change *change, const char *found,
    const char *expected, uint64_t n, uint64_t *at)
{
    size_t size = qk_dtype_bits(change->tensor->dtype) / 8;
    for (*at = 0; *at < n; *at += size) {
        if (memcmp(found + *at, expected + *at, size) == 0)
            continue;
        enum qk_mode mode = qk_change_mode(v->pair, &v->selection, v->recipe.norms, change, *at / size);
        bool computed = mode == QK_KEEP ? qk_adapter_addition(v->post->adapter, change->tensor) != NULL
                                        : mode != QK_RESTORE;
        if (!computed || !qk_dtype_writable(change->tensor->dtype) ||
            !one_step_apart(size, found + *at, expected + *at))
            break;
    }
    if (*at < n)
        while (found[*at] == expected[*at])
            ++*at;
}

static const char *recorded_digest(const struct verifier *v, const char *tensor)
{
    for (size_t i = 0; i < v->recipe.n_outputs; i++)
        if (strcmp(v->recipe.output[i].tensor, tensor) == 0)
            return v->recipe.output[i].digest;
    return NULL;
}

static enum qk_code check_digest(
    struct verifier *v, const char *path, const struct qk_tensor *tensor, const void *bytes)
{
    const char *recorded = recorded_digest(v, tensor->name);
    struct qk_text place = {0};
    struct qk_digest digest;
    char found[QK_DIGEST_TEXT];
    qk_digest_init(&digest);
    qk_digest_add(&digest, bytes, (size_t)tensor->bytes);
    qk_digest_hex(&digest, found);
    if (recorded != NULL && strcmp(recorded, found) == 0)
        return QK_OK;
    qk_text_add(&place, "%s: %s", path, tensor->name);
    enum qk_code code = place.failed ? qk_fail_memory(v->err, strlen(path))
                                     : differs(v, place.s,
                                           recorded == NULL ? "the recipe has no digest of it"
                                                            : "its digest differs from the recorded one");
    qk_text_free(&place);
    return code;
}

/* Compares the changed tensor at `offset` of the file `found`. */
static enum qk_code check_changed(
    struct verifier *v, const struct qk_change *change, const struct qk_source *found, uint64_t offset)
{
    const struct qk_tensor *tensor = change->tensor;
    size_t n = (size_t)tensor->bytes;
    char *bytes, *expected;
    uint64_t at;
    QK_TRY(qk_alloc_aligned(&bytes, n, 1, v->err));
    enum qk_code code = qk_alloc_aligned(&expected, n, 1, v->err);
    if (code == QK_OK)
        code = qk_source_read(found, offset, bytes, n, v->err);
    if (code == QK_OK)
        code = qk_checkpoint_read(v->post, tensor, 0, expected, n, v->err);
    if (code == QK_OK)
        code =
            qk_change_apply(v->pair, &v->selection, v->recipe.norms, change, expected, v->progress, v->err);
    if (code == QK_OK) {
        compare_tensor(v, change, bytes, expected, n, &at);
        code = at < n ? differs_at(v, found->path, tensor, at, "the recipe's result")
                      : check_digest(v, found->path, tensor, bytes);
        qk_progress_add(v->progress, n);
    }
    free(expected);
    free(bytes);
    return code;
}

/* --- files --- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Compares bytes [begin, end) between tensors, except the sums of changed entries. */
static enum qk_code check_between(struct verifier *v, const struct qk_source *found,
    const struct qk_source *post, const uint64_t *place, size_t n, uint64_t begin, uint64_t end)
{
    enum { SUM_BYTES = 4 };
    for (size_t i = 0; i < n; i++) {
        if (place[i] < begin || place[i] >= end)
            continue;
        QK_TRY(check_copied(v, found, post, NULL, begin, place[i]));
        begin = place[i] + SUM_BYTES;
    }
    return begin < end ? check_copied(v, found, post, NULL, begin, end) : QK_OK;
}

/* Checks that the sums of changed entries are those of their bytes. */
static enum qk_code check_sums(
    struct verifier *v, const struct qk_source *found, const struct qk_sum *sum, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t expected = 0, written = 0;
        QK_TRY(qk_sum_compute(found, &sum[i], v->progress, &expected, v->err));
        for (int k = 0; k < sum[i].n_places; k++) {
            QK_TRY(qk_source_read(found, sum[i].place[k], &written, sizeof written, v->err));
            if (written != expected)
                QK_TRY(differs_at(v, found->path, NULL, sum[i].place[k], "the sum of the entry's bytes"));
        }
    }
    return QK_OK;
}

/* Compares a shard tensor by tensor, so that a message can name a difference, and the bytes between them. */
static enum qk_code check_tensors(
    struct verifier *v, int shard, const struct qk_source *found, const uint64_t *place, size_t n_places)
{
    const struct qk_tensor_file *post = &v->post->shard[shard].file;
    size_t next = 0;
    while (next < v->manifest.n_changes && v->manifest.change[next].tensor->shard != shard)
        next++;
    uint64_t done = 0;
    for (size_t i = 0; i < post->n_tensors; i++) {
        const struct qk_tensor *tensor = &post->tensor[i];
        QK_TRY(qk_progress_check(v->progress, v->err));
        if (tensor->offset > done)
            QK_TRY(check_between(v, found, &post->source, place, n_places, done, tensor->offset));
        if (tensor->offset + tensor->bytes > done)
            done = tensor->offset + tensor->bytes;
        if (next < v->manifest.n_changes && v->manifest.change[next].tensor == tensor)
            QK_TRY(check_changed(v, &v->manifest.change[next++], found, tensor->offset));
        else
            QK_TRY(check_copied(
                v, found, &post->source, tensor, tensor->offset, tensor->offset + tensor->bytes));
    }
    return check_between(v, found, &post->source, place, n_places, done, post->source.size);
}

static enum qk_code check_shard(struct verifier *v, int shard, const struct qk_source *found)
{
    struct qk_sum *sum;
    uint64_t *place;
    size_t n, n_places = 0;
    QK_TRY(qk_sums_find(v->post, shard, v->manifest.change, v->manifest.n_changes, &sum, &n, v->err));
    enum qk_code code = qk_alloc(&place, n * sizeof sum->place / sizeof *place, sizeof *place, v->err);
    for (size_t i = 0; code == QK_OK && i < n; i++)
        for (int k = 0; k < sum[i].n_places; k++)
            place[n_places++] = sum[i].place[k];
    if (n_places > 1)
        qsort(place, n_places, sizeof *place, by_number);
    if (code == QK_OK)
        code = check_tensors(v, shard, found, place, n_places);
    if (code == QK_OK)
        code = check_sums(v, found, sum, n);
    free(place);
    free(sum);
    return code;
}

static enum qk_code check_contents(
    struct verifier *v, const struct qk_file *file, const char *path, const char *from)
{
    struct qk_source found, post;
    QK_TRY(qk_source_open(path, &found, v->err));
    enum qk_code code = qk_source_open(from, &post, v->err);
    int shard = qk_export_shard(v->post, file->name);
    if (code == QK_OK && found.size != post.size) {
        struct qk_text what = {0};
        qk_text_add(&what, "has another size than post's (found %llu bytes, expected %llu)",
            (unsigned long long)found.size, (unsigned long long)post.size);
        code = what.failed ? qk_fail_memory(v->err, 0) : differs(v, path, what.s);
        qk_text_free(&what);
        qk_progress_add(v->progress, post.size);
    } else if (code == QK_OK && shard >= 0) {
        code = check_shard(v, shard, &found);
    } else if (code == QK_OK) {
        code = check_copied(v, &found, &post, NULL, 0, post.size);
    }
    if (code == QK_OK)
        code = qk_source_unchanged(&found, v->err);
    if (code == QK_OK)
        code = qk_source_unchanged(&post, v->err);
    qk_source_close(&post);
    qk_source_close(&found);
    return code;
}

static enum qk_code check_file(struct verifier *v, const struct qk_file *file)
{
    char *path = NULL, *from = NULL;
    const struct qk_file *found = qk_folder_find(&v->found, file->name);
    enum qk_code code = qk_path_join(v->folder, file->name, &path, v->err);
    if (code == QK_OK)
        code = qk_path_join(v->post->folder, file->name, &from, v->err);
    if (code == QK_OK && found == NULL)
        code = differs(v, path, "is missing");
    else if (code == QK_OK && found->is_folder != file->is_folder)
        code = differs(
            v, path, file->is_folder ? "is a file, post's is a folder" : "is a folder, post's is a file");
    else if (code == QK_OK && !file->is_folder)
        code = check_contents(v, file, path, from);
    free(path);
    free(from);
    return code;
}

/* Reports names that neither post nor the program put there. */
static enum qk_code check_no_others(struct verifier *v)
{
    for (size_t i = 0; i < v->found.n; i++) {
        const char *name = v->found.file[i].name;
        char *path;
        if (strcmp(name, QK_RECIPE_NAME) == 0 || strcmp(name, QK_PATCH_NAME) == 0 ||
            qk_folder_find(&v->expected.copied, name) != NULL)
            continue;
        QK_TRY(qk_path_join(v->folder, name, &path, v->err));
        enum qk_code code = differs(v, path, "is not a file of post");
        free(path);
        QK_TRY(code);
    }
    return QK_OK;
}

/* *holds = the export holds a file that is left out as a rule: then it must hold all of them. */
static enum qk_code find_left_out(const struct verifier *v, bool *holds)
{
    bool adapter;
    QK_TRY(qk_adapter_is(v->post->folder, &adapter, v->err));
    *holds = v->post->adapter == NULL && !adapter && qk_folder_find(&v->found, QK_ADAPTER_CONFIG) != NULL;
    for (size_t i = 0; i < v->found.n && !*holds; i++)
        *holds = qk_export_leaves_out(v->post, v->found.file[i].name, v->found.file[i].is_folder);
    return QK_OK;
}

static enum qk_code verify_folder(struct verifier *v)
{
    uint64_t total = 0;
    const struct qk_folder *expected = &v->expected.copied;
    struct qk_file_rules rules = {.follow_links = true};
    QK_TRY(find_left_out(v, &rules.everything));
    QK_TRY(qk_export_files(v->post, &rules, &v->expected, v->err));
    for (size_t i = 0; i < expected->n; i++)
        total += expected->file[i].bytes;
    qk_progress_total(v->progress, total);
    for (size_t i = 0; i < expected->n; i++)
        QK_TRY(check_file(v, &expected->file[i]));
    return check_no_others(v);
}

/* --- patches --- */

static enum qk_code check_patch_tensor(
    struct verifier *v, const struct qk_tensor_file *patch, const struct qk_change *change)
{
    const struct qk_tensor *found = NULL, *expected = change->tensor;
    for (size_t i = 0; i < patch->n_tensors && found == NULL; i++)
        if (strcmp(patch->tensor[i].name, expected->name) == 0)
            found = &patch->tensor[i];
    bool fits = found != NULL && found->dtype == expected->dtype && qk_tensor_same_shape(found, expected);
    if (fits)
        return check_changed(v, change, &patch->source, found->offset);
    struct qk_text place = {0};
    qk_text_add(&place, "%s: %s", patch->source.path, expected->name);
    enum qk_code code =
        place.failed ? qk_fail_memory(v->err, 0)
                     : differs(v, place.s, found == NULL ? "is missing" : "has another shape or dtype");
    qk_text_free(&place);
    return code;
}

static enum qk_code verify_patch(struct verifier *v)
{
    char *path;
    struct qk_tensor_file patch;
    uint64_t total = 0;
    QK_TRY(qk_path_join(v->folder, QK_PATCH_NAME, &path, v->err));
    enum qk_code code = qk_safetensors_open(path, &patch, v->err);
    free(path);
    QK_TRY(code);
    for (size_t i = 0; i < v->manifest.n_changes; i++)
        total += v->manifest.change[i].tensor->bytes;
    qk_progress_total(v->progress, total);
    for (size_t i = 0; i < v->manifest.n_changes && code == QK_OK; i++)
        code = check_patch_tensor(v, &patch, &v->manifest.change[i]);
    if (code == QK_OK && patch.n_tensors > v->manifest.n_changes)
        code = differs(v, patch.source.path, "holds tensors that the recipe does not change");
    if (code == QK_OK)
        code = qk_source_unchanged(&patch.source, v->err);
    qk_tensor_file_close(&patch);
    return code == QK_OK ? check_no_others(v) : code;
}

/* --- the whole --- */

static enum qk_code open_export(struct verifier *v, const char *pre, const char *post)
{
    char *path;
    bool found;
    QK_TRY(qk_path_join(v->folder, QK_RECIPE_NAME, &path, v->err));
    enum qk_code code = qk_source_exists(path, &found, v->err);
    if (code == QK_OK && !found)
        code = qk_fail(
            v->err, QK_INPUT, "%s: is not an export of qkscope: it has no %s", v->folder, QK_RECIPE_NAME);
    if (code == QK_OK)
        code = qk_recipe_read(path, &v->recipe, v->err);
    free(path);
    QK_TRY(code);
    QK_TRY(qk_pair_open(pre != NULL ? pre : v->recipe.path[QK_PRE],
        post != NULL ? post : v->recipe.path[QK_POST], &v->pair, v->err));
    /* An adapter that is merged into a model's folder leaves no config of its own. */
    bool adapter;
    QK_TRY(qk_adapter_is(v->folder, &adapter, v->err));
    adapter = adapter && v->pair->model[QK_POST]->checkpoint->adapter != NULL;
    v->post = qk_export_subject(v->pair, adapter);
    QK_TRY(qk_recipe_replay(&v->recipe, v->pair, false, &v->selection, v->err));
    QK_TRY(qk_changes_find(v->pair, &v->selection, v->recipe.norms, adapter, &v->manifest.change,
        &v->manifest.n_changes, v->err));
    return qk_folder_list(v->folder, true, NULL, NULL, &v->found, v->err);
}

static enum qk_code run(struct verifier *v, const char *pre, const char *post)
{
    QK_TRY(open_export(v, pre, post));
    QK_TRY(qk_folder_find(&v->found, QK_PATCH_NAME) != NULL ? verify_patch(v) : verify_folder(v));
    QK_TRY(qk_pair_unchanged(v->pair, v->err));
    if (v->first.code == QK_OK)
        return QK_OK;
    return qk_fail(v->err, QK_DIFFERS, "%s", v->first.text);
}

enum qk_code qk_verify(const char *folder, const char *pre, const char *post, struct qk_progress *progress,
    struct qk_lines *differences, struct qk_error *err)
{
    struct verifier v = {.folder = folder, .progress = progress, .differences = differences, .err = err};
    enum qk_code code = run(&v, pre, post);
    qk_folder_free(&v.found);
    qk_export_files_free(&v.expected);
    qk_export_manifest_free(&v.manifest);
    qk_selection_free(&v.selection);
    qk_recipe_free(&v.recipe);
    qk_pair_close(v.pair);
    return code;
}
