/* column_list.h - the columns of the layer list, one row each: the list macro behind cells, heading, order, ":sort"
 * and help.
 *
 *   SORTED(ID, name, value, draw, ...)   a column by which rows can be sorted
 *   UNSORTED(ID, draw, ...)              one by which they cannot
 *   name    what ":sort" calls it
 *   value   the number by which rows are sorted
 *   draw    shows one cell
 *   key     takes it in the menu of key s
 *   ...     further fields of struct column; columns.h explains all, and declares value and draw
 *
 * Key s asks for one by its key, in this order. On the screen frozen columns come first, then the others in
 * this order. The last one takes the cells that are left. */
#ifndef QK_UI_COLUMN_LIST_H
#define QK_UI_COLUMN_LIST_H

/* A metric with a bar. These columns share what the others leave. */
#define QK_COLUMN_BAR                                                                                        \
    .draw_heading = heading_metric, .scale = metric_scale, .needs = CELL_NEEDS_DRIFT, .size = {{50, 6}},     \
    .gap = 1, .fit = fit_metric

#define QK_COLUMNS(SORTED, UNSORTED)                                                                         \
    SORTED(INDEX, "index", index_value, draw_index, .key = 'i', .heading = "layer", .ascending = true,       \
        .frozen = true, .size = {{0, 6}})                                                                    \
    SORTED(Q, "q", metric_value, draw_metric, .key = 'q', .heading = "Q drift", .tight_heading = "Q",        \
        .metric = QK_METRIC_REL_FRO, .role = QK_Q, .style = STYLE_Q, QK_COLUMN_BAR)                          \
    SORTED(K, "k", metric_value, draw_metric, .key = 'k', .heading = "K drift", .tight_heading = "K",        \
        .metric = QK_METRIC_REL_FRO, .role = QK_K, .style = STYLE_K, QK_COLUMN_BAR)                          \
    SORTED(ROUTING, "routing", metric_value, draw_metric, .key = 'r', .heading = "routing",                  \
        .tight_heading = "rout.", .metric = QK_METRIC_ROUTING, .role = -1, .style = STYLE_ROUTING,           \
        QK_COLUMN_BAR)                                                                                       \
    SORTED(ANGLE, "angle", metric_value, draw_angle, .key = 'a', .heading = "angle",                         \
        .metric = QK_METRIC_ANGLE_MEAN, .role = -1, .needs = CELL_NEEDS_DRIFT, .size = {{110, 6}}, .gap = 3) \
    UNSORTED(REACH, draw_reach, .heading = "reach", .draw_heading = heading_reach, .count = count_ranges,    \
        .needs = CELL_NEEDS_QK, .yields_to = COLUMN_EFFECTS, .beside = 74,                                   \
        .size = {{60, TIGHT_REACH}, {74, NARROW_REACH}, {96, ROOMY_REACH}}, .gap = 2)                        \
    SORTED(SHIFT, "shift", shift_value, draw_shift, .key = 'h', .heading = "shift", .count = count_ranges,   \
        .needs = CELL_NEEDS_QK, .yields_to = COLUMN_EFFECTS, .beside = 74, .instead_of = COLUMN_REACH,       \
        .size = {{96, 6}}, .gap = 2)                                                                         \
    SORTED(NEEDLE, "needle", needle_column_value, draw_needle_cell, .key = 'n', .heading = "needle",         \
        .count = count_needles, .needs = CELL_NEEDS_QK, .yields_to = COLUMN_EFFECTS, .beside = 118,          \
        .instead_of = COLUMN_REACH, .size = {{118, NARROW_REACH}, {140, ROOMY_REACH}}, .gap = 2)             \
    SORTED(DROP, "drop", drop_value, draw_drop, .key = 'd', .heading = "drop", .count = count_needles,       \
        .needs = CELL_NEEDS_QK, .yields_to = COLUMN_EFFECTS, .beside = 132, .instead_of = COLUMN_REACH,      \
        .size = {{132, 6}}, .gap = 2)                                                                        \
    SORTED(KIND, "kind", kind_value, draw_kind, .key = 't', .heading = "kind", .ascending = true,            \
        .frozen = true, .size = {{0, 6}}, .gap = 2)                                                          \
    SORTED(EFFECTS, "effect", effect_value, draw_effects, .key = 'e', .draw_heading = heading_effects,       \
        .count = count_effects, .needs = CELL_NEEDS_QK, .size = {{60, EFFECT_CELLS}}, .gap = 2)              \
    SORTED(CHOICE, "choice", choice_value, draw_choice_cell, .key = 'c', .heading = "choice",                \
        .draw_heading = heading_choice, .needs = CELL_NEEDS_QK, .size = {{0, 16}, {76, 17}, {120, 24}})

/* The names of ":sort", with ", " behind each. */
#define QK_COLUMN_NAME(id, name, ...) name ", "
#define QK_COLUMN_NO_NAME(...)
#define QK_COLUMN_NAMES QK_COLUMNS(QK_COLUMN_NAME, QK_COLUMN_NO_NAME)

#endif
