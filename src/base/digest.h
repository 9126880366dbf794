/* digest.h - SHA-256 as bytes or lower-case hex, for fingerprints and export records (nettle does the work). */
#ifndef QK_BASE_DIGEST_H
#define QK_BASE_DIGEST_H

#include <nettle/sha2.h>
#include <stddef.h>

enum { QK_DIGEST_TEXT = 65 };

struct qk_digest {
    struct sha256_ctx context;
};

void qk_digest_init(struct qk_digest *digest);
void qk_digest_add(struct qk_digest *digest, const void *bytes, size_t n);
/* The first n bytes of the digest, at most 32. */
void qk_digest_bytes(struct qk_digest *digest, unsigned char *out, size_t n);
/* 64 hex digits and NUL. */
void qk_digest_hex(struct qk_digest *digest, char out[QK_DIGEST_TEXT]);

#endif
