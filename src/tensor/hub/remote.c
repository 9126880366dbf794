/* remote.c - the choice of blocks to fetch, and of the thread that fetches them. */
#include "tensor/hub/remote.h"

#include "base/cache.h"
#include "base/digest.h"
#include "base/environment.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/hub/blocks.h"
#include "tensor/hub/http.h"
#include "tensor/hub/retry.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char ENDPOINT[] = "https://huggingface.co";
static const uint64_t MOST_SIZE = (uint64_t)1 << 40;
enum { SECONDS = 3600, MOST_SECONDS = 7 * 24 * 3600 };
enum { MOST_AHEAD = (16 << 20) / QK_BLOCK_BYTES };
enum { ABSENT, KEPT, COMING, WHOLE }; /* blocks.whole; KEPT: by an earlier run, and not checked yet */

struct qk_remote_file {
    char *path, *url; /* as requested; with its name escaped */
    bool found;
    struct qk_http_file file;
    struct qk_blocks blocks;
    pthread_mutex_t mutex; /* guards blocks.whole */
    pthread_cond_t came;
    struct qk_remote_file *next;
};

static struct {
    char *endpoint, *folder;
    pthread_mutex_t mutex; /* guards the list */
    struct qk_remote_file *files;
    _Atomic uint64_t damaged; /* kept blocks that were not what was fetched */
} remote = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* --- starting and stopping --- */

static const char *variable(const char *name)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* Reads the variable as huggingface_hub does. */
static bool is_offline(void)
{
    static const char *const YES[] = {"1", "ON", "YES", "TRUE"};
    const char *text = variable("HF_HUB_OFFLINE");
    for (size_t i = 0; text != NULL && i < sizeof YES / sizeof YES[0]; i++)
        if (strcasecmp(text, YES[i]) == 0)
            return true;
    return false;
}

static enum qk_code start(struct qk_error *err)
{
    const char *endpoint = variable("HF_ENDPOINT");
    char *cache;
    struct qk_http_limits limits = {.seconds = SECONDS};
    if (is_offline())
        return qk_fail(err, QK_USAGE,
            "--remote: HF_HUB_OFFLINE forbids the network (without --remote, names stand for the local cache)");
    QK_TRY(qk_retry_limit(&limits.retries, err));
    QK_TRY(qk_environment_number("QKSCOPE_TIMEOUT", 1, MOST_SECONDS, &limits.seconds, err));
    endpoint = endpoint != NULL ? endpoint : ENDPOINT;
    size_t n = strlen(endpoint);
    while (n > 0 && endpoint[n - 1] == '/')
        n--;
    QK_TRY(qk_strndup_to(&remote.endpoint, endpoint, n, err));
    QK_TRY(qk_cache_folder(&cache, err));
    if (cache == NULL)
        return qk_fail(err, QK_IO, "there is no cache folder: XDG_CACHE_HOME and HOME are not set");
    enum qk_code code = qk_path_join(cache, "remote", &remote.folder, err);
    free(cache);
    QK_TRY(code);
    return qk_http_start(remote.endpoint, variable("HF_TOKEN"), limits, err);
}

enum qk_code qk_remote_start(struct qk_error *err)
{
    enum qk_code code = start(err);
    if (code != QK_OK)
        qk_remote_stop();
    return code;
}

static void free_file(struct qk_remote_file *file)
{
    qk_blocks_close(&file->blocks);
    pthread_mutex_destroy(&file->mutex);
    pthread_cond_destroy(&file->came);
    free(file->path);
    free(file->url);
    free(file);
}

void qk_remote_stop(void)
{
    if (remote.endpoint == NULL)
        return;
    while (remote.files != NULL) {
        struct qk_remote_file *next = remote.files->next;
        free_file(remote.files);
        remote.files = next;
    }
    if (remote.folder != NULL)
        qk_cache_trim(remote.folder, QK_BLOCKS_SUFFIX, QK_REMOTE_CACHE_BYTES);
    qk_http_stop();
    free(remote.endpoint);
    free(remote.folder);
    remote.endpoint = remote.folder = NULL;
}

const char *qk_remote_endpoint(void)
{
    return remote.endpoint;
}

bool qk_remote_has(const char *path)
{
    size_t n = remote.endpoint != NULL ? strlen(remote.endpoint) : 0;
    return n > 0 && strncmp(path, remote.endpoint, n) == 0 && path[n] == '/';
}

void qk_remote_watch(struct qk_progress *progress)
{
    qk_http_watch(progress);
}

/* --- opening --- */

/* Folders are this program's and already escaped; the name behind the last slash comes from the server. */
static enum qk_code escape_name(const char *path, char **url, struct qk_error *err)
{
    static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-~";
    const char *name = strrchr(path, '/') + 1;
    struct qk_text text = {0};
    qk_text_add_bytes(&text, path, (size_t)(name - path));
    for (; *name != '\0'; name++)
        qk_text_add(&text, strchr(PLAIN, *name) != NULL ? "%c" : "%%%02X", (unsigned char)*name);
    return qk_text_take(&text, url, err);
}

static enum qk_code examine(struct qk_remote_file *file, const char *path, struct qk_error *err)
{
    QK_TRY(qk_strdup_to(&file->path, path, err));
    QK_TRY(escape_name(path, &file->url, err));
    file->file.url = file->url;
    QK_TRY(qk_http_examine(&file->file, &file->found, err));
    if (!file->found)
        return QK_OK;
    if (file->file.size > MOST_SIZE)
        return qk_fail(err, QK_INPUT, "%s: too large (found %llu bytes, at most %llu)", path,
            (unsigned long long)file->file.size, (unsigned long long)MOST_SIZE);
    return qk_blocks_open(remote.folder, file->url, file->file.identity, file->file.size, &file->blocks, err);
}

/* Called with the list locked, so that a file is examined once. */
static enum qk_code find_or_examine(const char *path, struct qk_remote_file **out, struct qk_error *err)
{
    for (struct qk_remote_file *file = remote.files; file != NULL; file = file->next)
        if (strcmp(file->path, path) == 0) {
            *out = file;
            return QK_OK;
        }
    struct qk_remote_file *file;
    QK_TRY(qk_alloc(&file, 1, sizeof *file, err));
    file->blocks.fd = -1;
    pthread_mutex_init(&file->mutex, NULL);
    pthread_cond_init(&file->came, NULL);
    enum qk_code code = examine(file, path, err);
    if (code != QK_OK) {
        free_file(file);
        return code;
    }
    file->next = remote.files;
    remote.files = *out = file;
    return QK_OK;
}

enum qk_code qk_remote_open(const char *path, bool *found, struct qk_remote_file **out, struct qk_error *err)
{
    *out = NULL;
    *found = false;
    pthread_mutex_lock(&remote.mutex);
    enum qk_code code = find_or_examine(path, out, err);
    pthread_mutex_unlock(&remote.mutex);
    if (code == QK_OK)
        *found = (*out)->found;
    if (!*found)
        *out = NULL;
    return code;
}

enum qk_code qk_remote_pin(const char *folder, char **pinned, struct qk_error *err)
{
    struct qk_http_file config = {0};
    struct qk_text text = {0};
    char *url;
    bool found;
    *pinned = NULL;
    QK_TRY(qk_path_join(folder, "config.json", &url, err));
    config.url = url;
    enum qk_code code = qk_http_examine(&config, &found, err);
    free(url);
    QK_TRY(code);
    if (!found || config.commit[0] == '\0')
        return qk_strdup_to(pinned, folder, err);
    qk_text_add_bytes(&text, folder, (size_t)(strrchr(folder, '/') + 1 - folder));
    qk_text_add(&text, "%s", config.commit);
    return qk_text_take(&text, pinned, err);
}

uint64_t qk_remote_size(const struct qk_remote_file *file)
{
    return file->file.size;
}

/* --- fetching --- */

/* A transfer into blocks, and the marks of those that are complete. */
struct transfer {
    const struct qk_blocks *blocks;
    struct qk_digest digest; /* of the block that is coming */
    size_t done;             /* blocks */
    unsigned char mark[MOST_AHEAD][QK_BLOCK_MARK];
};

static enum qk_code keep_bytes(
    void *context, uint64_t offset, const void *bytes, size_t n, struct qk_error *err)
{
    struct transfer *transfer = context;
    const struct qk_blocks *blocks = transfer->blocks;
    QK_TRY(qk_blocks_write(blocks, offset, bytes, n, err));
    for (const char *p = bytes; n > 0;) {
        size_t at = (size_t)(offset % QK_BLOCK_BYTES), block = (size_t)(offset / QK_BLOCK_BYTES);
        size_t left = qk_block_bytes(blocks, block) - at, part = n < left ? n : left;
        if (at == 0)
            qk_digest_init(&transfer->digest);
        qk_digest_add(&transfer->digest, p, part);
        if (part == left)
            qk_digest_bytes(&transfer->digest, transfer->mark[transfer->done++], QK_BLOCK_MARK);
        p += part;
        offset += part;
        n -= part;
    }
    return QK_OK;
}

/* Counts the blocks before this one that are there or coming: a reader of these will read on. */
static size_t run_before(const struct qk_blocks *blocks, size_t block)
{
    size_t n = 0;
    while (n < MOST_AHEAD && n < block && blocks->whole[block - n - 1] != ABSENT)
        n++;
    return n;
}

/* Fetches the run of absent blocks that begins with `first`. The caller holds the mutex before and after. Blocks are
 * marked at the end of the whole request, because a mark costs a sync. */
static enum qk_code fetch_run(
    struct qk_remote_file *file, size_t first, size_t last, size_t limit, struct qk_error *err)
{
    struct qk_blocks *blocks = &file->blocks;
    size_t n = 0, most = last - first + 1, ahead = run_before(blocks, first);
    if (ahead > most)
        most = ahead;
    while (n < most && n < MOST_AHEAD && first + n < blocks->n && (first + n <= last || first + n <= limit) &&
           blocks->whole[first + n] == ABSENT)
        blocks->whole[first + n++] = COMING;
    pthread_mutex_unlock(&file->mutex);
    struct transfer transfer = {.blocks = blocks};
    uint64_t begin = (uint64_t)first * QK_BLOCK_BYTES, end = (uint64_t)(first + n) * QK_BLOCK_BYTES;
    end = end < blocks->size ? end : blocks->size;
    enum qk_code code = qk_http_get(&file->file, begin, end, keep_bytes, &transfer, err);
    if (code == QK_OK)
        code = qk_blocks_mark(blocks, first, n, (const unsigned char(*)[QK_BLOCK_MARK])transfer.mark, err);
    pthread_mutex_lock(&file->mutex);
    memset(blocks->whole + first, code == QK_OK ? WHOLE : ABSENT, n);
    pthread_cond_broadcast(&file->came);
    return code;
}

/* Checks a block of an earlier run before its first use; one that was damaged on the disk is fetched again. The caller
 * holds the mutex before and after. */
static enum qk_code check_block(struct qk_remote_file *file, size_t block, struct qk_error *err)
{
    struct qk_blocks *blocks = &file->blocks;
    bool good;
    blocks->whole[block] = COMING;
    pthread_mutex_unlock(&file->mutex);
    enum qk_code code = qk_blocks_check(blocks, block, &good, err);
    pthread_mutex_lock(&file->mutex);
    blocks->whole[block] = good ? WHOLE : code == QK_OK ? ABSENT : KEPT;
    if (code == QK_OK && !good)
        atomic_fetch_add(&remote.damaged, 1);
    pthread_cond_broadcast(&file->came);
    return code;
}

enum qk_code qk_remote_read(struct qk_remote_file *file, uint64_t offset, void *buffer, size_t n,
    uint64_t limit, struct qk_error *err)
{
    struct qk_blocks *blocks = &file->blocks;
    if (n == 0)
        return QK_OK;
    if (offset > blocks->size || n > blocks->size - offset)
        return qk_fail(err, QK_IO, "%s: ends early (found %llu bytes, expected %llu)", file->url,
            (unsigned long long)blocks->size, (unsigned long long)(offset + n));
    size_t block = (size_t)(offset / QK_BLOCK_BYTES), last = (size_t)((offset + n - 1) / QK_BLOCK_BYTES);
    size_t last_ahead = limit > offset + n ? (size_t)((limit - 1) / QK_BLOCK_BYTES) : last;
    enum qk_code code = QK_OK;
    pthread_mutex_lock(&file->mutex);
    while (code == QK_OK && block <= last) {
        if (blocks->whole[block] == WHOLE)
            block++;
        else if (blocks->whole[block] == KEPT)
            code = check_block(file, block, err);
        else if (blocks->whole[block] == COMING)
            pthread_cond_wait(&file->came, &file->mutex);
        else
            code = fetch_run(file, block, last, last_ahead, err);
    }
    pthread_mutex_unlock(&file->mutex);
    return code == QK_OK ? qk_blocks_read(blocks, offset, buffer, n, err) : code;
}

struct qk_remote_account qk_remote_account(void)
{
    struct qk_remote_account account = {.folder = remote.folder, .damaged = atomic_load(&remote.damaged)};
    qk_http_traffic(&account.fetched, &account.requests);
    for (const struct qk_remote_file *file = remote.files; file != NULL; file = file->next)
        account.bytes += file->file.size;
    return account;
}
