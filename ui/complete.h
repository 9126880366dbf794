/* complete.h - the words that Tab offers, and paths as they are typed. */
#ifndef QK_UI_COMPLETE_H
#define QK_UI_COMPLETE_H

#include "ui/prompt.h"

/* The typed path, with "~" replaced by the home folder; the caller frees. NULL: no memory. */
char *typed_path(const char *text);
/* The start of the second of two names, which may still be empty; NULL: the text is one name. Spaces belong to a name
 * as long as a file has that name. */
const char *second_path(const char *text);
/* Completions for the action's argument; context is the app. */
prompt_completer complete_argument;

#endif
