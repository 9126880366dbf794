/* arithmetic.c - problems of several steps. */
#include "eval/arithmetic.h"

#include "eval/cases.h"
#include "range/prose.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Above SURE_SUBTRACT a step subtracts, and up to SURE_ADD it adds, so that all numbers stay between 1 and 99. */
enum { MOST_START = 60, MOST_ADD = 39, MOST_SUBTRACT = 40, SURE_SUBTRACT = 60, SURE_ADD = 9 };

struct problem {
    int start, n, step[QK_ARITHMETIC_STEPS], result; /* a step below 0 subtracts */
};

static int from_to(uint64_t *random, int low, int high)
{
    return low + (int)qk_random_below(random, (size_t)(high - low + 1));
}

static void draw(struct problem *problem, int low, int high, uint64_t *random)
{
    int now = problem->start = from_to(random, 1, MOST_START);
    problem->n = from_to(random, low, high);
    for (int i = 0; i < problem->n; i++) {
        bool subtract = now > SURE_SUBTRACT || (now > SURE_ADD && qk_random_below(random, 2) == 0);
        int most = now - 1 < MOST_SUBTRACT ? now - 1 : MOST_SUBTRACT;
        problem->step[i] = subtract ? -from_to(random, 1, most) : from_to(random, 1, MOST_ADD);
        now += problem->step[i];
    }
    problem->result = now;
}

/* True when the result is a number of the prompt: then copying would replace calculating. */
static bool gives_away(const struct problem *problem)
{
    bool found = problem->start == problem->result;
    for (int i = 0; i < problem->n; i++)
        found = found || abs(problem->step[i]) == problem->result;
    return found;
}

/* Bytes that the demo pair's responses need ("Steps: 56+30=86; ... Answer: 57. "), and some more. */
static size_t response_limit(int steps)
{
    enum { LEAST = 80, AROUND = 25, PER_STEP = 11 };
    size_t need = AROUND + PER_STEP * (size_t)steps;
    return need > LEAST ? need : LEAST;
}

enum qk_code qk_arithmetic_write(
    uint64_t seed, int number, int low, int high, struct qk_text *out, struct qk_error *err)
{
    assert(low >= 1 && low <= high && high <= QK_ARITHMETIC_STEPS);
    struct problem problem;
    struct qk_text text = {0};
    char answer[16], *prompt, after[] = "Answer: ", until[] = ".";
    uint64_t random = qk_random_mix(seed, (uint64_t)number);
    do
        draw(&problem, low, high, &random);
    while (gives_away(&problem));
    snprintf(answer, sizeof answer, "%d", problem.result);
    qk_text_add(&text, "Problem: start with %d", problem.start);
    for (int i = 0; i < problem.n; i++)
        qk_text_add(&text, ", %s %d", problem.step[i] < 0 ? "subtract" : "add", abs(problem.step[i]));
    qk_text_add(&text, ". ");
    QK_TRY(qk_text_take(&text, &prompt, err));
    const struct qk_case item = {.prompt = prompt,
        .answer = answer,
        .after = after,
        .until = until,
        .depth = NAN,
        .max_new_tokens = response_limit(high)};
    enum qk_code code = qk_case_write(&item, "arithmetic", out, err);
    free(prompt);
    return code;
}
