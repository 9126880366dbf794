/* histogram.h - values over bins of distance: an axis and three lines of bars below it, on one scale. */
#ifndef QK_UI_VIEWS_HISTOGRAM_H
#define QK_UI_VIEWS_HISTOGRAM_H

#include "ui/draw.h"
#include "ui/format.h"

enum { HISTOGRAM_LINES = 3, HISTOGRAM_LABEL = 8, HISTOGRAM_NUMBER = 6 };

/* One line of bars with two numbers behind it, or the reason for none. */
struct histogram_line {
    const char *label;
    enum style style;
    const double *bin; /* or NULL */
    const char *why;
    char number[2][NUMBER_TEXT];
};
/* The labels of an axis: the owner of the bins, and the names of the numbers. */
struct histogram_axis {
    const char *title, *number[2];
    int first, n_bins; /* the bins of qk_range_bin_first from `first` on */
    double top;        /* the value of a full bar; 0: the largest one */
};

/* Draws the axis, and below it the lines, each as high as the area allows: (h - 1) / HISTOGRAM_LINES. */
void draw_histogram(struct canvas *canvas, struct area area, const struct histogram_axis *axis,
    const struct histogram_line lines[HISTOGRAM_LINES]);
/* Bars alone, `cells` for each bin, over the height of the area. */
void draw_bins(struct canvas *canvas, struct area area, enum style style, const double *bin, int n_bins,
    int cells, double top);
/* Rows of one of two histograms below each other in `rows`, or all of them where only one fits. */
int histogram_rows(int rows);

#endif
