/* replace.c - the last step of an export: the filled folder gets its name (replace.h). */
#include "export/replace.h"

#include "base/atomic_file.h"
#include "base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* rename with a flag of renameat2; false, errno ENOSYS, where it is not to be had. */
static bool rename_with(const char *from, const char *to, unsigned flag)
{
#ifdef HAVE_RENAMEAT2
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, flag) == 0)
        return true;
    if (errno == EINVAL)
        errno = ENOSYS;
#else
    (void)from, (void)to, (void)flag;
    errno = ENOSYS;
#endif
    return false;
}

/* Where the old folder stands while the new one gets its name: ".NAME.qkscope-replaced" is no name of a
 * left-over, so nobody removes it. */
static enum qk_code replaced_path(const char *target, char **out, struct qk_error *err)
{
    char *parent, *name;
    QK_TRY(qk_split_path(target, &parent, &name, err));
    enum qk_code code = qk_sibling_path(parent, name, "replaced", out, err);
    free(parent);
    free(name);
    return code;
}

/* Locks the folder, so that others know it is in use. Returns the descriptor, or -1 where no lock can be had. */
static int hold(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Puts the old folder aside, the new one in its place: for file systems that cannot exchange two names. */
static enum qk_code replace_in_two_steps(const char *sibling, const char *target, struct qk_error *err)
{
    char *aside;
    QK_TRY(replaced_path(target, &aside, err));
    int fd = hold(target);
    enum qk_code code = QK_OK;
    if (rename(target, aside) != 0) {
        code = qk_fail_errno(err, target, "replace");
    } else if (rename(sibling, target) != 0) {
        code = qk_fail_errno(err, target, "replace");
        if (rename(aside, target) != 0)
            code = qk_fail(err, QK_IO, "%s: cannot be put back: %s; a forced export to %s replaces it", aside,
                strerror(errno), target);
    } else {
        qk_folder_remove(aside, NULL); /* else the next export to this target does */
    }
    if (fd >= 0)
        close(fd);
    free(aside);
    return code;
}

enum qk_code qk_replaced_find(const char *target, char **aside, struct qk_error *err)
{
    QK_TRY(replaced_path(target, aside, err));
    int fd = hold(*aside);
    if (fd >= 0) {
        close(fd);
    } else {
        free(*aside);
        *aside = NULL;
    }
    return QK_OK;
}

enum qk_code qk_replaced_recover(const char *target, struct qk_error *err)
{
    char *aside;
    struct stat info;
    QK_TRY(replaced_path(target, &aside, err));
    int fd = hold(aside);
    enum qk_code code = QK_OK;
    if (fd >= 0 && lstat(target, &info) == 0)
        qk_folder_remove(aside, NULL);
    else if (fd >= 0 && errno == ENOENT && rename(aside, target) != 0)
        code = qk_fail_errno(err, aside, "put back");
    if (fd >= 0)
        close(fd);
    free(aside);
    return code;
}

enum qk_code qk_replace_folder(const char *sibling, const char *target, bool exists, struct qk_error *err)
{
    enum { NOREPLACE = 1, EXCHANGE = 2 }; /* <linux/fs.h> */
    if (exists) {
        if (rename_with(sibling, target, EXCHANGE)) {
            qk_folder_remove(sibling, NULL); /* the old one; else the next export to this target does */
        } else {
            if (errno != ENOSYS)
                return qk_fail_errno(err, target, "replace");
            QK_TRY(replace_in_two_steps(sibling, target, err));
        }
    } else if (!rename_with(sibling, target, NOREPLACE)) {
        /* A plain rename replaces at most an empty folder. */
        if (errno != ENOSYS || rename(sibling, target) != 0)
            return qk_fail_errno(err, target, "create");
    }
    return qk_sync_parent(target, err);
}
