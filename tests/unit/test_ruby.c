/* test_ruby.c - patterns in Ruby's syntax: what they match, and what is refused.
 *
 * The matches are those of libonig 6.9.8 (ONIG_SYNTAX_RUBY, UTF-8), as its search gives them one behind the other:
 * "FROM-TO" in bytes. An empty match where the last one ended is left out, as in Hugging Face's tokenizers. */
#include "helper.h"

#include "base/text.h"
#include "token/pattern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *pattern, *text, *matches;
};

static void expect_matches(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct qk_error err = {0};
        struct qk_pattern *pattern;
        struct qk_ranges found = {0};
        struct qk_text text = {0};
        expect_ok(qk_pattern_regex("test", rows[i].pattern, &pattern, &err), &err);
        expect_ok(qk_pattern_find(pattern, rows[i].text, strlen(rows[i].text), &found, &err), &err);
        for (size_t j = 0; j < found.n; j++)
            if (found.range[j].match)
                qk_text_add(
                    &text, "%s%zu-%zu", text.length > 0 ? " " : "", found.range[j].from, found.range[j].to);
        if (strcmp(text.s != NULL ? text.s : "", rows[i].matches) != 0)
            fail_msg(
                "%s in %s (found %s, expected %s)", rows[i].pattern, rows[i].text, text.s, rows[i].matches);
        qk_text_free(&text);
        free(found.range);
        qk_pattern_free(pattern);
    }
}
#define EXPECT_MATCHES(rows) expect_matches(rows, sizeof(rows) / sizeof(rows)[0])

static const struct row sets[] = {{"\\s", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "3-4 8-10 14-15"},
    {"\\S+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-3 4-8 10-14"},
    {"\\w+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-3 4-5 10-14"},
    {"\\W", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "3-4 5-8 8-10 14-15"},
    {"[\\w]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-3 4-5 12-14"},
    {"[^\\w]", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "3-4 5-8 8-10 10-12 14-15"},
    {"[\\W]", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "3-4 5-8 8-10 10-12 14-15"},
    {"[^\\W]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-3 4-5 12-14"},
    {"\\d", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "2-3"},
    {"\\h+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-3"},
    {"\\H+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "3-15"},
    {"[^\\H]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-3"},
    {"\\b", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-0 3-3 4-4 5-5 10-10 14-14"},
    {"\\B", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "1-1 2-2 8-8 12-12 15-15"},
    {"\\p{Letter}+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-2 12-14"},
    {"\\p{letter}", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-1 1-2 12-14"},
    {"\\p{^L}+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "2-12 14-15"},
    {"\\P{L}+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "2-12 14-15"},
    {"\\P{^L}+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-2 12-14"},
    {"\\p{Lower_case Letter}", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-1 12-14"},
    {"\\p{LC}+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-2 12-14"},
    {"\\p{White_Space}", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "3-4 8-10 14-15"},
    {"\\p{Alnum}+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-3 12-14"},
    {"\\p{Assigned}+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "0-15"},
    {"[^\\S\\n]", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "3-4 8-10"},
    {"[[:alnum:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "0-3 12-14"},
    {"[[:alpha:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "0-2 12-14"},
    {"[[:ascii:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "0-5 14-17"},
    {"[[:blank:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "3-4 8-10"},
    {"[[:cntrl:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "14-15 16-17"},
    {"[[:digit:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "2-3"},
    {"[[:graph:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "0-3 4-8 10-14 15-16"},
    {"[[:lower:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "0-1 12-14"},
    {"[[:print:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "0-14 15-16"},
    {"[[:punct:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "4-5"},
    {"[[:space:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "3-4 8-10 14-15"},
    {"[[:upper:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "1-2"},
    {"[[:word:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "0-3 4-5 12-14"},
    {"[[:xdigit:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n+\x07", "0-3"},
    {"[[:^alpha:]x]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "2-12 14-15"},
    {"[^[:word:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "3-4 5-12 14-15"},
    {"[[:^graph:]]+", "aB1 _\xe1\xa0\x8e\xc2\xa0\xc2\xb2\xc3\xa9\n", "3-4 8-10 14-15"},
    {"\\p{Han}+",
        "\xe3\x81\x82\xe3\x82\xa2\xe4\xb8\xad\xe3\x83\xbc"
        "1",
        "6-9"},
    {"\\p{Hiragana}",
        "\xe3\x81\x82\xe3\x82\xa2\xe4\xb8\xad\xe3\x83\xbc"
        "1",
        "0-3"},
    {"\\p{Katakana}+",
        "\xe3\x81\x82\xe3\x82\xa2\xe4\xb8\xad\xe3\x83\xbc"
        "1",
        "3-6"},
    {"[\\p{Han}\\p{Hiragana}]+",
        "\xe3\x81\x82\xe3\x82\xa2\xe4\xb8\xad\xe3\x83\xbc"
        "1",
        "0-3 6-9"},
    {"\\p{Emoji}",
        "\xe3\x81\x82\xe3\x82\xa2\xe4\xb8\xad\xe3\x83\xbc"
        "1",
        "12-13"}};

static const struct row classes[] = {{"[a-c[x-z]]+", "ab-xyz^]&[", "0-2 3-6"},
    {"[^a-c[x-z]]+", "ab-xyz^]&[", "2-3 6-10"}, {"[a-z&&b-y&&[^y]]+", "ab-xyz^]&[", "1-2 3-4"},
    {"[^a-z&&[^x]]", "ab-xyz^]&[", "2-3 3-4 6-7 7-8 8-9 9-10"}, {"[a&&[^a]]", "ab-xyz^]&[", ""},
    {"[]a]", "ab-xyz^]&[", "0-1 7-8"}, {"[^]a]+", "ab-xyz^]&[", "1-7 8-10"},
    {"[a^]+", "ab-xyz^]&[", "0-1 6-7"}, {"[a-]", "ab-xyz^]&[", "0-1 2-3"}, {"[-a]", "ab-xyz^]&[", "0-1 2-3"},
    {"[+--]", "ab-xyz^]&[", "2-3"}, {"[a\\-b]+", "ab-xyz^]&[", "0-3"}, {"[a-b-x]+", "ab-xyz^]&[", "0-4"},
    {"[\\]\\[]", "ab-xyz^]&[", "7-8 9-10"}, {"[a&]+", "ab-xyz^]&[", "0-1 8-9"},
    {"[\\x61\\x{62}]+", "ab-xyz^]&[", "0-2"}, {"[\\u0061-\\u0062]+", "ab-xyz^]&[", "0-2"},
    {"[\\141]", "ab-xyz^]&[", "0-1"}, {"[a-z&&]", "ab-xyz^]&[", ""}, {"[[a]&&[ab]]", "ab-xyz^]&[", "0-1"}};

static const struct row characters[] = {{"\\u00e9",
                                            "a\xc3\xa9"
                                            "A\n\x0b\x1b{VKN",
                                            "1-3"},
    {"\\x{e9}",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "1-3"},
    {"\\x41",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "3-4"},
    {"\\101",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "3-4"},
    {"\\v",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "5-6"},
    {"[\\v]",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "5-6"},
    {"\\e",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "6-7"},
    {"[\\b]",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        ""},
    {"\\V",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "8-9"},
    {"\\N",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "10-11"},
    {"\\O",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        ""},
    {"\\R",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "4-5 5-6"},
    {"\\A.",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "0-1"},
    {".\\z",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "10-11"},
    {".\\Z",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "10-11"},
    {"\\\xc3\xa9",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "1-3"},
    {"{",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "7-8"},
    {"]",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        ""},
    {"^",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "0-0 5-5"},
    {"(?m:.)+",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "0-11"},
    {"(?-m:.)+",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "0-4 5-11"},
    {"(?m).+",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        "0-11"},
    {"\\#",
        "a\xc3\xa9"
        "A\n\x0b\x1b{VKN",
        ""}};

static const struct row quantifiers[] = {{"a{2}", "aaaabab", "0-2 2-4"}, {"a{1,2}+", "aaaabab", "0-4 5-6"},
    {"a{2}?b", "aaaabab", "2-5 6-7"}, {"a{,2}", "aaaabab", "0-2 2-4 5-6 7-7"},
    {"a{2,1}", "aaaabab", "0-2 2-4 5-6"}, {"a{3,}?", "aaaabab", "0-3"}, {"a**", "aaaabab", "0-4 5-6 7-7"},
    {"a*{2}", "aaaabab", "0-4 5-6 7-7"}, {"a{2}{2}", "aaaabab", "0-4"},
    {"a+?", "aaaabab", "0-1 1-2 2-3 3-4 5-6"}, {"a++b", "aaaabab", "0-5 5-7"}, {"a?+ab", "aaaabab", "2-5"},
    {"a{1,2}?", "aaaabab", "0-1 1-2 2-3 3-4 5-6"}, {"(?:ab)+", "aaaabab", "3-7"}, {"a{", "aaaabab", ""},
    {"a{x}", "aaaabab", ""}, {"(a)\\1", "aaaabab", "0-2 2-4"}, {"(?<n>a)\\k<n>", "aaaabab", "0-2 2-4"},
    {"(?<n>ab?)\\g<n>", "aaaabab", "0-2 2-5"}};

static const struct row groups[] = {{"(?i)a|b", "xaXBab c", "1-2 3-4 4-5 5-6"},
    {"x(?i)a|b", "xaXBab c", "0-2"}, {"(x(?i)a|b)", "xaXBab c", "0-2"}, {"(?i:a)b", "xaXBab c", "4-6"},
    {"(?i:x(?-i)a|b)", "xaXBab c", "0-2"}, {"(?x) a b # c\n", "xaXBab c", "4-6"},
    {"(?x: a b )\\ c", "xaXBab c", "4-8"}, {"(?#x)a", "xaXBab c", "1-2 4-5"},
    {"a(?#b)*", "xaXBab c", "0-0 1-2 3-3 4-5 6-6 7-7 8-8"}, {"(?=a)", "xaXBab c", "1-1 4-4"},
    {"(?!a)", "xaXBab c", "0-0 2-2 3-3 5-5 6-6 7-7 8-8"}, {"(?<=a).", "xaXBab c", "2-3 5-6"},
    {"(?<!x)a", "xaXBab c", "4-5"}, {"(?>x|xa)a", "xaXBab c", "0-2"}, {"(?i-m:X)", "xaXBab c", "0-1 2-3"},
    {"(?ix)  B", "xaXBab c", "3-4 5-6"}, {"()", "xaXBab c", "0-0 1-1 2-2 3-3 4-4 5-5 6-6 7-7 8-8"},
    {"a|", "xaXBab c", "0-0 1-2 3-3 4-5 6-6 7-7 8-8"}, {"(?x)[ c]", "xaXBab c", "6-7 7-8"}};

static const struct row ends[] = {{"$", "a", "1-1"}, {"$", "a\nb", "1-1 3-3"}, {"$", "a\n", "1-1 2-2"},
    {"^", "a", "0-0"}, {"^", "a\nb", "0-0 2-2"}, {"^", "a\n", "0-0"}, {"\\b", "a", "0-0 1-1"},
    {"\\b", "a\nb", "0-0 1-1 2-2 3-3"}, {"\\b", "a\n", "0-0 1-1"}, {"\\z", "a", "1-1"},
    {"\\z", "a\nb", "3-3"}, {"\\z", "a\n", "2-2"}, {"\\Z", "a", "1-1"}, {"\\Z", "a\nb", "3-3"},
    {"\\Z", "a\n", "1-1 2-2"}, {"a*", "a", "0-1"}, {"a*", "a\nb", "0-1 2-2 3-3"}, {"a*", "a\n", "0-1 2-2"},
    {"(?=b)", "a", ""}, {"(?=b)", "a\nb", "2-2"}, {"(?=b)", "a\n", ""}, {"(?!b)", "a", "0-0 1-1"},
    {"(?!b)", "a\nb", "0-0 1-1 3-3"}, {"(?!b)", "a\n", "0-0 1-1 2-2"}};

static void test_matches(void **state)
{
    (void)state;
    EXPECT_MATCHES(sets);
    EXPECT_MATCHES(classes);
    EXPECT_MATCHES(characters);
    EXPECT_MATCHES(quantifiers);
    EXPECT_MATCHES(groups);
    EXPECT_MATCHES(ends);
}

static void expect_refused(const char *text, const char *words)
{
    struct qk_error err = {0};
    struct qk_pattern *pattern = (void *)&err;
    expect_failure(qk_pattern_regex("test", text, &pattern, &err), &err, QK_INPUT, words);
    assert_null(pattern);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"a\\K", "not supported (found \\K)"}, {"(?~ab)", "found (?~ab)"},
        {"(?R)", "found (?R)"}, {"(?s:.)", "found (?s:.)"}, {"(?P<n>a)", "found (?P<n>a)"},
        {"(*F)", "found (*F)"}, {"\\p{Foo}", "found \\p{Foo}"}, {"\\p{Xan}", "found \\p{Xan}"},
        {"\\p{sc:Han}", "not supported"}, {"\\p{L", "found \\p{L"}, {"[[:foo:]]", "found [:foo:]]"},
        {"\\xe2\\x96\\x81", "found \\xe2\\x96"}, {"\\u12", "found \\u12"}, {"[a-\\d]", "found -\\d]"},
        {"(?i:[[:upper:]])", "found [:upper:"}, {"[a", "a class has no ]"},
        {"(a", "a group has no closing bracket"}, {"a)", "a closing bracket has no group"},
        {"*a", "not valid"}, {"a\\", "found \\"}, {"a**********", "not supported"}, {"(?<n", "found (?<n"},
        {"(?#a", "found (?#a"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_refused(rows[i][0], rows[i][1]);
}

/* What is deep or long is refused before it takes the stack or the memory. */
static void test_limits(void **state)
{
    (void)state;
    enum { DEEP = 60000, LONG = 70000 };
    static char text[LONG + 1];
    memset(text, '(', DEEP);
    expect_refused(text, "nested too deeply");
    memset(text, '[', DEEP);
    expect_refused(text, "nested too deeply");
    for (size_t i = 0; i < DEEP; i += 4)
        memcpy(text + i, "(?i)", 4);
    expect_refused(text, "nested too deeply");
    memset(text, 'a', LONG);
    expect_refused(text, "pattern: too long (found 70000 bytes, at most 65536)");
    for (size_t i = 0; i < DEEP; i += 2) /* which is longer for PCRE2 */
        memcpy(text + i, "\\b", 2);
    text[DEEP] = '\0';
    expect_refused(text, "not valid");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches), cmocka_unit_test(test_refused), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
