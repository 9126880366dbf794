/* requests.c - a pool of requests over libcurl's multi interface. */
#include "eval/engine/requests.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "tensor/hub/curl.h"
#include "tensor/hub/retry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { CONNECT_SECONDS = 30, POLL_MS = 100, MOST_ANSWER = 64 << 20, REASON = 400 };

/* One request on its way, or in the pause before it is repeated. */
struct slot {
    bool busy, sent;
    size_t i;
    int failures;
    double due; /* seconds since the start, when it is sent again */
    CURL *curl;
    char *body;
    struct qk_text text;
    long wait; /* of Retry-After; -1: none */
    char problem[CURL_ERROR_SIZE];
};

struct pool {
    const struct qk_requests *r;
    size_t n, next, n_busy;
    int retries;
    bool answered; /* once: an address that exists is not given up at a fault of its name server */
    CURLM *multi;
    struct curl_slist *headers;
    struct slot *slot; /* r->parallel */
    struct timespec start;
    enum qk_code code; /* of the first failure */
    struct qk_error *err;
};

/* --- the library --- */

static bool is_word(const char *text)
{
    for (const char *p = text; *p != '\0'; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return text[0] != '\0';
}

enum qk_code qk_requests_start(const char **key, struct qk_error *err)
{
    const char *text = getenv("OPENAI_API_KEY");
    *key = text != NULL && text[0] != '\0' ? text : NULL;
    if (*key != NULL && !is_word(*key))
        return qk_fail(err, QK_USAGE, "OPENAI_API_KEY: not a key (it holds blanks or control characters)");
    QK_TRY(qk_curl_load(err));
    return qk_curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK
               ? QK_OK
               : qk_fail(err, QK_IO, "libcurl cannot be used on this machine");
}

void qk_requests_stop(void)
{
    qk_curl.global_cleanup();
}

enum qk_code qk_requests_address(const char *what, const char *url, char **out, struct qk_error *err)
{
    char *host = NULL, *scheme = NULL;
    CURLU *parsed = qk_curl.url();
    bool good = parsed != NULL && is_word(url) &&
                qk_curl.url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                qk_curl.url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                qk_curl.url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    qk_curl.free(host);
    qk_curl.free(scheme);
    qk_curl.url_cleanup(parsed);
    if (!good)
        return qk_fail(err, QK_USAGE,
            "%s: not an address (found '%s', expected one such as http://127.0.0.1:8000)", what, url);
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/')
        n--;
    return qk_strndup_to(out, url, n, err);
}

/* --- one request --- */

static size_t on_bytes(char *bytes, size_t size, size_t count, void *context)
{
    struct slot *slot = context;
    size_t n = size * count;
    if (slot->text.length + n > MOST_ANSWER)
        return 0;
    qk_text_add_bytes(&slot->text, bytes, n);
    return slot->text.failed ? 0 : n;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
    static const char NAME[] = "retry-after:";
    struct slot *slot = context;
    size_t n = size * count, m = sizeof NAME - 1;
    char value[64];
    if (n <= m || strncasecmp(bytes, NAME, m) != 0)
        return n;
    while (m < n && (bytes[m] == ' ' || bytes[m] == '\t'))
        m++;
    snprintf(value, sizeof value, "%.*s", (int)(n - m < sizeof value ? n - m : sizeof value - 1), bytes + m);
    value[strcspn(value, "\r\n")] = '\0';
    slot->wait = qk_retry_after(value);
    return n;
}

static void set_options(const struct pool *pool, struct slot *slot)
{
    const struct qk_requests *r = pool->r;
    CURL *curl = slot->curl;
    qk_curl.easy_setopt(curl, CURLOPT_URL, r->url);
    qk_curl.easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    qk_curl.easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    qk_curl.easy_setopt(curl, CURLOPT_USERAGENT, PACKAGE_NAME "/" PACKAGE_VERSION);
    qk_curl.easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    qk_curl.easy_setopt(curl, CURLOPT_TIMEOUT_MS, r->seconds > 0 ? (long)(r->seconds * 1000) : 0L);
    qk_curl.easy_setopt(curl, CURLOPT_ERRORBUFFER, slot->problem);
    qk_curl.easy_setopt(curl, CURLOPT_HTTPHEADER, pool->headers);
    qk_curl.easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    qk_curl.easy_setopt(curl, CURLOPT_HEADERDATA, slot);
    qk_curl.easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    qk_curl.easy_setopt(curl, CURLOPT_WRITEDATA, slot);
    qk_curl.easy_setopt(curl, CURLOPT_PRIVATE, slot);
    if (slot->body == NULL)
        return;
    qk_curl.easy_setopt(curl, CURLOPT_POSTFIELDS, slot->body);
    qk_curl.easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(slot->body));
}

/* Each request has a handle of its own (tensor/hub/http.c says why); connections belong to the pool. */
static enum qk_code send_slot(struct pool *pool, struct slot *slot)
{
    slot->text.length = 0;
    slot->wait = -1;
    slot->problem[0] = '\0';
    slot->curl = qk_curl.easy_init();
    if (slot->curl == NULL)
        return qk_fail_memory(pool->err, sizeof *slot);
    set_options(pool, slot);
    CURLMcode added = qk_curl.multi_add_handle(pool->multi, slot->curl);
    if (added != CURLM_OK)
        return qk_fail(pool->err, QK_IO, "%s: %s", pool->r->url, qk_curl.multi_strerror(added));
    slot->sent = true;
    return QK_OK;
}

static void take_back(struct pool *pool, struct slot *slot)
{
    if (slot->sent)
        qk_curl.multi_remove_handle(pool->multi, slot->curl);
    qk_curl.easy_cleanup(slot->curl);
    slot->curl = NULL;
    slot->sent = false;
}

static void free_slot(struct pool *pool, struct slot *slot)
{
    take_back(pool, slot);
    free(slot->body);
    slot->body = NULL;
    pool->n_busy -= slot->busy;
    slot->busy = false;
}

/* --- answers --- */

/* What a server says in the body of a refusal: {"error": {"message"}}, {"error"}, {"message"} or {"detail"}. */
static void read_reason(const struct slot *slot, char out[REASON])
{
    struct qk_error unheard = {0};
    cJSON *root = NULL;
    const char *text = slot->text.s != NULL ? slot->text.s : "";
    out[0] = '\0';
    if (qk_json_parse("", text, slot->text.length, &root, &unheard) != QK_OK || !cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return;
    }
    const cJSON *error = qk_json_get(root, "error");
    const char *said = qk_json_string(cJSON_IsObject(error) ? error : root, "message", NULL);
    said = said != NULL ? said : qk_json_string(root, "error", NULL);
    said = said != NULL ? said : qk_json_string(root, "detail", NULL);
    if (said != NULL)
        snprintf(out, REASON, ": %s", said);
    cJSON_Delete(root);
}

/* Keeps the first failure. */
static void fail(struct pool *pool, const struct slot *slot, const char *why)
{
    char name[REASON] = "", times[32] = "";
    if (pool->code != QK_OK)
        return;
    if (pool->r->name != NULL)
        pool->r->name(pool->r->context, slot->i, name, sizeof name);
    if (slot->failures > 1)
        snprintf(times, sizeof times, " (tried %d times)", slot->failures);
    pool->code = qk_fail(
        pool->err, QK_IO, "%s: %s%s%s%s", pool->r->url, name, name[0] != '\0' ? ": " : "", why, times);
}

/* Repeats the request after a pause, unless it failed too often, or another one failed for good. */
static void again(struct pool *pool, struct slot *slot, const char *why)
{
    slot->failures++;
    if (slot->failures > pool->retries)
        fail(pool, slot, why);
    if (pool->code != QK_OK) {
        free_slot(pool, slot);
        return;
    }
    take_back(pool, slot);
    slot->due = qk_seconds_since(&pool->start) + (double)qk_retry_pause(slot->failures, slot->wait) / 1000;
}

static void take_answer(struct pool *pool, struct slot *slot)
{
    struct qk_error err = {0};
    bool broken = false;
    const char *text = slot->text.s != NULL ? slot->text.s : "";
    enum qk_code code = pool->r->done(pool->r->context, slot->i, text, slot->text.length, &broken, &err);
    if (code != QK_OK && broken) {
        again(pool, slot, err.text);
        return;
    }
    if (code != QK_OK && pool->code == QK_OK)
        pool->code = qk_fail(pool->err, code, "%s", err.text);
    free_slot(pool, slot);
}

static void judge_status(struct pool *pool, struct slot *slot, long status)
{
    char reason[REASON], why[REASON + 64];
    if (status == 200) {
        take_answer(pool, slot);
        return;
    }
    read_reason(slot, reason);
    snprintf(why, sizeof why, "HTTP status %ld%s", status, reason);
    if (qk_retry_status(status) && slot->wait <= QK_RETRY_MOST_WAIT) {
        again(pool, slot, why);
        return;
    }
    if (slot->wait > QK_RETRY_MOST_WAIT)
        snprintf(why, sizeof why, "HTTP status %ld, and the server asks to wait more than %d s", status,
            QK_RETRY_MOST_WAIT);
    fail(pool, slot, why);
    free_slot(pool, slot);
}

static bool is_hopeless(CURLcode result)
{
    return result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CACERT_BADFILE ||
           result == CURLE_OUT_OF_MEMORY || result == CURLE_WRITE_ERROR;
}

static void judge(struct pool *pool, struct slot *slot, CURLcode result)
{
    long status = 0;
    double taken = 0;
    char why[CURL_ERROR_SIZE];
    qk_curl.easy_getinfo(slot->curl, CURLINFO_RESPONSE_CODE, &status);
    qk_curl.easy_getinfo(slot->curl, CURLINFO_TOTAL_TIME, &taken);
    pool->answered = pool->answered || status != 0;
    if (result == CURLE_OK) {
        judge_status(pool, slot, status);
        return;
    }
    snprintf(why, sizeof why, "%s", slot->problem[0] != '\0' ? slot->problem : qk_curl.easy_strerror(result));
    if (result == CURLE_OPERATION_TIMEDOUT && pool->r->seconds > 0 && taken > 0.9 * pool->r->seconds) {
        snprintf(why, sizeof why, "no answer within %g s (--timeout)", pool->r->seconds);
        fail(pool, slot, why);
        free_slot(pool, slot);
        return;
    }
    if (is_hopeless(result) || (result == CURLE_COULDNT_RESOLVE_HOST && !pool->answered)) {
        fail(pool, slot, why);
        free_slot(pool, slot);
        return;
    }
    again(pool, slot, why);
}

static void take_ended(struct pool *pool)
{
    CURLMsg *message;
    int left;
    while ((message = qk_curl.multi_info_read(pool->multi, &left)) != NULL) {
        char *slot = NULL;
        CURLcode result = message->data.result;
        if (message->msg != CURLMSG_DONE)
            continue;
        qk_curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &slot);
        judge(pool, (struct slot *)(void *)slot, result);
    }
}

/* --- the pool --- */

static void begin(struct pool *pool, struct slot *slot)
{
    *slot = (struct slot){.busy = true, .i = pool->next++, .text = slot->text, .wait = -1};
    pool->n_busy++;
    if (pool->r->body != NULL)
        pool->code = pool->r->body(pool->r->context, slot->i, &slot->body, pool->err);
    if (pool->code == QK_OK)
        pool->code = send_slot(pool, slot);
    if (pool->code != QK_OK)
        free_slot(pool, slot);
}

/* Sends what is due, and begins new requests in free slots. After a failure it drops what waits. */
static void fill(struct pool *pool)
{
    double now = qk_seconds_since(&pool->start);
    for (int k = 0; k < pool->r->parallel; k++) {
        struct slot *slot = &pool->slot[k];
        if (slot->busy && !slot->sent && pool->code != QK_OK)
            free_slot(pool, slot);
        else if (slot->busy && !slot->sent && slot->due <= now)
            pool->code = send_slot(pool, slot);
        else if (!slot->busy && pool->next < pool->n && pool->code == QK_OK)
            begin(pool, slot);
    }
}

static enum qk_code run_pool(struct pool *pool, struct qk_progress *progress)
{
    int running;
    fill(pool);
    while (pool->n_busy > 0) {
        QK_TRY(qk_progress_check(progress, pool->err));
        CURLMcode done = qk_curl.multi_perform(pool->multi, &running);
        take_ended(pool);
        fill(pool);
        if (done == CURLM_OK && pool->n_busy > 0)
            done = qk_curl.multi_poll(pool->multi, NULL, 0, POLL_MS, NULL);
        if (done != CURLM_OK)
            return qk_fail(pool->err, QK_IO, "%s: %s", pool->r->url, qk_curl.multi_strerror(done));
    }
    return pool->code;
}

static enum qk_code add_header(struct pool *pool, const char *name, const char *value)
{
    struct qk_text text = {0};
    char *line;
    qk_text_add(&text, "%s:%s%s", name, value[0] != '\0' ? " " : "", value);
    QK_TRY(qk_text_take(&text, &line, pool->err));
    struct curl_slist *longer = qk_curl.slist_append(pool->headers, line);
    free(line);
    if (longer == NULL)
        return qk_fail_memory(pool->err, sizeof *longer);
    pool->headers = longer;
    return QK_OK;
}

/* "Expect:" without a value: libcurl must not wait for a server's word before it sends a long body. */
static enum qk_code open_pool(struct pool *pool)
{
    const struct qk_requests *r = pool->r;
    QK_TRY(qk_retry_limit(&pool->retries, pool->err));
    QK_TRY(qk_alloc(&pool->slot, (size_t)r->parallel, sizeof *pool->slot, pool->err));
    QK_TRY(add_header(pool, "Content-Type", "application/json"));
    QK_TRY(add_header(pool, "Expect", ""));
    if (r->key != NULL) {
        struct qk_text text = {0};
        char *bearer;
        qk_text_add(&text, "Bearer %s", r->key);
        QK_TRY(qk_text_take(&text, &bearer, pool->err));
        enum qk_code code = add_header(pool, "Authorization", bearer);
        free(bearer);
        QK_TRY(code);
    }
    pool->multi = qk_curl.multi_init();
    return pool->multi != NULL ? QK_OK : qk_fail_memory(pool->err, sizeof *pool);
}

enum qk_code qk_requests_run(
    const struct qk_requests *requests, size_t n, struct qk_progress *progress, struct qk_error *err)
{
    struct pool pool = {.r = requests, .n = n, .err = err};
    clock_gettime(CLOCK_MONOTONIC, &pool.start);
    enum qk_code code = open_pool(&pool);
    if (code == QK_OK)
        code = run_pool(&pool, progress);
    for (int k = 0; pool.slot != NULL && k < requests->parallel; k++) {
        free_slot(&pool, &pool.slot[k]);
        qk_text_free(&pool.slot[k].text);
    }
    if (pool.multi != NULL)
        qk_curl.multi_cleanup(pool.multi);
    qk_curl.slist_free_all(pool.headers);
    free(pool.slot);
    return code;
}
