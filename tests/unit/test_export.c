/* test_export.c - exports byte for byte: contents, refusals, all or nothing; and verify, which finds every kind of
 * damage. */
#include "helper.h"

#include "base/atomic_file.h"
#include "base/blas.h"
#include "base/folder.h"
#include "blend/change.h"
#include "blend/spec.h"
#include "export/export.h"
#include "export/export_files.h"
#include "export/recipe.h"
#include "export/verify.h"
#include "tensor/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static struct qk_selection select_by(const struct qk_pair *pair, const char *const *specs)
{
    struct qk_selection selection;
    struct qk_error err = {0};
    expect_ok(qk_selection_init(&selection, pair->n_layers, &err), &err);
    for (; *specs != NULL; specs++) {
        struct qk_spec spec;
        expect_ok(qk_spec_parse(*specs, &spec, &err), &err);
        expect_ok(qk_spec_apply(&spec, pair, NULL, &selection, NULL, &err), &err);
        qk_spec_free(&spec);
    }
    return selection;
}

#define SELECT(pair, ...) select_by(pair, (const char *const[]){__VA_ARGS__, NULL})

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

/* Names in a folder, hidden ones too. */
static int count_entries(const char *path)
{
    struct qk_folder folder;
    struct qk_error err = {0};
    expect_ok(qk_folder_list(path, true, NULL, NULL, &folder, &err), &err);
    int n = (int)folder.n;
    qk_folder_free(&folder);
    return n;
}

static void flip_byte(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    assert_int_not_equal(fputc(byte ^ 1, file), EOF);
    assert_int_equal(fclose(file), 0);
}

/* --- every byte --- */

/* The bytes of the tensor that the selection asks for, worked out here: rows of heads from pre where the role
 * is restored, (1-a) post + a pre rounded where it is lerp; everything else post's. */
static char *expected_bytes(const struct qk_pair *pair, const struct qk_selection *selection,
    const struct qk_tensor *tensor, bool *changed)
{
    struct qk_error err = {0};
    char *bytes = malloc(tensor->bytes + 1);
    expect_ok(
        qk_checkpoint_read(pair->model[QK_POST]->checkpoint, tensor, 0, bytes, (size_t)tensor->bytes, &err),
        &err);
    *changed = false;
    size_t size = qk_dtype_bits(tensor->dtype) / 8;
    for (int i = 0; i < pair->n_layers; i++) {
        const struct qk_layer *pre = pair->layer[i].side[QK_PRE], *post = pair->layer[i].side[QK_POST];
        for (int r = 0; r < QK_ROLE_COUNT; r++) {
            const struct qk_view *view = &post->role[r];
            const struct qk_layer_choice *choices = &selection->choice[i];
            if (view->weight != tensor || qk_layer_choice_mode(choices, (enum qk_role)r) == QK_KEEP)
                continue;
            *changed = true;
            char *before = malloc(tensor->bytes + 1);
            expect_ok(qk_checkpoint_read(pair->model[QK_PRE]->checkpoint, pre->role[r].weight, 0, before,
                          (size_t)tensor->bytes, &err),
                &err);
            for (uint64_t element = 0; element < tensor->bytes / size; element++) {
                uint64_t row = view->transposed ? element % tensor->shape[1] : element / tensor->shape[1];
                struct qk_choice choice = {QK_KEEP, 0};
                for (int h = 0; h < view->n_heads; h++)
                    if (row >= view->first_row[h] && row - view->first_row[h] < (uint64_t)post->head_dim)
                        choice = qk_layer_choice_of(choices, (enum qk_role)r, h);
                assert_true(choice.mode <= QK_LERP);
                char *place = bytes + element * size;
                if (choice.mode == QK_RESTORE)
                    memcpy(place, before + element * size, size);
                if (choice.mode == QK_LERP) {
                    double a, b;
                    qk_dtype_to_f64(tensor->dtype, before + element * size, 1, &a);
                    qk_dtype_to_f64(tensor->dtype, place, 1, &b);
                    b = (1 - choice.param) * b + choice.param * a;
                    qk_dtype_from_f64(tensor->dtype, &b, 1, place);
                }
            }
            free(before);
        }
    }
    return bytes;
}

/* Compares the whole folder; returns how many tensors differ from post. */
static int expect_export(const struct qk_pair *pair, const struct qk_selection *selection, const char *folder)
{
    const struct qk_checkpoint *post = pair->model[QK_POST]->checkpoint;
    struct qk_folder files;
    struct qk_error err = {0};
    char from[PATH_SIZE], to[PATH_SIZE];
    int changes = 0;
    expect_ok(qk_folder_list(post->folder, true, NULL, NULL, &files, &err), &err);
    assert_int_equal(count_entries(folder), (int)files.n + 1); /* and the recipe */
    for (size_t i = 0; i < files.n; i++) {
        size_t n, m;
        if (files.file[i].is_folder)
            continue;
        char *expected = read_bytes(path_in(from, post->folder, files.file[i].name), &n);
        char *found = read_bytes(path_in(to, folder, files.file[i].name), &m);
        assert_int_equal(n, m);
        int shard = qk_export_shard(post, files.file[i].name);
        for (size_t k = 0; shard >= 0 && k < post->shard[shard].file.n_tensors; k++) {
            const struct qk_tensor *tensor = &post->shard[shard].file.tensor[k];
            bool changed;
            char *bytes = expected_bytes(pair, selection, tensor, &changed);
            memcpy(expected + tensor->offset, bytes, tensor->bytes);
            changes += changed;
            free(bytes);
        }
        for (size_t k = 0; k < n; k++)
            if (expected[k] != found[k])
                fail_msg("%s: byte %zu", to, k);
        free(expected);
        free(found);
    }
    qk_folder_free(&files);
    return changes;
}

static void expect_verified(const char *folder)
{
    struct qk_lines differences = {0};
    struct qk_error err = {0};
    expect_ok(qk_verify(folder, NULL, NULL, NULL, &differences, &err), &err);
    assert_int_equal(differences.n, 0);
    qk_lines_free(&differences);
}

/* Exports two selections one after the other: by role, and by head. */
static void check_family(const char *folder, const char *family)
{
    char target[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_family(family);
    struct qk_selection selections[] = {SELECT(pair, "all:q=restore", "all:k=lerp:0.3"),
        SELECT(pair, "all/q0=restore", "all/q1-99=lerp:0.3", "all/q2=keep", "all/k0=restore")};
    for (int i = 0; i < 2; i++) {
        const struct qk_export_options options = {.target = path_in(target, folder, family), .force = i > 0};
        struct qk_export_manifest manifest;
        struct qk_progress progress = {0};
        expect_ok(qk_export_manifest(pair, &selections[i], &options, &manifest, &err), &err);
        expect_ok(qk_export(pair, &selections[i], &options, &progress, &err), &err);
        assert_int_equal(progress.done, progress.total);
        assert_int_equal(progress.total, manifest.bytes_written);
        assert_int_equal(expect_export(pair, &selections[i], target) > 0, 1);
        expect_verified(target);
        qk_export_manifest_free(&manifest);
        qk_selection_free(&selections[i]);
    }
    qk_pair_close(pair);
}

static void test_every_family_every_byte(void **state)
{
    for (int f = 0; f < N_FAMILIES; f++)
        check_family(*state, FAMILIES[f]);
}

/* Each mode with a parameter, through the file and back. */
static void test_blends_verify(void **state)
{
    static const char *const modes[] = {"full=qk-pro:0.3", "full=procrustes:0.5", "linear:k=lerp:0.25"};
    char target[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        struct qk_pair *pair = open_family("hypenet");
        struct qk_selection selection = SELECT(pair, modes[i]);
        const struct qk_export_options options = {
            .target = path_in(target, *state, modes[i]), .norms = true, .comment = "with gains"};
        expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
        expect_verified(target);
        qk_selection_free(&selection);
        qk_pair_close(pair);
        /* a blended value may be one unit off, but not what the recipe recorded */
        flip_byte(path_in(path, target, "model.safetensors"), -1000);
        assert_int_equal(qk_verify(target, NULL, NULL, NULL, NULL, &err), QK_DIFFERS);
    }
}

/* --- shards, side files, links --- */

/* A verification opens every shard: what does not ask how many there may be, and verifies often, takes few. */
enum { SHARDS = 200, FEW_SHARDS = 12 };

/* One layer a shard, hidden size 8, two heads of 4. */
static void write_sharded(const char *folder, int n, uint64_t seed)
{
    char path[PATH_SIZE], name[64], q[64], k[64], v[64];
    make_folder(folder);
    write_text(path_in(path, folder, "config.json"),
        "{\"model_type\": \"llama\", \"num_hidden_layers\": %d, \"num_attention_heads\": 2, "
        "\"num_key_value_heads\": 1, \"head_dim\": 4, \"hidden_size\": 8}",
        n);
    FILE *index = fopen(path_in(path, folder, "model.safetensors.index.json"), "w");
    fprintf(index, "{\"metadata\": {\"total_size\": 0}, \"weight_map\": {");
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", i + 1, n);
        snprintf(q, sizeof q, "model.layers.%d.self_attn.q_proj.weight", i);
        snprintf(k, sizeof k, "model.layers.%d.self_attn.k_proj.weight", i);
        snprintf(v, sizeof v, "model.layers.%d.self_attn.v_proj.weight", i);
        const struct test_tensor tensors[] = {
            {k, "BF16", 2, {4, 8}, NULL}, {q, "BF16", 2, {8, 8}, NULL}, {v, "BF16", 2, {4, 8}, NULL}};
        write_safetensors(path_in(path, folder, name), tensors, 3, seed + (uint64_t)i);
        fprintf(index, "%s\"%s\": \"%s\", \"%s\": \"%s\", \"%s\": \"%s\"", i > 0 ? ", " : "", q, name, k,
            name, v, name);
    }
    fprintf(index, "}}");
    assert_int_equal(fclose(index), 0);
    write_text(path_in(path, folder, "README.md"), "side file %llu\n", (unsigned long long)seed);
    make_folder(path_in(path, folder, "original/deep"));
    write_text(path_in(path, folder, "original/deep/params.json"), "{}");
}

static struct qk_pair *open_sharded(const char *folder, int n)
{
    char pre[PATH_SIZE], post[PATH_SIZE];
    struct qk_pair *pair;
    struct qk_error err = {0};
    write_sharded(path_in(pre, folder, "pre"), n, 1);
    write_sharded(path_in(post, folder, "post"), n, 1000);
    expect_ok(qk_pair_open(pre, post, &pair, &err), &err);
    return pair;
}

static void test_200_shards(void **state)
{
    char target[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, SHARDS);
    struct qk_selection selection = SELECT(pair, "3,150-152=restore", "199:k=lerp:0.5");
    const struct qk_export_options options = {.target = path_in(target, *state, "out")};
    struct qk_export_manifest manifest;
    expect_ok(qk_export_manifest(pair, &selection, &options, &manifest, &err), &err);
    assert_int_equal(manifest.n_changes, 9);
    assert_int_equal(manifest.n_shards_changed, 5);
    assert_int_equal(manifest.bytes_changed, 4 * (12 * 8 * 2) + 4 * 8 * 2);
    qk_export_manifest_free(&manifest);
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    assert_int_equal(expect_export(pair, &selection, target), 9);
    expect_verified(target);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

static void test_links_and_modes(void **state)
{
    char target[PATH_SIZE], from[PATH_SIZE], to[PATH_SIZE];
    struct stat a, b;
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, SHARDS);
    assert_int_equal(chmod(path_in(from, *state, "post/README.md"), 0640), 0);
    struct qk_selection selection = SELECT(pair, "7=restore");
    const struct qk_export_options options = {.target = path_in(target, *state, "out"), .link = true};
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    for (int i = 7; i <= 8; i++) {
        char name[64];
        snprintf(name, sizeof name, "post/model-%05d-of-00200.safetensors", i + 1);
        assert_int_equal(stat(path_in(from, *state, name), &a), 0);
        snprintf(name, sizeof name, "out/model-%05d-of-00200.safetensors", i + 1);
        assert_int_equal(stat(path_in(to, *state, name), &b), 0);
        assert_int_equal(a.st_ino == b.st_ino, i == 8); /* the changed one is a file of its own */
    }
    assert_int_equal(stat(path_in(from, *state, "post/README.md"), &a), 0);
    assert_int_equal(stat(path_in(to, *state, "out/README.md"), &b), 0);
    assert_int_equal(b.st_mode & 0777, 0640);
    assert_true(a.st_ino != b.st_ino); /* a side file is edited more easily than weights: never shared */
    expect_verified(target);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

/* The Hugging Face cache: a snapshot of links into a folder of blobs. */
static void test_linked_shards(void **state)
{
    char path[PATH_SIZE], blob[PATH_SIZE], target[PATH_SIZE];
    struct qk_error err = {0};
    qk_pair_close(open_sharded(*state, SHARDS));
    make_folder(path_in(blob, *state, "blobs"));
    path_in(path, *state, "post/model-00004-of-00200.safetensors");
    path_in(blob, *state, "blobs/0123abcd");
    assert_int_equal(rename(path, blob), 0);
    assert_int_equal(symlink("../blobs/0123abcd", path), 0);
    struct qk_pair *pair;
    char pre[PATH_SIZE], post[PATH_SIZE];
    expect_ok(qk_pair_open(path_in(pre, *state, "pre"), path_in(post, *state, "post"), &pair, &err), &err);
    struct qk_selection selection = SELECT(pair, "2-4=restore");
    const struct qk_export_options options = {.target = path_in(target, *state, "out")};
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    struct stat info;
    assert_int_equal(lstat(path_in(path, *state, "out/model-00004-of-00200.safetensors"), &info), 0);
    assert_true(S_ISREG(info.st_mode));
    expect_export(pair, &selection, target);
    expect_verified(target);
    /* an export over the blobs would destroy an input */
    const struct qk_export_options over = {.target = path_in(blob, *state, "blobs"), .force = true};
    expect_failure(
        qk_export(pair, &selection, &over, NULL, &err), &err, QK_USAGE, "blobs|holds a file of post");
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

/* post named by its file: the folder around it is not taken for a part of it. */
static void test_single_file(void **state)
{
    char pre[PATH_SIZE], post[PATH_SIZE], path[PATH_SIZE], target[PATH_SIZE];
    struct qk_error err = {0};
    const struct test_tensor tensors[] = {{"model.layers.0.self_attn.q_proj.weight", "F32", 2, {8, 8}, NULL},
        {"model.layers.0.self_attn.k_proj.weight", "F32", 2, {8, 8}, NULL}};
    make_folder(path_in(path, *state, "files/other"));
    write_safetensors(path_in(pre, *state, "files/before.safetensors"), tensors, 2, 1);
    write_safetensors(path_in(post, *state, "files/after.safetensors"), tensors, 2, 2);
    write_text(path_in(path, *state, "files/config.json"),
        "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, "
        "\"num_attention_heads\": 2, \"hidden_size\": 8}");
    write_text(path_in(path, *state, "files/movie.mp4"), "not a part of it");
    assert_int_equal(mkfifo(path_in(path, *state, "files/pipe"), 0600), 0);
    struct qk_pair *pair;
    expect_ok(qk_pair_open(pre, post, &pair, &err), &err);
    struct qk_selection selection = SELECT(pair, "all=restore");
    const struct qk_export_options options = {.target = path_in(target, *state, "out")};
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    assert_int_equal(count_entries(target), 3); /* the file, its config, the recipe */
    expect_verified(target);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

static void test_patch(void **state)
{
    char target[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_family("hypenet");
    struct qk_selection selection = SELECT(pair, "full=restore"), none = SELECT(pair, "all=keep");
    const struct qk_export_options options = {.target = path_in(target, *state, "out"), .patch_only = true};
    expect_failure(qk_export(pair, &none, &options, NULL, &err), &err, QK_USAGE, "nothing is chosen");
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    assert_int_equal(count_entries(target), 2);
    struct qk_tensor_file patch;
    expect_ok(qk_safetensors_open(path_in(path, target, QK_PATCH_NAME), &patch, &err), &err);
    assert_int_equal(patch.n_tensors, 8);
    assert_int_equal(patch.header_bytes % 8, 0);
    qk_tensor_file_close(&patch);
    expect_verified(target);
    flip_byte(path, -1);
    expect_failure(qk_verify(target, NULL, NULL, NULL, NULL, &err), &err, QK_DIFFERS, QK_PATCH_NAME "|_proj");
    qk_selection_free(&selection);
    qk_selection_free(&none);
    qk_pair_close(pair);
}

/* --- refusals --- */

static void expect_refused(const struct qk_pair *pair, const char *target, bool force, const char *words)
{
    struct qk_selection selection = SELECT(pair, "1=restore");
    const struct qk_export_options options = {.target = target, .force = force};
    struct qk_error err = {0};
    expect_failure(qk_export(pair, &selection, &options, NULL, &err), &err, QK_USAGE, words);
    qk_selection_free(&selection);
}

static void test_targets_that_are_refused(void **state)
{
    char path[PATH_SIZE], other[PATH_SIZE];
    struct qk_pair *pair = open_sharded(*state, SHARDS);
    expect_refused(pair, path_in(path, *state, "post"), true, "is in, post's folder");
    expect_refused(pair, path_in(path, *state, "pre/out"), true, "is in, pre's folder");
    expect_refused(pair, path_in(path, *state, "post/original/../../post/x"), true, "is in, post's folder");
    expect_refused(pair, *state, true, "holds pre's folder");
    expect_refused(pair, path_in(path, *state, ".."), true, "not a name");
    expect_refused(pair, "", true, "not a name");
    assert_int_equal(symlink("post", path_in(path, *state, "alias")), 0);
    expect_refused(pair, path, true, "alias: is a link");
    expect_refused(pair, path_in(other, *state, "alias/"), true, "alias: is a link");
    expect_refused(pair, path_in(other, *state, "alias/out"), true, "is in, post's folder");
    write_text(path_in(path, *state, "file"), "text");
    expect_refused(pair, path, true, "not a folder");
    make_folder(path_in(path, *state, "empty"));
    expect_refused(pair, path, false, "exists");
    make_folder(path_in(path, *state, "mine"));
    write_text(path_in(other, *state, "mine/thesis.tex"), "years of work");
    expect_refused(pair, path, true, "holds no qkscope-recipe.json");
    write_text(path_in(other, *state, "mine/qkscope-recipe.json"), "{}");
    expect_refused(pair, path, true, "thesis.tex");
    assert_true(exists(path_in(other, *state, "mine/thesis.tex")));
    qk_pair_close(pair);
}

static void test_force_replaces_an_export(void **state)
{
    char target[PATH_SIZE], old[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, SHARDS);
    struct qk_selection first = SELECT(pair, "1=restore"), second = SELECT(pair, "2=restore");
    struct qk_export_options options = {.target = path_in(target, *state, "out"), .force = true};
    expect_ok(qk_export(pair, &first, &options, NULL, &err), &err);
    expect_ok(qk_export(pair, &second, &options, NULL, &err), &err);
    expect_export(pair, &second, target);
    expect_verified(target);
    /* what a crash left, and what a running export holds */
    path_in(old, *state, ".out" QK_SIBLING_MARK "1-0");
    make_folder(old);
    char held[PATH_SIZE];
    path_in(held, *state, ".out" QK_SIBLING_MARK "2-0");
    make_folder(held);
    int lock = open(held, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    expect_ok(qk_export(pair, &first, &options, NULL, &err), &err);
    assert_false(exists(old));
    assert_true(exists(held));
    close(lock);
    qk_selection_free(&first);
    qk_selection_free(&second);
    qk_pair_close(pair);
}

/* What a killed export leaves beside its target goes for an export alone that is not refused. */
static void test_refused_exports_touch_nothing(void **state)
{
    char target[PATH_SIZE], aside[PATH_SIZE], left[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, FEW_SHARDS);
    struct qk_selection selection = SELECT(pair, "1=restore");
    struct qk_export_options options = {.target = path_in(target, *state, "out"), .force = true};
    path_in(aside, *state, ".out" QK_SIBLING_MARK "replaced");
    make_folder(path_in(left, *state, ".out" QK_SIBLING_MARK "1-0"));
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    assert_false(exists(left));
    /* Killed between the two renames: the old export has no name. */
    make_folder(left);
    assert_int_equal(rename(target, aside), 0);
    expect_refused(
        pair, target, false, "out: exists as |.out.qkscope-replaced, where an interrupted export left it");
    assert_true(exists(aside) && exists(left) && !exists(target));
    write_text(path_in(path, aside, "thesis.tex"), "years of work");
    expect_refused(pair, target, true, "thesis.tex, which this export would not write");
    assert_true(exists(path) && exists(left) && !exists(target));
    assert_int_equal(unlink(path), 0);
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    expect_verified(target);
    assert_false(exists(aside) || exists(left));
    /* Killed after both: the old one is in the way of nothing. */
    make_folder(left);
    make_folder(aside);
    write_text(path_in(path, aside, "old"), "old");
    expect_refused(pair, target, false, "exists; it is replaced when forced");
    assert_true(exists(path) && exists(left));
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    expect_verified(target);
    assert_false(exists(aside) || exists(left));
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

/* An input that somebody opened where a killed export left it. */
static void test_inputs_in_what_is_removed(void **state)
{
    static const char *const places[] = {".out" QK_SIBLING_MARK "replaced", ".out" QK_SIBLING_MARK "1-0"};
    char pre[PATH_SIZE], post[PATH_SIZE], path[PATH_SIZE];
    struct qk_pair *pair;
    struct qk_error err = {0};
    write_sharded(path_in(pre, *state, "pre"), FEW_SHARDS, 1);
    for (int i = 0; i < 2; i++) {
        write_sharded(path_in(post, *state, places[i]), FEW_SHARDS, 1000);
        expect_ok(qk_pair_open(pre, post, &pair, &err), &err);
        make_folder(path_in(path, *state, "out"));
        expect_refused(pair, path, true, "refused: it is, or is in, post's folder");
        assert_int_equal(rmdir(path), 0);
        write_text(path_in(path, post, "qkscope-recipe.json"), "{}");
        expect_refused(pair, path_in(path, *state, "out"), true, "refused: it is, or is in, post's folder");
        assert_true(exists(path_in(path, post, "config.json")));
        qk_pair_close(pair);
        assert_int_equal(rename(post, path_in(path, *state, i == 0 ? "first" : "second")), 0);
    }
}

/* Left-overs of a target's name go first, so their bytes are free to it. */
static void test_left_overs_count_as_free(void **state)
{
    enum { BYTES = 32 << 20, TRIES = 100 };
    char path[PATH_SIZE], target[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, FEW_SHARDS);
    struct qk_selection selection = SELECT(pair, "1=restore");
    const struct qk_export_options options = {.target = path_in(target, *state, "out")};
    make_folder(path_in(path, *state, ".out" QK_SIBLING_MARK "1-0"));
    int fd = open(path_in(path, *state, ".out" QK_SIBLING_MARK "1-0/file"), O_WRONLY | O_CREAT, 0600);
    assert_int_equal(posix_fallocate(fd, 0, BYTES), 0);
    close(fd);
    bool more = false;
    for (int i = 0; i < TRIES && !more; i++) { /* others write to this disk, too */
        struct qk_export_manifest manifest;
        struct statvfs info;
        assert_int_equal(statvfs(*state, &info), 0);
        expect_ok(qk_export_manifest(pair, &selection, &options, &manifest, &err), &err);
        more = manifest.bytes_free > (uint64_t)info.f_bavail * info.f_frsize + BYTES / 2;
        qk_export_manifest_free(&manifest);
    }
    assert_true(more);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

static void test_failures_leave_nothing(void **state)
{
    char target[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, SHARDS);
    struct qk_selection selection = SELECT(pair, "all=restore");
    int before = count_entries(*state);
    struct qk_progress cancelled = {.cancel = true};
    const struct qk_export_options options = {.target = path_in(target, *state, "out")};
    assert_int_equal(qk_export(pair, &selection, &options, &cancelled, &err), QK_CANCELLED);
    assert_int_equal(count_entries(*state), before);
    const struct qk_export_options nowhere = {.target = path_in(path, *state, "no/such/out")};
    expect_failure(qk_export(pair, &selection, &nowhere, NULL, &err), &err, QK_IO, "no/such");
    /* a shard of pre that another program cut short after it was opened */
    assert_int_equal(truncate(path_in(path, *state, "pre/model-00100-of-00200.safetensors"), 300), 0);
    expect_failure(qk_export(pair, &selection, &options, NULL, &err), &err, QK_IO, "00100|shorter");
    assert_int_equal(count_entries(*state), before);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

static void test_pre_that_changes_is_noticed(void **state)
{
    char target[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, SHARDS);
    struct qk_selection selection = SELECT(pair, "1=restore");
    flip_byte(path_in(path, *state, "pre/model-00050-of-00200.safetensors"), -1);
    const struct qk_export_options options = {.target = path_in(target, *state, "out")};
    expect_failure(qk_export(pair, &selection, &options, NULL, &err), &err, QK_IO, "00050|changed");
    assert_false(exists(target));
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

/* --- what verify finds --- */

struct damage {
    const char *file; /* below the export */
    const char *words;
    void (*make)(const char *path);
};

static void damage_end(const char *path)
{
    flip_byte(path, -1);
}
static void damage_header(const char *path)
{
    flip_byte(path, 20);
}
static void damage_cut(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size - 1), 0);
}
static void damage_remove(const char *path)
{
    remove_all(path);
}
static void damage_add(const char *path)
{
    write_text(path, "not of post");
}

/* One bit of a head that was not chosen, in a tensor of which others are. */
static void test_verify_finds_a_bit_of_another_head(void **state)
{
    static const char *const sets[] = {"7/q1-2,k0=restore", "7/q1-2,k0=lerp:0.5", "7/g0=qk-pro:0.3"};
    char target[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_family("hypenet");
    const struct qk_layer *post = pair->layer[7].side[QK_POST];
    const struct qk_export_options options = {.target = path_in(target, *state, "out"), .force = true};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct qk_selection selection = SELECT(pair, sets[i]);
        struct qk_lines differences = {0};
        uint64_t first, stride, length, count;
        if (exists(path_in(path, *state, "out")))
            remove_all(path);
        expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
        expect_verified(target);
        qk_view_ranges(post, QK_Q, 3, &first, &stride, &length, &count);
        flip_byte(path_in(path, target, "model.safetensors"),
            (long)(post->role[QK_Q].weight->offset + first + length / 2));
        assert_int_equal(qk_verify(target, NULL, NULL, NULL, &differences, &err), QK_DIFFERS);
        assert_int_equal(differences.n, 1);
        assert_non_null(strstr(differences.line[0], post->role[QK_Q].weight->name));
        qk_lines_free(&differences);
        qk_selection_free(&selection);
    }
    qk_pair_close(pair);
}

static void test_verify_finds_damage(void **state)
{
    static const struct damage damages[] = {
        {"model-00002-of-00012.safetensors", "v_proj.weight|post", damage_end},
        {"model-00009-of-00012.safetensors", "layers.8.self_attn.v_proj.weight|byte 63", damage_end},
        {"model-00002-of-00012.safetensors", "byte 20", damage_header},
        {"model-00002-of-00012.safetensors", "size", damage_cut},
        {"model-00002-of-00012.safetensors", "missing", damage_remove},
        {"original/deep/params.json", "byte 1", damage_end},
        {"original/deep/params.json", "missing", damage_remove},
        {"config.json", "size", damage_cut},
        {"extra.txt", "not a file of post", damage_add},
    };
    char target[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, FEW_SHARDS);
    struct qk_selection selection = SELECT(pair, "1=restore");
    struct qk_export_options options = {.target = path_in(target, *state, "out"), .force = true};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct qk_lines differences = {0};
        if (exists(path_in(path, *state, "out")))
            remove_all(path);
        expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
        damages[i].make(path_in(path, target, damages[i].file));
        expect_failure(
            qk_verify(target, NULL, NULL, NULL, &differences, &err), &err, QK_DIFFERS, damages[i].words);
        assert_non_null(strstr(err.text, damages[i].file));
        assert_int_equal(differences.n, 1);
        assert_string_equal(differences.line[0], err.text);
        qk_lines_free(&differences);
    }
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

/* Each byte of each changed tensor counts. */
static void test_verify_finds_any_byte_of_a_change(void **state)
{
    char target[PATH_SIZE], path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, FEW_SHARDS);
    struct qk_selection selection = SELECT(pair, "1=restore");
    struct qk_export_options options = {.target = path_in(target, *state, "out")};
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    path_in(path, target, "model-00002-of-00012.safetensors");
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    for (long at = info.st_size - 256; at < info.st_size; at += 5) {
        flip_byte(path, at);
        expect_failure(qk_verify(target, NULL, NULL, NULL, NULL, &err), &err, QK_DIFFERS,
            "model-00002-of-00012.safetensors|layers.1.self_attn");
        flip_byte(path, at);
    }
    expect_verified(target);
    qk_selection_free(&selection);
    qk_pair_close(pair);
}

static void test_verify_needs_its_inputs(void **state)
{
    char target[PATH_SIZE], path[PATH_SIZE], moved[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_pair *pair = open_sharded(*state, SHARDS);
    struct qk_selection selection = SELECT(pair, "1=restore");
    struct qk_export_options options = {.target = path_in(target, *state, "out")};
    expect_ok(qk_export(pair, &selection, &options, NULL, &err), &err);
    qk_selection_free(&selection);
    qk_pair_close(pair);
    assert_int_equal(rename(path_in(path, *state, "pre"), path_in(moved, *state, "moved")), 0);
    expect_failure(qk_verify(target, NULL, NULL, NULL, NULL, &err), &err, QK_IO, path);
    expect_ok(qk_verify(target, moved, NULL, NULL, NULL, &err), &err);
    expect_failure(
        qk_verify(target, path_in(path, *state, "post"), moved, NULL, NULL, &err), &err, QK_DIFFERS, "out");
    expect_failure(qk_verify(moved, NULL, NULL, NULL, NULL, &err), &err, QK_INPUT, QK_RECIPE_NAME);
    struct qk_progress cancelled = {.cancel = true};
    assert_int_equal(qk_verify(target, moved, NULL, &cancelled, NULL, &err), QK_CANCELLED);
}

int main(void)
{
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        test_in_folder(test_every_family_every_byte),
        test_in_folder(test_blends_verify),
        test_in_folder(test_200_shards),
        test_in_folder(test_links_and_modes),
        test_in_folder(test_linked_shards),
        test_in_folder(test_single_file),
        test_in_folder(test_patch),
        test_in_folder(test_targets_that_are_refused),
        test_in_folder(test_force_replaces_an_export),
        test_in_folder(test_refused_exports_touch_nothing),
        test_in_folder(test_inputs_in_what_is_removed),
        test_in_folder(test_left_overs_count_as_free),
        test_in_folder(test_failures_leave_nothing),
        test_in_folder(test_pre_that_changes_is_noticed),
        test_in_folder(test_verify_finds_a_bit_of_another_head),
        test_in_folder(test_verify_finds_damage),
        test_in_folder(test_verify_finds_any_byte_of_a_change),
        test_in_folder(test_verify_needs_its_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
