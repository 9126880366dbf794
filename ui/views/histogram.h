/* histogram.h - values over bins of distance: an axis, a line of bars below it, and lines of signed differences from
 * the first one, on a scale of their own. */
#ifndef QK_UI_VIEWS_HISTOGRAM_H
#define QK_UI_VIEWS_HISTOGRAM_H

#include "range/range.h"
#include "ui/draw.h"
#include "ui/format.h"

enum {
    HISTOGRAM_LINES = 3,
    HISTOGRAM_LABEL = 9,
    HISTOGRAM_NUMBER = 7,
    HISTOGRAM_GAP = 2 /* before the numbers */
};

/* One line of bars with two numbers behind it, or the reason for none. */
struct histogram_line {
    const char *label;
    enum style style;
    bool is_signed; /* bars up and down, on the scale that such lines share */
    bool has_bins;  /* else there is `why` */
    double bin[QK_RANGE_BINS];
    const char *why;
    char number[2][NUMBER_TEXT];
};
/* The labels of an axis: the owner of the bins, and the names of the numbers. */
struct histogram_axis {
    const char *title, *number[2];
    int first, n_bins; /* the bins of qk_range_bin_first from `first` on */
    double top;        /* the value of a full bar of lines without signs; 0: the largest one */
};

/* Draws the axis, and below it the lines, each as high as the area allows: (h - 1) / HISTOGRAM_LINES. */
void draw_histogram(struct canvas *canvas, struct area area, const struct histogram_axis *axis,
    const struct histogram_line lines[HISTOGRAM_LINES]);
/* The value of a full bar of the lines with signs, or of those without. */
double histogram_top(const struct histogram_line lines[HISTOGRAM_LINES], int n_bins, bool is_signed);
/* Bars alone, `cells` for each bin, over the height of the area. */
void draw_bins(struct canvas *canvas, struct area area, const struct histogram_line *line, int n_bins,
    int cells, double top);
/* Rows of one of two histograms below each other in `rows`, with one between them; or all where only one fits. */
int histogram_rows(int rows);
/* "post-pre" or "now-pre". */
const char *histogram_difference_label(const struct canvas *canvas, bool of_post);

#endif
