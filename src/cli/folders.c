/* folders.c - printing the program's folders. */
#include "cli/folders.h"

#include "base/cache.h"
#include "cli/print.h"
#include "model/layout.h"
#include "tensor/hub.h"

#include <stdlib.h>
#include <unistd.h>

/* Frees the path; NULL: there is no such folder to tell of. */
static void print_folder(const char *label, char *path)
{
    if (path == NULL)
        return;
    qk_print("  %-20s", label);
    qk_print_name(path);
    qk_print("%s\n", access(path, F_OK) == 0 ? "" : " (not there)");
    free(path);
}

enum qk_code qk_folders_print(struct qk_error *err)
{
    char *path;
    QK_TRY(qk_layout_folder(&path, err));
    print_folder("layouts of your own", path);
    QK_TRY(qk_cache_folder(&path, err));
    print_folder("cache", path);
    if (qk_hub_cache(&path, NULL) == QK_OK)
        print_folder("Hugging Face cache", path);
    return QK_OK;
}
