/* test_chat.c - chats by chat templates, compared with what Jinja makes of the same ones. */
#include "helper.h"

#include "base/json.h"
#include "token/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* tests/data/chat/vectors.json: "text" is what Jinja 3.1.6 renders with the settings of transformers (trim_blocks,
 * lstrip_blocks). "error" is what a message must hold. */
static void check_vector(const char *folder, const cJSON *row)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    struct qk_chat *chat;
    char *text = NULL, *config, *messages;
    const char *wanted = qk_json_string(row, "text", NULL), *refusal = qk_json_string(row, "error", NULL);
    cJSON *copy = cJSON_Duplicate(qk_json_get(row, "config"), true);
    cJSON_AddStringToObject(copy, "chat_template", qk_json_string(row, "template", NULL));
    expect_ok(qk_json_text(copy, true, &config, &err), &err);
    write_bytes(path_in(path, folder, "tokenizer_config.json"), config, strlen(config));
    free(config);
    expect_ok(
        qk_json_text(cJSON_Duplicate(qk_json_get(row, "messages"), true), false, &messages, &err), &err);
    enum qk_code code = qk_chat_open(folder, &chat, &err);
    if (code == QK_OK)
        code = qk_chat_render(chat, messages, &text, &err);
    if (wanted != NULL && (code != QK_OK || strcmp(text, wanted) != 0))
        fail_msg("%s: found %s, expected %s", qk_json_string(row, "name", ""),
            code == QK_OK ? text : err.text, wanted);
    if (refusal != NULL && (code != QK_INPUT || strstr(err.text, refusal) == NULL ||
                               strstr(err.text, "tokenizer_config.json: chat_template") == NULL))
        fail_msg("%s: found %s, expected %s", qk_json_string(row, "name", ""),
            code == QK_OK ? text : err.text, refusal);
    free(text);
    free(messages);
    qk_chat_free(chat);
}

static void test_vectors(void **state)
{
    char path[PATH_SIZE];
    struct qk_error err = {0};
    cJSON *rows;
    data_path(path, "chat/vectors.json");
    expect_ok(qk_json_read(path, 1 << 20, &rows, &err), &err);
    assert_true(cJSON_GetArraySize(rows) > 30);
    for (const cJSON *row = rows->child; row != NULL; row = row->next)
        check_vector(*state, row);
    cJSON_Delete(rows);
}

/* Where a template stands: a file of its own goes before the configuration, which may also have a list of them. */
static void test_places(void **state)
{
    static const char list[] = "{\"chat_template\":[{\"name\":\"tool\",\"template\":\"t\"},"
                               "{\"name\":\"default\",\"template\":\"d{{messages[0].content}}\"}]}";
    char path[PATH_SIZE], *text;
    struct qk_error err = {0};
    struct qk_chat *chat;
    write_bytes(path_in(path, *state, "tokenizer_config.json"), "{}", 2);
    expect_failure(
        qk_chat_open(*state, &chat, &err), &err, QK_INPUT, "tokenizer_config.json: no chat_template");
    assert_null(chat);
    write_bytes(path_in(path, *state, "tokenizer_config.json"), list, sizeof list - 1);
    expect_ok(qk_chat_open(*state, &chat, &err), &err);
    expect_ok(qk_chat_render(chat, "[{\"role\":\"user\",\"content\":\"x\"}]", &text, &err), &err);
    assert_string_equal(text, "dx");
    free(text);
    qk_chat_free(chat);
    write_bytes(path_in(path, *state, "chat_template.jinja"), "file\n", 5);
    expect_ok(qk_chat_open(*state, &chat, &err), &err);
    expect_ok(qk_chat_render(chat, "[]", &text, &err), &err);
    assert_string_equal(text, "file");
    free(text);
    qk_chat_free(chat);
    write_bytes(path, "a\xff", 2);
    expect_failure(
        qk_chat_open(*state, &chat, &err), &err, QK_INPUT, "chat_template.jinja: not a text of UTF-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        test_in_folder(test_vectors),
        test_in_folder(test_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
