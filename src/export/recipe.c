/* recipe.c - the writer and the reader of recipes, but for their choices. They come from strangers: every key is
 * checked. */
#include "export/recipe_choices.h"

#include "base/atomic_file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_RECIPE_BYTES = 64 << 20 };
static const char FORMAT[] = "qkscope-recipe";

/* --- making --- */

/* JSON holds UTF-8 only. Other bytes of a file name are written in visible form, on both sides of every
 * comparison. */
static enum qk_code portable(char **out, const char *name, struct qk_error *err)
{
    if (qk_utf8_valid(name, strlen(name)))
        return qk_strdup_to(out, name, err);
    size_t room = 4 * strlen(name) + 1;
    QK_TRY(qk_alloc(out, room, 1, err));
    qk_printable(*out, room, name);
    return QK_OK;
}

/* Makes a path absolute, with the folder's links resolved but not the file's own. In the Hugging Face cache a shard
 * is a link to a blob without a suffix. */
static enum qk_code absolute_path(const char *path, char **out, struct qk_error *err)
{
    struct stat info;
    if (qk_remote_has(path))
        return portable(out, path, err);
    if (stat(path, &info) != 0)
        return qk_fail_errno(err, path, "examine");
    char *copy, resolved[PATH_MAX];
    QK_TRY(qk_strdup_to(&copy, path, err));
    bool folder = S_ISDIR(info.st_mode);
    const char *found = realpath(folder ? path : dirname(copy), resolved);
    free(copy);
    if (found == NULL)
        return qk_fail_errno(err, path, "resolve");
    if (folder)
        return portable(out, resolved, err);
    const char *slash = strrchr(path, '/');
    struct qk_text text = {0};
    char *joined;
    qk_text_add(&text, "%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved, slash != NULL ? slash + 1 : path);
    QK_TRY(qk_text_take(&text, &joined, err));
    enum qk_code code = portable(out, joined, err);
    free(joined);
    return code;
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct qk_file_print *)a)->name, ((const struct qk_file_print *)b)->name);
}

static void print_weights(struct qk_file_print *print, const struct qk_tensor_file *file)
{
    print->bytes = file->source.size;
    memcpy(print->header_digest, file->header_digest, sizeof print->header_digest);
}

/* Lists an adapter's files. The base's files are those of the other side; the config holds the scale, and all of it
 * counts as header. */
static enum qk_code print_adapter(
    const struct qk_adapter *adapter, struct qk_file_print **out, size_t *n, struct qk_error *err)
{
    QK_TRY(qk_alloc(out, 2, sizeof **out, err));
    *n = 2;
    QK_TRY(qk_strdup_to(&(*out)[0].name, strrchr(adapter->config.path, '/') + 1, err));
    (*out)[0].bytes = adapter->config.size;
    memcpy((*out)[0].header_digest, adapter->config_digest, sizeof adapter->config_digest);
    QK_TRY(qk_strdup_to(&(*out)[1].name, adapter->own->shard[0].name, err));
    print_weights(&(*out)[1], qk_adapter_file(adapter));
    return QK_OK;
}

static enum qk_code print_files(
    const struct qk_checkpoint *checkpoint, struct qk_file_print **out, size_t *n, struct qk_error *err)
{
    if (checkpoint->adapter != NULL)
        return print_adapter(checkpoint->adapter, out, n, err);
    QK_TRY(qk_alloc(out, checkpoint->n_shards, sizeof **out, err));
    *n = checkpoint->n_shards;
    for (size_t i = 0; i < *n; i++) {
        const struct qk_shard *shard = &checkpoint->shard[i];
        struct qk_file_print *print = &(*out)[i];
        QK_TRY(portable(&print->name, shard->name, err));
        print_weights(print, &shard->file);
    }
    qsort(*out, *n, sizeof **out, compare_files);
    return QK_OK;
}

static enum qk_code make(const struct qk_pair *pair, const struct qk_selection *selection,
    const char *comment, struct qk_recipe *recipe, struct qk_error *err)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        const struct qk_model *model = pair->model[s];
        QK_TRY(absolute_path(model->checkpoint->path, &recipe->path[s], err));
        const char *type = model->config.model_type != NULL ? model->config.model_type : "";
        QK_TRY(portable(&recipe->model_type[s], type, err));
        QK_TRY(print_files(model->checkpoint, &recipe->file[s], &recipe->n_files[s], err));
    }
    if (comment != NULL)
        QK_TRY(portable(&recipe->comment, comment, err));
    return qk_selection_copy(&recipe->selection, selection, err);
}

enum qk_code qk_recipe_make(const struct qk_pair *pair, const struct qk_selection *selection, bool norms,
    const char *comment, struct qk_recipe *recipe, struct qk_error *err)
{
    *recipe = (struct qk_recipe){.norms = norms};
    enum qk_code code = make(pair, selection, comment, recipe, err);
    if (code != QK_OK)
        qk_recipe_free(recipe);
    return code;
}

static void free_files(struct qk_file_print *file, size_t n)
{
    for (size_t i = 0; file != NULL && i < n; i++)
        free(file[i].name);
    free(file);
}

void qk_recipe_free(struct qk_recipe *recipe)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        free(recipe->path[s]);
        free(recipe->model_type[s]);
        free_files(recipe->file[s], recipe->n_files[s]);
    }
    for (size_t i = 0; i < recipe->n_outputs; i++)
        free(recipe->output[i].tensor);
    free(recipe->output);
    free(recipe->source);
    free(recipe->comment);
    qk_selection_free(&recipe->selection);
    *recipe = (struct qk_recipe){0};
}

/* --- writing --- */

static void add_side(cJSON *root, const struct qk_recipe *recipe, enum qk_side side)
{
    cJSON *object = cJSON_AddObjectToObject(root, qk_side_name(side));
    cJSON_AddStringToObject(object, "path", recipe->path[side]);
    cJSON_AddStringToObject(object, "model_type", recipe->model_type[side]);
    cJSON *files = cJSON_AddArrayToObject(object, "files");
    for (size_t i = 0; i < recipe->n_files[side]; i++) {
        const struct qk_file_print *print = &recipe->file[side][i];
        cJSON *file = qk_json_append_object(files);
        cJSON_AddStringToObject(file, "name", print->name);
        cJSON_AddNumberToObject(file, "bytes", (double)print->bytes);
        cJSON_AddStringToObject(file, "header_sha256", print->header_digest);
    }
}

static void add_outputs(cJSON *root, const struct qk_recipe *recipe)
{
    if (recipe->n_outputs == 0)
        return;
    cJSON *outputs = cJSON_AddArrayToObject(root, "outputs");
    for (size_t i = 0; i < recipe->n_outputs; i++) {
        cJSON *output = qk_json_append_object(outputs);
        cJSON_AddStringToObject(output, "tensor", recipe->output[i].tensor);
        cJSON_AddStringToObject(output, "sha256", recipe->output[i].digest);
    }
}

enum qk_code qk_recipe_text(const struct qk_recipe *recipe, char **out, struct qk_error *err)
{
    *out = NULL;
    cJSON *root = cJSON_CreateObject();
    char *text;
    cJSON_AddStringToObject(root, "format", FORMAT);
    cJSON_AddNumberToObject(root, "version", qk_recipe_version(&recipe->selection));
    if (recipe->comment != NULL)
        cJSON_AddStringToObject(root, "comment", recipe->comment);
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        add_side(root, recipe, (enum qk_side)s);
    cJSON_AddBoolToObject(cJSON_AddObjectToObject(root, "options"), "norms", recipe->norms);
    qk_recipe_add_choices(root, &recipe->selection);
    add_outputs(root, recipe);
    QK_TRY(qk_json_text(root, true, &text, err));
    struct qk_text whole = {0};
    qk_text_add(&whole, "%s\n", text);
    free(text);
    return qk_text_take(&whole, out, err);
}

/* *out = the folder of `path`, resolved. */
static enum qk_code resolve_folder(const char *path, char resolved[PATH_MAX], struct qk_error *err)
{
    char *copy;
    QK_TRY(qk_strdup_to(&copy, path, err));
    const char *folder = dirname(copy);
    enum qk_code code = realpath(folder, resolved) != NULL ? QK_OK : qk_fail_errno(err, folder, "resolve");
    free(copy);
    return code;
}

/* Refuses to replace anything but a recipe. */
static enum qk_code check_replaced(const char *path, const char *side, struct qk_error *err)
{
    struct stat info;
    struct qk_recipe recipe;
    struct qk_error why = {0};
    if (lstat(path, &info) != 0)
        return errno == ENOENT ? QK_OK : qk_fail_errno(err, path, "examine");
    enum qk_code code = qk_recipe_read(path, &recipe, &why);
    if (code == QK_OK)
        qk_recipe_free(&recipe);
    if (code == QK_INPUT)
        return qk_fail(err, QK_USAGE, "%s: refused: it is beside %s and not a recipe", path, side);
    return code == QK_OK ? QK_OK : qk_fail(err, code, "%s", why.text);
}

/* Inputs never change: no recipe goes into a checkpoint's folder. Beside a checkpoint of a single file it may be
 * written, but it replaces only a recipe there. `target` is the resolved folder of `path`. */
static enum qk_code keep_input_safe(const struct qk_recipe *recipe, enum qk_side s, const char *path,
    const char *target, struct qk_error *err)
{
    const char *side = qk_side_name(s), *given = recipe->path[s];
    char input[PATH_MAX];
    struct stat info;
    if (stat(given, &info) != 0) /* on a hub, or gone */
        return errno == ENOENT || errno == ENOTDIR ? QK_OK : qk_fail_errno(err, given, "examine");
    if (S_ISDIR(info.st_mode)) {
        if (realpath(given, input) == NULL)
            return qk_fail_errno(err, given, "resolve");
        return !qk_path_inside(target, input)
                   ? QK_OK
                   : qk_fail(err, QK_USAGE, "%s: refused: it is in %s's folder (%s)", path, side, input);
    }
    QK_TRY(resolve_folder(given, input, err));
    return strcmp(target, input) == 0 ? check_replaced(path, side, err) : QK_OK;
}

static enum qk_code keep_inputs_safe(const struct qk_recipe *recipe, const char *path, struct qk_error *err)
{
    char target[PATH_MAX];
    QK_TRY(resolve_folder(path, target, err));
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(keep_input_safe(recipe, (enum qk_side)s, path, target, err));
    return QK_OK;
}

enum qk_code qk_recipe_write_beside(
    const struct qk_recipe *recipe, const char *path, const char *text, struct qk_error *err)
{
    QK_TRY(keep_inputs_safe(recipe, path, err));
    return qk_write_text(path, text, strlen(text), err);
}

enum qk_code qk_recipe_write(const struct qk_recipe *recipe, const char *path, struct qk_error *err)
{
    char *text;
    QK_TRY(qk_recipe_text(recipe, &text, err));
    enum qk_code code = qk_recipe_write_beside(recipe, path, text, err);
    free(text);
    return code;
}

/* --- reading --- */

enum qk_code qk_recipe_wrong(
    const struct qk_recipe_reader *r, const char *where, const char *key, const char *expected)
{
    return qk_fail(r->err, QK_INPUT, "%s: %s%s%s: missing or wrong (expected %s)", r->path, where,
        where[0] != '\0' && key[0] != '\0' ? "." : "", key, expected);
}

enum qk_code qk_recipe_keys(
    const struct qk_recipe_reader *r, const cJSON *object, const char *where, const char *const *keys)
{
    const char *twice;
    if (!cJSON_IsObject(object))
        return qk_recipe_wrong(r, where, "", "an object");
    QK_TRY(qk_json_duplicate(object, &twice, r->err));
    if (twice != NULL)
        return qk_fail(r->err, QK_INPUT, "%s: %s: the key \"%s\" appears twice", r->path, where, twice);
    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        size_t i = 0;
        while (keys[i] != NULL && strcmp(keys[i], item->string) != 0)
            i++;
        if (keys[i] == NULL)
            return qk_fail(r->err, QK_INPUT, "%s: %s: unknown key \"%s\"", r->path,
                where[0] != '\0' ? where : "recipe", item->string);
    }
    return QK_OK;
}

enum qk_code qk_recipe_array(const struct qk_recipe_reader *r, const cJSON *object, const char *where,
    const char *key, const cJSON **out, size_t *n)
{
    const cJSON *array = qk_json_get(object, key);
    *out = NULL;
    *n = 0;
    if (!cJSON_IsArray(array))
        return qk_recipe_wrong(r, where, key, "a list");
    for (const cJSON *item = array->child; item != NULL; item = item->next)
        ++*n;
    *out = array->child;
    return QK_OK;
}

static enum qk_code read_string(
    const struct qk_recipe_reader *r, const cJSON *object, const char *where, const char *key, char **out)
{
    const char *text = qk_json_string(object, key, NULL);
    if (text == NULL)
        return qk_recipe_wrong(r, where, key, "a text");
    return qk_strdup_to(out, text, r->err);
}

static enum qk_code read_digest(
    const struct qk_recipe_reader *r, const cJSON *object, const char *where, const char *key, char out[65])
{
    const char *text = qk_json_string(object, key, "");
    if (strlen(text) != 64 || strspn(text, "0123456789abcdef") != 64)
        return qk_recipe_wrong(r, where, key, "64 lower-case hexadecimal digits");
    memcpy(out, text, 65);
    return QK_OK;
}

static enum qk_code read_side(
    const struct qk_recipe_reader *r, const cJSON *root, enum qk_side side, struct qk_recipe *recipe)
{
    static const char *const keys[] = {"path", "model_type", "files", NULL};
    static const char *const file_keys[] = {"name", "bytes", "header_sha256", NULL};
    const char *where = qk_side_name(side), *place = side == QK_PRE ? "pre.files" : "post.files";
    const cJSON *object = qk_json_get(root, where), *item;
    size_t n;
    QK_TRY(qk_recipe_keys(r, object, where, keys));
    QK_TRY(read_string(r, object, where, "path", &recipe->path[side]));
    QK_TRY(read_string(r, object, where, "model_type", &recipe->model_type[side]));
    QK_TRY(qk_recipe_array(r, object, where, "files", &item, &n));
    if (n == 0)
        return qk_recipe_wrong(r, where, "files", "at least one file");
    QK_TRY(qk_alloc(&recipe->file[side], n, sizeof *recipe->file[side], r->err));
    recipe->n_files[side] = n;
    for (size_t i = 0; i < n; i++, item = item->next) {
        struct qk_file_print *print = &recipe->file[side][i];
        QK_TRY(qk_recipe_keys(r, item, place, file_keys));
        QK_TRY(read_string(r, item, place, "name", &print->name));
        if (!qk_json_u64(qk_json_get(item, "bytes"), &print->bytes))
            return qk_recipe_wrong(r, place, "bytes", "a whole number");
        QK_TRY(read_digest(r, item, place, "header_sha256", print->header_digest));
    }
    qsort(recipe->file[side], n, sizeof *recipe->file[side], compare_files);
    return QK_OK;
}

static enum qk_code read_outputs(
    const struct qk_recipe_reader *r, const cJSON *root, struct qk_recipe *recipe)
{
    static const char *const keys[] = {"tensor", "sha256", NULL};
    const cJSON *item;
    size_t n;
    if (qk_json_get(root, "outputs") == NULL)
        return QK_OK;
    QK_TRY(qk_recipe_array(r, root, "", "outputs", &item, &n));
    QK_TRY(qk_alloc(&recipe->output, n, sizeof *recipe->output, r->err));
    for (; item != NULL; item = item->next) {
        struct qk_output_print *output = &recipe->output[recipe->n_outputs];
        QK_TRY(qk_recipe_keys(r, item, "outputs", keys));
        QK_TRY(read_digest(r, item, "outputs", "sha256", output->digest));
        QK_TRY(read_string(r, item, "outputs", "tensor", &output->tensor));
        recipe->n_outputs++;
    }
    return QK_OK;
}

static enum qk_code read_recipe(const struct qk_recipe_reader *r, const cJSON *root, struct qk_recipe *recipe)
{
    static const char *const keys[] = {
        "format", "version", "comment", "pre", "post", "options", "choices", "outputs", NULL};
    static const char *const option_keys[] = {"norms", NULL};
    if (!cJSON_IsObject(root) || strcmp(qk_json_string(root, "format", ""), FORMAT) != 0)
        return qk_fail(
            r->err, QK_INPUT, "%s: not a qkscope recipe (expected \"format\": \"%s\")", r->path, FORMAT);
    int64_t version = qk_json_int(root, "version", -1);
    if (version != QK_RECIPE_BY_LAYER && version != QK_RECIPE_BY_HEAD)
        return qk_fail(r->err, QK_INPUT, "%s: version: this program does not read it (expected %d or %d)",
            r->path, QK_RECIPE_BY_LAYER, QK_RECIPE_BY_HEAD);
    QK_TRY(qk_recipe_keys(r, root, "", keys));
    for (int s = 0; s < QK_SIDE_COUNT; s++)
        QK_TRY(read_side(r, root, (enum qk_side)s, recipe));
    const cJSON *comment = qk_json_get(root, "comment"), *options = qk_json_get(root, "options");
    if (comment != NULL && !cJSON_IsNull(comment))
        QK_TRY(read_string(r, root, "", "comment", &recipe->comment));
    if (options != NULL) {
        QK_TRY(qk_recipe_keys(r, options, "options", option_keys));
        const cJSON *norms = qk_json_get(options, "norms");
        if (norms != NULL && !cJSON_IsBool(norms))
            return qk_recipe_wrong(r, "options", "norms", "true or false");
        recipe->norms = cJSON_IsTrue(norms);
    }
    QK_TRY(qk_recipe_read_choices(r, root, version == QK_RECIPE_BY_HEAD, &recipe->selection));
    return read_outputs(r, root, recipe);
}

enum qk_code qk_recipe_read(const char *path, struct qk_recipe *recipe, struct qk_error *err)
{
    cJSON *root;
    *recipe = (struct qk_recipe){0};
    QK_TRY(qk_json_read(path, MAX_RECIPE_BYTES, &root, err));
    const struct qk_recipe_reader reader = {path, err};
    enum qk_code code = qk_strdup_to(&recipe->source, path, err);
    if (code == QK_OK)
        code = read_recipe(&reader, root, recipe);
    cJSON_Delete(root);
    if (code != QK_OK)
        qk_recipe_free(recipe);
    return code;
}

/* --- replaying --- */

static enum qk_code compare_prints(const struct qk_checkpoint *checkpoint, enum qk_side side,
    const struct qk_file_print *wanted, size_t n_wanted, const struct qk_file_print *found, size_t n_found,
    struct qk_error *err)
{
    static const char HINT[] = "the recipe was made for another checkpoint";
    const char *name = qk_side_name(side), *path = checkpoint->path;
    for (size_t i = 0; i < n_wanted || i < n_found; i++) {
        int order = i == n_wanted ? 1 : i == n_found ? -1 : strcmp(wanted[i].name, found[i].name);
        if (order < 0)
            return qk_fail(err, QK_INPUT, "%s: %s: missing in %s: %s", path, wanted[i].name, name, HINT);
        if (order > 0)
            return qk_fail(
                err, QK_INPUT, "%s: %s: not in the recipe's %s: %s", path, found[i].name, name, HINT);
        if (wanted[i].bytes != found[i].bytes)
            return qk_fail(err, QK_INPUT, "%s: %s: %s (%s has %llu bytes, expected %llu)", path,
                found[i].name, HINT, name, (unsigned long long)found[i].bytes,
                (unsigned long long)wanted[i].bytes);
        if (strcmp(wanted[i].header_digest, found[i].header_digest) != 0)
            return qk_fail(err, QK_INPUT, "%s: %s: %s (%s's header has SHA-256 %.12s..., expected %.12s...)",
                path, found[i].name, HINT, name, found[i].header_digest, wanted[i].header_digest);
    }
    return QK_OK;
}

static enum qk_code check_prints(
    const struct qk_recipe *recipe, const struct qk_pair *pair, struct qk_error *err)
{
    for (int s = 0; s < QK_SIDE_COUNT; s++) {
        const struct qk_checkpoint *checkpoint = pair->model[s]->checkpoint;
        struct qk_file_print *found;
        size_t n = 0;
        enum qk_code code = print_files(checkpoint, &found, &n, err);
        if (code == QK_OK)
            code = compare_prints(
                checkpoint, (enum qk_side)s, recipe->file[s], recipe->n_files[s], found, n, err);
        free_files(found, n);
        QK_TRY(code);
    }
    return QK_OK;
}

enum qk_code qk_recipe_replay(const struct qk_recipe *recipe, const struct qk_pair *pair, bool force,
    struct qk_selection *selection, struct qk_error *err)
{
    *selection = (struct qk_selection){0};
    if (!force)
        QK_TRY(check_prints(recipe, pair, err));
    QK_TRY(qk_selection_init(selection, pair->n_layers, err));
    for (int i = 0; i < recipe->selection.n_layers; i++) {
        enum qk_code code = qk_recipe_replay_layer(recipe, pair, i, selection, err);
        if (code != QK_OK) {
            qk_selection_free(selection);
            return code;
        }
    }
    return QK_OK;
}
