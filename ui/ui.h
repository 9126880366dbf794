/* ui.h - the screen: what main calls to open it. */
#ifndef QK_UI_UI_H
#define QK_UI_UI_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

enum qk_color { QK_COLOR_AUTO, QK_COLOR_ALWAYS, QK_COLOR_NEVER };
enum qk_theme { QK_THEME_AUTO, QK_THEME_DARK, QK_THEME_LIGHT };

/* Zero-initialise for the defaults. */
struct qk_ui_options {
    enum qk_color color;    /* AUTO honours NO_COLOR; ALWAYS wins over it */
    enum qk_theme theme;    /* AUTO follows COLORFGBG, else dark */
    bool ascii;             /* no character above 0x7f, in any locale */
    bool readonly;          /* no export in keys, footer and help */
    bool no_needles;        /* needle passes begin on request alone */
    const char *needles;    /* file of their prompts, or NULL: made ones */
    int threads;            /* workers; 0: one a processor */
    const char *recipe;     /* loaded at the start, or NULL */
    const char *warning;    /* why no number can be trusted, or NULL or "" */
    const char *sort;       /* the order of the layers, or NULL: by needle drop once it is known */
    const char *const *set; /* --set texts applied at the start, after the recipe */
    size_t n_set;
    const char *const *cases; /* files to evaluate on; none: those of the folder beside the pair */
    size_t n_cases;
};

/* Opens the pair and runs the screen until the user leaves. The terminal is restored on every way out. QK_USAGE when
 * standard input or output is no terminal or TERM is unknown (the message gives the alternative). */
enum qk_code qk_ui_run(
    const char *pre, const char *post, const struct qk_ui_options *options, struct qk_error *err);

#endif
