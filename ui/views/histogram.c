/* histogram.c - bars over bins of distance. */
#include "ui/views/histogram.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_BIN = 8 };

static int bin_cells(int width, int n_bins)
{
    int cells = (width - HISTOGRAM_LABEL - HISTOGRAM_GAP - 2 * HISTOGRAM_NUMBER) / n_bins;
    return cells > LONGEST_BIN ? LONGEST_BIN : cells < 1 ? 1 : cells;
}

/* Where the numbers begin: behind the last bin, or at the edge where bins have no room for all. */
static int numbers_at(int width, int n_bins)
{
    int behind = HISTOGRAM_LABEL + n_bins * bin_cells(width, n_bins) + HISTOGRAM_GAP,
        edge = width - 2 * HISTOGRAM_NUMBER;
    return behind < edge ? behind : edge;
}

static void distance_text(char out[NUMBER_TEXT], size_t distance)
{
    snprintf(
        out, NUMBER_TEXT, distance >= 1024 ? "%zuk" : "%zu", distance >= 1024 ? distance / 1024 : distance);
}

/* The first distances of the bins, as many as fit, and the names of the numbers. */
static void draw_axis(struct canvas *canvas, struct area area, const struct histogram_axis *axis)
{
    char text[NUMBER_TEXT];
    int cells = bin_cells(area.w, axis->n_bins), plot = numbers_at(area.w, axis->n_bins);
    int free_from = HISTOGRAM_LABEL;
    draw_text(canvas, area.y, area.x, HISTOGRAM_LABEL, ALIGN_LEFT, STYLE_STRONG, axis->title);
    for (int b = 0; b < axis->n_bins; b++) {
        int x = HISTOGRAM_LABEL + b * cells;
        distance_text(text, qk_range_bin_first(axis->first + b));
        if (x >= free_from && x + (int)strlen(text) <= plot)
            free_from = x + 1 + draw_run(canvas, area.y, area.x + x, plot - x, STYLE_DIM, text);
    }
    for (int i = 0; i < 2; i++)
        draw_text(canvas, area.y, area.x + plot + i * HISTOGRAM_NUMBER, HISTOGRAM_NUMBER, ALIGN_RIGHT,
            STYLE_HEADING, axis->number[i]);
}

static void draw_column(struct canvas *canvas, struct area area, enum style style, double value, double top)
{
    int eighths = value > 0 && top > 0 ? (int)lround(value / top * 8 * area.h) : 0;
    eighths = eighths == 0 && value > 0 ? 1 : eighths; /* a small value still shows */
    for (int row = 0; row < area.h; row++) {
        int level = eighths - 8 * row;
        level = level < 0 ? 0 : level > 8 ? 8 : level;
        for (int k = 0; k < area.w; k++)
            draw_text(canvas, area.y + area.h - 1 - row, area.x + k, 1, ALIGN_LEFT, style,
                theme_column_part(canvas->theme, level));
    }
}

void draw_bins(struct canvas *canvas, struct area area, const struct histogram_line *line, int n_bins,
    int cells, double top)
{
    int wide = cells > 2 ? cells - 1 : cells;
    for (int b = 0; b < n_bins; b++) {
        struct area bin = {area.y, area.x + b * cells, area.h, wide};
        if (line->is_signed)
            draw_signed_column(canvas, bin, line->style, line->bin[b], top);
        else
            draw_column(canvas, bin, line->style, line->bin[b], top);
    }
}

static void draw_line(struct canvas *canvas, struct area area, const struct histogram_line *line,
    const struct histogram_axis *axis, double top)
{
    int y = area.y + (line->is_signed ? area.h / 2 : area.h - 1), plot = numbers_at(area.w, axis->n_bins);
    draw_text(canvas, y, area.x, HISTOGRAM_LABEL, ALIGN_LEFT, line->style, line->label);
    if (!line->has_bins) {
        draw_text(canvas, y, area.x + HISTOGRAM_LABEL, area.w - HISTOGRAM_LABEL, ALIGN_LEFT, STYLE_PENDING,
            line->why);
        return;
    }
    draw_bins(canvas, (struct area){area.y, area.x + HISTOGRAM_LABEL, area.h, area.w - HISTOGRAM_LABEL}, line,
        axis->n_bins, bin_cells(area.w, axis->n_bins), top);
    for (int i = 0; i < 2; i++)
        draw_text(canvas, y, area.x + plot + i * HISTOGRAM_NUMBER, HISTOGRAM_NUMBER, ALIGN_RIGHT, STYLE_TEXT,
            line->number[i]);
}

double histogram_top(const struct histogram_line lines[HISTOGRAM_LINES], int n_bins, bool is_signed)
{
    double top = 0;
    for (int i = 0; i < HISTOGRAM_LINES; i++)
        for (int b = 0; lines[i].has_bins && lines[i].is_signed == is_signed && b < n_bins; b++)
            top = fmax(top, fabs(lines[i].bin[b])); /* passes over NaN */
    return top;
}

void draw_histogram(struct canvas *canvas, struct area area, const struct histogram_axis *axis,
    const struct histogram_line lines[HISTOGRAM_LINES])
{
    int high = (area.h - 1) / HISTOGRAM_LINES;
    double top = axis->top > 0 ? axis->top : histogram_top(lines, axis->n_bins, false),
           signed_top = histogram_top(lines, axis->n_bins, true);
    draw_axis(canvas, area, axis);
    for (int i = 0; i < HISTOGRAM_LINES; i++)
        draw_line(canvas, (struct area){area.y + 1 + i * high, area.x, high, area.w}, &lines[i], axis,
            lines[i].is_signed ? signed_top : top);
}

int histogram_rows(int rows)
{
    int both = rows - 1; /* one is between them */
    return both < 2 * (1 + HISTOGRAM_LINES) ? rows : 1 + HISTOGRAM_LINES * ((both / 2 - 1) / HISTOGRAM_LINES);
}

const char *histogram_difference_label(const struct canvas *canvas, bool of_post)
{
    return canvas->theme->ascii ? (of_post ? "post-pre" : "now-pre") : (of_post ? "post−pre" : "now−pre");
}
