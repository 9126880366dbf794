/* test_left_over.c - left-overs of killed programs: their names, those in use or of other users, and removal. */
#include "helper.h"

#include "base/atomic_file.h"
#include "base/left_over.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool exists(const char *folder, const char *name)
{
    char path[PATH_SIZE];
    return access(path_in(path, folder, name), F_OK) == 0;
}

static void make_file(const char *folder, const char *name, const char *text)
{
    char path[PATH_SIZE];
    write_text(path_in(path, folder, name), "%s", text);
}

static int lock_entry(const char *folder, const char *name)
{
    char path[PATH_SIZE];
    int fd = open(path_in(path, folder, name), O_RDONLY);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}

static void test_only_our_names(void **state)
{
    static const char *const others[] = {".out.qkscope-", ".out.qkscope-1", ".out.qkscope-1-",
        ".out.qkscope--1", ".out.qkscope-1-2x", ".out.qkscope-x-2", ".out.qkscope-1-2~", "out.qkscope-1-2",
        ".qkscope-1-2", ".out.qkscope-1-2-3", ".out.qkscope-+1-2", ".out.qkscope1-2"};
    struct qk_left_overs left;
    struct qk_error err = {0};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        make_file(*state, others[i], "mine");
    make_file(*state, ".r.json.qkscope-7-0", "left");
    make_file(*state, ".a.qkscope-1-2.qkscope-30-4", "left");
    expect_ok(qk_left_overs_find(*state, &left, &err), &err);
    assert_int_equal(left.n, 2);
    assert_int_equal(left.n_held, 0);
    assert_string_equal(left.entry[0].name, ".a.qkscope-1-2.qkscope-30-4");
    assert_string_equal(left.entry[1].name, ".r.json.qkscope-7-0");
    qk_left_overs_free(&left);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(qk_left_over_remove(*state, others[i], &err), QK_IO);
        assert_true(exists(*state, others[i]));
    }
}

static void test_what_is_held_or_foreign_stays(void **state)
{
    char path[PATH_SIZE], folder[PATH_SIZE];
    struct qk_left_overs left;
    struct qk_error err = {0};
    make_folder(path_in(folder, *state, ".held.qkscope-1-0"));
    int fd = lock_entry(*state, ".held.qkscope-1-0");
    make_folder(path_in(path, *state, "precious"));
    make_file(path, "thesis.tex", "years of work");
    assert_int_equal(symlink("precious", path_in(path, *state, ".link.qkscope-1-0")), 0);
    assert_int_equal(mkfifo(path_in(path, *state, ".pipe.qkscope-1-0"), 0600), 0);
    expect_ok(qk_left_overs_find(*state, &left, &err), &err);
    assert_int_equal(left.n, 0);
    assert_int_equal(left.n_held, 3);
    qk_left_overs_free(&left);
    expect_failure(
        qk_left_over_remove(*state, ".held.qkscope-1-0", &err), &err, QK_IO, ".held.qkscope-1-0|in use");
    expect_ok(qk_left_overs_clear(path_in(path, *state, "held"), &err), &err);
    expect_ok(qk_left_overs_clear(path_in(path, *state, "link"), &err), &err);
    assert_true(exists(*state, ".held.qkscope-1-0"));
    assert_true(exists(*state, ".link.qkscope-1-0"));
    assert_true(exists(*state, "precious/thesis.tex"));
    close(fd);
    expect_ok(qk_left_overs_clear(path_in(path, *state, "held"), &err), &err);
    assert_false(exists(*state, ".held.qkscope-1-0"));
}

static void test_sizes_and_links_inside(void **state)
{
    char folder[PATH_SIZE], path[PATH_SIZE], text[20000];
    struct qk_left_overs left;
    struct qk_error err = {0};
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    make_folder(path_in(path, *state, "precious"));
    make_file(path, "thesis.tex", text);
    make_folder(path_in(folder, *state, ".out.qkscope-5-0"));
    make_folder(path_in(path, folder, "below"));
    make_file(path, "weights", text);
    assert_int_equal(symlink("../precious", path_in(path, folder, "link")), 0);
    expect_ok(qk_left_overs_find(*state, &left, &err), &err);
    assert_int_equal(left.n, 1);
    assert_true(left.entry[0].is_folder);
    assert_in_range(
        left.entry[0].bytes, sizeof text - 1, 2 * sizeof text - 1); /* not what the link leads to */
    assert_int_equal(qk_left_overs_bytes(&left), left.entry[0].bytes);
    assert_in_range(left.entry[0].changed, time(NULL) - 60, time(NULL) + 60);
    expect_ok(qk_left_over_remove(*state, left.entry[0].name, &err), &err);
    qk_left_overs_free(&left);
    assert_false(exists(*state, ".out.qkscope-5-0"));
    assert_true(exists(*state, "precious/thesis.tex"));
}

static void test_beside_a_target(void **state)
{
    char target[PATH_SIZE];
    struct qk_left_overs left;
    struct qk_error err = {0};
    make_file(*state, ".out.qkscope-5-0", "");
    make_file(*state, ".out2.qkscope-5-0", "");
    make_file(*state, ".out.qkscope-x.qkscope-5-0", "");
    expect_ok(qk_left_overs_beside(path_in(target, *state, "out/"), &left, &err), &err);
    assert_int_equal(left.n, 2);
    qk_left_overs_free(&left);
    expect_ok(qk_left_overs_clear(target, &err), &err);
    assert_false(exists(*state, ".out.qkscope-5-0"));
    assert_true(exists(*state, ".out2.qkscope-5-0"));
    assert_true(exists(*state, ".out.qkscope-x.qkscope-5-0"));
    expect_failure(
        qk_left_overs_find(path_in(target, *state, "none"), &left, &err), &err, QK_IO, "none: cannot open");
}

static void test_siblings_are_held(void **state)
{
    char path[PATH_SIZE], *sibling[2];
    struct qk_left_overs left;
    struct qk_error err = {0};
    int fd[2];
    for (int folder = 0; folder < 2; folder++)
        expect_ok(
            qk_create_sibling(path_in(path, *state, "out"), folder, &sibling[folder], &fd[folder], &err),
            &err);
    expect_ok(qk_left_overs_find(*state, &left, &err), &err);
    assert_int_equal(left.n, 0);
    assert_int_equal(left.n_held, 2);
    for (int folder = 0; folder < 2; folder++) {
        close(fd[folder]);
        free(sibling[folder]);
    }
    expect_ok(qk_left_overs_find(*state, &left, &err), &err);
    assert_int_equal(left.n, 2);
    qk_left_overs_free(&left);
    expect_ok(qk_write_text(path, "text", 4, &err), &err);
    expect_ok(qk_left_overs_find(*state, &left, &err), &err);
    assert_int_equal(left.n + left.n_held, 0);
    qk_left_overs_free(&left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_folder(test_only_our_names),
        test_in_folder(test_what_is_held_or_foreign_stays),
        test_in_folder(test_sizes_and_links_inside),
        test_in_folder(test_beside_a_target),
        test_in_folder(test_siblings_are_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
