/* bpe.h - the model of a tokenizer: a vocabulary and the order of merges (byte-pair encoding, Sennrich, Haddow, Birch
 * 2016). */
#ifndef QK_TOKEN_BPE_H
#define QK_TOKEN_BPE_H

#include "base/error.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qk_vocabulary_entry {
    const char *text; /* borrowed from the JSON tree, or owned by whoever added it */
    size_t n;
    int32_t id;
};

struct qk_merge {
    int32_t left, right, rank, result;
};

struct qk_bpe {
    struct qk_vocabulary_entry *by_text; /* sorted by bytes */
    struct qk_vocabulary_entry *by_id;
    size_t n;
    struct qk_merge *merge; /* sorted by left, then right */
    size_t n_merges;
    uint64_t *joint;   /* hash table of the pairs of characters that merges join; 0: free */
    size_t n_joints;   /* its size, a power of two */
    int32_t byte[256]; /* ids of <0x00> ... <0xFF>; -1 without one */
    int32_t unknown;   /* -1: characters that are not in the vocabulary vanish */
    bool fuse_unknown, byte_fallback, ignore_merges;
};

/* Growing list of token ids. */
struct qk_ids {
    int32_t *id;
    size_t n, capacity;
};
enum qk_code qk_ids_add(struct qk_ids *ids, int32_t id, struct qk_error *err);

/* The limit for the length of a token: real ones have some hundred bytes at most. */
enum { QK_TOKEN_BYTES = 4096 };

/* Reads the "model" of a tokenizer.json, which must outlive *bpe: texts are borrowed from it. `path` is for messages.
 * Freed with qk_bpe_free, on failure too. */
enum qk_code qk_bpe_read(const char *path, const cJSON *model, struct qk_bpe *bpe, struct qk_error *err);
void qk_bpe_free(struct qk_bpe *bpe);

/* Id of the token with exactly these bytes, or -1. */
int32_t qk_bpe_find(const struct qk_bpe *bpe, const char *text, size_t n);
/* The token of that id, or NULL. */
const struct qk_vocabulary_entry *qk_bpe_token(const struct qk_bpe *bpe, int32_t id);

/* Whether a merge may join a token that ends with the character `left` and one that begins with `right` (codes; -1
 * for a byte that is no character). Where none may, a word can be cut. */
bool qk_bpe_joins(const struct qk_bpe *bpe, int32_t left, int32_t right);

/* Appends the tokens of one word of n bytes. O(n log m), where m is the longest part in which every two neighbours
 * may be joined: about a word of SentencePiece's models, which have no other cuts. */
enum qk_code qk_bpe_encode(
    const struct qk_bpe *bpe, const char *word, size_t n, struct qk_ids *ids, struct qk_error *err);

#endif
