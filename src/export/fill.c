/* fill.c - new files, filled part by part. */
#include "export/fill.h"

#include "base/atomic_file.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "export/copy_range.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#ifdef HAVE_LINUX_FS_H
#include <linux/fs.h>
#endif

/* Copied parts: what a worker takes at a time, and how many files are open at once beside one for each worker. Made
 * parts: what is written before the next check whether to stop. */
enum { COPY_BYTES = 16 << 20, FILES_AHEAD = 2, WRITE_BYTES = 4 << 20 };
static const uint64_t MADE_AT_ONCE = 192 << 20;

struct qk_fill_state {
    pthread_mutex_t lock; /* for opening */
    int fd;               /* -1 until its first part is begun */
    struct qk_source own; /* the old file of one that was added closed, while fd is open */
    bool shared;          /* it shares the blocks of the old file: no copy is needed */
    bool copying;         /* true while a worker copies into it; under the run's lock */
    atomic_size_t left;   /* parts not done yet */
};

/* --- what is to be done --- */

static enum qk_code add_part(struct qk_fill *fill, struct qk_fill_part part, struct qk_error *err)
{
    QK_TRY(qk_grow(&fill->part, &fill->parts_capacity, fill->n_parts + 1, sizeof *fill->part, err));
    fill->part[fill->n_parts++] = part;
    fill->file[part.file].covered = part.at + part.n;
    return QK_OK;
}

/* Adds parts that copy the bytes before `end` of the last file that have no part yet. */
static enum qk_code add_copied(struct qk_fill *fill, uint64_t end, struct qk_error *err)
{
    size_t file = fill->n_files - 1;
    for (uint64_t at = fill->file[file].covered; at < end; at = fill->file[file].covered) {
        uint64_t n = end - at < COPY_BYTES ? end - at : COPY_BYTES;
        QK_TRY(add_part(fill, (struct qk_fill_part){.file = file, .at = at, .n = n}, err));
    }
    return QK_OK;
}

static enum qk_code finish_file(struct qk_fill *fill, struct qk_error *err)
{
    return fill->n_files == 0 ? QK_OK : add_copied(fill, fill->file[fill->n_files - 1].bytes, err);
}

enum qk_code qk_fill_add_file(struct qk_fill *fill, const char *path, mode_t mode, uint64_t bytes,
    const struct qk_source *source, struct qk_error *err)
{
    QK_TRY(finish_file(fill, err));
    QK_TRY(qk_grow(&fill->file, &fill->files_capacity, fill->n_files + 1, sizeof *fill->file, err));
    struct qk_fill_file *file = &fill->file[fill->n_files];
    *file = (struct qk_fill_file){.mode = mode, .bytes = bytes, .source = source};
    QK_TRY(qk_strdup_to(&file->path, path, err));
    fill->n_files++;
    return QK_OK;
}

enum qk_code qk_fill_add_closed(struct qk_fill *fill, const char *path, mode_t mode, uint64_t bytes,
    const char *from, struct qk_error *err)
{
    QK_TRY(qk_fill_add_file(fill, path, mode, bytes, NULL, err));
    return qk_strdup_to(&fill->file[fill->n_files - 1].from, from, err);
}

enum qk_code qk_fill_add_made(
    struct qk_fill *fill, uint64_t at, uint64_t n, uint64_t scratch, size_t number, struct qk_error *err)
{
    QK_TRY(add_copied(fill, at, err));
    struct qk_fill_part part = {
        .file = fill->n_files - 1, .number = number, .at = at, .n = n, .memory = n + scratch};
    return add_part(fill, part, err);
}

/* --- doing it --- */

struct run {
    struct qk_fill *fill;
    struct qk_progress *progress;
    size_t *order;         /* of the parts */
    bool *begun;           /* by place in the order; this and the fields below: under the lock */
    size_t first;          /* the first place not begun yet */
    uint64_t memory;       /* of the parts in the making */
    size_t failed;         /* the first place in the order that failed; SIZE_MAX: none */
    struct qk_error error; /* its message */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static bool share_blocks(const struct qk_source *source, int fd)
{
#ifdef FICLONE
    return source != NULL && ioctl(fd, FICLONE, source->fd) == 0;
#else
    (void)source, (void)fd;
    return false;
#endif
}

/* The old file, or NULL. */
static const struct qk_source *source_of(const struct qk_fill_file *file)
{
    return file->from != NULL ? &file->state->own : file->source;
}

static enum qk_code open_source(const struct qk_fill_file *file, struct qk_error *err)
{
    struct qk_source *own = &file->state->own;
    if (file->from == NULL)
        return QK_OK;
    QK_TRY(qk_source_open(file->from, own, err));
    return own->size == file->bytes
               ? QK_OK
               : qk_fail(err, QK_IO, "%s: was changed by another program (found %llu bytes, expected %llu)",
                     file->from, (unsigned long long)own->size, (unsigned long long)file->bytes);
}

static enum qk_code open_file(const struct qk_fill_file *file, struct qk_error *err)
{
    struct qk_fill_state *state = file->state;
    QK_TRY(open_source(file, err));
    state->fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);
    if (state->fd < 0)
        return qk_fail_errno(err, file->path, "create");
    state->shared = share_blocks(source_of(file), state->fd);
    /* Sets the length first: holes at the end need no part that writes. */
    if (ftruncate(state->fd, (off_t)file->bytes) != 0)
        return qk_fail_errno(err, file->path, "write");
    return QK_OK;
}

static enum qk_code ensure_open(const struct qk_fill_file *file, struct qk_error *err)
{
    pthread_mutex_lock(&file->state->lock);
    enum qk_code code = file->state->fd < 0 ? open_file(file, err) : QK_OK;
    pthread_mutex_unlock(&file->state->lock);
    return code;
}

/* True when a part may begin: two copies into one file would only wait for each other, and the bytes made at once are
 * bounded. */
static bool may_begin(const struct run *run, const struct qk_fill_part *part)
{
    if (part->memory == 0)
        return !run->fill->file[part->file].state->copying;
    return run->memory == 0 || run->memory + part->memory <= MADE_AT_ONCE;
}

/* Begins the first place in the order that may begin. Each call has one: another worker ends what it waits for.
 * *wanted: no part before it failed. All parts before a failure are done, so that the message does not depend on the
 * speed of threads. */
static size_t begin_part(struct run *run, bool *wanted)
{
    size_t n = run->fill->n_parts, place = n;
    pthread_mutex_lock(&run->lock);
    for (;;) {
        while (run->begun[run->first])
            run->first++;
        for (place = run->first; place < n; place++)
            if (!run->begun[place] && may_begin(run, &run->fill->part[run->order[place]]))
                break;
        if (place < n)
            break;
        pthread_cond_wait(&run->changed, &run->lock);
    }
    const struct qk_fill_part *part = &run->fill->part[run->order[place]];
    run->begun[place] = true;
    *wanted = place < run->failed;
    run->memory += part->memory;
    if (part->memory == 0)
        run->fill->file[part->file].state->copying = true;
    pthread_mutex_unlock(&run->lock);
    return place;
}

/* Lets other parts begin. */
static void end_part(struct run *run, const struct qk_fill_part *part)
{
    pthread_mutex_lock(&run->lock);
    run->memory -= part->memory;
    if (part->memory == 0)
        run->fill->file[part->file].state->copying = false;
    pthread_cond_broadcast(&run->changed);
    pthread_mutex_unlock(&run->lock);
}

/* Stores a failure when no earlier part failed. */
static void note_failure(struct run *run, size_t place, const struct qk_error *error)
{
    pthread_mutex_lock(&run->lock);
    if (place < run->failed) {
        run->failed = place;
        run->error = *error;
    }
    pthread_mutex_unlock(&run->lock);
}

static enum qk_code make_part(struct run *run, const struct qk_fill_part *part, struct qk_error *err)
{
    const struct qk_fill_file *file = &run->fill->file[part->file];
    void *bytes;
    QK_TRY(qk_alloc_aligned(&bytes, (size_t)part->n, 1, err));
    enum qk_code code =
        run->fill->make(run->fill->context, part->number, bytes, (size_t)part->n, run->progress, err);
    /* Works a piece at a time, so that other copies into the same file have a turn, and stopping does not wait. */
    for (uint64_t at = 0, n; at < part->n && code == QK_OK; at += n) {
        n = part->n - at < WRITE_BYTES ? part->n - at : WRITE_BYTES;
        code = qk_progress_check(run->progress, err);
        if (code == QK_OK)
            code =
                qk_write_at(file->state->fd, file->path, part->at + at, (char *)bytes + at, (size_t)n, err);
    }
    free(bytes);
    return code;
}

static enum qk_code do_part(struct run *run, const struct qk_fill_part *part, struct qk_error *err)
{
    const struct qk_fill_file *file = &run->fill->file[part->file];
    QK_TRY(qk_progress_check(run->progress, err));
    QK_TRY(ensure_open(file, err));
    if (part->memory > 0)
        return make_part(run, part, err);
    if (file->state->shared)
        return QK_OK;
    return qk_copy_range(source_of(file), part->at, part->n, file->state->fd, file->path, run->progress, err);
}

static void close_source(const struct qk_fill_file *file)
{
    if (file->state->own.path != NULL)
        qk_source_close(&file->state->own);
}

/* After the last part of a file no other worker uses it. */
static enum qk_code close_if_last(const struct qk_fill_file *file, struct qk_error *err)
{
    if (atomic_fetch_sub(&file->state->left, 1) > 1)
        return QK_OK;
    enum qk_code code = file->from == NULL ? QK_OK : qk_source_unchanged(&file->state->own, err);
    close_source(file);
    int fd = file->state->fd;
    file->state->fd = -1;
    if (code == QK_OK)
        return qk_sync_close(fd, file->path, err);
    close(fd);
    return code;
}

static void work(void *context, size_t item, size_t worker)
{
    struct run *run = context;
    struct qk_error error = {0};
    (void)item, (void)worker;
    bool wanted;
    size_t place = begin_part(run, &wanted);
    const struct qk_fill_part *part = &run->fill->part[run->order[place]];
    const struct qk_fill_file *file = &run->fill->file[part->file];
    enum qk_code code = wanted ? do_part(run, part, &error) : QK_OK;
    end_part(run, part);
    if (wanted && code == QK_OK) /* a file that will be removed is not synced */
        code = qk_progress_check(run->progress, &error);
    if (wanted && code == QK_OK) { /* others go on copying meanwhile */
        qk_progress_add(run->progress, part->n);
        qk_start_writing(file->state->fd, part->at, part->n);
        code = close_if_last(file, &error);
    }
    if (code != QK_OK)
        note_failure(run, place, &error);
}

/* Orders parts by a few files at a time, so that no more are open. Their parts take turns, because writes to one file
 * wait for each other. */
static enum qk_code order_parts(struct run *run, size_t at_once, struct qk_error *err)
{
    const struct qk_fill *fill = run->fill;
    size_t *next, n = 0; /* next: by file, the first part without a place */
    QK_TRY(qk_alloc(&run->order, fill->n_parts, sizeof *run->order, err));
    QK_TRY(qk_alloc(&run->begun, fill->n_parts + 1, sizeof *run->begun, err));
    QK_TRY(qk_alloc(&next, fill->n_files + 1, sizeof *next, err));
    for (size_t i = fill->n_parts; i-- > 0;)
        next[fill->part[i].file] = i;
    for (size_t first = 0; first < fill->n_files; first += at_once) {
        size_t end = fill->n_files - first < at_once ? fill->n_files : first + at_once, before;
        do {
            before = n;
            for (size_t file = first; file < end; file++)
                if (next[file] < fill->n_parts && fill->part[next[file]].file == file)
                    run->order[n++] = next[file]++;
        } while (n > before);
    }
    free(next);
    return QK_OK;
}

static enum qk_code prepare(struct qk_fill *fill, struct qk_error *err)
{
    for (size_t i = 0; i < fill->n_files; i++) {
        struct qk_fill_file *file = &fill->file[i];
        QK_TRY(qk_alloc(&file->state, 1, sizeof *file->state, err));
        file->state->fd = -1;
        pthread_mutex_init(&file->state->lock, NULL);
    }
    for (size_t i = 0; i < fill->n_parts; i++)
        atomic_fetch_add(&fill->file[fill->part[i].file].state->left, 1);
    return QK_OK;
}

/* Files without bytes have no parts. */
static enum qk_code create_empty(const struct qk_fill *fill, struct qk_error *err)
{
    for (size_t i = 0; i < fill->n_files; i++) {
        const struct qk_fill_file *file = &fill->file[i];
        if (file->bytes > 0)
            continue;
        QK_TRY(open_file(file, err));
        close_source(file);
        int fd = file->state->fd;
        file->state->fd = -1;
        QK_TRY(qk_sync_close(fd, file->path, err));
    }
    return QK_OK;
}

static enum qk_code fill_all(struct run *run, struct qk_error *err)
{
    struct qk_fill *fill = run->fill;
    QK_TRY(finish_file(fill, err));
    QK_TRY(prepare(fill, err));
    QK_TRY(create_empty(fill, err));
    QK_TRY(order_parts(run, qk_parallel_workers(fill->n_parts) + FILES_AHEAD, err));
    qk_parallel_for(fill->n_parts, work, run, run->progress);
    if (run->failed != SIZE_MAX) {
        if (err != NULL)
            *err = run->error;
        return run->error.code;
    }
    return qk_progress_check(run->progress, err);
}

enum qk_code qk_fill_run(struct qk_fill *fill, struct qk_progress *progress, struct qk_error *err)
{
    struct run run = {.fill = fill, .progress = progress, .failed = SIZE_MAX};
    pthread_mutex_init(&run.lock, NULL);
    pthread_cond_init(&run.changed, NULL);
    enum qk_code code = fill_all(&run, err);
    pthread_cond_destroy(&run.changed);
    pthread_mutex_destroy(&run.lock);
    free(run.begun);
    free(run.order);
    return code;
}

void qk_fill_free(struct qk_fill *fill)
{
    for (size_t i = 0; i < fill->n_files; i++) {
        struct qk_fill_file *file = &fill->file[i];
        if (file->state != NULL) {
            close_source(file);
            if (file->state->fd >= 0)
                close(file->state->fd);
            pthread_mutex_destroy(&file->state->lock);
        }
        free(file->state);
        free(file->path);
        free(file->from);
    }
    free(fill->file);
    free(fill->part);
    *fill = (struct qk_fill){0};
}
