/* retry.c - the pauses between requests that fail. */
#include "tensor/hub/retry.h"

#include "base/environment.h"
#include "tensor/hub/curl.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

enum { FIRST_PAUSE_MS = 500, MOST_PAUSE_MS = 30000, MOST_RETRIES = 100 };

enum qk_code qk_retry_limit(int *out, struct qk_error *err)
{
    *out = QK_RETRY_USUAL;
    return qk_environment_number("QKSCOPE_RETRIES", 0, MOST_RETRIES, out, err);
}

bool qk_retry_status(long status)
{
    return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

long qk_retry_after(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long seconds = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
    if (isdigit((unsigned char)text[0]) && errno == 0 && *end == '\0')
        return seconds > QK_RETRY_MOST_WAIT ? QK_RETRY_MOST_WAIT + 1 : (long)seconds;
    time_t until = qk_curl.getdate(text, NULL), now = time(NULL);
    if (until < 0)
        return -1;
    return until <= now ? 0 : until - now > QK_RETRY_MOST_WAIT ? QK_RETRY_MOST_WAIT + 1 : (long)(until - now);
}

long qk_retry_pause(int failures, long wait)
{
    struct timespec now;
    long ms = FIRST_PAUSE_MS;
    for (int i = 1; i < failures && ms < MOST_PAUSE_MS; i++)
        ms *= 2;
    ms = ms < MOST_PAUSE_MS ? ms : MOST_PAUSE_MS;
    clock_gettime(CLOCK_REALTIME, &now);
    ms = ms * (750 + now.tv_nsec / 1000 % 500) / 1000;
    return wait >= 0 && wait * 1000 > ms ? wait * 1000 : ms;
}
