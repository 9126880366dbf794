/* test_checkpoint.c - the files of a checkpoint, and the requirements of an index. */
#include "helper.h"

#include "tensor/checkpoint.h"
#include "tensor/names.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A shard FOLDER/name that holds tensors of these one-letter names. */
static void shard(const char *folder, const char *name, const char *letters)
{
    char path[PATH_SIZE], names[26][2];
    struct test_tensor tensors[26];
    size_t n = strlen(letters);
    for (size_t i = 0; i < n; i++) {
        names[i][0] = letters[i];
        names[i][1] = '\0';
        tensors[i] = (struct test_tensor){names[i], "F32", 1, {4}, NULL};
    }
    write_safetensors(path_in(path, folder, name), tensors, n, 1);
}

static void write_index(const char *folder, const char *name, const char *map)
{
    char path[PATH_SIZE];
    write_text(path_in(path, folder, name), "{\"metadata\":{\"total_size\":1},\"weight_map\":{%s}}", map);
}

/* Opens FOLDER/name ("": the folder), closing it again when that worked. */
static enum qk_code open_in(const char *folder, const char *name, struct qk_error *err)
{
    char path[PATH_SIZE];
    struct qk_checkpoint *c;
    path_in(path, folder, name);
    enum qk_code code = qk_checkpoint_open(name[0] != '\0' ? path : folder, &c, err);
    assert_true((code == QK_OK) == (c != NULL));
    qk_checkpoint_close(c);
    return code;
}

static void refuse(const char *folder, const char *name, const char *words)
{
    struct qk_error err = {0};
    expect_failure(open_in(folder, name, &err), &err, QK_INPUT, words);
}

static void expect_tensors(const char *folder, const char *name, const char *letters, size_t n_shards)
{
    char path[PATH_SIZE], found[64] = "";
    struct qk_error err = {0};
    struct qk_checkpoint *c;
    expect_ok(qk_checkpoint_open(name[0] != '\0' ? path_in(path, folder, name) : folder, &c, &err), &err);
    for (size_t i = 0; i < c->n_tensors; i++)
        strcat(found, c->by_name[i]->name);
    assert_string_equal(found, letters);
    assert_int_equal(c->n_shards, n_shards);
    qk_checkpoint_close(c);
}

/* The folder has these tensors, and one note with these words. */
static void expect_note(const char *folder, const char *letters, const char *words)
{
    struct qk_error err = {0};
    struct qk_checkpoint *c;
    expect_ok(qk_checkpoint_open(folder, &c, &err), &err);
    assert_int_equal(c->n_tensors, strlen(letters));
    assert_int_equal(c->notes.n, 1);
    if (strstr(c->notes.line[0], words) == NULL)
        fail_msg("%s", c->notes.line[0]);
    qk_checkpoint_close(c);
}

static void test_single_file(void **state)
{
    shard(*state, "model.safetensors", "ba");
    expect_tensors(*state, "model.safetensors", "ab", 1);
    expect_tensors(*state, "", "ab", 1);
    shard(*state, "other.safetensors", "c"); /* model.safetensors rules the folder */
    expect_tensors(*state, "", "ab", 1);
    expect_tensors(*state, "other.safetensors", "c", 1);
}

static void test_folder_without_index(void **state)
{
    shard(*state, "b.safetensors", "b");
    shard(*state, "a.safetensors", "ca");
    expect_tensors(*state, "", "abc", 2);
    shard(*state, "c.safetensors", "xa");
    expect_note(
        *state, "abcx", "a: is in two shards (a.safetensors and c.safetensors), with the same values");
}

static void test_index(void **state)
{
    shard(*state, "s1.safetensors", "ad");
    shard(*state, "s2.safetensors", "bc");
    shard(*state, "unrelated.safetensors", "a");
    write_index(*state, "model.safetensors.index.json",
        "\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\",\"c\":\"s2.safetensors\",\"d\":\"s1.safetensors\"");
    expect_tensors(*state, "", "abcd", 2);
    expect_tensors(*state, "model.safetensors.index.json", "abcd", 2);
    write_index(*state, "other.safetensors.index.json", "\"a\":\"unrelated.safetensors\"");
    expect_tensors(*state, "", "abcd", 2); /* the usual name first */
    expect_tensors(*state, "other.safetensors.index.json", "a", 1);
    char path[PATH_SIZE];
    remove_all(path_in(path, *state, "model.safetensors.index.json"));
    expect_tensors(*state, "", "a", 1);
    write_index(*state, "third.safetensors.index.json", "\"a\":\"unrelated.safetensors\"");
    refuse(*state, "", "more than one index (other.safetensors.index.json, third.safetensors.index.json");
}

static void test_index_against_shards(void **state)
{
    const char *index = "model.safetensors.index.json";
    shard(*state, "s1.safetensors", "ab");
    shard(*state, "s2.safetensors", "c");
    write_index(*state, index, "\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\",\"c\":\"s3.safetensors\"");
    struct qk_error err = {0};
    expect_failure(open_in(*state, "", &err), &err, QK_IO, "s3.safetensors: cannot open");
    write_index(*state, index,
        "\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\",\"c\":\"s2.safetensors\",\"x\":\"s1.safetensors\"");
    expect_note(
        *state, "abc", "index.json: x: no shard holds it, though the index says it is in s1.safetensors");
    write_index(*state, index, "\"a\":\"s1.safetensors\",\"c\":\"s2.safetensors\"");
    expect_note(*state, "abc", "index.json: b: the index does not name it, though it is in s1.safetensors");
    write_index(*state, index, "\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\",\"c\":\"s2.safetensors\"");
    expect_note(*state, "abc", "b: the index names another shard, though it is in s1.safetensors");
    write_index(*state, index, "\"x\":\"s1.safetensors\",\"y\":\"s2.safetensors\"");
    refuse(*state, "", "index.json: x: the index says it is in s1.safetensors, but no shard holds it");
    shard(*state, "s2.safetensors", "bc");
    write_index(*state, index, "\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\",\"c\":\"s2.safetensors\"");
    expect_note(*state, "abc",
        "b: is in two shards (s1.safetensors and s2.safetensors): that of s1.safetensors counts");
}

static void test_numbered(void **state)
{
    shard(*state, "model-00001-of-00002.safetensors", "ab");
    shard(*state, "consolidated.safetensors", "z");
    refuse(*state, "", "shards are missing (found 1, expected 2 as in model-00001-of-00002.safetensors)");
    shard(*state, "model-00002-of-00002.safetensors", "c");
    expect_note(*state, "abc", "only numbered shards count (model-00001-of-00002.safetensors ...)");
    shard(*state, "model-00001-of-00003.safetensors", "a");
    refuse(*state, "", "no index, and shards of two sets");
}

static void test_single_beside_index(void **state)
{
    const char *index = "model.safetensors.index.json";
    shard(*state, "model.safetensors", "a");
    write_index(*state, index, "\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\"");
    expect_tensors(*state, "", "a", 1); /* its shards are gone */
    shard(*state, "s1.safetensors", "ab");
    expect_note(
        *state, "ab", "model.safetensors: left out, for model.safetensors.index.json names more tensors");
    write_index(*state, index, "\"a\":\"s1.safetensors\"");
    expect_tensors(*state, "", "a", 1);
    char path[PATH_SIZE];
    remove_all(path_in(path, *state, "model.safetensors"));
    write_index(*state, index, "\"a\":\"s9.safetensors\"");
    expect_note(*state, "ab", "index.json: left out, for none of its shards is here");
}

static void test_shard_in_folder(void **state)
{
    char path[PATH_SIZE];
    make_folder(path_in(path, *state, "text"));
    shard(*state, "text/s1.safetensors", "ab");
    write_index(*state, "model.safetensors.index.json",
        "\"a\":\"text/s1.safetensors\",\"b\":\"text/s1.safetensors\"");
    expect_tensors(*state, "", "ab", 1);
}

static void test_hostile_indexes(void **state)
{
    const char *index = "model.safetensors.index.json";
    char path[PATH_SIZE];
    shard(*state, "s.safetensors", "a");
    static const char *const names[] = {"../s.safetensors", "/etc/passwd", "/tmp/s.safetensors", "",
        "sub//s.safetensors", "..", ".", "s.bin", "s.safetensors/", "a/../../s.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char map[256];
        snprintf(map, sizeof map, "\"a\":\"%s\"", names[i]);
        write_index(*state, index, map);
        refuse(*state, "", "index.json: a: ");
        refuse(*state, "", "is not a .safetensors file in this folder");
    }
    static const struct {
        const char *text, *words;
    } rows[] = {{"{}", "weight_map is missing"}, {"[]", "weight_map is missing"},
        {"3", "weight_map is missing"}, {"{\"weight_map\":[]}", "weight_map is missing or not an object"},
        {"{\"weight_map\":{}}", "weight_map is empty"},
        {"{\"weight_map\":{\"a\":1}}", "a: its shard is not a string"},
        {"{\"weight_map\":{\"a\":null}}", "a: its shard is not a string"},
        {"{\"weight_map\":{\"a\":\"s.safetensors\"},\"weight_map\":{}}", "weight_map is empty"},
        {"{\"weight_map\":{\"a\":\"s.safetensors\"}", "not valid JSON"},
        {"{\"weight_map\":{\"a\":\"\\u001b]0;x.safetensors/\"}}", "\\x1b]0;x.safetensors/"},
        {"", "not valid JSON"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_text(path_in(path, *state, index), "%s", rows[i].text);
        refuse(*state, "", rows[i].words);
    }
}

/* Of equal keys the last counts, as in Python. */
static void test_equal_keys(void **state)
{
    char path[PATH_SIZE];
    shard(*state, "s1.safetensors", "a");
    shard(*state, "s2.safetensors", "b");
    write_text(path_in(path, *state, "model.safetensors.index.json"),
        "{\"weight_map\":{\"x\":3},\"weight_map\":{\"b\":\"s1.safetensors\",\"a\":\"s1.safetensors\","
        "\"b\":\"s2.safetensors\"}}");
    expect_tensors(*state, "", "ab", 2);
}

static void test_wrong_paths(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    expect_failure(open_in(*state, "nothing", &err), &err, QK_IO, "nothing: cannot open: No such file");
    refuse(*state, "", "no .safetensors file and no pytorch_model.bin here");
    write_text(path_in(path, *state, "notes"), "x");
    refuse(*state, "notes",
        "not a .safetensors file, a PyTorch file (.bin, .pt, .pth), an index.json or a folder");
    write_text(path_in(path, *state, "b.pt"), "x");
    write_text(path_in(path, *state, "a.bin"), "x");
    refuse(*state, "", "no pytorch_model.bin here (name the file itself if it is a.bin)");
    write_text(path_in(path, *state, "pytorch_model.bin"), "x");
    refuse(*state, "", "pytorch_model.bin: not a PyTorch file");
    write_text(path_in(path, *state, "config.json"), "{}");
    refuse(*state, "config.json", "weight_map is missing");
    assert_int_equal(mkfifo(path_in(path, *state, "fifo.safetensors"), 0600), 0);
    refuse(*state, "fifo.safetensors", "neither a folder nor a regular file");
    refuse(*state, "", "not a regular file");
    assert_int_equal(symlink("nowhere", path_in(path, *state, "loose.safetensors")), 0);
    expect_failure(open_in(*state, "loose.safetensors", &err), &err, QK_IO, "loose.safetensors: cannot open");
}

static void test_unreadable(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    path_in(path, *state, "model.safetensors");
    assert_int_equal(symlink("model.safetensors", path), 0); /* a link to itself: not even root opens it */
    expect_failure(open_in(*state, "", &err), &err, QK_IO, "model.safetensors: cannot open: Too many levels");
    remove_all(path);
    shard(*state, "model.safetensors", "a");
    assert_int_equal(chmod(path, 0), 0);
    if (geteuid() != 0)
        expect_failure(open_in(*state, "", &err), &err, QK_IO, "model.safetensors: cannot open: Permission");
}

/* snapshots/REVISION/model-1.safetensors -> ../../blobs/DIGEST, as the Hugging Face cache keeps files. */
static void test_cache_links(void **state)
{
    char folder[PATH_SIZE], blobs[PATH_SIZE], path[PATH_SIZE];
    make_folder(path_in(folder, *state, "snapshots/abc"));
    make_folder(path_in(blobs, *state, "blobs"));
    shard(blobs, "0123456789abcdef", "ab");
    shard(blobs, "fedcba9876543210", "c");
    assert_int_equal(
        symlink("../../blobs/0123456789abcdef", path_in(path, folder, "model-1.safetensors")), 0);
    assert_int_equal(
        symlink("../../blobs/fedcba9876543210", path_in(path, folder, "model-2.safetensors")), 0);
    write_index(folder, "model.safetensors.index.json",
        "\"a\":\"model-1.safetensors\",\"b\":\"model-1.safetensors\",\"c\":\"model-2.safetensors\"");
    expect_tensors(folder, "", "abc", 2);
    expect_tensors(folder, "model-2.safetensors", "c", 1);
    expect_tensors(*state, "snapshots/abc/", "abc", 2);
}

static void test_many_shards(void **state)
{
    enum { SHARDS = 200, EACH = 50 };
    char path[PATH_SIZE], name[64], names[EACH][32];
    struct qk_error err = {0};
    struct qk_checkpoint *c;
    FILE *index = fopen(path_in(path, *state, "model.safetensors.index.json"), "w");
    assert_non_null(index);
    fprintf(index, "{\"weight_map\":{");
    for (int s = 0; s < SHARDS; s++) {
        struct test_tensor tensors[EACH];
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", s + 1, SHARDS);
        for (int t = 0; t < EACH; t++) {
            snprintf(names[t], sizeof names[t], "layers.%d.%d", s, t);
            tensors[t] = (struct test_tensor){names[t], "U8", 1, {3}, NULL};
            fprintf(index, "%s\"%s\":\"%s\"", s + t > 0 ? "," : "", names[t], name);
        }
        write_safetensors(path_in(path, *state, name), tensors, EACH, (uint64_t)s);
    }
    fprintf(index, "}}");
    fclose(index);
    expect_ok(qk_checkpoint_open(*state, &c, &err), &err);
    assert_int_equal(c->n_shards, SHARDS);
    assert_int_equal(c->n_tensors, SHARDS * EACH);
    uint64_t bytes = 0;
    for (size_t i = 0; i < c->n_shards; i++)
        bytes += c->shard[i].file.source.size;
    assert_int_equal(c->file_bytes, bytes);
    for (int s = 0; s < SHARDS; s++) {
        snprintf(name, sizeof name, "layers.%d.7", s);
        const struct qk_tensor *tensor = qk_checkpoint_find(c, name);
        assert_non_null(tensor);
        assert_string_equal(tensor->name, name);
        assert_int_equal(tensor->shard, s);
    }
    assert_null(qk_checkpoint_find(c, "layers.0"));
    assert_null(qk_checkpoint_find(c, ""));
    qk_checkpoint_close(c);
}

static void test_reading(void **state)
{
    char path[PATH_SIZE], buffer[8];
    const double values[] = {1, 2, 3, 4};
    const struct test_tensor tensors[] = {
        {"x", "F32", 1, {4}, NULL}, {"y", "F32", 1, {4}, values}, {"z", "F32", 1, {4}, NULL}};
    struct qk_error err = {0};
    struct qk_checkpoint *c;
    write_safetensors(path_in(path, *state, "model.safetensors"), tensors, 3, 1);
    expect_ok(qk_checkpoint_open(*state, &c, &err), &err);
    const struct qk_tensor *y = qk_checkpoint_find(c, "y");
    float read[2];
    expect_ok(qk_checkpoint_read(c, y, 4, read, sizeof read, &err), &err);
    assert_true(read[0] == 2 && read[1] == 3);
    expect_ok(qk_checkpoint_read(c, y, 16, buffer, 0, &err), &err);
    assert_string_equal(qk_checkpoint_file(c, y), path);
    qk_checkpoint_close(c);
}

static void test_changed_on_disk(void **state)
{
    char path[PATH_SIZE], buffer[16];
    struct qk_error err = {0};
    struct qk_checkpoint *c;
    struct stat info;
    shard(*state, "a.safetensors", "ab");
    shard(*state, "b.safetensors", "cd");
    expect_ok(qk_checkpoint_open(*state, &c, &err), &err);
    expect_ok(qk_checkpoint_unchanged(c, &err), &err);
    path_in(path, *state, "b.safetensors");
    assert_int_equal(stat(path, &info), 0);
    const struct timespec later[2] = {info.st_atim, {info.st_mtim.tv_sec, info.st_mtim.tv_nsec ^ 1}};
    assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
    expect_failure(
        qk_checkpoint_unchanged(c, &err), &err, QK_IO, "b.safetensors: was changed by another program");
    const struct timespec before[2] = {info.st_atim, info.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, path, before, 0), 0);
    expect_ok(qk_checkpoint_unchanged(c, &err), &err);
    assert_int_equal(truncate(path, info.st_size - 4), 0);
    expect_failure(qk_checkpoint_unchanged(c, &err), &err, QK_IO, "was changed");
    expect_failure(qk_checkpoint_read(c, qk_checkpoint_find(c, "d"), 0, buffer, 16, &err), &err, QK_IO,
        "b.safetensors: became shorter");
    qk_checkpoint_close(c);
}

/* How many pages of the file are in memory: looked up, which reads none. */
static size_t pages_in_memory(int fd, size_t n_pages, size_t page)
{
    unsigned char *in = malloc(n_pages);
    void *file = mmap(NULL, n_pages * page, PROT_READ, MAP_SHARED, fd, 0);
    size_t n = 0;
    assert_true(in != NULL && file != MAP_FAILED && mincore(file, n_pages * page, in) == 0);
    for (size_t i = 0; i < n_pages; i++)
        n += in[i] & 1;
    munmap(file, n_pages * page);
    free(in);
    return n;
}

/* Skipped where the system keeps files in memory alone. */
static void test_reading_ahead(void **state)
{
    enum { VALUES = 1 << 20 };
    static const struct test_tensor tensors[] = {
        {"model.layers.0.w", "F32", 1, {VALUES}, NULL}, {"model.layers.1.w", "F32", 1, {VALUES}, NULL}};
    char path[PATH_SIZE];
    struct qk_checkpoint *c;
    struct qk_error err = {0};
    size_t page = (size_t)sysconf(_SC_PAGESIZE), of_layer = 4 * VALUES / page;
    write_safetensors(path_in(path, *state, "model.safetensors"), tensors, 2, 1);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fsync(fd) == 0);
    expect_ok(qk_checkpoint_open(*state, &c, &err), &err);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    bool can = pages_in_memory(fd, 2 * of_layer, page) == 0;
    qk_checkpoint_expect(c, qk_checkpoint_find(c, "model.layers.1.w"), 0, 4 * VALUES);
    for (int tries = 0; can && pages_in_memory(fd, 2 * of_layer, page) < of_layer - 1; tries++) {
        assert_true(tries < 60000);
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    qk_checkpoint_close(c);
    close(fd);
    if (!can)
        not_here("this file system keeps its pages");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_folder(test_single_file),
        test_in_folder(test_folder_without_index),
        test_in_folder(test_index),
        test_in_folder(test_index_against_shards),
        test_in_folder(test_numbered),
        test_in_folder(test_single_beside_index),
        test_in_folder(test_shard_in_folder),
        test_in_folder(test_hostile_indexes),
        test_in_folder(test_equal_keys),
        test_in_folder(test_wrong_paths),
        test_in_folder(test_unreadable),
        test_in_folder(test_cache_links),
        test_in_folder(test_many_shards),
        test_in_folder(test_reading),
        test_in_folder(test_changed_on_disk),
        test_in_folder(test_reading_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
