/* folders.c - the list of the program's folders. */
#include "cli/folders.h"

#include "base/cache.h"
#include "base/left_over.h"
#include "base/text.h"
#include "cli/print.h"
#include "model/layout.h"
#include "tensor/hub/hub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* NULL: there is no such folder. */
static void print_folder(const char *label, const char *path)
{
    if (path == NULL)
        return;
    qk_print("  %-20s", label);
    qk_print_name(path);
    if (access(path, F_OK) == 0)
        qk_print("\n");
    else if (errno == ENOENT || errno == ENOTDIR)
        qk_print(" (not there)\n");
    else
        qk_print(" (%s)\n", strerror(errno));
}

/* Below a folder that the program writes to. */
static enum qk_code print_left_overs(const char *path, struct qk_error *err)
{
    char bytes[QK_BYTES_TEXT];
    struct qk_left_overs left;
    if (path == NULL || access(path, F_OK) != 0)
        return QK_OK;
    QK_TRY(qk_left_overs_find(path, &left, err));
    if (left.n > 0) {
        qk_print("  %-20s%zu left-over%s of killed writes, %s: qkscope clean ", "", left.n,
            left.n == 1 ? "" : "s", qk_format_bytes(bytes, qk_left_overs_bytes(&left)));
        qk_print_name(path);
        qk_print("\n");
    }
    qk_left_overs_free(&left);
    return QK_OK;
}

static enum qk_code print_own(
    const char *label, enum qk_code (*folder)(char **out, struct qk_error *err), struct qk_error *err)
{
    char *path;
    QK_TRY(folder(&path, err));
    print_folder(label, path);
    enum qk_code code = print_left_overs(path, err);
    free(path);
    return code;
}

enum qk_code qk_folders_print(struct qk_error *err)
{
    char *path;
    QK_TRY(print_own("layouts of your own", qk_layout_folder, err));
    QK_TRY(print_own("cache", qk_cache_folder, err));
    QK_TRY(print_own("choices not saved", qk_state_folder, err));
    QK_TRY(qk_hub_cache(&path, err));
    print_folder("Hugging Face cache", path);
    free(path);
    return QK_OK;
}
