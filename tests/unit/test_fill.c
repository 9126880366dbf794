/* test_fill.c - files filled part by part: every byte, in one thread and in several; holes; the reported
 * failure; stopping; and the amount made at once. */
#include "helper.h"

#include "base/parallel.h"
#include "export/fill.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MEBI = 1 << 20 };

/* What a made part holds, byte by byte. */
static unsigned char made_byte(size_t part, size_t i)
{
    return (unsigned char)(part * 37 + i * 11 + (i >> 13));
}

struct maker {
    size_t fails[2];            /* parts that fail; SIZE_MAX: none */
    struct qk_progress *cancel; /* set when part 1 is made */
    atomic_size_t now, most;    /* parts that are made at once */
};

static enum qk_code make(
    void *context, size_t part, void *bytes, size_t n, struct qk_progress *progress, struct qk_error *err)
{
    struct maker *maker = context;
    (void)progress;
    size_t now = atomic_fetch_add(&maker->now, 1) + 1, most = atomic_load(&maker->most);
    while (now > most && !atomic_compare_exchange_weak(&maker->most, &most, now))
        ;
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)bytes)[i] = made_byte(part, i);
    if (maker->cancel != NULL && part == 1)
        atomic_store(&maker->cancel->cancel, true);
    atomic_fetch_sub(&maker->now, 1);
    if (part == maker->fails[0] || part == maker->fails[1])
        return qk_fail(err, QK_INPUT, "part %zu cannot be made", part);
    return QK_OK;
}

/* A source of `n` bytes, of which [hole, end) is a hole. */
static void write_source(const char *path, size_t n, size_t hole, size_t end)
{
    uint64_t seed = n;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    char *bytes = malloc(MEBI);
    for (size_t i = 0; i + sizeof seed <= MEBI; i += sizeof seed) {
        uint64_t value = random_bits(&seed);
        memcpy(bytes + i, &value, sizeof value);
    }
    for (size_t at = 0; at < n;) {
        if (at == hole && end > hole) {
            at = end;
            assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
            continue;
        }
        size_t stop = at < hole ? hole : n, step = stop - at < MEBI ? stop - at : MEBI;
        assert_int_equal(fwrite(bytes, 1, step, file), step);
        at += step;
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate(path, (off_t)n), 0);
    free(bytes);
}

/* Three files with a source each, and one that is made from its first byte to its last. */
enum { N_SOURCES = 3, LARGE = 40 * MEBI + 12345, HOLE = 3 * MEBI, HOLE_END = 30 * MEBI };
static const size_t SIZE[N_SOURCES] = {LARGE, 777, 0};
static const struct {
    size_t file, at, n;
} MADE[] = {{0, 100, 5000}, {0, 5100, 1}, {0, 20 * MEBI, 2 * MEBI}, {0, LARGE - 3, 3}, {1, 0, 777},
    {3, 0, 64}, {3, 64, 3 * MEBI}};
enum { N_MADE = sizeof MADE / sizeof MADE[0] };

static void open_sources(const char *folder, struct qk_source source[N_SOURCES])
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    const char *const names[] = {"a", "b", "c"};
    for (size_t i = 0; i < N_SOURCES; i++) {
        path_in(path, folder, names[i]);
        write_source(path, SIZE[i], i == 0 ? HOLE : SIZE[i], i == 0 ? HOLE_END : SIZE[i]);
        expect_ok(qk_source_open(path, &source[i], &err), &err);
    }
}

static void close_sources(struct qk_source source[N_SOURCES])
{
    for (size_t i = 0; i < N_SOURCES; i++)
        qk_source_close(&source[i]);
}

static enum qk_code fill_folder(const char *folder, const struct qk_source *source, struct maker *maker,
    uint64_t scratch, struct qk_progress *progress, struct qk_error *err)
{
    char path[PATH_SIZE], name[16];
    struct qk_fill fill = {.make = make, .context = maker};
    make_folder(folder);
    for (size_t i = 0, made = 0; i <= N_SOURCES; i++) {
        snprintf(name, sizeof name, "new %zu", i);
        path_in(path, folder, name);
        uint64_t bytes = i < N_SOURCES ? SIZE[i] : 64 + 3 * MEBI;
        expect_ok(qk_fill_add_file(&fill, path, 0640, bytes, i < N_SOURCES ? &source[i] : NULL, err), err);
        for (; made < N_MADE && MADE[made].file == i; made++)
            expect_ok(qk_fill_add_made(&fill, MADE[made].at, MADE[made].n, scratch, made, err), err);
    }
    enum qk_code code = qk_fill_run(&fill, progress, err);
    qk_fill_free(&fill);
    return code;
}

static void expect_files(const char *folder, const struct qk_source *source)
{
    char path[PATH_SIZE], name[16];
    for (size_t i = 0; i <= N_SOURCES; i++) {
        size_t n, m;
        snprintf(name, sizeof name, "new %zu", i);
        char *found = read_bytes(path_in(path, folder, name), &n);
        char *expected = i < N_SOURCES ? read_bytes(source[i].path, &m) : calloc(m = 64 + 3 * MEBI, 1);
        assert_int_equal(n, m);
        for (size_t made = 0; made < N_MADE; made++)
            for (size_t k = 0; MADE[made].file == i && k < MADE[made].n; k++)
                expected[MADE[made].at + k] = (char)made_byte(made, k);
        if (memcmp(found, expected, n) != 0)
            fail_msg("%s differs", path);
        free(found);
        free(expected);
    }
}

static void test_every_byte(void **state)
{
    char path[PATH_SIZE];
    struct qk_source source[N_SOURCES];
    struct qk_error err = {0};
    open_sources(*state, source);
    for (int alone = 0; alone < 2; alone++) {
        struct maker maker = {.fails = {SIZE_MAX, SIZE_MAX}};
        struct qk_progress progress = {0};
        qk_parallel_limit(alone ? 1 : 0);
        path_in(path, *state, alone ? "alone" : "all");
        expect_ok(fill_folder(path, source, &maker, 0, &progress, &err), &err);
        expect_files(path, source);
        assert_int_equal(atomic_load(&progress.done), SIZE[0] + SIZE[1] + 64 + 3 * MEBI);
    }
    qk_parallel_limit(0);
    close_sources(source);
}

/* Where the file system has holes: 2 of the hole's 27 MiB are made; some file systems set room aside beside
 * what is written, so half of the hole is allowed. */
static void test_holes_stay(void **state)
{
    char path[PATH_SIZE];
    struct qk_source source[N_SOURCES];
    struct maker maker = {.fails = {SIZE_MAX, SIZE_MAX}};
    struct stat before, after;
    struct qk_error err = {0};
    open_sources(*state, source);
    path_in(path, *state, "out");
    expect_ok(fill_folder(path, source, &maker, 0, NULL, &err), &err);
    assert_int_equal(fstat(source[0].fd, &before), 0);
    close_sources(source);
    assert_int_equal(stat(path_in(path, *state, "out/new 0"), &after), 0);
    assert_int_equal(after.st_mode & 0777, 0640);
    if ((uint64_t)before.st_blocks * 512 >= LARGE)
        not_here("this file system has no holes");
    assert_true(after.st_blocks * 512 <= before.st_blocks * 512 + (HOLE_END - HOLE) / 2);
}

/* Part 5 fails long before part 2: the report is of the first in the file. */
static void test_the_first_failure_is_told(void **state)
{
    char path[PATH_SIZE], name[16];
    struct qk_source source[N_SOURCES];
    open_sources(*state, source);
    for (int i = 0; i < 10; i++) {
        struct maker maker = {.fails = {2, 3}};
        struct qk_error err = {0};
        snprintf(name, sizeof name, "out %d", i);
        path_in(path, *state, name);
        expect_failure(
            fill_folder(path, source, &maker, 0, NULL, &err), &err, QK_INPUT, "part 2 cannot be made");
        remove_all(path);
    }
    close_sources(source);
}

static void test_system_failures_are_named(void **state)
{
    char path[PATH_SIZE];
    struct qk_source source[N_SOURCES];
    struct maker maker = {.fails = {SIZE_MAX, SIZE_MAX}};
    struct qk_error err = {0};
    open_sources(*state, source);
    path_in(path, *state, "out");
    make_folder(path);
    write_text(path_in(path, *state, "out/new 0"), "in the way");
    path_in(path, *state, "out");
    expect_failure(fill_folder(path, source, &maker, 0, NULL, &err), &err, QK_IO, "new 0|cannot create");
    remove_all(path);
    /* A source that became shorter is not read as zeros at its end. */
    assert_int_equal(truncate(source[0].path, 2 * MEBI), 0);
    enum qk_code code = fill_folder(path, source, &maker, 0, NULL, &err);
    if (code == QK_OK)
        code = qk_source_unchanged(&source[0], &err);
    assert_int_equal(code, QK_IO);
    close_sources(source);
}

static void test_stopping(void **state)
{
    char path[PATH_SIZE];
    struct qk_source source[N_SOURCES];
    struct qk_progress progress = {0};
    struct maker maker = {.fails = {SIZE_MAX, SIZE_MAX}, .cancel = &progress};
    struct qk_error err = {0};
    open_sources(*state, source);
    path_in(path, *state, "out");
    expect_failure(fill_folder(path, source, &maker, 0, &progress, &err), &err, QK_CANCELLED, "interrupted");
    close_sources(source);
}

/* Two of 100 MiB are more than the 192 that are made at once; a larger part is made alone. */
static void test_what_is_made_at_once_is_bounded(void **state)
{
    char path[PATH_SIZE];
    struct qk_source source[N_SOURCES];
    open_sources(*state, source);
    for (int i = 0; i < 2; i++) {
        struct maker maker = {.fails = {SIZE_MAX, SIZE_MAX}};
        struct qk_error err = {0};
        path_in(path, *state, i == 0 ? "out" : "larger");
        expect_ok(
            fill_folder(path, source, &maker, (i == 0 ? 100 : 1000) * (uint64_t)MEBI, NULL, &err), &err);
        expect_files(path, source);
        assert_int_equal(atomic_load(&maker.most), 1);
    }
    close_sources(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_folder(test_every_byte),
        test_in_folder(test_holes_stay),
        test_in_folder(test_the_first_failure_is_told),
        test_in_folder(test_system_failures_are_named),
        test_in_folder(test_stopping),
        test_in_folder(test_what_is_made_at_once_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
