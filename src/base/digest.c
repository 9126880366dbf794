/* digest.c - SHA-256 in hex. */
#include "base/digest.h"

#include <stdint.h>

void qk_digest_init(struct qk_digest *digest)
{
    sha256_init(&digest->context);
}

void qk_digest_add(struct qk_digest *digest, const void *bytes, size_t n)
{
    sha256_update(&digest->context, n, bytes);
}

void qk_digest_bytes(struct qk_digest *digest, unsigned char *out, size_t n)
{
    sha256_digest(&digest->context, n, out);
}

void qk_digest_hex(struct qk_digest *digest, char out[QK_DIGEST_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t raw[SHA256_DIGEST_SIZE];
    sha256_digest(&digest->context, sizeof raw, raw);
    for (int i = 0; i < SHA256_DIGEST_SIZE; i++) {
        out[2 * i] = digits[raw[i] >> 4];
        out[2 * i + 1] = digits[raw[i] & 15];
    }
    out[QK_DIGEST_TEXT - 1] = '\0';
}
