/* fuzz_http.c - any bytes as a server's answers, with a NUL between them: a file is examined, and
 * bytes of it fetched. Refused with a message, or every requested byte came once and in order.
 *
 * The server is a thread of this process. It gets the requests for every address, also after a
 * redirect: it is the proxy of this process, and nothing leaves the machine. */
#include "fuzz.h"

#include "tensor/hub/http.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char fuzz_name[] = "http";
#define OK "HTTP/1.1 200 OK\r\n"
#define PART "HTTP/1.1 206 Partial Content\r\n"
#define LENGTH(n) "Content-Length: " n "\r\n"
#define TAG "ETag: \"a\"\r\n"
const struct fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED(OK LENGTH("8") TAG "\r\n\0" OK LENGTH("8") TAG "\r\n12345678"),
    FUZZ_SEED(OK LENGTH("100") TAG "\r\n\0" PART "Content-Range: bytes 0-63/100\r\n" LENGTH("64") TAG
        "\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    FUZZ_SEED(
        "HTTP/1.1 302 Found\r\nLocation: https://other/f\r\nX-Linked-Size: 9\r\nX-Linked-ETag: \"b\"\r\n"
        "X-Repo-Commit: 0123456789abcdef0123456789abcdef01234567\r\n" LENGTH(
            "0") "\r\n\0HTTP/1.1 200 "
                 "Connection established\r\n\r\n"),
    FUZZ_SEED("HTTP/1.1 301 Moved\r\nLocation: /other\r\n" LENGTH("0") "\r\n\0" OK LENGTH(
        "3") "Last-Modified: x\r\n\r\n\0" OK
             "Transfer-Encoding: chunked\r\nLast-Modified: x\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
    FUZZ_SEED("HTTP/1.1 404 Not Found\r\n" LENGTH("2") "\r\nno"),
    FUZZ_SEED("HTTP/1.1 503 Busy\r\nRetry-After: 1\r\n\r\n"),
    FUZZ_SEED("HTTP/1.1 401 No\r\nX-Error-Code: GatedRepo\r\n\r\n")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {OK, PART, TAG, "HTTP/1.1 307 R\r\nLocation: ", "HTTP/1.0 200\r\n",
    "\r\n\r\n", "\r\n", "Content-Length: ", "Content-Range: bytes 0-63/", "18446744073709551615",
    "Content-Encoding: gzip\r\n", "Transfer-Encoding: chunked\r\n", "http://", "https://a@b:1/",
    "X-Linked-Size: ", "X-Repo-Commit: ", "Retry-After: ", "Set-Cookie: ", "Connection: close\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n", NULL};

enum { MOST_ASKED = 64, REQUEST = 8192 };

/* What the server says next. */
static struct {
    pthread_mutex_t mutex;
    const char *text;
    size_t n;
} answers = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Sends the next answer; nothing without one, which ends the connection. */
static void answer(int connection)
{
    pthread_mutex_lock(&answers.mutex);
    const char *end = answers.n > 0 ? memchr(answers.text, '\0', answers.n) : NULL;
    size_t n = end != NULL ? (size_t)(end - answers.text) : answers.n, sent = 0;
    for (ssize_t done = 0; sent < n && done >= 0; sent += done > 0 ? (size_t)done : 0)
        done = send(connection, answers.text + sent, n - sent, MSG_NOSIGNAL);
    n += end != NULL;
    answers.text = answers.n > n ? answers.text + n : NULL;
    answers.n -= n;
    pthread_mutex_unlock(&answers.mutex);
}

static void read_request(int connection)
{
    char request[REQUEST];
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n < sizeof request && memmem(request, n, "\r\n\r\n", 4) == NULL;
         n += (size_t)got) {
        got = recv(connection, request + n, sizeof request - n, 0);
        got = got < 0 ? 0 : got;
    }
}

static void *serve(void *listener)
{
    for (;;) {
        int connection = accept(*(int *)listener, NULL, NULL);
        if (connection < 0)
            return NULL;
        read_request(connection);
        answer(connection);
        shutdown(connection, SHUT_WR);
        char rest[512]; /* what is unread when it is closed would take the answer with it */
        struct timeval soon = {.tv_usec = 100000};
        setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
        while (recv(connection, rest, sizeof rest, 0) > 0)
            ;
        close(connection);
    }
}

static void start(void)
{
    static int listener = -1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct qk_error err = {0};
    pthread_t thread;
    char proxy[48];
    if (listener >= 0)
        return;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz_check(listener >= 0 && bind(listener, (struct sockaddr *)&address, length) == 0 &&
                   listen(listener, 8) == 0 &&
                   getsockname(listener, (struct sockaddr *)&address, &length) == 0 &&
                   pthread_create(&thread, NULL, serve, &listener) == 0,
        "a server");
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%d", ntohs(address.sin_port));
    setenv("http_proxy", proxy, 1);
    setenv("https_proxy", proxy, 1);
    unsetenv("no_proxy");
    unsetenv("NO_PROXY");
    fuzz_check(
        qk_http_start("http://hub.example", "t", (struct qk_http_limits){.seconds = 3600}, &err) == QK_OK,
        "a client");
}

struct fetched {
    uint64_t at, end;
};

static enum qk_code take(void *context, uint64_t offset, const void *bytes, size_t n, struct qk_error *err)
{
    struct fetched *fetched = context;
    (void)bytes;
    (void)err;
    fuzz_check(offset == fetched->at && n <= fetched->end - offset, "bytes come in order and once");
    fetched->at += n;
    return QK_OK;
}

static void check_refusal(enum qk_code code, const struct qk_error *err)
{
    fuzz_check(code == QK_OK ||
                   ((code == QK_INPUT || code == QK_IO) && strstr(err->text, "http://hub.example/f") != NULL),
        "refused with a message that names the address");
}

static void fetch(void)
{
    struct qk_http_file file = {.url = "http://hub.example/f"};
    struct qk_error err = {0};
    bool found = false;
    enum qk_code code = qk_http_examine(&file, &found, &err);
    check_refusal(code, &err);
    if (code != QK_OK || !found || file.size == 0)
        return;
    fuzz_check(
        memchr(file.identity, '\0', sizeof file.identity) != NULL && strlen(file.commit) < QK_HTTP_COMMIT,
        "texts end");
    struct fetched fetched = {.end = file.size < MOST_ASKED ? file.size : MOST_ASKED};
    code = qk_http_get(&file, 0, fetched.end, take, &fetched, &err);
    check_refusal(code, &err);
    fuzz_check(code != QK_OK || fetched.at == fetched.end, "all of it came");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start();
    pthread_mutex_lock(&answers.mutex);
    answers.text = (const char *)data;
    answers.n = size;
    pthread_mutex_unlock(&answers.mutex);
    fetch();
    pthread_mutex_lock(&answers.mutex);
    answers.text = NULL;
    answers.n = 0;
    pthread_mutex_unlock(&answers.mutex);
    return 0;
}
