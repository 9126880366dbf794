/* folders.c - printing the program's folders. */
#include "cli/folders.h"

#include "base/text.h"
#include "cli/print.h"
#include "tensor/hub.h"

#include <stdlib.h>
#include <unistd.h>

static void print_folder(const char *label, const char *path)
{
    qk_print("  %-20s", label);
    qk_print_name(path);
    qk_print("%s\n", access(path, F_OK) == 0 ? "" : " (not there)");
}

static enum qk_code print_own(
    const char *label, const char *variable, const char *below_home, struct qk_error *err)
{
    const char *base = getenv(variable), *home = getenv("HOME");
    struct qk_text text = {0};
    char *path;
    if (base != NULL && base[0] == '/') /* the standard says that relative ones are to be ignored */
        qk_text_add(&text, "%s/qkscope", base);
    else if (home != NULL && home[0] != '\0')
        qk_text_add(&text, "%s/%s/qkscope", home, below_home);
    else
        return QK_OK;
    QK_TRY(qk_text_take(&text, &path, err));
    print_folder(label, path);
    free(path);
    return QK_OK;
}

enum qk_code qk_folders_print(struct qk_error *err)
{
    char *cache;
    QK_TRY(print_own("configuration", "XDG_CONFIG_HOME", ".config", err));
    QK_TRY(print_own("state", "XDG_STATE_HOME", ".local/state", err));
    QK_TRY(print_own("cache", "XDG_CACHE_HOME", ".cache", err));
    if (qk_hub_cache(&cache, NULL) != QK_OK)
        return QK_OK;
    print_folder("Hugging Face cache", cache);
    free(cache);
    return QK_OK;
}
