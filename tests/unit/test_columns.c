/* test_columns.c - the table of the list's columns: what fits at any width, and that order, Tab and help know them. */
#include "helper.h"

#include "ui/actions.h"
#include "ui/app.h"
#include "ui/columns.h"
#include "ui/complete.h"
#include "ui/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NARROWEST = 20, WIDEST = 250, MOST_EFFECTS = 2, LEAST_LAST = 6, WIDEST_GAP = 3 };

/* What columns_count gives for a pair with ranges or none, and a search of so many objectives. */
static void fill_count(int count[COLUMN_COUNT], int ranges, int effects)
{
    for (int i = 0; i < COLUMN_COUNT; i++) {
        const struct column *column = column_of((enum column_id)i);
        count[i] = column->count == count_ranges || column->count == count_needles ? ranges
                   : column->count == count_effects                                ? effects
                                                                                   : 1;
    }
}

static struct placed_columns place(int width, int ranges, int effects, enum column_id sort)
{
    int count[COLUMN_COUNT];
    fill_count(count, ranges, effects);
    return columns_place(width, count, sort);
}

/* The cells of the column; 0: it is not there. */
static int cells_of(const struct placed_columns *placed, enum column_id id)
{
    for (int k = 0; k < placed->n; k++)
        if (placed->at[k].column == column_of(id))
            return placed->at[k].cells;
    return 0;
}

/* True when the columns follow each other and fill the width, and the last one has room for something. One that stands
 * in the place of another has the gap of that. */
static bool in_place(const struct placed_columns *placed, int width)
{
    int end = 0, gap = 0;
    for (int k = 0; k < placed->n; k++) {
        if (placed->at[k].x < end || placed->at[k].x > end + gap || placed->at[k].cells <= 0)
            return false;
        end = placed->at[k].x + placed->at[k].cells;
        gap = WIDEST_GAP;
    }
    return end == width && cells_of(placed, COLUMN_COUNT - 1) >= LEAST_LAST && placed->note_cells >= 0 &&
           placed->note_x + placed->note_cells <= width;
}

static void test_every_width(void **state)
{
    (void)state;
    for (int width = NARROWEST; width <= WIDEST; width++)
        for (int i = 0; i < COLUMN_COUNT; i++)
            for (int effects = 0; effects <= MOST_EFFECTS; effects++)
                for (int ranges = 0; ranges < 2; ranges++) {
                    struct placed_columns placed = place(width, ranges, effects, (enum column_id)i);
                    if (!in_place(&placed, width))
                        fail_msg("%d cells, ranges %d, effects %d, sorted by %d", width, ranges, effects, i);
                }
}

/* A wider list may have more columns, and never fewer. */
static void test_wider(void **state)
{
    (void)state;
    for (int width = NARROWEST; width < WIDEST; width++)
        for (int i = 0; i < COLUMN_COUNT; i++) {
            struct placed_columns placed = place(width, 1, MOST_EFFECTS, COLUMN_INDEX);
            struct placed_columns wider = place(width + 1, 1, MOST_EFFECTS, COLUMN_INDEX);
            if (cells_of(&placed, (enum column_id)i) > 0)
                assert_true(cells_of(&wider, (enum column_id)i) > 0);
        }
    struct placed_columns widest = place(WIDEST, 1, MOST_EFFECTS, COLUMN_INDEX);
    assert_int_equal(widest.n, COLUMN_COUNT);
}

static void test_yields(void **state)
{
    (void)state;
    struct placed_columns placed = place(80, 1, 0, COLUMN_INDEX);
    assert_int_equal(cells_of(&placed, COLUMN_REACH), NARROW_REACH);
    placed = place(80, 1, 1, COLUMN_INDEX); /* 80 - 7 - 2 < 74 */
    assert_int_equal(cells_of(&placed, COLUMN_REACH), 0);
    placed = place(83, 1, 1, COLUMN_INDEX);
    assert_int_equal(cells_of(&placed, COLUMN_REACH), NARROW_REACH);
    placed = place(96 + 2 * EFFECT_CELLS + 2, 1, 2, COLUMN_INDEX);
    assert_int_equal(cells_of(&placed, COLUMN_REACH), ROOMY_REACH);
    assert_int_equal(cells_of(&placed, COLUMN_SHIFT), 6);
    placed = place(96, 0, 0, COLUMN_INDEX);
    assert_int_equal(cells_of(&placed, COLUMN_REACH) + cells_of(&placed, COLUMN_SHIFT), 0);
}

/* A list without room for the shift shows it in place of the reach when it is sorted by it. */
static void test_instead(void **state)
{
    (void)state;
    struct placed_columns placed = place(80, 1, 0, COLUMN_SHIFT);
    assert_int_equal(cells_of(&placed, COLUMN_REACH), 0);
    assert_int_equal(cells_of(&placed, COLUMN_SHIFT), NARROW_REACH);
    placed = place(100, 1, 0, COLUMN_SHIFT);
    assert_int_equal(cells_of(&placed, COLUMN_REACH), ROOMY_REACH);
    assert_int_equal(cells_of(&placed, COLUMN_SHIFT), 6);
    placed = place(80, 0, 0, COLUMN_SHIFT);
    assert_int_equal(cells_of(&placed, COLUMN_SHIFT), 6);
    placed = place(80, 1, 0, COLUMN_DROP); /* the order in which the list starts */
    assert_int_equal(cells_of(&placed, COLUMN_REACH) + cells_of(&placed, COLUMN_NEEDLE), 0);
    assert_int_equal(cells_of(&placed, COLUMN_DROP), NARROW_REACH);
    placed = place(120, 1, 0, COLUMN_DROP);
    assert_int_equal(cells_of(&placed, COLUMN_DROP), ROOMY_REACH);
    assert_int_equal(cells_of(&placed, COLUMN_NEEDLE), NARROW_REACH);
    placed = place(140, 1, 0, COLUMN_DROP);
    assert_int_equal(cells_of(&placed, COLUMN_DROP), 6);
    assert_int_equal(cells_of(&placed, COLUMN_NEEDLE), ROOMY_REACH);
}

/* Key s asks for every column that has a value, each by a key of its own. */
static void test_order(void **state)
{
    (void)state;
    enum column_id found;
    for (int i = 0; i < COLUMN_COUNT; i++) {
        const struct column *column = column_of((enum column_id)i);
        assert_int_equal(column->name == NULL, column->value == NULL);
        assert_int_equal(column->name == NULL, column->key == 0);
        if (column->name == NULL)
            continue;
        assert_true(column_parse(column->name, &found) && found == (enum column_id)i);
        assert_true(column->key > ' ' && column->key != 's'); /* s turns the order around */
        for (int k = 0; k < i; k++)
            assert_int_not_equal(column->key, column_of((enum column_id)k)->key);
    }
    assert_false(column_parse("reach", &found));
    assert_false(column_parse("", &found));
}

/* The column that rows are sorted by is always there, and each cell belongs to the column that it shows. */
static void test_sorted_is_shown(void **state)
{
    (void)state;
    for (int width = NARROWEST; width <= WIDEST; width++)
        for (int i = 0; i < COLUMN_COUNT; i++)
            for (int effects = 0; effects <= MOST_EFFECTS; effects++)
                for (int ranges = 0; ranges < 2; ranges++) {
                    if (column_of((enum column_id)i)->name == NULL)
                        continue;
                    struct placed_columns placed = place(width, ranges, effects, (enum column_id)i);
                    if (cells_of(&placed, (enum column_id)i) == 0)
                        fail_msg("%d cells, ranges %d, effects %d, sorted by %d", width, ranges, effects, i);
                    for (int k = 0; k < placed.n; k++)
                        assert_true(column_of(column_at(&placed, placed.at[k].x)) == placed.at[k].column);
                    assert_int_equal(column_at(&placed, width), COLUMN_COUNT);
                }
}

/* Tab behind ":sort" offers their names, and the help of the action lists them. */
static void test_names(void **state)
{
    (void)state;
    struct app app = {.prompt_action = ACTION_SORT};
    struct qk_lines offered = {0};
    complete_argument(&app, "", &offered);
    size_t n = 0;
    for (int i = 0; i < COLUMN_COUNT; i++) {
        const char *name = column_of((enum column_id)i)->name;
        if (name == NULL)
            continue;
        assert_true(n < offered.n);
        assert_string_equal(offered.line[n++], name);
        assert_non_null(strstr(qk_action_info(ACTION_SORT)->help, name));
    }
    assert_int_equal(n, offered.n);
    qk_lines_free(&offered);
}

/* Every cell and every heading can be drawn. */
static void test_texts(void **state)
{
    (void)state;
    for (int i = 0; i < COLUMN_COUNT; i++) {
        const struct column *column = column_of((enum column_id)i);
        assert_non_null(column->draw);
        assert_true(column->heading != NULL || column->draw_heading != NULL);
        for (int k = 1; k < COLUMN_SIZES; k++)
            assert_true(column->size[k].cells == 0 || column->size[k].from > column->size[k - 1].from);
    }
}

/* Numbers of any size keep to their cells. */
static void test_numbers_fit(void **state)
{
    (void)state;
    static const double values[] = {0, 1, 0.98765, 12.5, 776.887, 79259.123, 1e9, 1e300, -0.98765, -1e300};
    enum { CELLS = 6 };
    char text[NUMBER_TEXT];
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        for (int m = 0; m < QK_METRIC_COUNT; m++) {
            format_metric(text, (enum qk_metric)m, values[i], CELLS);
            assert_true(strlen(text) <= CELLS + (values[i] < 0));
            double shown = strtod(text, NULL), unit = qk_metric_info((enum qk_metric)m)->percent ? 100 : 1;
            /* one digit at least, of numbers that are not next to 0 */
            assert_true(fabs(shown - unit * values[i]) <= 0.5 * fabs(unit * values[i]));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_width),
        cmocka_unit_test(test_wider),
        cmocka_unit_test(test_yields),
        cmocka_unit_test(test_instead),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_sorted_is_shown),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_numbers_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
