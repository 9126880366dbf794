/* format.h - numbers as short text of few cells. */
#ifndef QK_UI_FORMAT_H
#define QK_UI_FORMAT_H

#include "blend/layer_choice.h"
#include "drift/drift.h"

#include <stdbool.h>

enum { NUMBER_TEXT = 16, CHOICE_LABEL = 96 };

/* Writes three significant digits in four cells where possible: "10.6", "9.60", "0.02", "3e-5", "0", "-". */
char *format_number(char out[NUMBER_TEXT], double value);
/* The same with its sign: "+10.6", "−0.02", "0". */
char *format_signed(char out[NUMBER_TEXT], double value, bool ascii);
/* Writes a metric's value in its own unit (per cent, degrees, or a plain number) without the unit. It takes at most
 * `width` cells (5 or more) where that only costs digits. */
char *format_metric(char out[NUMBER_TEXT], enum qk_metric metric, double value, int width);
/* Writes a mass of attention: ".92" in 3 cells, ".924" in 4, "0.924" in more; "-" for NaN. */
char *format_mass(char out[NUMBER_TEXT], double mass, int width);
/* Writes the mode and its parameter: "restore", "lerp α 0.5". */
char *format_choice(char out[CHOICE_LABEL], struct qk_choice choice, bool ascii);
/* Writes both roles: "restore", or "Q restore K lerp α 0.25" when they differ. The brief form is "Q restore K lerp
 * 0.25", without a role that is kept; the shortest is "Q rest K lerp 0.25". Where heads of a
 * role differ it is how many of them are chosen: "q 2/4 k 1/2". */
enum choice_length { CHOICE_WHOLE, CHOICE_BRIEF, CHOICE_SHORTEST };
char *format_choices(
    char out[CHOICE_LABEL], const struct qk_layer_choice *choice, bool ascii, enum choice_length length);
/* "3:05" or "1:02:03". */
char *format_seconds(char out[NUMBER_TEXT], double seconds);

#endif
