/* left_over.c - the search for left-overs of killed programs, and their removal. */
#include "base/left_over.h"

#include "base/atomic_file.h"
#include "base/folder.h"
#include "base/mem.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- what is one --- */

/* The length of NAME in ".NAME.qkscope-PID-N"; 0 for any other name. */
static size_t name_length(const char *entry)
{
    static const char DIGITS[] = "0123456789";
    const char *mark = NULL;
    if (entry[0] != '.')
        return 0;
    for (const char *p = strstr(entry + 1, QK_SIBLING_MARK); p != NULL; p = strstr(p + 1, QK_SIBLING_MARK))
        mark = p; /* NAME may hold the mark, too */
    if (mark == NULL)
        return 0;
    const char *pid = mark + strlen(QK_SIBLING_MARK);
    const char *dash = pid + strspn(pid, DIGITS);
    if (dash == pid || *dash != '-')
        return 0;
    size_t n = strspn(dash + 1, DIGITS);
    return n > 0 && dash[1 + n] == '\0' ? (size_t)(mark - entry - 1) : 0;
}

/* A locked descriptor of a left-over; -1 when it is in use, another user's, or neither a folder nor a file. */
static int lock_left_over(const char *path, struct stat *info)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    bool ours = fstat(fd, info) == 0 && info->st_uid == geteuid() &&
                (S_ISDIR(info->st_mode) || S_ISREG(info->st_mode));
    if (ours && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return -1;
}

/* --- finding --- */

/* What to look for: siblings of one name, of all others, or of all. */
struct search {
    const char *folder, *of, *but;
    struct qk_left_overs *out;
    struct qk_error *err;
};

static enum qk_code add_entry(const struct search *s, const char *name, const char *path)
{
    struct stat info;
    struct qk_left_overs *out = s->out;
    int fd = lock_left_over(path, &info);
    if (fd < 0) {
        out->n_held++;
        return QK_OK;
    }
    enum qk_code code = qk_grow(&out->entry, &out->capacity, out->n + 1, sizeof *out->entry, s->err);
    if (code == QK_OK) {
        struct qk_left_over *entry = &out->entry[out->n++];
        *entry = (struct qk_left_over){.is_folder = S_ISDIR(info.st_mode)};
        qk_folder_measure(path, &entry->bytes, &entry->changed);
        code = qk_strdup_to(&entry->name, name, s->err);
    }
    close(fd);
    return code;
}

static bool is_named(const char *name, size_t n, const char *wanted)
{
    return strlen(wanted) == n && memcmp(name, wanted, n) == 0;
}

static enum qk_code consider(const struct search *s, const char *name)
{
    size_t n = name_length(name);
    char *path;
    if (n == 0 || (s->of != NULL && !is_named(name + 1, n, s->of)) ||
        (s->but != NULL && is_named(name + 1, n, s->but)))
        return QK_OK;
    QK_TRY(qk_path_join(s->folder, name, &path, s->err));
    enum qk_code code = add_entry(s, name, path);
    free(path);
    return code;
}

static enum qk_code find(const struct search *s)
{
    struct qk_lines names;
    *s->out = (struct qk_left_overs){0};
    enum qk_code code = qk_folder_names(s->folder, NULL, &names, s->err);
    for (size_t i = 0; i < names.n && code == QK_OK; i++)
        code = consider(s, names.line[i]);
    qk_lines_free(&names);
    if (code != QK_OK)
        qk_left_overs_free(s->out);
    return code;
}

enum qk_code qk_left_overs_find(const char *folder, struct qk_left_overs *out, struct qk_error *err)
{
    return find(&(struct search){.folder = folder, .out = out, .err = err});
}

static enum qk_code find_near(const char *target, bool own, struct qk_left_overs *out, struct qk_error *err)
{
    char *parent, *name;
    *out = (struct qk_left_overs){0};
    QK_TRY(qk_split_path(target, &parent, &name, err));
    enum qk_code code = find(&(struct search){
        .folder = parent, .of = own ? name : NULL, .but = own ? NULL : name, .out = out, .err = err});
    free(parent);
    free(name);
    return code;
}

enum qk_code qk_left_overs_beside(const char *target, struct qk_left_overs *out, struct qk_error *err)
{
    return find_near(target, false, out, err);
}

enum qk_code qk_left_overs_of(const char *target, struct qk_left_overs *out, struct qk_error *err)
{
    return find_near(target, true, out, err);
}

void qk_left_overs_free(struct qk_left_overs *left)
{
    for (size_t i = 0; i < left->n; i++)
        free(left->entry[i].name);
    free(left->entry);
    *left = (struct qk_left_overs){0};
}

uint64_t qk_left_overs_bytes(const struct qk_left_overs *left)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < left->n; i++)
        bytes += left->entry[i].bytes;
    return bytes;
}

/* --- removing --- */

enum qk_code qk_left_over_remove(const char *folder, const char *name, struct qk_error *err)
{
    struct stat info;
    char *path;
    QK_TRY(qk_path_join(folder, name, &path, err));
    int fd = name_length(name) > 0 ? lock_left_over(path, &info) : -1;
    enum qk_code code = fd < 0
                            ? qk_fail(err, QK_IO, "%s: not removed: it is in use, or not this user's", path)
                            : qk_folder_remove(path, err);
    if (fd >= 0)
        close(fd);
    free(path);
    return code;
}

enum qk_code qk_left_overs_clear(const char *target, struct qk_error *err)
{
    char *parent, *name;
    struct qk_left_overs left;
    QK_TRY(qk_split_path(target, &parent, &name, err));
    /* A writer into a folder that cannot be read reports it. */
    if (find(&(struct search){.folder = parent, .of = name, .out = &left}) == QK_OK) {
        for (size_t i = 0; i < left.n; i++)
            qk_left_over_remove(parent, left.entry[i].name, NULL);
        qk_left_overs_free(&left);
    }
    free(parent);
    free(name);
    return QK_OK;
}
