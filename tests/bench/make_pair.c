/* make_pair.c - the writer of a synthetic pair of checkpoints with a real model's shapes and a known drift.
 *
 * make_pair PRESET [OPTION...] FOLDER fills FOLDER/pre and FOLDER/post (config.json, shards of at most 5 GB,
 * index) and FOLDER/truth.json, with the drift of each layer and role. q, k, v, o and norms hold numbers; all other
 * tensors are holes of a sparse file. So 18 GB take only the room of the tensors that are read. The same options give
 * the same bytes on any number of processors.
 *
 * A head of pre is U S Z: Z Gaussian, U an orthogonal matrix, the singular values S falling evenly in the
 * logarithm. A head of post is pre + A B + N: A B of the requested rank, N Gaussian. The measured sum is scaled,
 * so that only the rounding to bfloat16 moves |post - pre| / |pre| from the requested value. */
#include "base/atomic_file.h"
#include "base/blas.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "base/text.h"
#include "linalg/linalg.h"
#include "model/model.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint64_t SHARD_BYTES = 5000000000;
enum { BEFORE, AFTER, SIDES, LANES = 16, PIECE = 1 << 20, MAX_DIMS = 3 };
static const char *const SIDE_NAME[SIDES] = {"pre", "post"};

static void stop(const struct qk_error *err)
{
    fprintf(stderr, "make_pair: %s\n", err->text);
    exit((int)err->code);
}

static void must(enum qk_code code, const struct qk_error *err)
{
    if (code != QK_OK)
        stop(err);
}

/* --- the options --- */

enum family { HYPENET, JET_NEMOTRON, QWEN3_NEXT };
struct preset {
    const char *name, *model_type;
    enum family family;
    long layers, d, heads, keys, head_dim, intermediate, vocabulary, experts;
    const char *full, *window; /* indexes of such layers, each between blanks; the others are linear */
};
static const struct preset PRESETS[] = {
    {"hypenet-9b", "hypenet", HYPENET, 36, 4096, 32, 8, 128, 12288, 151936, 0, " 1 2 4 6 7 10 24 33 34 ", ""},
    {"jet-nemotron-4b", "jet_nemotron", JET_NEMOTRON, 36, 2048, 16, 2, 128, 11008, 151936, 0, " 17 20 32 ",
        " 5 16 19 21 22 25 27 "},
    {"qwen3-next-80b", "qwen3_next", QWEN3_NEXT, 48, 2048, 16, 2, 256, 512, 151936, 512,
        " 3 7 11 15 19 23 27 31 35 39 43 47 ", ""},
};

struct request {
    struct preset shape; /* with the options' numbers */
    long seed, rank;
    double drift, noise, condition;
    bool dense, q_k_only;
    const char *folder;
};

static bool is_one_of(const char *indexes, long layer)
{
    char text[32];
    snprintf(text, sizeof text, " %ld ", layer);
    return strstr(indexes, text) != NULL;
}

static void usage(void)
{
    fprintf(stderr, "usage: make_pair PRESET [--layers N] [--d N] [--heads Q,K] [--head-dim N] [--vocab N]\n"
                    "                 [--seed N] [--rank R] [--drift X] [--noise Y] [--condition C]\n"
                    "                 [--dense] [--q-k-only] FOLDER\npresets:");
    for (size_t i = 0; i < sizeof PRESETS / sizeof PRESETS[0]; i++)
        fprintf(stderr, " %s", PRESETS[i].name);
    fprintf(stderr, "\n");
    exit(QK_USAGE);
}

static void read_request(int argc, char **argv, struct request *r)
{
    *r = (struct request){.seed = 1, .rank = 4, .drift = 0.1, .noise = 0.02, .condition = 30};
    for (size_t i = 0; argc > 1 && i < sizeof PRESETS / sizeof PRESETS[0]; i++)
        if (strcmp(argv[1], PRESETS[i].name) == 0)
            r->shape = PRESETS[i];
    if (r->shape.name == NULL)
        usage();
    const struct preset *preset = &r->shape;
    double wide = (double)preset->intermediate / (double)preset->d;
    struct {
        const char *name;
        long *whole;
        double *real;
        bool *flag;
    } options[] = {{"--layers", &r->shape.layers, NULL, NULL}, {"--d", &r->shape.d, NULL, NULL},
        {"--head-dim", &r->shape.head_dim, NULL, NULL}, {"--vocab", &r->shape.vocabulary, NULL, NULL},
        {"--heads", &r->shape.heads, NULL, NULL}, {"--seed", &r->seed, NULL, NULL},
        {"--rank", &r->rank, NULL, NULL}, {"--drift", NULL, &r->drift, NULL},
        {"--noise", NULL, &r->noise, NULL}, {"--condition", NULL, &r->condition, NULL},
        {"--dense", NULL, NULL, &r->dense}, {"--q-k-only", NULL, NULL, &r->q_k_only}};
    size_t n = sizeof options / sizeof options[0];
    for (int i = 2; i < argc; i++) {
        size_t o = 0;
        while (o < n && strcmp(argv[i], options[o].name) != 0)
            o++;
        if (o == n) {
            if (argv[i][0] == '-' || r->folder != NULL)
                usage();
            r->folder = argv[i];
            continue;
        }
        char *end = NULL;
        if (options[o].flag != NULL) {
            *options[o].flag = true;
            continue;
        }
        if (++i == argc)
            usage();
        if (options[o].real != NULL)
            *options[o].real = strtod(argv[i], &end);
        else
            *options[o].whole = strtol(argv[i], &end, 10);
        if (strcmp(options[o].name, "--heads") == 0 && *end == ',')
            r->shape.keys = strtol(end + 1, &end, 10);
        if (*end != '\0' || end == argv[i])
            usage();
    }
    const struct preset *s = &r->shape;
    if (r->folder == NULL || s->layers < 1 || s->d < 1 || s->head_dim < 2 || s->keys < 1 ||
        s->vocabulary < 1 || s->heads < s->keys || s->heads % s->keys != 0 || r->rank < 0 ||
        !(r->drift >= 0) || !(r->noise >= 0) || !(r->condition >= 1))
        usage();
    r->shape.intermediate = (long)lround(wide * (double)s->d);
}

/* --- tensors --- */

enum content { HOLE, PLAIN, NEAR_ONE, HEADS };
struct tensor {
    char *name;
    enum content content;
    int n_dims;
    uint64_t dim[MAX_DIMS], elements, offset; /* offset of the first byte in the shard's data */
    size_t shard;
};
/* What one task fills: rows of one head of q or k, or a piece of anything else. */
struct block {
    size_t tensor;
    uint64_t first, elements;
    int role, layer;      /* role: -1 unless q or k */
    double drift, noise;  /* requested */
    double before, moved; /* sums of squares of pre and of post - pre, as they are stored */
};
struct pair {
    const struct request *request;
    struct tensor *tensor;
    struct block *block;
    size_t n_tensors, tensors_room, n_blocks, blocks_room, n_shards;
    int *fd[SIDES];          /* of each shard */
    uint64_t *header[SIDES]; /* bytes before the data of each shard */
    uint64_t *data;          /* bytes of the data of each shard */
    float *mix;              /* (head_dim, head_dim) U S; NULL for rows that are plainly Gaussian */
    struct worker *worker;
};

static void add_block(struct pair *p, size_t tensor, uint64_t first, uint64_t elements, int role, int layer)
{
    struct qk_error err = {0};
    must(qk_grow(&p->block, &p->blocks_room, p->n_blocks + 1, sizeof *p->block, &err), &err);
    p->block[p->n_blocks++] =
        (struct block){.tensor = tensor, .first = first, .elements = elements, .role = role, .layer = layer};
}

static void add_pieces(struct pair *p, size_t tensor, uint64_t first, uint64_t elements)
{
    for (uint64_t at = 0; at < elements; at += PIECE)
        add_block(p, tensor, first + at, elements - at < PIECE ? elements - at : PIECE, -1, -1);
}

/* A tensor of up to three dimensions, those behind the last being 0; its blocks, unless it has heads. */
static size_t add(struct pair *p, enum content content, uint64_t a, uint64_t b, uint64_t c,
    const char *format, ...) __attribute__((format(printf, 6, 7)));
static size_t add(
    struct pair *p, enum content content, uint64_t a, uint64_t b, uint64_t c, const char *format, ...)
{
    struct qk_error err = {0};
    char name[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    must(qk_grow(&p->tensor, &p->tensors_room, p->n_tensors + 1, sizeof *p->tensor, &err), &err);
    struct tensor *tensor = &p->tensor[p->n_tensors];
    *tensor = (struct tensor){.content = content == HOLE && p->request->dense ? PLAIN : content,
        .n_dims = 1 + (b > 0) + (c > 0),
        .dim = {a, b, c},
        .elements = a * (b > 0 ? b : 1) * (c > 0 ? c : 1)};
    must(qk_strdup_to(&tensor->name, name, &err), &err);
    if (tensor->content == PLAIN || tensor->content == NEAR_ONE)
        add_pieces(p, p->n_tensors, 0, tensor->elements);
    return p->n_tensors++;
}

/* n heads of `rows` rows in the tensor, the first at row `first`, one every `step` rows; and what stands
 * between them when `between` is asked for. */
static void add_heads(struct pair *p, size_t tensor, int layer, int role, uint64_t n, uint64_t rows,
    uint64_t first, uint64_t step, double drift)
{
    uint64_t d = p->tensor[tensor].dim[1];
    for (uint64_t h = 0; h < n; h++) {
        add_block(p, tensor, (first + h * step) * d, rows * d, role, layer);
        p->block[p->n_blocks - 1].drift = drift;
        p->block[p->n_blocks - 1].noise = p->request->noise;
    }
}

static void add_mlp(struct pair *p, long layer, const char *name, uint64_t width)
{
    uint64_t d = (uint64_t)p->request->shape.d;
    add(p, HOLE, width, d, 0, "model.layers.%ld.%s.gate_proj.weight", layer, name);
    add(p, HOLE, width, d, 0, "model.layers.%ld.%s.up_proj.weight", layer, name);
    add(p, HOLE, d, width, 0, "model.layers.%ld.%s.down_proj.weight", layer, name);
}

/* q, k, v and o of a layer whose rows are separate; gated: each head of q is followed by its gate. */
static void add_attention(struct pair *p, long layer, uint64_t heads, uint64_t keys, uint64_t dim,
    uint64_t value_rows, bool gated, double drift)
{
    uint64_t d = (uint64_t)p->request->shape.d, step = gated ? 2 * dim : dim;
    enum content others = p->request->q_k_only ? HOLE : PLAIN;
    size_t q = add(p, HEADS, heads * step, d, 0, "model.layers.%ld.self_attn.q_proj.weight", layer);
    size_t k = add(p, HEADS, keys * dim, d, 0, "model.layers.%ld.self_attn.k_proj.weight", layer);
    add_heads(p, q, (int)layer, QK_Q, heads, dim, 0, step, drift);
    for (uint64_t h = 0; gated && p->request->dense && h < heads; h++)
        add_pieces(p, q, (h * step + dim) * d, dim * d);
    add_heads(p, k, (int)layer, QK_K, keys, dim, 0, dim, drift);
    add(p, others, value_rows, d, 0, "model.layers.%ld.self_attn.v_proj.weight", layer);
    uint64_t out = value_rows > heads * dim ? value_rows : heads * dim;
    add(p, others, d, out, 0, "model.layers.%ld.self_attn.o_proj.weight", layer);
}

static void add_qk_norms(struct pair *p, long layer, uint64_t dim)
{
    add(p, NEAR_ONE, dim, 0, 0, "model.layers.%ld.self_attn.q_norm.weight", layer);
    add(p, NEAR_ONE, dim, 0, 0, "model.layers.%ld.self_attn.k_norm.weight", layer);
}

static void add_hypenet_layer(struct pair *p, long i, bool full, double drift)
{
    const struct preset *s = &p->request->shape;
    uint64_t d = (uint64_t)s->d, dim = (uint64_t)s->head_dim, heads = (uint64_t)s->heads,
             keys = full ? (uint64_t)s->keys : heads;
    add_attention(p, i, heads, keys, dim, keys * dim, false, drift);
    add_qk_norms(p, i, dim);
    add(p, HOLE, heads * dim, d, 0, "model.layers.%ld.self_attn.%s.weight", i, full ? "o_gate" : "z_proj");
    if (!full)
        add(p, NEAR_ONE, heads * dim, 0, 0, "model.layers.%ld.self_attn.o_norm.weight", i);
    add_mlp(p, i, "mlp", (uint64_t)s->intermediate);
}

static void add_jet_layer(struct pair *p, long i, bool softmax, double drift)
{
    const struct preset *s = &p->request->shape;
    uint64_t d = (uint64_t)s->d, dim = (uint64_t)s->head_dim, heads = (uint64_t)s->heads,
             keys = (uint64_t)s->keys;
    uint64_t values = 2 * heads * dim;
    if (softmax) {
        add_attention(p, i, heads, keys, dim, keys * dim, false, drift);
        for (const char *role = "qkv"; *role != '\0'; role++)
            add(p, PLAIN, (*role == 'q' ? heads : keys) * dim, 0, 0,
                "model.layers.%ld.self_attn.%c_proj.bias", i, *role);
    } else {
        add_attention(p, i, heads, heads, dim, values, false, drift);
        add(p, HOLE, heads, d, 0, "model.layers.%ld.self_attn.a_proj.weight", i);
        add(p, HOLE, heads, d, 0, "model.layers.%ld.self_attn.b_proj.weight", i);
        add(p, HOLE, values, d, 0, "model.layers.%ld.self_attn.g_proj.weight", i);
        add(p, PLAIN, heads, 0, 0, "model.layers.%ld.self_attn.A_log", i);
        add(p, PLAIN, heads, 0, 0, "model.layers.%ld.self_attn.dt_bias", i);
        add(p, NEAR_ONE, 2 * dim, 0, 0, "model.layers.%ld.self_attn.o_norm.weight", i);
        const char *kernel = "self_attn.dynamic_conv1d.kernel_generator";
        add(p, HOLE, d / 8 > 0 ? d / 8 : 1, d, 0, "model.layers.%ld.%s.w1.weight", i, kernel);
        add(p, HOLE, 4 * values, d / 8 > 0 ? d / 8 : 1, 0, "model.layers.%ld.%s.w2.weight", i, kernel);
        add(p, HOLE, 4 * values, 0, 0, "model.layers.%ld.%s.w2.bias", i, kernel);
    }
    add_mlp(p, i, "mlp", (uint64_t)s->intermediate);
}

static void add_qwen_layer(struct pair *p, long i, bool full, double drift)
{
    const struct preset *s = &p->request->shape;
    uint64_t d = (uint64_t)s->d, dim = (uint64_t)s->head_dim, heads = (uint64_t)s->heads,
             keys = (uint64_t)s->keys;
    if (full) {
        add_attention(p, i, heads, keys, dim, keys * dim, true, drift);
        add_qk_norms(p, i, dim);
    } else { /* a key group: q, k, and two value heads with their z, all half as wide as a softmax head */
        uint64_t part = dim / 2, group = 6 * part;
        size_t fused =
            add(p, HEADS, heads * group, d, 0, "model.layers.%ld.linear_attn.in_proj_qkvz.weight", i);
        add_heads(p, fused, (int)i, QK_Q, heads, part, 0, group, drift);
        add_heads(p, fused, (int)i, QK_K, heads, part, part, group, drift);
        for (uint64_t h = 0; !p->request->q_k_only && h < heads; h++)
            add_pieces(p, fused, (h * group + 2 * part) * d, 4 * part * d);
        add(p, HOLE, 4 * heads, d, 0, "model.layers.%ld.linear_attn.in_proj_ba.weight", i);
        add(p, HOLE, 4 * heads * part, 1, 4, "model.layers.%ld.linear_attn.conv1d.weight", i);
        add(p, PLAIN, 2 * heads, 0, 0, "model.layers.%ld.linear_attn.A_log", i);
        add(p, PLAIN, 2 * heads, 0, 0, "model.layers.%ld.linear_attn.dt_bias", i);
        add(p, NEAR_ONE, part, 0, 0, "model.layers.%ld.linear_attn.norm.weight", i);
        add(p, p->request->q_k_only ? HOLE : PLAIN, d, 2 * heads * part, 0,
            "model.layers.%ld.linear_attn.out_proj.weight", i);
    }
    add(p, HOLE, (uint64_t)s->experts, d, 0, "model.layers.%ld.mlp.gate.weight", i);
    add(p, HOLE, 1, d, 0, "model.layers.%ld.mlp.shared_expert_gate.weight", i);
    add_mlp(p, i, "mlp.shared_expert", (uint64_t)s->intermediate);
    for (long e = 0; e < s->experts; e++) {
        char name[64];
        snprintf(name, sizeof name, "mlp.experts.%ld", e);
        add_mlp(p, i, name, (uint64_t)s->intermediate);
    }
}

static void list_tensors(struct pair *p)
{
    const struct preset *s = &p->request->shape;
    uint64_t d = (uint64_t)s->d;
    add(p, HOLE, (uint64_t)s->vocabulary, d, 0, "model.embed_tokens.weight");
    for (long i = 0; i < s->layers; i++) {
        bool full = is_one_of(s->full, i);
        double drift = full ? p->request->drift : p->request->drift / 2;
        add(p, NEAR_ONE, d, 0, 0, "model.layers.%ld.input_layernorm.weight", i);
        add(p, NEAR_ONE, d, 0, 0, "model.layers.%ld.post_attention_layernorm.weight", i);
        if (s->family == HYPENET)
            add_hypenet_layer(p, i, full, drift);
        else if (s->family == JET_NEMOTRON)
            add_jet_layer(p, i, full || is_one_of(s->window, i), drift);
        else
            add_qwen_layer(p, i, full, drift);
    }
    add(p, NEAR_ONE, d, 0, 0, "model.norm.weight");
    if (s->family == QWEN3_NEXT)
        add(p, HOLE, (uint64_t)s->vocabulary, d, 0, "lm_head.weight");
}

/* --- files --- */

static int create(const char *path)
{
    struct qk_error err = {0};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        must(qk_fail_errno(&err, path, "create"), &err);
    return fd;
}

static void shard_path(const struct pair *p, int side, size_t shard, char out[4096])
{
    snprintf(out, 4096, "%s/%s/model-%05zu-of-%05zu.safetensors", p->request->folder, SIDE_NAME[side],
        shard + 1, p->n_shards);
}

static void place_tensors(struct pair *p)
{
    struct qk_error err = {0};
    uint64_t at = 0;
    for (size_t i = 0; i < p->n_tensors; i++) {
        uint64_t bytes = 2 * p->tensor[i].elements;
        if (at > 0 && at + bytes > SHARD_BYTES) {
            p->n_shards++;
            at = 0;
        }
        p->tensor[i].shard = p->n_shards;
        p->tensor[i].offset = at;
        at += bytes;
    }
    p->n_shards++;
    must(qk_alloc(&p->data, p->n_shards, sizeof *p->data, &err), &err);
    for (size_t i = 0; i < p->n_tensors; i++)
        p->data[p->tensor[i].shard] = p->tensor[i].offset + 2 * p->tensor[i].elements;
}

static void create_shard(struct pair *p, int side, size_t shard)
{
    struct qk_error err = {0};
    struct qk_text text = {0};
    char path[4096];
    unsigned char length[8];
    qk_text_add(&text, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < p->n_tensors; i++) {
        const struct tensor *t = &p->tensor[i];
        if (t->shard != shard)
            continue;
        qk_text_add(&text, ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[", t->name);
        for (int k = 0; k < t->n_dims; k++)
            qk_text_add(&text, "%s%llu", k > 0 ? "," : "", (unsigned long long)t->dim[k]);
        qk_text_add(&text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->offset,
            (unsigned long long)(t->offset + 2 * t->elements));
    }
    qk_text_add(&text, "}");
    while (text.length % 8 != 0 && !text.failed)
        qk_text_add(&text, " ");
    uint64_t n = text.length;
    char *header;
    must(qk_text_take(&text, &header, &err), &err);
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(n >> (8 * i));
    shard_path(p, side, shard, path);
    int fd = create(path);
    must(qk_write_at(fd, path, 0, length, sizeof length, &err), &err);
    must(qk_write_at(fd, path, sizeof length, header, n, &err), &err);
    if (ftruncate(fd, (off_t)(8 + n + p->data[shard])) != 0)
        must(qk_fail_errno(&err, path, "write"), &err);
    p->fd[side][shard] = fd;
    p->header[side][shard] = 8 + n;
    free(header);
}

static void write_text(const struct request *r, int side, const char *name, struct qk_text *text)
{
    struct qk_error err = {0};
    char path[4096], *s;
    size_t n = text->length;
    snprintf(path, sizeof path, "%s%s%s/%s", r->folder, side < SIDES ? "/" : "",
        side < SIDES ? SIDE_NAME[side] : "", name);
    must(qk_text_take(text, &s, &err), &err);
    must(qk_write_text(path, s, n, &err), &err);
    free(s);
}

static void write_index(const struct pair *p, int side)
{
    struct qk_text text = {0};
    uint64_t total = 0;
    for (size_t i = 0; i < p->n_shards; i++)
        total += p->data[i];
    qk_text_add(&text, "{\"metadata\": {\"total_size\": %llu}, \"weight_map\": {", (unsigned long long)total);
    for (size_t i = 0; i < p->n_tensors; i++)
        qk_text_add(&text, "%s\n\"%s\": \"model-%05zu-of-%05zu.safetensors\"", i > 0 ? "," : "",
            p->tensor[i].name, p->tensor[i].shard + 1, p->n_shards);
    qk_text_add(&text, "\n}}\n");
    write_text(p->request, side, "model.safetensors.index.json", &text);
}

static void add_kinds(struct qk_text *text, const struct preset *s, const char *key, const char *full,
    const char *window, const char *linear)
{
    qk_text_add(text, "  \"%s\": [", key);
    for (long i = 0; i < s->layers; i++)
        qk_text_add(text, "%s\"%s\"", i > 0 ? ", " : "",
            is_one_of(s->full, i)     ? full
            : is_one_of(s->window, i) ? window
                                      : linear);
    qk_text_add(text, "],\n");
}

static void write_config(const struct pair *p, int side)
{
    const struct preset *s = &p->request->shape;
    struct qk_text text = {0};
    qk_text_add(&text, "{\n  \"model_type\": \"%s\",\n", s->model_type);
    if (s->family == HYPENET) {
        qk_text_add(&text, "  \"architectures\": [\"HypeNetForCausalLM\"],\n");
        add_kinds(&text, s, "mixer_types", "attn", "", "lightning-attn");
        qk_text_add(&text,
            "  \"attn_logits_scaling\": \"hype 500\",\n  \"attn_use_output_gate\": true,\n  "
            "\"attn_use_rope\": false,\n"
            "  \"expand_kv_proj\": true,\n  \"lightning_head_dim\": %ld,\n  \"lightning_nh\": %ld,\n"
            "  \"lightning_nkv\": %ld,\n  \"lightning_scale\": \"1/sqrt(d)\",\n  "
            "\"lightning_use_output_gate\": true,\n"
            "  \"lightning_use_output_norm\": true,\n  \"lightning_use_qk_norm\": true,\n"
            "  \"lightning_use_rope\": true,\n  \"lightning_use_short_conv\": false,\n",
            s->head_dim, s->heads, s->heads);
    } else if (s->family == JET_NEMOTRON) {
        qk_text_add(&text, "  \"architectures\": [\"JetNemotronForCausalLM\"],\n");
        add_kinds(&text, s, "layer_types", "attn", "swa", "jet");
        qk_text_add(&text,
            "  \"efficient_attention_config\": {\"jet\": {\"conv_size\": 4, \"dconv_generator_reduction\": "
            "8, "
            "\"expand_v\": 2, \"head_dim\": %ld, \"mode\": \"chunk\", \"norm_eps\": \"1e-5\", \"num_heads\": "
            "%ld}, "
            "\"swa\": {\"window_size\": 2048}},\n",
            s->head_dim, s->heads);
    } else {
        qk_text_add(&text, "  \"architectures\": [\"Qwen3NextForCausalLM\"],\n");
        add_kinds(&text, s, "layer_types", "full_attention", "", "linear_attention");
        qk_text_add(&text,
            "  \"full_attention_interval\": 4,\n  \"linear_conv_kernel_dim\": 4,\n  \"linear_key_head_dim\": "
            "%ld,\n"
            "  \"linear_value_head_dim\": %ld,\n  \"linear_num_key_heads\": %ld,\n  "
            "\"linear_num_value_heads\": %ld,\n"
            "  \"decoder_sparse_step\": 1,\n  \"mlp_only_layers\": [],\n  \"norm_topk_prob\": true,\n"
            "  \"num_experts\": %ld,\n  \"num_experts_per_tok\": 10,\n  \"moe_intermediate_size\": %ld,\n"
            "  \"shared_expert_intermediate_size\": %ld,\n  \"partial_rotary_factor\": 0.25,\n",
            s->head_dim / 2, s->head_dim / 2, s->heads, 2 * s->heads, s->experts, s->intermediate,
            s->intermediate);
    }
    qk_text_add(&text,
        "  \"attention_bias\": false,\n  \"head_dim\": %ld,\n  \"hidden_act\": \"silu\",\n  \"hidden_size\": "
        "%ld,\n"
        "  \"intermediate_size\": %ld,\n  \"max_position_embeddings\": 32768,\n  \"num_attention_heads\": "
        "%ld,\n"
        "  \"num_hidden_layers\": %ld,\n  \"num_key_value_heads\": %ld,\n  \"rms_norm_eps\": 1e-06,\n"
        "  \"rope_theta\": 1000000.0,\n  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"bfloat16\",\n"
        "  \"vocab_size\": %ld\n}\n",
        s->head_dim, s->d, s->intermediate, s->heads, s->layers, s->keys,
        s->family == QWEN3_NEXT ? "false" : "true", s->vocabulary);
    write_text(p->request, side, "config.json", &text);
}

static void create_files(struct pair *p)
{
    struct qk_error err = {0};
    char path[4096];
    if (mkdir(p->request->folder, 0777) != 0 && errno != EEXIST)
        must(qk_fail_errno(&err, p->request->folder, "create"), &err);
    for (int side = 0; side < SIDES; side++) {
        snprintf(path, sizeof path, "%s/%s", p->request->folder, SIDE_NAME[side]);
        if (mkdir(path, 0777) != 0)
            must(qk_fail_errno(&err, path, "create"), &err);
        must(qk_alloc(&p->fd[side], p->n_shards, sizeof *p->fd[side], &err), &err);
        must(qk_alloc(&p->header[side], p->n_shards, sizeof *p->header[side], &err), &err);
        for (size_t i = 0; i < p->n_shards; i++)
            create_shard(p, side, i);
        write_index(p, side);
        write_config(p, side);
    }
}

/* --- numbers --- */

static uint64_t mix_bits(uint64_t x) /* splitmix64 */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Lanes of xorshift32: nothing but shifts, so that the compiler finds vectors. */
struct stream {
    uint32_t state[LANES];
};

static struct stream start_stream(long seed, size_t tensor, uint64_t first)
{
    struct stream stream;
    uint64_t x = mix_bits(mix_bits(mix_bits((uint64_t)seed) + tensor) + first);
    for (int i = 0; i < LANES; i++)
        stream.state[i] = (uint32_t)(x = mix_bits(x)) | 1;
    return stream;
}

/* n numbers of mean 0 and deviation 1, near enough to normal: sums of four uniform ones. */
static void normals(struct stream *stream, size_t n, float *out)
{
    const float unit = 1.0f / 37837.2f; /* sqrt(4 / 12) 2^16 */
    for (size_t at = 0; at < n; at += LANES) {
        float lane[LANES];
        for (int i = 0; i < LANES; i++) {
            uint32_t x = stream->state[i];
            x ^= x << 13, x ^= x >> 17, x ^= x << 5;
            uint32_t y = x;
            y ^= y << 13, y ^= y >> 17, y ^= y << 5;
            stream->state[i] = y;
            int sum = (int)((x & 0xffff) + (x >> 16) + (y & 0xffff) + (y >> 16));
            lane[i] = (float)(sum - 131070) * unit;
        }
        memcpy(out + at, lane, (n - at < LANES ? n - at : LANES) * sizeof *out);
    }
}

/* The nearest bfloat16, ties to even, of finite numbers; value[i] becomes the kept number. */
static void to_bf16(size_t n, float *value, uint16_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &value[i], sizeof bits);
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
        out[i] = (uint16_t)(bits >> 16);
        memcpy(&value[i], &bits, sizeof bits);
    }
}

static double sum_of_squares(size_t n, const float *x)
{
    double sum[LANES] = {0}, all = 0;
    for (size_t i = 0; i < n; i++)
        sum[i % LANES] += (double)x[i] * (double)x[i];
    for (int i = 0; i < LANES; i++)
        all += sum[i];
    return all;
}

struct worker {
    float *head, *moved, *factor; /* elements of a block; of a block; rank * (rows + columns) */
    uint16_t *stored[SIDES];
};

static void write_block(struct pair *p, const struct block *block, int side, const uint16_t *values)
{
    const struct tensor *tensor = &p->tensor[block->tensor];
    struct qk_error err = {0};
    uint64_t at = p->header[side][tensor->shard] + tensor->offset + 2 * block->first;
    must(qk_write_at(p->fd[side][tensor->shard], tensor->name, at, values, 2 * (size_t)block->elements, &err),
        &err);
}

/* moved = post's head minus pre's, of the requested size. */
static void make_drift(
    const struct pair *p, const struct block *block, struct stream *stream, struct worker *w)
{
    int rank = (int)p->request->rank, columns = (int)p->tensor[block->tensor].dim[1];
    size_t n = (size_t)block->elements;
    int rows = (int)(n / (size_t)columns);
    double wanted = hypot(rank > 0 ? block->drift : 0, block->noise) * sqrt(block->before);
    float *b = w->factor + (size_t)rank * (size_t)rows;
    normals(stream, n, w->moved);
    normals(stream, (size_t)rank * (size_t)(rows + columns), w->factor);
    /* Entries of A B have deviation sqrt(rank). */
    float low = rank > 0 ? (float)(block->drift / sqrt((double)rank)) : 0;
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, columns, rank, low, w->factor,
        rank > 0 ? rank : 1, b, columns, (float)block->noise, w->moved, columns);
    double found = sqrt(sum_of_squares(n, w->moved));
    float scale = found > 0 ? (float)(wanted / found) : 0;
    for (size_t i = 0; i < n; i++)
        w->moved[i] *= scale;
}

static void fill_head(struct pair *p, struct block *block, struct stream *stream, struct worker *w)
{
    int columns = (int)p->tensor[block->tensor].dim[1];
    size_t n = (size_t)block->elements;
    int rows = (int)(n / (size_t)columns);
    normals(stream, n, w->moved);
    float deviation = 1 / sqrtf((float)columns); /* of what a unit input gives */
    qk_blas.sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, columns, rows, deviation,
        p->mix + (rows == (int)p->request->shape.head_dim ? 0 : rows * rows * 4), rows, w->moved, columns, 0,
        w->head, columns);
    to_bf16(n, w->head, w->stored[BEFORE]);
    block->before = sum_of_squares(n, w->head);
    make_drift(p, block, stream, w);
    for (size_t i = 0; i < n; i++)
        w->moved[i] += w->head[i];
    to_bf16(n, w->moved, w->stored[AFTER]);
    for (size_t i = 0; i < n; i++)
        w->moved[i] -= w->head[i];
    block->moved = sum_of_squares(n, w->moved);
}

static void fill_piece(
    const struct pair *p, const struct block *block, struct stream *stream, struct worker *w)
{
    size_t n = (size_t)block->elements;
    bool gain = p->tensor[block->tensor].content == NEAR_ONE;
    normals(stream, n, w->head);
    for (size_t i = 0; i < n; i++)
        w->head[i] = gain ? 1 + 0.1f * w->head[i] : 0.02f * w->head[i];
    to_bf16(n, w->head, w->stored[BEFORE]);
    memcpy(w->stored[AFTER], w->stored[BEFORE], n * sizeof *w->stored[AFTER]);
}

static void fill_block(void *context, size_t item, size_t worker)
{
    struct pair *p = context;
    struct worker *w = &p->worker[worker];
    struct block *block = &p->block[item];
    struct stream stream = start_stream(p->request->seed, block->tensor, block->first);
    if (block->role >= 0)
        fill_head(p, block, &stream, w);
    else
        fill_piece(p, block, &stream, w);
    for (int side = 0; side < SIDES; side++)
        write_block(p, block, side, w->stored[side]);
}

/* U S for heads of m rows: the orthogonal cosine transform, times singular values from 1 down to
 * 1 / condition, of mean square 1. */
static void make_mix(size_t m, double condition, float *mix)
{
    double squares = 0;
    for (size_t j = 0; j < m; j++)
        squares += pow(condition, -2.0 * (double)j / (double)(m - 1));
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++) {
            double angle = 3.14159265358979323846 * ((double)i + 0.5) * (double)j / (double)m;
            double value = pow(condition, -(double)j / (double)(m - 1)) * sqrt((double)m / squares);
            mix[i * m + j] = (float)(value * cos(angle) * sqrt((j == 0 ? 1.0 : 2.0) / (double)m));
        }
}

static void fill(struct pair *p)
{
    struct qk_error err = {0};
    const struct preset *s = &p->request->shape;
    size_t dim = (size_t)s->head_dim, most = dim * (size_t)s->d, workers = qk_parallel_workers(p->n_blocks);
    most = most > PIECE ? most : PIECE;
    /* Heads of half the width (the linear layers of some families) have theirs behind it. */
    must(qk_alloc(&p->mix, 2 * dim * dim, sizeof *p->mix, &err), &err);
    make_mix(dim, p->request->condition, p->mix);
    if (dim / 2 > 1)
        make_mix(dim / 2, p->request->condition, p->mix + 4 * (dim / 2) * (dim / 2));
    must(qk_alloc(&p->worker, workers, sizeof *p->worker, &err), &err);
    for (size_t i = 0; i < workers; i++) {
        struct worker *w = &p->worker[i];
        must(qk_alloc_aligned(&w->head, most, sizeof *w->head, &err), &err);
        must(qk_alloc_aligned(&w->moved, most, sizeof *w->moved, &err), &err);
        must(qk_alloc_aligned(
                 &w->factor, (size_t)p->request->rank * (dim + (size_t)s->d) + 1, sizeof *w->factor, &err),
            &err);
        for (int side = 0; side < SIDES; side++)
            must(qk_alloc_aligned(&w->stored[side], most, sizeof *w->stored[side], &err), &err);
    }
    qk_parallel_for(p->n_blocks, fill_block, p, NULL);
}

/* --- the known drift --- */

static void write_truth(const struct pair *p)
{
    struct qk_text text = {0};
    const struct request *r = p->request;
    qk_text_add(&text, "{\"preset\": \"%s\", \"seed\": %ld, \"rank\": %ld, \"condition\": %g, \"layers\": [",
        r->shape.name, r->seed, r->rank, r->condition);
    int layer = -1, role = -1;
    for (size_t i = 0; i < p->n_blocks;) {
        const struct block *first = &p->block[i];
        double before = 0, moved = 0;
        if (first->role < 0) {
            i++;
            continue;
        }
        /* A layer's heads stand together, q's before k's, with other pieces between them at most. */
        for (; i < p->n_blocks && (p->block[i].role < 0 ||
                                      (p->block[i].role == first->role && p->block[i].layer == first->layer));
             i++) {
            before += p->block[i].before;
            moved += p->block[i].moved;
        }
        if (first->layer != layer)
            qk_text_add(&text, "%s\n{\"index\": %d", layer >= 0 ? "}," : "", first->layer);
        layer = first->layer;
        role = first->role;
        qk_text_add(&text, ", \"%s\": {\"drift\": %g, \"noise\": %g, \"rel_fro\": %.17g}",
            role == QK_Q ? "q" : "k", r->rank > 0 ? first->drift : 0.0, first->noise, sqrt(moved / before));
    }
    qk_text_add(&text, "}\n]}\n");
    write_text(r, SIDES, "truth.json", &text);
}

static void free_pair(struct pair *p)
{
    for (size_t i = 0; i < qk_parallel_workers(p->n_blocks); i++) {
        free(p->worker[i].head);
        free(p->worker[i].moved);
        free(p->worker[i].factor);
        for (int side = 0; side < SIDES; side++)
            free(p->worker[i].stored[side]);
    }
    for (int side = 0; side < SIDES; side++) {
        for (size_t i = 0; i < p->n_shards; i++)
            close(p->fd[side][i]);
        free(p->fd[side]);
        free(p->header[side]);
    }
    for (size_t i = 0; i < p->n_tensors; i++)
        free(p->tensor[i].name);
    free(p->tensor);
    free(p->block);
    free(p->data);
    free(p->mix);
    free(p->worker);
}

int main(int argc, char **argv)
{
    struct request request;
    struct pair pair = {.request = &request};
    read_request(argc, argv, &request);
    if (qk_blas_load(NULL, NULL) != QK_OK)
        return 1;
    list_tensors(&pair);
    place_tensors(&pair);
    create_files(&pair);
    fill(&pair);
    write_truth(&pair);
    free_pair(&pair);
    return 0;
}
