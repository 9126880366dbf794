/* server.c - the engine that is a server with the OpenAI API: vLLM, SGLang, llama.cpp and others.
 *
 * GET /v1/models says what it serves; each case is one POST /v1/completions with temperature 0. Prompts go as texts,
 * and chats as token ids, because they hold their special tokens already. */
#include "eval/engine/engine.h"

#include "base/json.h"
#include "base/mem.h"
#include "eval/answer.h"
#include "eval/case_tokens.h"
#include "eval/engine/command_line.h"
#include "eval/engine/questions.h"
#include "eval/engine/requests.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char WHAT[] = "--server";

struct server {
    struct qk_questions questions; /* first: qk_questions_digest */
    struct qk_engine_setting setting;
    bool started;    /* libcurl is */
    const char *key; /* of the API, or NULL */
    char *root;      /* the address without /v1 */
    char *model;     /* the name of what it serves; NULL: not known yet */
    char *path;      /* its place, where the server says one, or NULL */
    /* The subject that it has now. With --reload it was given it in `place`, which stays until the next. */
    char loaded[QK_DIGEST_TEXT];
    struct qk_place place;
    /* For chats: of the side that is asked. */
    struct qk_tokenizer *tokenizer;
    struct qk_chat *chat;
    int side; /* whose these are; -1: none */
};

/* --- requests of its own --- */

/* One request, and what came of it. */
struct single {
    const char *url;
    const char *body; /* NULL: GET */
    cJSON *answer;
};

static enum qk_code single_body(void *context, size_t i, char **out, struct qk_error *err)
{
    (void)i;
    return qk_strdup_to(out, ((const struct single *)context)->body, err);
}

static enum qk_code single_done(
    void *context, size_t i, const char *text, size_t n, bool *again, struct qk_error *err)
{
    struct single *single = context;
    (void)i;
    *again = true;
    return qk_json_parse(single->url, text, n, &single->answer, err);
}

/* The caller deletes *out. */
static enum qk_code request(const struct server *s, const char *url, const char *body, cJSON **out,
    struct qk_progress *progress, struct qk_error *err)
{
    struct single single = {url, body, NULL};
    const struct qk_requests requests = {.url = url,
        .key = s->key,
        .parallel = 1,
        .seconds = s->setting.options.engine.seconds,
        .context = &single,
        .body = body != NULL ? single_body : NULL,
        .done = single_done};
    enum qk_code code = qk_requests_run(&requests, 1, progress, err);
    *out = single.answer;
    return code;
}

/* *out = an address below the server's; the caller frees. */
static enum qk_code address(const struct server *s, const char *below, char **out, struct qk_error *err)
{
    struct qk_text text = {0};
    qk_text_add(&text, "%s%s", s->root, below);
    return qk_text_take(&text, out, err);
}

/* --- what it serves --- */

/* The model of --served, else the only one. */
static enum qk_code choose_model(
    const struct server *s, const char *url, const cJSON *list, const cJSON **out, struct qk_error *err)
{
    const char *wanted = s->setting.options.engine.served;
    const cJSON *only = list != NULL ? list->child : NULL;
    if (only == NULL || qk_json_string(only, "id", NULL) == NULL)
        return qk_fail(err, QK_INPUT, "%s: names no model", url);
    for (const cJSON *item = only; item != NULL && wanted != NULL; item = item->next)
        if (strcmp(qk_json_string(item, "id", ""), wanted) == 0) {
            *out = item;
            return QK_OK;
        }
    if (wanted != NULL)
        return qk_fail(err, QK_INPUT, "%s: serves another model (found %s, expected %s)", url,
            qk_json_string(only, "id", ""), wanted);
    if (only->next != NULL)
        return qk_fail(err, QK_USAGE, "%s: serves several models, %s first (expected --served NAME)", url,
            qk_json_string(only, "id", ""));
    *out = only;
    return QK_OK;
}

static enum qk_code learn_model(struct server *s, struct qk_progress *progress, struct qk_error *err)
{
    char *url;
    cJSON *root = NULL;
    const cJSON *item = NULL;
    QK_TRY(address(s, "/v1/models", &url, err));
    enum qk_code code = request(s, url, NULL, &root, progress, err);
    if (code == QK_OK)
        code = choose_model(s, url, qk_json_get(root, "data"), &item, err);
    free(s->model);
    free(s->path);
    s->model = s->path = NULL;
    if (code == QK_OK)
        code = qk_strdup_to(&s->model, qk_json_string(item, "id", ""), err);
    if (code == QK_OK)
        code = qk_strdup_to(&s->path, qk_json_string(item, "root", s->model), err);
    cJSON_Delete(root);
    free(url);
    return code;
}

/* A place on this machine that is another one than the subject's is another model. Of a name only the user knows. */
static enum qk_code check_path(const struct server *s, const struct qk_subject *subject, struct qk_error *err)
{
    const struct qk_engine_options *engine = &s->setting.options.engine;
    const char *folder = s->setting.model[subject->side]->checkpoint->folder;
    char wanted[PATH_MAX], found[PATH_MAX];
    struct qk_text text = {0};
    if (engine->served != NULL || realpath(folder, wanted) == NULL)
        return QK_OK;
    if (s->path[0] == '/' && (realpath(s->path, found) == NULL || strcmp(found, wanted) != 0))
        return qk_fail(err, QK_INPUT,
            "%s: serves another model (found %s, expected %s; --served NAME takes it all the same)", s->root,
            s->path, wanted);
    if (s->path[0] != '/' && engine->note != NULL) {
        qk_text_add(&text, "%s: serves %s, which is taken for %s", s->root, s->path, folder);
        if (text.s != NULL)
            engine->note(engine->context, text.s);
        qk_text_free(&text);
    }
    return QK_OK;
}

/* --- other weights --- */

static enum qk_code reload_by_command(
    const struct server *s, struct qk_progress *progress, struct qk_error *err)
{
    const struct qk_engine_options *engine = &s->setting.options.engine;
    const struct qk_filling fillings[] = {
        {"model", s->place.model}, {"out", s->place.out}, {"server", s->root}};
    char *line;
    QK_TRY(qk_command_fill(engine->reload, fillings, 3, &line, err));
    enum qk_code code = qk_command_run(engine, "--reload", line, true, &s->place, progress, err);
    free(line);
    return code;
}

/* SGLang: {"model_path": FOLDER} is answered by {"success", "message"}. */
static enum qk_code reload_by_request(
    const struct server *s, struct qk_progress *progress, struct qk_error *err)
{
    const char *reload = s->setting.options.engine.reload;
    cJSON *root = cJSON_CreateObject(), *answer = NULL;
    char *url = NULL, *body;
    cJSON_AddStringToObject(root, "model_path", s->place.model);
    QK_TRY(qk_json_text(root, false, &body, err));
    enum qk_code code = reload[0] == '/' ? address(s, reload, &url, err) : qk_strdup_to(&url, reload, err);
    if (code == QK_OK)
        code = request(s, url, body, &answer, progress, err);
    if (code == QK_OK && !qk_json_bool(answer, "success", true))
        code = qk_fail(err, QK_IO, "%s: the server did not take the weights: %s", url,
            qk_json_string(answer, "message", "it does not say why"));
    cJSON_Delete(answer);
    free(url);
    free(body);
    return code;
}

/* A command may start the server only then. */
static bool starts_server(const struct server *s)
{
    const char *reload = s->setting.options.engine.reload;
    return reload != NULL && qk_command_has(reload, "model");
}

/* Gives the server the subject's weights, unless it has them. */
static enum qk_code load(
    struct server *s, struct qk_subject subject, const struct qk_inquiry *q, struct qk_error *err)
{
    const char *reload = s->setting.options.engine.reload;
    if (strcmp(s->loaded, q->key) == 0)
        return QK_OK;
    if (reload == NULL && (subject.selection != NULL || s->loaded[0] != '\0'))
        return qk_fail(err, QK_USAGE,
            "%s: %s serves one checkpoint, and another is to be asked (expected --reload, how it takes others)",
            WHAT, s->root);
    s->loaded[0] = '\0';
    if (reload == NULL) {
        QK_TRY(check_path(s, &subject, err));
    } else {
        qk_place_close(&s->place);
        QK_TRY(qk_place_open(&s->setting, subject, q->progress, &s->place, err));
        QK_TRY(starts_server(s) ? reload_by_command(s, q->progress, err)
                                : reload_by_request(s, q->progress, err));
        QK_TRY(
            learn_model(s, q->progress, err)); /* a server that was started anew may name it by its folder */
    }
    memcpy(s->loaded, q->key, sizeof s->loaded);
    return QK_OK;
}

/* --- opening --- */

static void close_side(struct server *s)
{
    qk_chat_free(s->chat);
    qk_tokenizer_free(s->tokenizer);
    s->chat = NULL;
    s->tokenizer = NULL;
    s->side = -1;
}

static void close_server(void *state)
{
    struct server *s = state;
    if (s == NULL)
        return;
    qk_place_close(&s->place);
    close_side(s);
    qk_questions_close(&s->questions);
    if (s->started)
        qk_requests_stop();
    free(s->root);
    free(s->model);
    free(s->path);
    free(s);
}

/* The address may have the path of the API at its end. */
static enum qk_code read_address(struct server *s, struct qk_error *err)
{
    static const char *const ends[] = {"/completions", "/v1"};
    QK_TRY(qk_requests_address(WHAT, s->setting.options.engine.server, &s->root, err));
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (qk_ends_with(s->root, ends[i]))
            s->root[strlen(s->root) - strlen(ends[i])] = '\0';
    return QK_OK;
}

static enum qk_code check_reload(const char *reload, struct qk_error *err)
{
    if (reload == NULL || qk_command_has(reload, "model") || reload[0] == '/' ||
        strncmp(reload, "http://", 7) == 0 || strncmp(reload, "https://", 8) == 0)
        return QK_OK;
    return qk_fail(err, QK_USAGE,
        "--reload: neither a path of the server, nor an address, nor a command with {model} (found '%s')",
        reload);
}

static enum qk_code start(struct server *s, struct qk_error *err)
{
    QK_TRY(check_reload(s->setting.options.engine.reload, err));
    QK_TRY(qk_questions_open(s->setting.cases, &s->questions, err));
    QK_TRY(qk_requests_start(&s->key, err));
    s->started = true;
    return read_address(s, err);
}

static enum qk_code open_server(const struct qk_engine_setting *setting, void **state, struct qk_error *err)
{
    struct server *s;
    QK_TRY(qk_alloc(&s, 1, sizeof *s, err));
    s->setting = *setting;
    s->place.lock = s->side = -1;
    enum qk_code code = start(s, err);
    if (code == QK_OK)
        *state = s;
    else
        close_server(s);
    return code;
}

/* --- keys --- */

/* Its address may be another one tomorrow, and its answers the same. Who serves one model in two ways names them. */
static void identify(const void *state, enum qk_side side, struct qk_digest *digest)
{
    const struct server *s = state;
    const char *served = s->setting.options.engine.served != NULL ? s->setting.options.engine.served : "";
    qk_questions_identify(s->setting.model[side], digest);
    qk_digest_add(digest, served, strlen(served) + 1);
}

/* --- asking --- */

struct asking {
    struct server *server;
    const struct qk_inquiry *inquiry;
    char *url;
};

static const struct qk_case *case_of(const struct asking *a, size_t i)
{
    return &a->server->setting.cases->item[a->inquiry->cases[i]];
}

static void name_case(void *context, size_t i, char *out, size_t size)
{
    const struct asking *a = context;
    const struct qk_case *item = case_of(a, i);
    snprintf(out, size, "%s:%zu", a->server->setting.cases->file[item->file], item->line);
}

/* Adds a chat as ids. */
static enum qk_code add_chat(const struct asking *a, size_t i, cJSON *root, struct qk_error *err)
{
    const struct server *s = a->server;
    struct qk_case_tokens tokens;
    enum qk_code code =
        qk_case_encode(s->setting.cases, a->inquiry->cases[i], s->tokenizer, s->chat, &tokens, err);
    cJSON *ids = code == QK_OK ? cJSON_AddArrayToObject(root, "prompt") : NULL;
    for (size_t k = 0; k < tokens.n_prompt && code == QK_OK; k++)
        qk_json_append(ids, cJSON_CreateNumber(tokens.prompt[k]));
    qk_case_tokens_free(&tokens);
    return code;
}

/* Texts that end the answer end the generation, too, where they count from the beginning on. The API takes four. */
static void add_stops(const struct qk_case *item, cJSON *root)
{
    enum { MOST = 4 };
    if (!item->contains || item->after != NULL || item->n_stop == 0)
        return;
    cJSON *stop = cJSON_AddArrayToObject(root, "stop");
    for (size_t i = 0; i < item->n_stop && i < MOST; i++)
        qk_json_append(stop, cJSON_CreateString(item->stop[i]));
}

static enum qk_code make_body(void *context, size_t i, char **out, struct qk_error *err)
{
    const struct asking *a = context;
    const struct qk_case *item = case_of(a, i);
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model", a->server->model);
    if (item->messages == NULL)
        cJSON_AddStringToObject(root, "prompt", item->prompt);
    enum qk_code code = item->messages != NULL ? add_chat(a, i, root, err) : QK_OK;
    cJSON_AddNumberToObject(root, "max_tokens", (double)qk_question_limit(item));
    cJSON_AddNumberToObject(root, "temperature", 0);
    cJSON_AddBoolToObject(root, "stream", false);
    add_stops(item, root);
    if (code == QK_OK)
        return qk_json_text(root, false, out, err);
    cJSON_Delete(root);
    return code;
}

/* Reads {"model", "choices": [{"text", "finish_reason"}]}. */
static enum qk_code judge(
    const struct asking *a, size_t i, const cJSON *root, signed char *out, struct qk_error *err)
{
    const cJSON *choices = qk_json_get(root, "choices"), *choice = choices != NULL ? choices->child : NULL;
    const char *text = qk_json_string(choice, "text", NULL), *model = qk_json_string(root, "model", NULL);
    bool ended = strcmp(qk_json_string(choice, "finish_reason", ""), "stop") == 0, right;
    if (model != NULL && strcmp(model, a->server->model) != 0)
        return qk_fail(err, QK_INPUT, "%s: another model answers (found %s, expected %s)", a->url, model,
            a->server->model);
    if (text == NULL)
        return qk_fail(err, QK_INPUT, "%s: an answer without a text (expected choices with text)", a->url);
    QK_TRY(qk_answer_judge(case_of(a, i), text, strlen(text), ended, &right, err));
    *out = (signed char)right;
    return QK_OK;
}

static enum qk_code take_answer(
    void *context, size_t i, const char *text, size_t n, bool *again, struct qk_error *err)
{
    struct asking *a = context;
    const struct qk_inquiry *q = a->inquiry;
    cJSON *root = NULL;
    *again = true;
    QK_TRY(qk_json_parse(a->url, text, n, &root, err));
    *again = false;
    enum qk_code code = judge(a, i, root, &q->answer[i], err);
    cJSON_Delete(root);
    QK_TRY(code);
    qk_progress_add(q->progress, qk_questions_cost(a->server, q->cases[i]));
    if (q->watch != NULL) /* at once, so that an answer that came is never asked for again */
        q->watch->done(q->watch->context, 1, &q->cases[i], &q->answer[i]);
    return QK_OK;
}

/* The tokenizer and the template of the side, where a case has messages. */
static enum qk_code open_side(
    struct server *s, enum qk_side side, const struct qk_inquiry *q, struct qk_error *err)
{
    const char *folder = s->setting.model[side]->checkpoint->folder;
    bool chats = false;
    for (size_t i = 0; i < q->n; i++)
        chats = chats || s->setting.cases->item[q->cases[i]].messages != NULL;
    if (!chats || s->side == (int)side)
        return QK_OK;
    close_side(s);
    QK_TRY(qk_tokenizer_open(folder, &s->tokenizer, err));
    QK_TRY(qk_chat_open(folder, &s->chat, err));
    s->side = (int)side;
    return QK_OK;
}

static enum qk_code take(
    void *state, struct qk_subject subject, const struct qk_inquiry *q, struct qk_error *err)
{
    struct server *s = state;
    struct asking a = {.server = s, .inquiry = q};
    QK_TRY(open_side(s, subject.side, q, err));
    if (s->model == NULL && !starts_server(s)) /* before anything is written for it */
        QK_TRY(learn_model(s, q->progress, err));
    QK_TRY(load(s, subject, q, err));
    QK_TRY(address(s, "/v1/completions", &a.url, err));
    const struct qk_requests requests = {.url = a.url,
        .key = s->key,
        .parallel = s->setting.options.engine.parallel,
        .seconds = s->setting.options.engine.seconds,
        .context = &a,
        .body = make_body,
        .done = take_answer,
        .name = name_case};
    enum qk_code code = qk_requests_run(&requests, q->n, q->progress, err);
    free(a.url);
    return code;
}

const struct qk_engine_ops qk_engine_server = {
    .name = "server",
    .open = open_server,
    .close = close_server,
    .digest = qk_questions_digest,
    .cost = qk_questions_cost,
    .identify = identify,
    .take = take,
};
