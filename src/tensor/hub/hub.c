/* hub.c - the path or address of ORG/NAME[@REVISION]. */
#include "tensor/hub/hub.h"

#include "base/folder.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/source.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define WORD LETTERS DIGITS "._-"
enum { MAX_REF_BYTES = 256, LEAST_HASH = 4 };

/* The parts of an operand, and the cache folders that belong to it; all owned. */
struct lookup {
    const char *operand;
    char *org, *name, *revision; /* org: "" in a name such as gpt2 */
    char *model;                 /* CACHE/models--ORG--NAME */
    char *snapshots;             /* its snapshots folder */
};

static enum qk_code join(char **out, struct qk_error *err, const char *a, const char *b, const char *c)
{
    struct qk_text text = {0};
    qk_text_add(&text, "%s%s%s", a, b, c);
    return qk_text_take(&text, out, err);
}

static const char *variable(const char *name)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* Adds the value of the variable that `text` names behind its $, or "$" alone without such a variable. Returns the text
 * behind what it read. */
static const char *add_variable(struct qk_text *out, const char *text)
{
    char name[64];
    bool braces = text[1] == '{';
    const char *first = text + 1 + braces;
    size_t n = strspn(first, LETTERS DIGITS "_");
    if (n > 0 && n < sizeof name && (!braces || first[n] == '}')) {
        memcpy(name, first, n);
        name[n] = '\0';
        const char *value = getenv(name);
        if (value != NULL) {
            qk_text_add(out, "%s", value);
            return first + n + braces;
        }
    }
    qk_text_add(out, "$");
    return text + 1;
}

/* *out = base and `below`, with a leading ~ and variables replaced as the hub's own client does: files that set
 * variables for services leave them to it. */
static enum qk_code expand(const char *base, const char *below, char **out, struct qk_error *err)
{
    struct qk_text text = {0};
    const char *home = variable("HOME");
    if (home != NULL && base[0] == '~' && (base[1] == '/' || base[1] == '\0')) {
        qk_text_add(&text, "%s", home);
        base++;
    }
    while (*base != '\0') {
        size_t n = strcspn(base, "$");
        qk_text_add(&text, "%.*s", (int)n, base);
        base += n;
        if (*base == '$')
            base = add_variable(&text, base);
    }
    qk_text_add(&text, "%s", below);
    return qk_text_take(&text, out, err);
}

enum qk_code qk_hub_cache(char **out, struct qk_error *err)
{
    static const struct {
        const char *variable, *below;
    } places[] = {{"HF_HUB_CACHE", ""}, {"HUGGINGFACE_HUB_CACHE", ""}, {"HF_HOME", "/hub"},
        {"XDG_CACHE_HOME", "/huggingface/hub"}, {"HOME", "/.cache/huggingface/hub"}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *base = variable(places[i].variable);
        if (base != NULL)
            return expand(base, places[i].below, out, err);
    }
    *out = NULL;
    return QK_OK;
}

static bool is_missing(void)
{
    return errno == ENOENT || errno == ENOTDIR;
}

/* *found = there is a folder of that name. */
static enum qk_code find_folder(const char *path, bool *found, struct qk_error *err)
{
    struct stat info;
    int status = stat(path, &info);
    *found = status == 0 && S_ISDIR(info.st_mode);
    return status == 0 || is_missing() ? QK_OK : qk_fail_errno(err, path, "examine");
}

/* --- taking the operand apart --- */

/* True for a name such as gpt2: a word that is not the name of a checkpoint's file. */
static bool is_short_name(const char *operand, size_t n)
{
    static const char *const ends[] = {".safetensors", ".json", ".bin", ".pt", ".pth"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (qk_ends_with(operand, ends[i]))
            return false;
    return n > 0 && strspn(operand, WORD) == n;
}

/* *is = it can only be a path, or it exists: the caller opens it as it is. */
static enum qk_code find_path(const char *operand, bool *is, struct qk_error *err)
{
    struct stat info;
    *is = lstat(operand, &info) == 0;
    if (*is)
        return QK_OK;
    if (!is_missing())
        return qk_fail_errno(err, operand, "open");
    size_t n = strcspn(operand, "@");
    const char *slash = memchr(operand, '/', n);
    *is = operand[0] == '/' || operand[0] == '.' || operand[0] == '~' ||
          (slash == NULL ? !is_short_name(operand, n) : slash[1] == '\0' || slash + 1 == operand + n);
    return QK_OK;
}

/* True for a name that can be part of a file name and cannot leave its folder. */
static bool is_plain(const char *name, const char *allowed)
{
    return name[0] != '\0' && name[0] != '/' && name[strspn(name, allowed)] == '\0' &&
           strstr(name, "..") == NULL && strcmp(name, ".") != 0;
}

static enum qk_code split(struct lookup *l, struct qk_error *err)
{
    const char *operand = l->operand;
    size_t n = strcspn(operand, "@");
    const char *slash = memchr(operand, '/', n);
    size_t org = slash != NULL ? (size_t)(slash - operand) : 0, name = slash != NULL ? org + 1 : 0;
    QK_TRY(qk_strndup_to(&l->org, operand, org, err));
    QK_TRY(qk_strndup_to(&l->name, operand + name, n - name, err));
    QK_TRY(qk_strdup_to(&l->revision, operand[n] == '@' ? operand + n + 1 : "main", err));
    if ((slash != NULL && !is_plain(l->org, WORD)) || !is_plain(l->name, WORD) ||
        !is_plain(l->revision, WORD "/"))
        return qk_fail(err, QK_IO,
            "%s: no such file or folder, and not a name of the Hugging Face hub (expected [ORG/]NAME[@REVISION])",
            operand);
    return QK_OK;
}

/* --- finding the snapshot --- */

/* *hash = the hash in refs/REVISION, or NULL when there is no such file. */
static enum qk_code read_ref(const struct lookup *l, char **hash, struct qk_error *err)
{
    char *path, text[MAX_REF_BYTES + 1] = "";
    struct stat info;
    *hash = NULL;
    QK_TRY(join(&path, err, l->model, "/refs/", l->revision));
    int status = stat(path, &info);
    enum qk_code code = status == 0 || is_missing() ? QK_OK : qk_fail_errno(err, path, "examine");
    if (status != 0 || S_ISDIR(info.st_mode)) {
        free(path);
        return code;
    }
    struct qk_source source;
    code = qk_source_open(path, &source, err);
    if (code == QK_OK) {
        size_t n = source.size < MAX_REF_BYTES ? (size_t)source.size : MAX_REF_BYTES;
        code = qk_source_read(&source, 0, text, n, err);
        text[strcspn(text, " \r\n")] = '\0';
        if (code == QK_OK && !is_plain(text, WORD))
            code = qk_fail(err, QK_INPUT, "%s: not the hash of a commit (found '%.40s')", path, text);
        qk_source_close(&source);
    }
    free(path);
    return code != QK_OK ? code : qk_strdup_to(hash, text, err);
}

/* *hash = the one snapshot whose name begins with the revision, or NULL. */
static enum qk_code complete_hash(const struct lookup *l, char **hash, struct qk_error *err)
{
    size_t n = strlen(l->revision);
    *hash = NULL;
    if (n < LEAST_HASH)
        return QK_OK;
    bool found;
    struct qk_lines names;
    QK_TRY(qk_folder_names(l->snapshots, &found, &names, err));
    enum qk_code code = QK_OK;
    for (size_t i = 0; i < names.n && code == QK_OK; i++) {
        if (strncmp(names.line[i], l->revision, n) != 0)
            continue;
        if (*hash != NULL)
            code = qk_fail(err, QK_INPUT, "%s: more than one snapshot begins with %s (%s and %s in %s)",
                l->operand, l->revision, *hash, names.line[i], l->snapshots);
        else
            code = qk_strdup_to(hash, names.line[i], err);
    }
    qk_lines_free(&names);
    if (code != QK_OK) {
        free(*hash);
        *hash = NULL;
    }
    return code;
}

/* A download by hash alone leaves a snapshot and no name for it. */
static enum qk_code fail_revision(const struct lookup *l, struct qk_error *err)
{
    bool found;
    struct qk_lines names;
    QK_TRY(qk_folder_names(l->snapshots, &found, &names, err));
    enum qk_code code = qk_fail(err, QK_IO,
        "%s: the Hugging Face cache has no revision %s of it (looked in %s%s%.12s)", l->operand, l->revision,
        l->model, names.n > 0 ? "; there is @" : "", names.n > 0 ? names.line[0] : "");
    qk_lines_free(&names);
    return code;
}

/* *n = the entries of the folder whose name has one of the ends, a list that NULL ends. */
static enum qk_code count_ends(const char *folder, const char *const *ends, size_t *n, struct qk_error *err)
{
    bool found;
    struct qk_lines names;
    *n = 0;
    QK_TRY(qk_folder_names(folder, &found, &names, err));
    for (size_t i = 0; i < names.n; i++)
        for (const char *const *end = ends; *end != NULL; end++)
            *n += qk_ends_with(names.line[i], *end);
    qk_lines_free(&names);
    return QK_OK;
}

/* Refuses a snapshot without weights beside unfinished downloads, which may be of another revision else. */
static enum qk_code check_finished(const struct lookup *l, const char *snapshot, struct qk_error *err)
{
    static const char *const weights[] = {".safetensors", ".bin", ".pt", ".pth", NULL},
                             *const unfinished[] = {".incomplete", NULL};
    size_t n_weights, n_unfinished;
    char *blobs;
    QK_TRY(join(&blobs, err, l->model, "/blobs", ""));
    enum qk_code code = count_ends(snapshot, weights, &n_weights, err);
    if (code == QK_OK)
        code = count_ends(blobs, unfinished, &n_unfinished, err);
    if (code == QK_OK && n_weights == 0 && n_unfinished > 0)
        code = qk_fail(err, QK_IO, "%s: its download is not finished: no weights in %s, %zu unfinished in %s",
            l->operand, snapshot, n_unfinished, blobs);
    free(blobs);
    return code;
}

static enum qk_code find_snapshot(const struct lookup *l, char **out, struct qk_error *err)
{
    char *hash;
    bool found;
    QK_TRY(find_folder(l->model, &found, err));
    if (!found)
        return qk_fail(err, QK_IO,
            "%s: no such file or folder, and not in the Hugging Face cache (looked for %s)", l->operand,
            l->model);
    QK_TRY(read_ref(l, &hash, err));
    if (hash == NULL)
        QK_TRY(complete_hash(l, &hash, err));
    if (hash == NULL)
        return fail_revision(l, err);
    enum qk_code code = join(out, err, l->snapshots, "/", hash);
    if (code == QK_OK)
        code = find_folder(*out, &found, err);
    if (code == QK_OK && !found)
        code = qk_fail(err, QK_IO, "%s: revision %s is not in the Hugging Face cache (looked for %s)",
            l->operand, l->revision, *out);
    if (code == QK_OK)
        code = check_finished(l, *out, err);
    if (code != QK_OK) {
        free(*out);
        *out = NULL;
    }
    free(hash);
    return code;
}

static enum qk_code resolve(struct lookup *l, char **out, struct qk_error *err)
{
    char *cache;
    QK_TRY(split(l, err));
    QK_TRY(qk_hub_cache(&cache, err));
    if (cache == NULL)
        return qk_fail(
            err, QK_IO, "there is no Hugging Face cache: HF_HUB_CACHE, HF_HOME and HOME are not set");
    struct qk_text text = {0};
    qk_text_add(&text, "%s/models--%s%s%s", cache, l->org, l->org[0] != '\0' ? "--" : "", l->name);
    free(cache);
    QK_TRY(qk_text_take(&text, &l->model, err));
    QK_TRY(join(&l->snapshots, err, l->model, "/snapshots", ""));
    return find_snapshot(l, out, err);
}

static void free_lookup(struct lookup *l)
{
    free(l->org);
    free(l->name);
    free(l->revision);
    free(l->model);
    free(l->snapshots);
}

enum qk_code qk_hub_resolve(const char *operand, char **out, struct qk_error *err)
{
    bool path;
    *out = NULL;
    QK_TRY(find_path(operand, &path, err));
    if (path)
        return qk_strdup_to(out, operand, err);
    struct lookup l = {.operand = operand};
    enum qk_code code = resolve(&l, out, err);
    free_lookup(&l);
    return code;
}

/* --- the address --- */

static enum qk_code make_address(struct lookup *l, const char *endpoint, char **out, struct qk_error *err)
{
    struct qk_text text = {0};
    QK_TRY(split(l, err));
    qk_text_add(&text, "%s/%s%s%s/resolve/", endpoint, l->org, l->org[0] != '\0' ? "/" : "", l->name);
    for (const char *p = l->revision; *p != '\0'; p++)
        qk_text_add(&text, *p == '/' ? "%%2F" : "%c", *p);
    return qk_text_take(&text, out, err);
}

enum qk_code qk_hub_address(const char *operand, const char *endpoint, char **out, struct qk_error *err)
{
    bool path;
    *out = NULL;
    QK_TRY(find_path(operand, &path, err));
    if (path)
        return qk_strdup_to(out, operand, err);
    struct lookup l = {.operand = operand};
    enum qk_code code = make_address(&l, endpoint, out, err);
    free_lookup(&l);
    return code;
}
