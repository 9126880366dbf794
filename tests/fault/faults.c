/* faults.c - the wrappers in qkscope_faulty that make chosen calls of the program fail
 * (ld's --wrap; the list of names is fault_calls in Makefile.am).
 *
 *   QK_FAULT=KIND:N         the N-th call of that kind fails, the others are made
 *   QK_FAULT=KIND:N+        and all that follow, as on a disk that stays full; several, separated by commas
 *   QK_FAULT_COMMAND=TEXT   the chosen call does not fail, but is made after the shell has run this
 *   QK_FAULT_OVERFLOW=1     the chosen call does not fail, but overflows the stack of its thread
 *   QK_FAULT_FROM=FILE      calls count from the time when this file is there
 *   QK_FAULT_COUNT=FILE     at the end, a line "KIND CALLS" for each kind
 *   QK_FAULT_SITES=FILE     at the end, "KIND FIRST LAST" for each path of functions to such calls
 *
 * A call can be of several kinds: one write counts as write (fails with ENOSPC), short-write (writes half),
 * eintr-write (fails with EINTR) and full (what needs room on the disk). KINDS below has them all.
 *
 * It cannot reach calls of shared libraries (zlib, libcurl, PCRE2, OpenBLAS, ncurses) and those of the C library for
 * itself (stdio's writes, nftw's, malloc in opendir). It reaches cJSON's memory, which base/json.c allocates. */
#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Name, and the errno of its failure; 0: the wrapper does something else than to fail. */
#define KINDS(X)                                                                                             \
    X(OPEN, "open", EMFILE)                                                                                  \
    X(CREATE, "create", ENOSPC)                                                                              \
    X(FOPEN, "fopen", EMFILE)                                                                                \
    X(OPENDIR, "opendir", EMFILE)                                                                            \
    X(READDIR, "readdir", EIO)                                                                               \
    X(STAT, "stat", EIO)                                                                                     \
    X(ACCESS, "access", EIO)                                                                                 \
    X(REALPATH, "realpath", EIO)                                                                             \
    X(STATVFS, "statvfs", EIO)                                                                               \
    X(DUP, "dup", EMFILE)                                                                                    \
    X(READ, "read", EIO)                                                                                     \
    X(SHORT_READ, "short-read", 0)                                                                           \
    X(EINTR_READ, "eintr-read", EINTR)                                                                       \
    X(WRITE, "write", ENOSPC)                                                                                \
    X(SHORT_WRITE, "short-write", 0)                                                                         \
    X(EINTR_WRITE, "eintr-write", EINTR)                                                                     \
    X(FULL, "full", ENOSPC)                                                                                  \
    X(LSEEK, "lseek", EINVAL)                                                                                \
    X(SYNC, "fsync", EIO)                                                                                    \
    X(CLOSE, "close", EIO)                                                                                   \
    X(TRUNCATE, "ftruncate", ENOSPC)                                                                         \
    X(COPY, "copy_file_range", EIO)                                                                          \
    X(SHORT_COPY, "short-copy", 0)                                                                           \
    X(MKDIR, "mkdir", ENOSPC)                                                                                \
    X(RENAME, "rename", EIO)                                                                                 \
    X(NO_RENAMEAT2, "no-renameat2", EINVAL)                                                                  \
    X(REMOVE, "remove", EIO)                                                                                 \
    X(LINK, "link", EPERM)                                                                                   \
    X(CHMOD, "chmod", EPERM)                                                                                 \
    X(LOCK, "flock", ENOLCK)                                                                                 \
    X(MEMORY, "memory", ENOMEM)                                                                              \
    X(THREAD, "thread", EAGAIN)

#define NUMBER(id, name, code) id,
enum kind { KINDS(NUMBER) N_KINDS };
#define ROW(id, name, code) {name, code},
static const struct {
    const char *name;
    int code;
} TABLE[] = {KINDS(ROW)};

static atomic_ulong calls[N_KINDS];
enum { MOST_PLANS = 4 };
static struct plan {
    enum kind kind;
    unsigned long call;
    bool later;
} plan[MOST_PLANS];
static int n_plans;
static const char *command, *overflow, *begin;

/* The paths that were seen: an open hash table. */
enum { SITES = 1 << 14 };
static struct site {
    uint64_t hash; /* 0: free */
    enum kind kind;
    unsigned long first, last;
} site[SITES];
static pthread_mutex_t sites_lock = PTHREAD_MUTEX_INITIALIZER;
static const char *sites_path;

/* The linker's: where the program lies, wherever it was loaded. */
extern const char __executable_start, etext;

/* What this file opens and writes is not counted. */
FILE *__real_fopen(const char *path, const char *mode);
int __real_access(const char *path, int mode);

/* --- the plan --- */

/* KIND:N or KIND:N+ */
static bool read_plan(const char *text, size_t length, struct plan *out)
{
    size_t n = strcspn(text, ":");
    int kind = 0;
    while (kind < N_KINDS && (strlen(TABLE[kind].name) != n || strncmp(TABLE[kind].name, text, n) != 0))
        kind++;
    if (kind == N_KINDS || text[n] != ':')
        return false;
    char *end;
    *out = (struct plan){.kind = (enum kind)kind, .call = strtoul(text + n + 1, &end, 10)};
    out->later = *end == '+';
    return out->call > 0 && end + out->later == text + length;
}

__attribute__((constructor)) static void read_plans(void)
{
    const char *text = getenv("QK_FAULT");
    sites_path = getenv("QK_FAULT_SITES");
    command = getenv("QK_FAULT_COMMAND");
    overflow = getenv("QK_FAULT_OVERFLOW");
    begin = getenv("QK_FAULT_FROM");
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",");
        if (n_plans == MOST_PLANS || !read_plan(text, length, &plan[n_plans++])) {
            dprintf(STDERR_FILENO, "faults.c: QK_FAULT=%s: expected KIND:N or KIND:N+\n", text);
            _exit(99);
        }
        text += length + (text[length] == ',');
    }
}

static FILE *create(const char *path)
{
    FILE *file = path != NULL ? __real_fopen(path, "we") : NULL;
    if (path != NULL && file == NULL)
        _exit(99);
    return file;
}

__attribute__((destructor)) static void write_counts(void)
{
    FILE *counts = create(getenv("QK_FAULT_COUNT")), *paths = create(sites_path);
    for (int kind = 0; counts != NULL && kind < N_KINDS; kind++)
        fprintf(counts, "%s %lu\n", TABLE[kind].name, atomic_load(&calls[kind]));
    for (size_t i = 0; paths != NULL && i < SITES; i++)
        if (site[i].hash != 0)
            fprintf(paths, "%s %lu %lu\n", TABLE[site[i].kind].name, site[i].first, site[i].last);
    if ((counts != NULL && fclose(counts) != 0) || (paths != NULL && fclose(paths) != 0))
        _exit(99);
}

/* FNV-1a over the kind and the nearest return addresses that lie in the program. */
static uint64_t hash_path(enum kind kind)
{
    enum { DEEPEST = 20 };
    void *frame[DEEPEST];
    uint64_t hash = (0xcbf29ce484222325 ^ kind) * 0x100000001b3;
    int n = backtrace(frame, DEEPEST);
    for (int i = 0; i < n; i++) {
        uintptr_t at = (uintptr_t)frame[i], start = (uintptr_t)&__executable_start;
        if (at >= start && at < (uintptr_t)&etext)
            hash = (hash ^ (at - start)) * 0x100000001b3;
    }
    return hash | 1;
}

static void note_site(enum kind kind, unsigned long call)
{
    uint64_t hash = hash_path(kind);
    pthread_mutex_lock(&sites_lock);
    size_t i = hash % SITES, tries = 0;
    while (site[i].hash != 0 && site[i].hash != hash && tries++ < SITES)
        i = (i + 1) % SITES;
    if (site[i].hash == 0)
        site[i] = (struct site){.hash = hash, .kind = kind, .first = call};
    if (site[i].hash == hash)
        site[i].last = call;
    pthread_mutex_unlock(&sites_lock);
}

/* Calls itself until the stack is full. The compiler sees neither that it never ends nor that it could be a loop. */
static volatile size_t deepest = SIZE_MAX;
__attribute__((noinline)) static size_t recurse(size_t depth)
{
    volatile char frame[256];
    frame[depth % sizeof frame] = 1;
    return depth < deepest ? recurse(depth + 1) + (size_t)frame[depth % sizeof frame] : depth;
}

static bool has_begun(void)
{
    int saved = errno;
    bool there = begin == NULL || __real_access(begin, F_OK) == 0;
    errno = saved;
    return there;
}

/* Counts a call of this kind; true when it is to fail, errno is set then. */
static bool due(enum kind kind)
{
    if (!has_begun())
        return false;
    unsigned long call = atomic_fetch_add(&calls[kind], 1) + 1;
    bool chosen = false;
    if (sites_path != NULL)
        note_site(kind, call);
    for (int i = 0; i < n_plans; i++)
        chosen =
            chosen || (plan[i].kind == kind && (plan[i].later ? call >= plan[i].call : call == plan[i].call));
    if (!chosen)
        return false;
    if (command != NULL && system(command) != 0)
        _exit(99);
    if (overflow != NULL)
        recurse(0);
    errno = TABLE[kind].code;
    return command == NULL;
}

/* A prototype for the call as it is and for what replaces it. */
#define WRAP(type, name, ...)                                                                                \
    type __real_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__)

/* --- files by name --- */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if ((flags & O_CREAT) != 0) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
        if (due(CREATE) || due(FULL))
            return -1;
    } else if (due(OPEN)) {
        return -1;
    }
    return __real_open(path, flags, mode);
}

WRAP(FILE *, fopen, const char *path, const char *mode)
{
    return due(FOPEN) ? NULL : __real_fopen(path, mode);
}

WRAP(DIR *, opendir, const char *path)
{
    return due(OPENDIR) ? NULL : __real_opendir(path);
}

WRAP(struct dirent *, readdir, DIR *dir)
{
    return due(READDIR) ? NULL : __real_readdir(dir);
}

WRAP(int, stat, const char *path, struct stat *info)
{
    return due(STAT) ? -1 : __real_stat(path, info);
}

WRAP(int, lstat, const char *path, struct stat *info)
{
    return due(STAT) ? -1 : __real_lstat(path, info);
}

WRAP(int, fstat, int fd, struct stat *info)
{
    return due(STAT) ? -1 : __real_fstat(fd, info);
}

WRAP(int, fstatat, int fd, const char *path, struct stat *info, int flags)
{
    return due(STAT) ? -1 : __real_fstatat(fd, path, info, flags);
}

WRAP(int, access, const char *path, int mode)
{
    return due(ACCESS) ? -1 : __real_access(path, mode);
}

WRAP(char *, realpath, const char *path, char *resolved)
{
    return due(REALPATH) ? NULL : __real_realpath(path, resolved);
}

WRAP(int, statvfs, const char *path, struct statvfs *info)
{
    return due(STATVFS) ? -1 : __real_statvfs(path, info);
}

WRAP(int, mkdir, const char *path, mode_t mode)
{
    return due(MKDIR) || due(FULL) ? -1 : __real_mkdir(path, mode);
}

WRAP(int, rename, const char *from, const char *to)
{
    return due(RENAME) || due(FULL) ? -1 : __real_rename(from, to);
}

WRAP(int, renameat2, int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    return due(NO_RENAMEAT2) || due(RENAME) || due(FULL) ? -1
                                                         : __real_renameat2(from_fd, from, to_fd, to, flags);
}

WRAP(int, unlink, const char *path)
{
    return due(REMOVE) ? -1 : __real_unlink(path);
}

WRAP(int, unlinkat, int fd, const char *path, int flags)
{
    return due(REMOVE) ? -1 : __real_unlinkat(fd, path, flags);
}

WRAP(int, rmdir, const char *path)
{
    return due(REMOVE) ? -1 : __real_rmdir(path);
}

WRAP(int, remove, const char *path)
{
    return due(REMOVE) ? -1 : __real_remove(path);
}

WRAP(int, linkat, int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    return due(LINK) ? -1 : __real_linkat(from_fd, from, to_fd, to, flags);
}

/* --- open files --- */

WRAP(int, dup, int fd)
{
    return due(DUP) ? -1 : __real_dup(fd);
}

WRAP(ssize_t, read, int fd, void *buffer, size_t n)
{
    if (due(READ) || due(EINTR_READ))
        return -1;
    return __real_read(fd, buffer, n > 1 && due(SHORT_READ) ? n / 2 : n);
}

WRAP(ssize_t, pread, int fd, void *buffer, size_t n, off_t at)
{
    if (due(READ) || due(EINTR_READ))
        return -1;
    return __real_pread(fd, buffer, n > 1 && due(SHORT_READ) ? n / 2 : n, at);
}

WRAP(ssize_t, write, int fd, const void *bytes, size_t n)
{
    if (due(WRITE) || due(EINTR_WRITE) || due(FULL))
        return -1;
    return __real_write(fd, bytes, n > 1 && due(SHORT_WRITE) ? n / 2 : n);
}

WRAP(ssize_t, pwrite, int fd, const void *bytes, size_t n, off_t at)
{
    if (due(WRITE) || due(EINTR_WRITE) || due(FULL))
        return -1;
    return __real_pwrite(fd, bytes, n > 1 && due(SHORT_WRITE) ? n / 2 : n, at);
}

WRAP(off_t, lseek, int fd, off_t offset, int whence)
{
    return due(LSEEK) ? -1 : __real_lseek(fd, offset, whence);
}

WRAP(int, fsync, int fd)
{
    return due(SYNC) ? -1 : __real_fsync(fd);
}

WRAP(int, fdatasync, int fd)
{
    return due(SYNC) ? -1 : __real_fdatasync(fd);
}

/* A close that fails has closed, on Linux. */
WRAP(int, close, int fd)
{
    int closed = __real_close(fd);
    return due(CLOSE) ? -1 : closed;
}

WRAP(int, ftruncate, int fd, off_t size)
{
    return due(TRUNCATE) || due(FULL) ? -1 : __real_ftruncate(fd, size);
}

WRAP(ssize_t, copy_file_range, int from, off_t *from_at, int to, off_t *to_at, size_t n, unsigned flags)
{
    if (due(COPY) || due(FULL))
        return -1;
    return __real_copy_file_range(from, from_at, to, to_at, n > 1 && due(SHORT_COPY) ? n / 2 : n, flags);
}

WRAP(int, fchmod, int fd, mode_t mode)
{
    return due(CHMOD) ? -1 : __real_fchmod(fd, mode);
}

WRAP(int, flock, int fd, int operation)
{
    return due(LOCK) ? -1 : __real_flock(fd, operation);
}

/* --- memory and threads --- */

WRAP(void *, malloc, size_t n)
{
    return due(MEMORY) ? NULL : __real_malloc(n);
}

WRAP(void *, calloc, size_t n, size_t size)
{
    return due(MEMORY) ? NULL : __real_calloc(n, size);
}

WRAP(void *, realloc, void *block, size_t n)
{
    return due(MEMORY) ? NULL : __real_realloc(block, n);
}

WRAP(void *, aligned_alloc, size_t alignment, size_t n)
{
    return due(MEMORY) ? NULL : __real_aligned_alloc(alignment, n);
}

WRAP(char *, strdup, const char *text)
{
    return due(MEMORY) ? NULL : __real_strdup(text);
}

WRAP(ssize_t, __getdelim, char **line, size_t *size, int end, FILE *file)
{
    return due(MEMORY) ? -1 : __real___getdelim(line, size, end, file);
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
    void *argument)
{
    return due(THREAD) ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}
