/* fuzz_kept.c - any bytes as the contents of the cache folders: kept answers, the blocks of a remote file, or a hub's
 * reference; the first byte chooses. The program uses a valid one and skips any other.
 *
 * For a hub the input is a name and, behind a NUL, the contents of refs/main of org/name. */
#include "fuzz.h"

#include "eval/answer_store.h"
#include "tensor/hub/blocks.h"
#include "tensor/hub/hub.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096 };
const char fuzz_name[] = "kept";
#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define HEAD "qkscope blocks 2\nhttp://h/f\n\"e\"\n600000\n"
const struct fuzz_seed fuzz_seeds[] = {FUZZ_SEED("a" DIGEST " r\n" OTHER " w\n"),
    FUZZ_SEED("a" DIGEST " r\n" OTHER), FUZZ_SEED("a\n\n" DIGEST " x\n" DIGEST " w\r\n\0" OTHER " r\n"),
    FUZZ_SEED("b" HEAD "0123456789abcdef\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"),
    FUZZ_SEED("bqkscope blocks 2\n"), FUZZ_SEED("horg/name\0" COMMIT "\n"),
    FUZZ_SEED("horg/name@main\0../../etc"), FUZZ_SEED("horg/name@0123\0"),
    FUZZ_SEED("horg/name@refs/pr/1\0" COMMIT)};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"a", "b", "h", DIGEST " w\n", OTHER, " r\n", "org/name", "@", "main", "/",
    "..", COMMIT, "0123", "\n", "\r", HEAD, NULL};

/* A folder with what the three kinds are looked for in; *path = FOLDER/name. */
static void path_of(char path[160], const char *name)
{
    snprintf(path, 160, "%s/%s", fuzz_folder(), name);
}

static void make_folder(const char *name)
{
    char path[160];
    path_of(path, name);
    fuzz_check(mkdir(path, 0700) == 0, "a folder");
}

static void prepare(void)
{
    static int made;
    char path[160];
    if (made)
        return;
    made = 1;
    make_folder("qkscope");
    make_folder("qkscope/answers");
    make_folder("hub");
    make_folder("hub/models--org--name");
    make_folder("hub/models--org--name/refs");
    make_folder("hub/models--org--name/snapshots");
    make_folder("hub/models--org--name/snapshots/" COMMIT);
    setenv("XDG_CACHE_HOME", fuzz_folder(), 1);
    path_of(path, "hub");
    setenv("HF_HUB_CACHE", path, 1);
}

static void read_answers(const char *text, size_t n)
{
    struct qk_answer_store *store;
    struct qk_error err = {0};
    fuzz_write_file("qkscope/answers/" DIGEST ".answers", text, n);
    fuzz_check(qk_answer_store_open(DIGEST, &store, &err) == QK_OK && store != NULL, "never a failure");
    const char *const digests[] = {DIGEST, OTHER};
    for (size_t i = 0; i < 2; i++) {
        int answer = qk_answer_store_find(store, digests[i]);
        fuzz_check(answer >= -1 && answer <= 1, "right, wrong or not known");
        fuzz_check(answer == -1 || memmem(text, n, digests[i], strlen(digests[i])) != NULL,
            "found only what is there");
    }
    qk_answer_store_close(store);
}

static void write_blocks(const char *path, const char *text, size_t n, uint64_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_check(fd >= 0 && write(fd, text, n) == (ssize_t)n, "write");
    if (n < PAGE) /* as long as it should be, where the marks are */
        fuzz_check(ftruncate(fd, PAGE + (off_t)size) == 0, "length");
    close(fd);
}

static void read_blocks(const char *text, size_t n)
{
    enum { SIZE = 600000, BLOCKS = 3 };
    struct qk_blocks blocks;
    struct qk_error err = {0};
    char byte;
    /* once to learn its name */
    fuzz_check(
        qk_blocks_open(fuzz_folder(), "http://h/f", "\"e\"", SIZE, &blocks, &err) == QK_OK, "a new one");
    write_blocks(blocks.path, text, n, SIZE);
    qk_blocks_close(&blocks);
    fuzz_check(qk_blocks_open(fuzz_folder(), "http://h/f", "\"e\"", SIZE, &blocks, &err) == QK_OK,
        "any is taken or made anew");
    bool known = n >= sizeof HEAD - 1 && memcmp(text, HEAD, sizeof HEAD - 1) == 0;
    fuzz_check(blocks.n == BLOCKS, "blocks");
    for (size_t i = 0; i < blocks.n; i++)
        fuzz_check(blocks.whole[i] == 0 || (blocks.whole[i] == 1 && known), "marks");
    bool good = true; /* the file is zeros, whose digest no mark is found to be */
    for (size_t i = 0; i < blocks.n && known && n < PAGE; i++)
        fuzz_check(qk_blocks_check(&blocks, i, &good, &err) == QK_OK && !good, "a block without its digest");
    fuzz_check(qk_blocks_read(&blocks, SIZE - 1, &byte, 1, &err) == QK_OK, "the last byte is there");
    qk_blocks_close(&blocks);
}

static void resolve(const char *text, size_t size)
{
    const char *end = size > 0 ? memchr(text, '\0', size) : NULL;
    size_t n = end != NULL ? (size_t)(end - text) : size;
    struct qk_error err = {0};
    char name[256], hub[160], *path;
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    fuzz_write_file("hub/models--org--name/refs/main", n < size ? end + 1 : "", n < size ? size - n - 1 : 0);
    enum qk_code code = qk_hub_resolve(name, &path, &err);
    fuzz_check(code == QK_OK || ((code == QK_INPUT || code == QK_IO) && err.text[0] != '\0'),
        "refused with a message");
    if (code != QK_OK)
        return;
    path_of(hub, "hub/models--org--name/snapshots/");
    bool itself = strcmp(path, name) == 0, inside = strncmp(path, hub, strlen(hub)) == 0;
    fuzz_check(itself || (inside && strchr(path + strlen(hub), '/') == NULL &&
                             strstr(path + strlen(hub), "..") == NULL),
        "itself, or a snapshot's folder");
    free(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    prepare();
    if (size == 0)
        return 0;
    const char *rest = (const char *)data + 1;
    if (data[0] == 'h')
        resolve(rest, size - 1);
    else if (data[0] == 'b')
        read_blocks(rest, size - 1);
    else
        read_answers(rest, size - 1);
    return 0;
}
