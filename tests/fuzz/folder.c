/* folder.c - a folder for a fuzz target's files, and a checkpoint made of its input. */
#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 128 };

/* One folder for all inputs; removed when the process ends as it should. */
static char folder[] = "/tmp/qkscope-fuzz-XXXXXX";

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void fuzz_remove(const char *path)
{
    fuzz_check(strncmp(path, folder, sizeof folder - 1) == 0, "nothing else is ever removed");
    nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void remove_folder(void)
{
    fuzz_remove(folder);
}

const char *fuzz_folder(void)
{
    static int made;
    if (!made) {
        fuzz_check(mkdtemp(folder) != NULL && atexit(remove_folder) == 0, "a folder");
        setenv("XDG_CONFIG_HOME", folder, 1); /* no rows of the user's own */
        made = 1;
    }
    return folder;
}

/* A file of `length` bytes, of which the first n are given. */
static void write_sparse(const char *name, const void *bytes, size_t n, uint64_t length)
{
    char path[PATH];
    fuzz_check(snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name) < PATH, "a short name");
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fuzz_check(fd >= 0 && write(fd, bytes, n) == (ssize_t)n && ftruncate(fd, (off_t)length) == 0, "write");
    close(fd);
}

void fuzz_write_file(const char *name, const void *bytes, size_t n)
{
    write_sparse(name, bytes, n, n);
}

/* The greatest number that stands before "]}", up to a mebibyte. */
static uint64_t data_length(const char *text, size_t n)
{
    uint64_t greatest = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        uint64_t value = 0, place = 1;
        if (text[i] != ']' || text[i + 1] != '}')
            continue;
        for (size_t k = i; k > 0 && text[k - 1] >= '0' && text[k - 1] <= '9' && place < 1000000;
             k--, place *= 10)
            value += place * (uint64_t)(text[k - 1] - '0');
        greatest = value > greatest ? value : greatest;
    }
    return greatest;
}

void fuzz_write_weights(const char *name, const char *header, size_t n)
{
    char *bytes = malloc(8 + n);
    fuzz_check(bytes != NULL, "memory");
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)((uint64_t)n >> (8 * i));
    if (n > 0)
        memcpy(bytes + 8, header, n);
    write_sparse(name, bytes, 8 + n, 8 + n + data_length(bytes + 8, n));
    free(bytes);
}

void fuzz_write_pair(const char *config, const char *weights, const char *text, size_t size)
{
    const char *end = size > 0 ? memchr(text, '\0', size) : NULL;
    size_t n = end != NULL ? (size_t)(end - text) : size, header = n < size ? size - n - 1 : 0;
    fuzz_write_file(config, text, n);
    fuzz_write_weights(weights, text + size - header, header);
}
