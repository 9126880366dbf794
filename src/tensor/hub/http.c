/* http.c - ranged requests over libcurl. */
#include "tensor/hub/http.h"

#include "base/mem.h"
#include "base/text.h"
#include "tensor/hub/curl.h"
#include "tensor/hub/retry.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MOST_HOPS = 5,
    CONNECT_SECONDS = 10,
    STALL_SECONDS = 30, /* the time below so many bytes a second */
    STALL_BYTES = 1024,
    PROGRESS_BYTES = 64 << 10,   /* after so many bytes, earlier failures no longer count */
    MOST_OTHER_BYTES = 64 << 10, /* of an error page, which is not read */
    MOST_LINE = 1024,
};

/* Scheme, host and port of an address. */
struct origin {
    char *scheme, *host, *port;
};

static struct {
    struct origin endpoint;
    char *authorization; /* the header's line, or NULL */
    struct qk_http_limits limits;
    bool insecure, started;
    pthread_mutex_t mutex; /* guards the slots */
    pthread_cond_t freed;
    CURLSH *open[QK_HTTP_CONNECTIONS]; /* open connections, and what is known of their hosts */
    bool busy[QK_HTTP_CONNECTIONS];
    struct qk_progress *_Atomic watched;
    _Atomic uint64_t bytes, requests;
} client = {.mutex = PTHREAD_MUTEX_INITIALIZER, .freed = PTHREAD_COND_INITIALIZER};

/* --- addresses --- */

static void free_origin(struct origin *origin)
{
    qk_curl.free(origin->scheme);
    qk_curl.free(origin->host);
    qk_curl.free(origin->port);
    *origin = (struct origin){0};
}

/* False when the address is not one of http or https with a host; the caller then frees nothing. `bare`: it must have
 * no user, query and fragment. */
static bool read_origin(const char *url, bool bare, struct origin *origin)
{
    char *extra = NULL;
    CURLU *parsed = qk_curl.url();
    *origin = (struct origin){0};
    bool good = parsed != NULL && qk_curl.url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                qk_curl.url_get(parsed, CURLUPART_SCHEME, &origin->scheme, 0) == CURLUE_OK &&
                qk_curl.url_get(parsed, CURLUPART_HOST, &origin->host, 0) == CURLUE_OK &&
                qk_curl.url_get(parsed, CURLUPART_PORT, &origin->port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                (strcmp(origin->scheme, "https") == 0 || strcmp(origin->scheme, "http") == 0);
    static const CURLUPart unwanted[] = {CURLUPART_USER, CURLUPART_QUERY, CURLUPART_FRAGMENT};
    for (size_t i = 0; good && bare && i < sizeof unwanted / sizeof unwanted[0]; i++) {
        good = qk_curl.url_get(parsed, unwanted[i], &extra, 0) != CURLUE_OK;
        qk_curl.free(extra);
        extra = NULL;
    }
    qk_curl.url_cleanup(parsed);
    if (!good)
        free_origin(origin);
    return good;
}

static bool is_endpoint(const struct origin *origin)
{
    const struct origin *endpoint = &client.endpoint;
    return strcmp(origin->scheme, endpoint->scheme) == 0 && strcmp(origin->port, endpoint->port) == 0 &&
           qk_curl.strequal(origin->host, endpoint->host);
}

/* --- the client --- */

static bool is_word(const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return text[0] != '\0';
}

enum qk_code qk_http_start(
    const char *endpoint, const char *token, struct qk_http_limits limits, struct qk_error *err)
{
    struct qk_text line = {0};
    QK_TRY(qk_curl_load(err));
    client.started = true;
    if (qk_curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return qk_fail(err, QK_IO, "libcurl cannot be used on this machine");
    if (!is_word(endpoint) || !read_origin(endpoint, true, &client.endpoint))
        return qk_fail(err, QK_USAGE, "HF_ENDPOINT: not an address of http or https (found '%s')", endpoint);
    if (token != NULL && !is_word(token))
        return qk_fail(err, QK_USAGE, "HF_TOKEN: not a token (it holds blanks or control characters)");
    client.limits = limits;
    client.insecure = strcmp(client.endpoint.scheme, "http") == 0;
    if (token == NULL)
        return QK_OK;
    qk_text_add(&line, "Authorization: Bearer %s", token);
    return qk_text_take(&line, &client.authorization, err);
}

void qk_http_stop(void)
{
    if (!client.started)
        return;
    client.started = false;
    for (int i = 0; i < QK_HTTP_CONNECTIONS; i++) {
        qk_curl.share_cleanup(client.open[i]);
        client.open[i] = NULL;
    }
    free_origin(&client.endpoint);
    free(client.authorization);
    client.authorization = NULL;
    qk_curl.global_cleanup();
}

void qk_http_watch(struct qk_progress *progress)
{
    atomic_store(&client.watched, progress);
}

static bool is_cancelled(void)
{
    struct qk_progress *progress = atomic_load(&client.watched);
    return progress != NULL && atomic_load(&progress->cancel);
}

void qk_http_traffic(uint64_t *bytes, uint64_t *requests)
{
    *bytes = atomic_load(&client.bytes);
    *requests = atomic_load(&client.requests);
}

static CURLSH *make_share(void)
{
    static const curl_lock_data shared[] = {
        CURL_LOCK_DATA_CONNECT, CURL_LOCK_DATA_DNS, CURL_LOCK_DATA_SSL_SESSION};
    CURLSH *share = qk_curl.share_init();
    for (size_t i = 0; share != NULL && i < sizeof shared / sizeof shared[0]; i++)
        qk_curl.share_setopt(
            share, CURLSHOPT_SHARE, shared[i]); /* without one of them, requests are only slower */
    return share;
}

/* A slot keeps its connections open from one request to the next. One thread at a time has it. */
static enum qk_code take_slot(int *slot, struct qk_error *err)
{
    pthread_mutex_lock(&client.mutex);
    for (*slot = 0; client.busy[*slot];) {
        if (++*slot < QK_HTTP_CONNECTIONS)
            continue;
        pthread_cond_wait(&client.freed, &client.mutex);
        *slot = 0;
    }
    if (client.open[*slot] == NULL)
        client.open[*slot] = make_share();
    bool made = client.open[*slot] != NULL;
    client.busy[*slot] = made;
    pthread_mutex_unlock(&client.mutex);
    return made ? QK_OK : qk_fail_memory(err, sizeof(struct curl_slist));
}

static void give_slot(int slot)
{
    pthread_mutex_lock(&client.mutex);
    client.busy[slot] = false;
    pthread_cond_signal(&client.freed);
    pthread_mutex_unlock(&client.mutex);
}

/* --- one request and its answer --- */

struct answer {
    bool has_length, has_range;
    uint64_t length, first, last, total;
    char etag[QK_HTTP_IDENTITY], modified[QK_HTTP_IDENTITY];
    char encoding[32];
    long wait; /* seconds of Retry-After, or -1 */
};

struct exchange {
    struct qk_http_file *file;
    bool examining; /* HEAD: answers go into the file; else GET of [at, end) */
    uint64_t at, end;
    qk_http_sink *sink;
    void *context;
    struct qk_error *err;
    struct timespec start; /* of the whole, with all repetitions */
    /* --- of the answer --- */
    CURLSH *open; /* the slot's */
    CURL *curl;   /* of the last request, or NULL */
    long status;
    struct answer answer;
    char linked_etag
        [QK_HTTP_IDENTITY]; /* what a hub says about a file that it redirects to; kept over redirects */
    uint64_t linked_size;
    char commit[QK_HTTP_COMMIT]; /* also kept */
    bool has_linked_size, checked;
    uint64_t other_bytes;
    enum qk_code code; /* the fault found while the answer came; `err` is written */
    char problem[CURL_ERROR_SIZE];
};

static bool read_number(const char **text, uint64_t *out)
{
    char *end;
    if (!isdigit((unsigned char)**text))
        return false;
    errno = 0;
    *out = strtoull(*text, &end, 10);
    *text = end;
    return errno == 0;
}

static bool is_number(const char *text, uint64_t *out)
{
    return read_number(&text, out) && *text == '\0';
}

/* Parses "bytes FIRST-LAST/TOTAL"; any other text counts as missing. */
static void read_range(struct answer *answer, const char *text)
{
    answer->has_range = strncmp(text, "bytes ", 6) == 0 && (text += 6, read_number(&text, &answer->first)) &&
                        *text++ == '-' && read_number(&text, &answer->last) && *text++ == '/' &&
                        is_number(text, &answer->total);
}

/* True for a text that may replace a branch in an address. */
static bool is_commit(const char *text)
{
    enum { LEAST_DIGITS = 40 };
    size_t n = strlen(text);
    return n >= LEAST_DIGITS && n < QK_HTTP_COMMIT && text[strspn(text, "0123456789abcdef")] == '\0';
}

static void take_header(struct exchange *x, const char *name, const char *value)
{
    struct answer *answer = &x->answer;
    if (qk_curl.strequal(name, "content-length"))
        answer->has_length = is_number(value, &answer->length);
    else if (qk_curl.strequal(name, "content-range"))
        read_range(answer, value);
    else if (qk_curl.strequal(name, "content-encoding"))
        snprintf(answer->encoding, sizeof answer->encoding, "%s", value);
    else if (qk_curl.strequal(name, "etag"))
        snprintf(answer->etag, sizeof answer->etag, "%s", value);
    else if (qk_curl.strequal(name, "last-modified"))
        snprintf(answer->modified, sizeof answer->modified, "%s", value);
    else if (qk_curl.strequal(name, "retry-after"))
        answer->wait = qk_retry_after(value);
    else if (qk_curl.strequal(name, "x-linked-etag"))
        snprintf(x->linked_etag, sizeof x->linked_etag, "%s", value);
    else if (qk_curl.strequal(name, "x-repo-commit") && is_commit(value))
        snprintf(x->commit, sizeof x->commit, "%s", value);
    else if (qk_curl.strequal(name, "x-linked-size"))
        x->has_linked_size = is_number(value, &x->linked_size);
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
    struct exchange *x = context;
    size_t n = size * count;
    char line[MOST_LINE];
    snprintf(line, sizeof line, "%.*s", (int)(n < sizeof line ? n : sizeof line - 1), bytes);
    for (size_t k = strlen(line); k > 0 && isspace((unsigned char)line[k - 1]); k--)
        line[k - 1] = '\0';
    char *colon = strchr(line, ':');
    if (strncmp(line, "HTTP/", 5) == 0) {
        x->answer = (struct answer){.wait = -1};
    } else if (colon != NULL) {
        *colon = '\0';
        take_header(x, line, colon + 1 + strspn(colon + 1, " \t"));
    }
    return n;
}

static const char *identity_of(const struct exchange *x)
{
    return x->linked_etag[0] != '\0'   ? x->linked_etag
           : x->answer.etag[0] != '\0' ? x->answer.etag
                                       : x->answer.modified;
}

/* An answer of 200 is as good as one of 206 when the request is for the whole of a small file. */
static bool is_whole(const struct exchange *x)
{
    return x->status == 200 && x->at == 0 && x->end == x->file->size;
}

/* Checks that the answer has the requested bytes of the file that was examined. */
static enum qk_code check_answer(struct exchange *x)
{
    const struct answer *answer = &x->answer;
    const char *url = x->file->url;
    unsigned long long at = x->at, end = x->end, size = x->file->size;
    if (strcmp(identity_of(x), x->file->identity) != 0)
        return qk_fail(x->err, QK_IO,
            "%s: was changed on the server while it was read (found %s, expected %s)", url, identity_of(x),
            x->file->identity);
    if (answer->encoding[0] != '\0' && !qk_curl.strequal(answer->encoding, "identity"))
        return qk_fail(x->err, QK_INPUT, "%s: the server encodes its answer (found %s, expected no encoding)",
            url, answer->encoding);
    if (x->status == 200 && !is_whole(x))
        return qk_fail(x->err, QK_INPUT,
            "%s: the server sends whole files only (found HTTP status 200, expected 206 for bytes %llu-%llu)",
            url, at, end - 1);
    if (x->status == 206 && !answer->has_range)
        return qk_fail(x->err, QK_INPUT,
            "%s: the server does not say which bytes it sends (expected %llu-%llu)", url, at, end - 1);
    if (x->status == 206 && (answer->first != at || answer->last != end - 1 || answer->total != size))
        return qk_fail(x->err, QK_INPUT,
            "%s: the server sends other bytes than requested (found %llu-%llu of %llu, expected %llu-%llu of "
            "%llu)",
            url, (unsigned long long)answer->first, (unsigned long long)answer->last,
            (unsigned long long)answer->total, at, end - 1, size);
    if (answer->has_length && answer->length != end - at)
        return qk_fail(x->err, QK_INPUT,
            "%s: an answer of the wrong length (found %llu bytes, expected %llu)", url,
            (unsigned long long)answer->length, end - at);
    return QK_OK;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *context)
{
    struct exchange *x = context;
    size_t n = size * count;
    atomic_fetch_add(&client.bytes, n);
    qk_curl.easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->status);
    if (x->status != 200 && x->status != 206) {
        x->other_bytes += n;
        return x->other_bytes > MOST_OTHER_BYTES ? 0 : n;
    }
    if (!x->checked)
        x->code = check_answer(x);
    x->checked = true;
    if (x->code == QK_OK && n > x->end - x->at)
        x->code = qk_fail(x->err, QK_INPUT,
            "%s: an answer of the wrong length (found more than the %llu bytes of its range)", x->file->url,
            (unsigned long long)(x->end - x->at));
    if (x->code == QK_OK)
        x->code = x->sink(x->context, x->at, bytes, n, x->err);
    if (x->code != QK_OK)
        return 0;
    x->at += n;
    return n;
}

static int on_progress(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)context, (void)a, (void)b, (void)c, (void)d;
    return is_cancelled() ? 1 : 0;
}

/* The time that is left for the whole of it, in milliseconds; 0 when it is over. */
static long left_ms(const struct exchange *x)
{
    double left = client.limits.seconds - qk_seconds_since(&x->start);
    return left > 0 ? (long)(left * 1000) + 1 : 0;
}

static void set_options(struct exchange *x, const char *url, const struct curl_slist *headers)
{
    CURL *curl = x->curl;
    char range[64];
    qk_curl.easy_setopt(curl, CURLOPT_SHARE, x->open);
    qk_curl.easy_setopt(curl, CURLOPT_URL, url);
    qk_curl.easy_setopt(curl, CURLOPT_PROTOCOLS_STR, client.insecure ? "http,https" : "https");
    qk_curl.easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    qk_curl.easy_setopt(curl, CURLOPT_USERAGENT, PACKAGE_NAME "/" PACKAGE_VERSION);
    qk_curl.easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    qk_curl.easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, (long)STALL_BYTES);
    qk_curl.easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    qk_curl.easy_setopt(curl, CURLOPT_TIMEOUT_MS, left_ms(x) > 0 ? left_ms(x) : 1L);
    qk_curl.easy_setopt(curl, CURLOPT_ERRORBUFFER, x->problem);
    qk_curl.easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    qk_curl.easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    qk_curl.easy_setopt(curl, CURLOPT_HEADERDATA, x);
    qk_curl.easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    qk_curl.easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    if (x->examining) {
        qk_curl.easy_setopt(curl, CURLOPT_NOBODY, 1L);
        return;
    }
    snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)x->at, (unsigned long long)(x->end - 1));
    qk_curl.easy_setopt(curl, CURLOPT_RANGE, range);
    qk_curl.easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    qk_curl.easy_setopt(curl, CURLOPT_WRITEDATA, x);
}

/* Each request has a handle of its own. libcurl before 8.1.1 reads freed headers of a handle's last answer when the
 * first line of the next one is a continuation (https://github.com/curl/curl/pull/11103). */
static CURLcode perform(struct exchange *x, const char *url, bool with_token)
{
    struct curl_slist *headers = NULL;
    x->status = 0;
    x->checked = false;
    x->other_bytes = 0;
    x->problem[0] = '\0';
    x->answer = (struct answer){.wait = -1};
    qk_curl.easy_cleanup(x->curl);
    x->curl = qk_curl.easy_init();
    if (x->curl == NULL ||
        (with_token && (headers = qk_curl.slist_append(NULL, client.authorization)) == NULL))
        return CURLE_OUT_OF_MEMORY;
    set_options(x, url, headers);
    CURLcode result = qk_curl.easy_perform(x->curl);
    qk_curl.easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->status);
    if (x->status != 0)
        atomic_fetch_add(&client.requests, 1);
    qk_curl.slist_free_all(headers);
    return result;
}

static bool is_redirect(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Follows redirects. An examination needs only what a hub says about a file before it redirects to another host;
 * signed addresses need not answer it. */
static enum qk_code follow(struct exchange *x, CURLcode *result)
{
    struct origin origin;
    char *url;
    x->linked_etag[0] = x->commit[0] = '\0';
    x->has_linked_size = false;
    QK_TRY(qk_strdup_to(&url, x->file->url, x->err));
    enum qk_code code = QK_OK;
    for (int hop = 0;; hop++) {
        if (!read_origin(url, false, &origin) || (!client.insecure && strcmp(origin.scheme, "https") != 0)) {
            code = qk_fail(x->err, QK_INPUT,
                "%s: the server redirects to an address that is not https (found %s)", x->file->url, url);
            break;
        }
        bool home = is_endpoint(&origin);
        free_origin(&origin);
        if (x->examining && !home && x->linked_etag[0] != '\0' && x->has_linked_size)
            break;
        *result = perform(x, url, home && client.authorization != NULL);
        char *next = NULL;
        if (*result != CURLE_OK || !is_redirect(x->status))
            break;
        qk_curl.easy_getinfo(x->curl, CURLINFO_REDIRECT_URL, &next);
        if (next == NULL || hop == MOST_HOPS) {
            code = qk_fail(x->err, QK_INPUT,
                next == NULL ? "%s: the server redirects to nowhere" : "%s: the server redirects too often",
                x->file->url);
            break;
        }
        free(url);
        code = qk_strdup_to(&url, next, x->err);
        if (code != QK_OK)
            break;
    }
    free(url);
    return code;
}

/* --- what became of it --- */

enum verdict { DONE, ABSENT, AGAIN, FAILED };

/* Stores the answer to an examination. */
static enum verdict take_file(struct exchange *x)
{
    struct qk_http_file *file = x->file;
    const char *identity = identity_of(x);
    bool linked = x->linked_etag[0] != '\0' && x->has_linked_size;
    if (!linked && !x->answer.has_length) {
        x->code = qk_fail(x->err, QK_INPUT, "%s: the server does not give the file's size", file->url);
        return FAILED;
    }
    if (identity[0] == '\0') {
        x->code = qk_fail(x->err, QK_INPUT,
            "%s: the server gives neither ETag nor Last-Modified, so a change would go unnoticed", file->url);
        return FAILED;
    }
    snprintf(file->identity, sizeof file->identity, "%s", identity);
    snprintf(file->commit, sizeof file->commit, "%s", x->commit);
    file->size = linked ? x->linked_size : x->answer.length;
    return DONE;
}

static enum verdict judge_status(struct exchange *x)
{
    const char *url = x->file->url;
    if (qk_retry_status(x->status)) {
        snprintf(x->problem, sizeof x->problem, "HTTP status %ld", x->status);
        if (x->answer.wait <= QK_RETRY_MOST_WAIT)
            return AGAIN;
        x->code = qk_fail(x->err, QK_IO, "%s: HTTP status %ld, and the server asks to wait more than %d s",
            url, x->status, QK_RETRY_MOST_WAIT);
        return FAILED;
    }
    switch (x->status) {
    case 401:
    case 403:
        x->code = qk_fail(x->err, QK_IO,
            client.authorization != NULL ? "%s: the server refuses the token in HF_TOKEN (HTTP status %ld): "
                                           "no such model, or no access to it"
                                         : "%s: the server asks for a token (HTTP status %ld): no such "
                                           "model, or set HF_TOKEN to one that may read it",
            url, x->status);
        return FAILED;
    case 404:
        x->code = qk_fail(
            x->err, QK_IO, "%s: no such model, revision or file on the server (HTTP status 404)", url);
        return x->examining ? ABSENT : FAILED;
    case 416:
        x->code = qk_fail(x->err, QK_INPUT,
            "%s: the server has no bytes %llu-%llu (HTTP status 416, expected a file of %llu bytes)", url,
            (unsigned long long)x->at, (unsigned long long)(x->end - 1), (unsigned long long)x->file->size);
        return FAILED;
    default:
        x->code = qk_fail(
            x->err, QK_IO, "%s: the server's answer cannot be used (HTTP status %ld)", url, x->status);
        return FAILED;
    }
}

static bool is_hopeless(CURLcode result)
{
    switch (result) {
    case CURLE_COULDNT_RESOLVE_HOST: /* a machine without a network; later it may be a passing failure */
        return atomic_load(&client.requests) == 0;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_OUT_OF_MEMORY:
        return true;
    default:
        return false;
    }
}

static enum verdict too_late(struct exchange *x)
{
    x->code = qk_fail(x->err, QK_IO, "%s: the request is not answered within %d s (QKSCOPE_TIMEOUT)",
        x->file->url, client.limits.seconds);
    return FAILED;
}

static enum verdict judge(struct exchange *x, CURLcode result)
{
    if (is_cancelled()) {
        x->code = qk_fail_cancelled(x->err);
        return FAILED;
    }
    if (x->code != QK_OK)
        return FAILED;
    if (result == CURLE_OPERATION_TIMEDOUT && left_ms(x) == 0)
        return too_late(x);
    if (x->status >= 300)
        return is_redirect(x->status) && x->examining ? take_file(x) : judge_status(x);
    if (result != CURLE_OK) {
        if (x->problem[0] == '\0')
            snprintf(x->problem, sizeof x->problem, "%s", qk_curl.easy_strerror(result));
        if (!is_hopeless(result))
            return AGAIN;
        x->code = qk_fail(x->err, QK_IO, "%s: %s", x->file->url, x->problem);
        return FAILED;
    }
    if (x->examining)
        return x->status == 200 ? take_file(x) : judge_status(x);
    if (x->status != 200 && x->status != 206)
        return judge_status(x);
    if (!x->checked) { /* an empty body: its headers were not checked yet */
        x->code = check_answer(x);
        x->checked = true;
    }
    if (x->code != QK_OK)
        return FAILED;
    snprintf(x->problem, sizeof x->problem, "the answer ended early");
    return x->at == x->end ? DONE : AGAIN;
}

/* --- again --- */

static void pause_for(const struct exchange *x, long ms)
{
    enum { STEP_MS = 50 };
    for (; ms > 0 && left_ms(x) > 0 && !is_cancelled(); ms -= STEP_MS)
        nanosleep(&(struct timespec){.tv_nsec = (ms < STEP_MS ? ms : STEP_MS) * 1000000}, NULL);
}

static enum verdict run(struct exchange *x)
{
    for (int failures = 0;;) {
        uint64_t before = x->at;
        CURLcode result = CURLE_OK;
        x->code = QK_OK;
        enum qk_code followed = follow(x, &result);
        if (x->code == QK_OK) /* else the message was written while the answer came */
            x->code = followed;
        enum verdict verdict = judge(x, result);
        if (verdict != AGAIN)
            return verdict;
        failures = x->at - before >= PROGRESS_BYTES ? 1 : failures + 1;
        if (failures > client.limits.retries) {
            x->code = qk_fail(x->err, QK_IO, "%s: %s (tried %d times)", x->file->url, x->problem, failures);
            return FAILED;
        }
        pause_for(x, qk_retry_pause(failures, x->answer.wait));
        if (left_ms(x) == 0 && !is_cancelled())
            return too_late(x);
    }
}

static enum qk_code run_on_slot(struct exchange *x, enum verdict *verdict, struct qk_error *err)
{
    int slot;
    x->err = err;
    QK_TRY(take_slot(&slot, err));
    x->open = client.open[slot];
    clock_gettime(CLOCK_MONOTONIC, &x->start);
    *verdict = run(x);
    qk_curl.easy_cleanup(x->curl);
    give_slot(slot);
    return QK_OK;
}

enum qk_code qk_http_examine(struct qk_http_file *file, bool *found, struct qk_error *err)
{
    struct exchange x = {.file = file, .examining = true};
    enum verdict verdict;
    QK_TRY(run_on_slot(&x, &verdict, err));
    *found = verdict == DONE;
    return verdict == FAILED ? x.code : QK_OK;
}

enum qk_code qk_http_get(const struct qk_http_file *file, uint64_t begin, uint64_t end, qk_http_sink *sink,
    void *context, struct qk_error *err)
{
    struct qk_http_file examined = *file;
    struct exchange x = {.file = &examined, .at = begin, .end = end, .sink = sink, .context = context};
    enum verdict verdict;
    QK_TRY(run_on_slot(&x, &verdict, err));
    return verdict == DONE ? QK_OK : x.code;
}
