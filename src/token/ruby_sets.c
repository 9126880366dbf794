/* ruby_sets.c - the names of sets in Oniguruma 6.9.8 (unicode_property_data.c there), and PCRE2's words for them. */
#include "token/ruby_sets.h"

#include <ctype.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

/* Names are in lower case, without spaces, hyphens and underscores. */
struct named_set {
    const char *name, *other_name;
    const char *items;
    bool complement;
};

/* Those of brackets. */
static const struct named_set posix[] = {{"alnum", "", "\\p{Alphabetic}\\p{Nd}", false},
    {"alpha", "alphabetic", "\\p{Alphabetic}", false}, {"ascii", "", "\\x{00}-\\x{7f}", false},
    {"blank", "", "\\t\\p{Zs}", false}, {"cntrl", "", "\\p{Cc}", false}, {"digit", "", "\\p{Nd}", false},
    {"graph", "", "\\p{White_Space}\\p{Cc}\\p{Cn}\\p{Cs}", true}, {"lower", "", "\\p{Lowercase}", false},
    {"print", "", "\\p{Zl}\\p{Zp}\\p{Cc}\\p{Cn}\\p{Cs}", true}, {"punct", "", "\\p{P}", false},
    {"space", "whitespace", "\\p{White_Space}", false}, {"upper", "", "\\p{Uppercase}", false},
    {"word", "", WORD, false}, {"xdigit", "", "0-9A-Fa-f", false}};

static const struct named_set categories[] = {{"any", "", "\\p{Any}", false},
    {"assigned", "", "\\p{Cn}", true}, {"c", "other", "\\p{C}", false}, {"cc", "control", "\\p{Cc}", false},
    {"cf", "format", "\\p{Cf}", false}, {"cn", "unassigned", "\\p{Cn}", false},
    {"co", "privateuse", "\\p{Co}", false}, {"cs", "surrogate", "\\p{Cs}", false},
    {"l", "letter", "\\p{L}", false}, {"lc", "casedletter", "\\p{Lu}\\p{Ll}\\p{Lt}", false},
    {"ll", "lowercaseletter", "\\p{Ll}", false}, {"lm", "modifierletter", "\\p{Lm}", false},
    {"lo", "otherletter", "\\p{Lo}", false}, {"lt", "titlecaseletter", "\\p{Lt}", false},
    {"lu", "uppercaseletter", "\\p{Lu}", false}, {"m", "mark", "\\p{M}", false},
    {"m", "combiningmark", "\\p{M}", false}, {"mc", "spacingmark", "\\p{Mc}", false},
    {"me", "enclosingmark", "\\p{Me}", false}, {"mn", "nonspacingmark", "\\p{Mn}", false},
    {"n", "number", "\\p{N}", false}, {"nd", "decimalnumber", "\\p{Nd}", false},
    {"nl", "letternumber", "\\p{Nl}", false}, {"no", "othernumber", "\\p{No}", false},
    {"p", "punctuation", "\\p{P}", false}, {"pc", "connectorpunctuation", "\\p{Pc}", false},
    {"pd", "dashpunctuation", "\\p{Pd}", false}, {"pe", "closepunctuation", "\\p{Pe}", false},
    {"pf", "finalpunctuation", "\\p{Pf}", false}, {"pi", "initialpunctuation", "\\p{Pi}", false},
    {"po", "otherpunctuation", "\\p{Po}", false}, {"ps", "openpunctuation", "\\p{Ps}", false},
    {"s", "symbol", "\\p{S}", false}, {"sc", "currencysymbol", "\\p{Sc}", false},
    {"sk", "modifiersymbol", "\\p{Sk}", false}, {"sm", "mathsymbol", "\\p{Sm}", false},
    {"so", "othersymbol", "\\p{So}", false}, {"z", "separator", "\\p{Z}", false},
    {"zl", "lineseparator", "\\p{Zl}", false}, {"zp", "paragraphseparator", "\\p{Zp}", false},
    {"zs", "spaceseparator", "\\p{Zs}", false}};

/* Outside a class, \w also has the fractions and raised digits of Latin-1. */
static const struct named_set letters[] = {{"s", "", "\\p{White_Space}", false},
    {"w", "", WORD "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}", false}, {"d", "", "\\p{Nd}", false},
    {"h", "", "0-9A-Fa-f", false}};

static const struct named_set *find(const struct named_set *sets, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(sets[i].name, name) == 0 || strcmp(sets[i].other_name, name) == 0)
            return &sets[i];
    return NULL;
}
#define FIND(sets, name) find(sets, sizeof(sets) / sizeof(sets)[0], name)

static void take(struct qk_ruby_set *set, const char *items, bool complement)
{
    snprintf(set->items, sizeof set->items, "%s", items);
    set->complement = complement;
    const char *end = strchr(items, '}');
    set->single = strncmp(items, "\\p{", 3) == 0 && end != NULL && end[1] == '\0';
    static const char *const cased[] = {
        "\\p{Ll}", "\\p{Lu}", "\\p{Lt}", "\\p{Lower", "\\p{Upper", "\\p{lower", "\\p{upper"};
    set->cased = false;
    for (size_t i = 0; i < sizeof cased / sizeof cased[0]; i++)
        set->cased = set->cased || strstr(items, cased[i]) != NULL;
}

bool qk_ruby_set_of_letter(char letter, bool in_class, struct qk_ruby_set *set)
{
    const char name[2] = {(char)tolower((unsigned char)letter), '\0'};
    const struct named_set *found = letter != '\0' ? FIND(letters, name) : NULL;
    if (found != NULL && in_class && name[0] == 'w')
        found = FIND(posix, "word");
    if (found != NULL)
        take(set, found->items, isupper((unsigned char)letter));
    return found != NULL;
}

static bool compiles(const char *pattern)
{
    int number;
    PCRE2_SIZE offset;
    pcre2_code *code = pcre2_compile(
        (PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &number, &offset, NULL);
    pcre2_code_free(code);
    return code != NULL;
}

/* Scripts and properties of yes and no, which PCRE2 knows by the same names. Its own names begin with X. */
static bool find_property(const char *name, struct qk_ruby_set *set)
{
    static const char *const own[] = {"xan", "xps", "xsp", "xuc", "xwd"};
    char items[sizeof set->items];
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (strcmp(name, own[i]) == 0)
            return false;
    /* without sc: a script has the characters of its extensions, too */
    snprintf(items, sizeof items, "\\p{sc:%s}", name);
    if (!compiles(items))
        snprintf(items, sizeof items, "\\p{%s}", name);
    if (!compiles(items))
        return false;
    take(set, items, false);
    return true;
}

bool qk_ruby_set_of_name(const char *name, size_t n, bool bracket, struct qk_ruby_set *set)
{
    char plain[QK_SET_NAME];
    size_t length = 0, from = n > 0 && name[0] == '^';
    for (size_t i = from; i < n; i++) {
        if (!bracket && (name[i] == ' ' || name[i] == '-' || name[i] == '_'))
            continue;
        if (length + 1 == sizeof plain || !isalnum((unsigned char)name[i]))
            return false;
        plain[length++] = (char)(bracket ? name[i] : tolower((unsigned char)name[i]));
    }
    plain[length] = '\0';
    if (length == 0)
        return false;
    const struct named_set *found = FIND(posix, plain);
    if (found == NULL && !bracket)
        found = FIND(categories, plain);
    if (found != NULL)
        take(set, found->items, found->complement);
    else if (bracket || !find_property(plain, set))
        return false;
    set->complement = set->complement != (from == 1);
    return true;
}
