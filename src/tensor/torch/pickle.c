/* pickle.c - the stack machine that reads pickles of PyTorch. */
#include "tensor/torch/pickle.h"

#include "base/mem.h"
#include "base/text.h"
#include "tensor/torch/pickle_class.h"
#include "tensor/torch/pickle_op.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A state dict takes some 8 objects, 20 items and 15 memo slots a tensor. */
enum { MAX_OBJECTS = 1 << 20, MAX_ITEMS = 1 << 22, MAX_STACK = 1 << 20, MAX_MEMO = 1 << 22 };
enum { MAX_TENSORS = 1 << 18 };
enum { MAX_KEY = 100 }; /* bytes of a storage's name; torch.save numbers them */
enum { SHOWN = 100 };   /* bytes of a name from the pickle in a message */

/* The refused opcodes that the message names. */
static const struct {
    unsigned char op;
    const char *name;
} REFUSED[] = {{'o', "OBJ"}, {0x81, "NEWOBJ"}, {0x92, "NEWOBJ_EX"}, {0x82, "EXT1"}, {0x83, "EXT2"},
    {0x84, "EXT4"}, {'P', "PERSID"}, {0x97, "NEXT_BUFFER"}, {0x8b, "LONG4"}, {'B', "BINBYTES"},
    {'C', "SHORT_BINBYTES"}};

/* --- values --- */

enum kind {
    V_MARK,
    V_NONE,
    V_BOOL,
    V_INT,
    V_FLOAT,
    V_TEXT,
    V_PLAIN, /* a size or a device */
    V_SET,
    V_CLASS,
    V_TUPLE,
    V_LIST,
    V_DICT,
    V_STORAGE,
    V_TENSOR
};
static const char *const KIND_NAMES[] = {"a mark", "None", "a truth value", "a whole number", "a number",
    "a text", "a size or a device", "a set", "a class", "a tuple", "a list", "a dict", "a storage",
    "a tensor"};

struct value {
    enum kind kind;
    uint32_t length; /* of V_TEXT */
    int64_t number;  /* V_BOOL, V_INT; V_TEXT: where it begins; V_CLASS: its row; else its object */
};

/* Items of a tuple and a list; of a dict, keys and values in turn. V_STORAGE has the class, the key and the number of
 * elements. V_TENSOR has the storage, the offset, the shape, the strides, and the class of the dtype where the
 * storage is untyped. */
struct object {
    struct value *item;
    size_t n, capacity;
};

struct machine {
    const char *name, *bytes;
    size_t n, at;
    struct value *stack, *memo;
    size_t depth, stack_capacity, n_memo, memo_capacity;
    struct object *object;
    size_t n_objects, objects_capacity, n_items;
    struct qk_error *err;
};

static enum qk_code fault(const struct machine *m, const char *what)
{
    return qk_fail(m->err, QK_INPUT, "%s: the pickle is broken: %s (at byte %zu)", m->name, what, m->at);
}

static enum qk_code too_many(const struct machine *m, const char *what, size_t most)
{
    return qk_fail(m->err, QK_INPUT, "%s: the pickle has too many %s (at most %zu)", m->name, what, most);
}

static enum qk_code push(struct machine *m, struct value value)
{
    if (m->depth == MAX_STACK)
        return too_many(m, "values on its stack", MAX_STACK);
    QK_TRY(qk_grow(&m->stack, &m->stack_capacity, m->depth + 1, sizeof *m->stack, m->err));
    m->stack[m->depth++] = value;
    return QK_OK;
}

/* Takes the uppermost value from the stack. */
static enum qk_code pop(struct machine *m, struct value *value)
{
    if (m->depth == 0 || m->stack[m->depth - 1].kind == V_MARK)
        return fault(m, "it takes more from its stack than there is");
    *value = m->stack[--m->depth];
    return QK_OK;
}

static enum qk_code pop_kind(struct machine *m, enum kind kind, struct value *value)
{
    QK_TRY(pop(m, value));
    if (value->kind == kind)
        return QK_OK;
    return qk_fail(m->err, QK_INPUT, "%s: the pickle is broken: found %s, expected %s (at byte %zu)", m->name,
        KIND_NAMES[value->kind], KIND_NAMES[kind], m->at);
}

/* *first = the place in the stack behind the uppermost mark. */
static enum qk_code find_mark(const struct machine *m, size_t *first)
{
    for (*first = m->depth; *first > 0; --*first)
        if (m->stack[*first - 1].kind == V_MARK)
            return QK_OK;
    return fault(m, "there is no mark on its stack");
}

static struct object *object_of(const struct machine *m, struct value value)
{
    return &m->object[value.number];
}

static enum qk_code add_items(struct machine *m, struct object *object, const struct value *item, size_t n)
{
    if (n > MAX_ITEMS - m->n_items)
        return too_many(m, "items", MAX_ITEMS);
    QK_TRY(qk_grow(&object->item, &object->capacity, object->n + n, sizeof *object->item, m->err));
    if (n > 0)
        memcpy(object->item + object->n, item, n * sizeof *item);
    object->n += n;
    m->n_items += n;
    return QK_OK;
}

/* Pushes a new object with the n items, which may be on the stack from `first` on. */
static enum qk_code push_object(struct machine *m, enum kind kind, size_t first, size_t n)
{
    if (m->n_objects == MAX_OBJECTS)
        return too_many(m, "objects", MAX_OBJECTS);
    QK_TRY(qk_grow(&m->object, &m->objects_capacity, m->n_objects + 1, sizeof *m->object, m->err));
    struct value value = {.kind = kind, .number = (int64_t)m->n_objects};
    struct object *object = &m->object[m->n_objects++];
    if (kind == V_TUPLE) { /* it never grows, and most hold two or three */
        QK_TRY(qk_alloc(&object->item, n, sizeof *object->item, m->err));
        object->capacity = n;
    }
    if (n > 0) /* otherwise there may be no stack yet */
        QK_TRY(add_items(m, object, m->stack + first, n));
    m->depth = first;
    return push(m, value);
}

static const struct qk_pickle_class *class_of(struct value value)
{
    return &qk_pickle_classes[value.number];
}

static bool text_is(const struct machine *m, struct value value, const char *text)
{
    return value.kind == V_TEXT && value.length == strlen(text) &&
           memcmp(m->bytes + value.number, text, value.length) == 0;
}

/* --- operands --- */

/* *at = the place of the next n bytes. */
static enum qk_code take(struct machine *m, uint64_t n, size_t *at)
{
    if (n > m->n - m->at)
        return qk_fail(m->err, QK_INPUT,
            "%s: the pickle is broken: it is cut short (found %zu bytes, expected %llu more at byte %zu)",
            m->name, m->n, (unsigned long long)n, m->at);
    *at = m->at;
    m->at += (size_t)n;
    return QK_OK;
}

/* Reads n little-endian bytes. */
static enum qk_code take_number(struct machine *m, int n, uint64_t *number)
{
    size_t at = 0;
    QK_TRY(take(m, (uint64_t)n, &at));
    *number = 0;
    for (int i = n; i-- > 0;)
        *number = *number << 8 | (unsigned char)m->bytes[at + (size_t)i];
    return QK_OK;
}

/* Reads a text behind its length of `width` bytes. */
static enum qk_code take_text(struct machine *m, int width)
{
    uint64_t n = 0;
    size_t at = 0;
    QK_TRY(take_number(m, width, &n));
    QK_TRY(take(m, n, &at));
    if (!qk_utf8_valid(m->bytes + at, (size_t)n))
        return fault(m, "a text is not UTF-8");
    return push(m, (struct value){.kind = V_TEXT, .length = (uint32_t)n, .number = (int64_t)at});
}

/* Reads the text up to the end of the line. */
static enum qk_code take_line(struct machine *m, struct value *line)
{
    const char *end = memchr(m->bytes + m->at, '\n', m->n - m->at);
    if (end == NULL)
        return fault(m, "a line does not end");
    size_t n = (size_t)(end - m->bytes) - m->at;
    *line = (struct value){.kind = V_TEXT, .length = (uint32_t)n, .number = (int64_t)m->at};
    m->at += n + 1;
    return QK_OK;
}

static enum qk_code push_int(struct machine *m, int64_t number)
{
    return push(m, (struct value){.kind = V_INT, .number = number});
}

/* Reads a number in two's complement behind its length of one byte. */
static enum qk_code take_long(struct machine *m)
{
    uint64_t n = 0, number = 0;
    QK_TRY(take_number(m, 1, &n));
    if (n > 8)
        return qk_fail(m->err, QK_INPUT, "%s: the pickle has a whole number of %llu bytes (at most 8)",
            m->name, (unsigned long long)n);
    QK_TRY(take_number(m, (int)n, &number));
    if (n > 0 && n < 8 && number >> (8 * n - 1) != 0)
        number |= UINT64_MAX << (8 * n);
    return push_int(m, (int64_t)number);
}

/* --- classes and calls --- */

static int shown(struct value text)
{
    return text.length < SHOWN ? (int)text.length : SHOWN;
}

static enum qk_code push_class(struct machine *m, struct value module, struct value name)
{
    int row =
        qk_pickle_class_find(m->bytes + module.number, module.length, m->bytes + name.number, name.length);
    if (row >= 0)
        return push(m, (struct value){.kind = V_CLASS, .number = row});
    return qk_fail(m->err, QK_INPUT, "%s: the pickle uses %.*s.%.*s, which a checkpoint does not need",
        m->name, shown(module), m->bytes + module.number, shown(name), m->bytes + name.number);
}

static enum qk_code take_class(struct machine *m)
{
    struct value module = {0}, name = {0};
    QK_TRY(take_line(m, &module));
    QK_TRY(take_line(m, &name));
    return push_class(m, module, name);
}

static enum qk_code pop_class(struct machine *m)
{
    struct value module = {0}, name = {0};
    QK_TRY(pop_kind(m, V_TEXT, &name));
    QK_TRY(pop_kind(m, V_TEXT, &module));
    return push_class(m, module, name);
}

/* ("storage", class, key, location, number of elements) -> a storage. */
static enum qk_code load_storage(struct machine *m)
{
    struct value id = {0};
    QK_TRY(pop_kind(m, V_TUPLE, &id));
    const struct object *tuple = object_of(m, id);
    const struct value *item = tuple->item;
    if (tuple->n != 5 || !text_is(m, item[0], "storage") || item[1].kind != V_CLASS ||
        item[2].kind != V_TEXT || item[4].kind != V_INT || item[4].number < 0)
        return fault(m, "it refers to something outside that is no storage");
    enum qk_pickle_what what = class_of(item[1])->what;
    if (what != QK_PICKLE_TYPED && what != QK_PICKLE_UNTYPED)
        return fault(m, "it refers to something outside that is no storage");
    if (item[2].length > MAX_KEY)
        return fault(m, "the name of a storage is too long");
    struct value parts[] = {item[1], item[2], item[4]};
    for (int i = 0; i < 3; i++)
        QK_TRY(push(m, parts[i]));
    return push_object(m, V_STORAGE, m->depth - 3, 3);
}

static bool is_shape(const struct machine *m, struct value value)
{
    if (value.kind != V_TUPLE)
        return false;
    const struct object *tuple = object_of(m, value);
    if (tuple->n > QK_MAX_DIMS)
        return false;
    for (size_t i = 0; i < tuple->n; i++)
        if (tuple->item[i].kind != V_INT)
            return false;
    return true;
}

static bool is_dtype(struct value value)
{
    return value.kind == V_CLASS && class_of(value)->what == QK_PICKLE_DTYPE;
}

static bool is_dtype_of_tensors(struct value value)
{
    return is_dtype(value) && class_of(value)->dtype != QK_DTYPE_OTHER;
}

/* (storage, offset, shape, strides, requires_grad, hooks[, dtype][, metadata]) -> a tensor. */
static enum qk_code rebuild_tensor(struct machine *m, const struct object *arguments, bool with_dtype)
{
    const struct value *argument = arguments->item;
    size_t least = with_dtype ? 7 : 6;
    if (arguments->n < least || arguments->n > least + 1 || argument[0].kind != V_STORAGE ||
        argument[1].kind != V_INT || !is_shape(m, argument[2]) || !is_shape(m, argument[3]))
        return fault(m, "a tensor is not made of storage, offset, shape and strides of few dimensions");
    enum qk_pickle_what storage = class_of(object_of(m, argument[0])->item[0])->what;
    if (storage != (with_dtype ? QK_PICKLE_UNTYPED : QK_PICKLE_TYPED) ||
        (with_dtype && !is_dtype_of_tensors(argument[6])))
        return fault(m, "a tensor's storage and its dtype do not fit");
    size_t n = with_dtype ? 5 : 4;
    struct value parts[] = {argument[0], argument[1], argument[2], argument[3], argument[n == 5 ? 6 : 0]};
    for (size_t i = 0; i < n; i++)
        QK_TRY(push(m, parts[i]));
    return push_object(m, V_TENSOR, m->depth - n, n);
}

/* torch.Size((2, 3)), torch.device("cuda", 0), set([...]): only their kind is kept. */
static enum qk_code make_inert(struct machine *m, const struct object *arguments, enum qk_pickle_what what)
{
    const struct value *argument = arguments->item;
    size_t n = arguments->n;
    switch (what) {
    case QK_PICKLE_SIZE:
        if (n != 1 || !is_shape(m, argument[0]))
            return fault(m, "a size is not made of a few whole numbers");
        return push(m, (struct value){.kind = V_PLAIN});
    case QK_PICKLE_DEVICE:
        if (n < 1 || n > 2 || argument[0].kind != V_TEXT || (n == 2 && argument[1].kind != V_INT))
            return fault(m, "a device is not made of a name and a number");
        return push(m, (struct value){.kind = V_PLAIN});
    default:
        if (n > 1 || (n == 1 && argument[0].kind != V_LIST && argument[0].kind != V_TUPLE))
            return fault(m, "a set is not made of a list");
        return push(m, (struct value){.kind = V_SET});
    }
}

/* A call runs nothing: it makes one of the few known objects. */
static enum qk_code call(struct machine *m)
{
    struct value arguments = {0}, callee = {0};
    QK_TRY(pop_kind(m, V_TUPLE, &arguments));
    QK_TRY(pop_kind(m, V_CLASS, &callee));
    const struct object *tuple = object_of(m, arguments);
    const struct qk_pickle_class *class = class_of(callee);
    switch (class->what) {
    case QK_PICKLE_ORDERED_DICT:
        if (tuple->n != 0)
            return fault(m, "an OrderedDict is made with arguments");
        return push_object(m, V_DICT, m->depth, 0);
    case QK_PICKLE_REBUILD_V2:
    case QK_PICKLE_REBUILD_V3:
        return rebuild_tensor(m, tuple, class->what == QK_PICKLE_REBUILD_V3);
    case QK_PICKLE_REBUILD_PARAMETER: /* (tensor, requires_grad, hooks) */
        if (tuple->n != 3 || tuple->item[0].kind != V_TENSOR)
            return fault(m, "a parameter is not made of a tensor");
        return push(m, tuple->item[0]);
    case QK_PICKLE_SIZE:
    case QK_PICKLE_DEVICE:
    case QK_PICKLE_SET:
        return make_inert(m, tuple, class->what);
    default:
        return qk_fail(m->err, QK_INPUT, "%s: the pickle calls %s.%s, which is not a function", m->name,
            class->module, class->name);
    }
}

/* Skips the attributes of an OrderedDict ("_metadata", versions of modules): they do not concern its tensors. */
static enum qk_code set_attributes(struct machine *m)
{
    struct value attributes, of = {0};
    QK_TRY(pop_kind(m, V_DICT, &attributes));
    QK_TRY(pop_kind(m, V_DICT, &of));
    return push(m, of);
}

/* --- containers and memo --- */

/* Adds the values on the stack from `first` on to the dict or list below them, or below the mark under them. */
static enum qk_code add_to_container(struct machine *m, enum kind kind, size_t first, bool marked)
{
    size_t n = m->depth - first, below = first - marked;
    if (below == 0 || m->stack[below - 1].kind != kind)
        return fault(m, "it adds items to a value that takes no items");
    if (kind == V_DICT && n % 2 != 0)
        return fault(m, "a key has no value");
    QK_TRY(add_items(m, object_of(m, m->stack[below - 1]), m->stack + first, n));
    m->depth = below;
    return QK_OK;
}

/* The n uppermost values, without a mark among them. */
static enum qk_code uppermost(const struct machine *m, size_t n, size_t *first)
{
    for (size_t i = 1; i <= n; i++)
        if (i > m->depth || m->stack[m->depth - i].kind == V_MARK)
            return fault(m, "it takes more from its stack than there is");
    *first = m->depth - n;
    return QK_OK;
}

/* Picklers number the slots of the memo one after the other. A slot far off would be a request for memory. */
static enum qk_code put(struct machine *m, uint64_t slot)
{
    size_t top = 0;
    QK_TRY(uppermost(m, 1, &top));
    if (slot > m->n_memo)
        return qk_fail(m->err, QK_INPUT, "%s: the pickle uses memo slot %llu before slot %zu", m->name,
            (unsigned long long)slot, m->n_memo);
    if (slot == MAX_MEMO)
        return too_many(m, "memo slots", MAX_MEMO);
    QK_TRY(qk_grow(&m->memo, &m->memo_capacity, (size_t)slot + 1, sizeof *m->memo, m->err));
    m->memo[slot] = m->stack[top];
    m->n_memo += slot == m->n_memo;
    return QK_OK;
}

static enum qk_code get(struct machine *m, uint64_t slot)
{
    if (slot >= m->n_memo)
        return fault(m, "it reads a memo slot that is empty");
    return push(m, m->memo[slot]);
}

/* --- the machine --- */

static enum qk_code refuse(struct machine *m, unsigned op)
{
    struct value module = {0}, name = {0};
    if (op == INST) { /* names the function that it would call */
        QK_TRY(take_line(m, &module));
        QK_TRY(take_line(m, &name));
        QK_TRY(push_class(m, module, name));
    }
    const char *known = op == INST ? "INST" : NULL;
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++)
        if (REFUSED[i].op == op)
            known = REFUSED[i].name;
    return qk_fail(m->err, QK_INPUT,
        "%s: the pickle uses the opcode 0x%02x%s%s%s, which a checkpoint does not need (at byte %zu)",
        m->name, op, known != NULL ? " (" : "", known != NULL ? known : "", known != NULL ? ")" : "",
        m->at - 1);
}

/* Opcodes with a number behind them. */
static enum qk_code step_with_number(struct machine *m, unsigned op, int width)
{
    uint64_t number = 0;
    QK_TRY(take_number(m, width, &number));
    switch (op) {
    case PROTO:
        return number <= 5 ? QK_OK
                           : qk_fail(m->err, QK_INPUT, "%s: the pickle is of protocol %llu (at most 5)",
                                 m->name, (unsigned long long)number);
    case FRAME: /* a hint for readers of streams */
        return QK_OK;
    case BINFLOAT:
        return push(m, (struct value){.kind = V_FLOAT});
    case BININT:
        return push_int(m, (int32_t)number);
    case BINPUT:
    case LONG_BINPUT:
        return put(m, number);
    case BINGET:
    case LONG_BINGET:
        return get(m, number);
    default:
        return push_int(m, (int64_t)number);
    }
}

/* Opcodes that move a part of the stack into a container: the upper n values, or with n = 0 all above the mark. */
static enum qk_code step_container(struct machine *m, unsigned op, int n)
{
    size_t first = 0;
    bool marked = n == 0;
    if (marked)
        QK_TRY(find_mark(m, &first));
    else
        QK_TRY(uppermost(m, (size_t)n, &first));
    if (op == APPEND || op == APPENDS)
        return add_to_container(m, V_LIST, first, marked);
    if (op == SETITEM || op == SETITEMS)
        return add_to_container(m, V_DICT, first, marked);
    if (!marked)
        return push_object(m, V_TUPLE, first, m->depth - first);
    QK_TRY(push_object(m, V_TUPLE, first, m->depth - first));
    m->stack[first - 1] = m->stack[first]; /* in the mark's place */
    m->depth--;
    return QK_OK;
}

/* The values above the mark go into a set, of which nothing is kept. */
static enum qk_code step_set(struct machine *m, unsigned op, int number)
{
    (void)number;
    size_t first = 0;
    QK_TRY(find_mark(m, &first));
    m->depth = first - 1;
    if (op == FROZENSET)
        return push(m, (struct value){.kind = V_SET});
    if (m->depth == 0 || m->stack[m->depth - 1].kind != V_SET)
        return fault(m, "it adds items to a value that takes no items");
    return QK_OK;
}

static enum qk_code step_text(struct machine *m, unsigned op, int width)
{
    (void)op;
    return take_text(m, width);
}

static enum qk_code step_value(struct machine *m, unsigned op, int kind)
{
    return push(m, (struct value){.kind = (enum kind)kind, .number = op == NEWTRUE});
}

static enum qk_code step_empty(struct machine *m, unsigned op, int kind)
{
    (void)op;
    return push_object(m, (enum kind)kind, m->depth, 0);
}

static enum qk_code memoize(struct machine *m)
{
    return put(m, m->n_memo);
}

/* The opcodes that a checkpoint may use. `run` gets the opcode and the row's number. That is the number of bytes
 * behind the opcode, the kind of value that it pushes, or how many values it takes. */
static const struct step {
    enum qk_code (*run)(struct machine *m, unsigned op, int number);
    int number;
    enum qk_code (*plain)(struct machine *m); /* for opcodes that need only the machine */
} STEPS[UCHAR_MAX + 1] = {
    [PROTO] = {.run = step_with_number, .number = 1},
    [BININT1] = {.run = step_with_number, .number = 1},
    [BININT2] = {.run = step_with_number, .number = 2},
    [BININT] = {.run = step_with_number, .number = 4},
    [BINPUT] = {.run = step_with_number, .number = 1},
    [BINGET] = {.run = step_with_number, .number = 1},
    [LONG_BINPUT] = {.run = step_with_number, .number = 4},
    [LONG_BINGET] = {.run = step_with_number, .number = 4},
    [FRAME] = {.run = step_with_number, .number = 8},
    [BINFLOAT] = {.run = step_with_number, .number = 8},
    [SHORT_BINUNICODE] = {.run = step_text, .number = 1},
    [BINUNICODE] = {.run = step_text, .number = 4},
    [MARK] = {.run = step_value, .number = V_MARK},
    [NONE] = {.run = step_value, .number = V_NONE},
    [NEWTRUE] = {.run = step_value, .number = V_BOOL},
    [NEWFALSE] = {.run = step_value, .number = V_BOOL},
    [EMPTY_SET] = {.run = step_value, .number = V_SET},
    [EMPTY_TUPLE] = {.run = step_empty, .number = V_TUPLE},
    [EMPTY_LIST] = {.run = step_empty, .number = V_LIST},
    [EMPTY_DICT] = {.run = step_empty, .number = V_DICT},
    [TUPLE] = {.run = step_container, .number = 0},
    [TUPLE1] = {.run = step_container, .number = 1},
    [TUPLE2] = {.run = step_container, .number = 2},
    [TUPLE3] = {.run = step_container, .number = 3},
    [APPEND] = {.run = step_container, .number = 1},
    [APPENDS] = {.run = step_container, .number = 0},
    [SETITEM] = {.run = step_container, .number = 2},
    [SETITEMS] = {.run = step_container, .number = 0},
    [ADDITEMS] = {.run = step_set, .number = 0},
    [FROZENSET] = {.run = step_set, .number = 0},
    [LONG1] = {.plain = take_long},
    [GLOBAL] = {.plain = take_class},
    [STACK_GLOBAL] = {.plain = pop_class},
    [MEMOIZE] = {.plain = memoize},
    [BINPERSID] = {.plain = load_storage},
    [REDUCE] = {.plain = call},
    [BUILD] = {.plain = set_attributes},
};

static enum qk_code step(struct machine *m, unsigned char op)
{
    const struct step *row = &STEPS[op];
    if (row->plain != NULL)
        return row->plain(m);
    return row->run != NULL ? row->run(m, op, row->number) : refuse(m, op);
}

/* *result = the value that is left when the pickle ends. */
static enum qk_code run(struct machine *m, struct value *result)
{
    for (;;) {
        size_t at = 0;
        QK_TRY(take(m, 1, &at));
        unsigned char op = (unsigned char)m->bytes[at];
        if (op == STOP)
            break;
        QK_TRY(step(m, op));
    }
    QK_TRY(pop(m, result));
    return m->depth == 0 && m->at == m->n ? QK_OK : fault(m, "it ends before its last byte");
}

/* --- the state dict --- */

/* The last value of a dict's key, as in Python; NULL without one. */
static const struct value *find_key(const struct machine *m, struct value dict, const char *key)
{
    const struct object *object = object_of(m, dict);
    for (size_t i = object->n; i >= 2; i -= 2)
        if (text_is(m, object->item[i - 2], key))
            return &object->item[i - 1];
    return NULL;
}

static enum qk_code find_state_dict(const struct machine *m, struct value *root)
{
    static const char *const keys[] = {"state_dict", "model", "model_state_dict", "module"};
    if (root->kind != V_DICT)
        return qk_fail(m->err, QK_INPUT, "%s: holds %s, not a state dict", m->name, KIND_NAMES[root->kind]);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct value *inner = find_key(m, *root, keys[i]);
        if (inner != NULL && inner->kind == V_DICT) {
            *root = *inner;
            return QK_OK;
        }
    }
    return QK_OK;
}

/* Fills shape, offset and bytes. Returns what is wrong with a tensor's numbers, or NULL: negative ones, rows that do
 * not follow each other, an end outside of its storage. */
static const char *lay_out(const struct machine *m, const struct object *parts, struct qk_pickled *out)
{
    const struct object *shape = object_of(m, parts->item[2]), *stride = object_of(m, parts->item[3]);
    struct qk_tensor *tensor = &out->tensor;
    uint64_t size = qk_dtype_bits(tensor->dtype) / 8, offset = (uint64_t)parts->item[1].number;
    if (shape->n != stride->n)
        return "has another number of strides than of dimensions";
    if (parts->item[1].number < 0 || __builtin_mul_overflow(offset, size, &tensor->offset))
        return "begins outside of its storage";
    if (qk_tensor_bytes(m->name, tensor, &tensor->bytes, NULL) != QK_OK)
        return "the product of its shape overflows";
    uint64_t step = 1;
    for (size_t i = shape->n; i-- > 0 && tensor->bytes > 0;) {
        if (tensor->shape[i] != 1 && stride->item[i].number != (int64_t)step)
            return "is a view that is not contiguous (transposed or strided): save it with .contiguous()";
        step *= tensor->shape[i];
    }
    if (tensor->offset > out->storage_bytes || tensor->bytes > out->storage_bytes - tensor->offset)
        return "runs past the end of its storage";
    return NULL;
}

static enum qk_code make_tensor(
    const struct machine *m, struct value key, struct value value, struct qk_pickled *out)
{
    const struct object *parts = object_of(m, value), *storage = object_of(m, parts->item[0]),
                        *shape = object_of(m, parts->item[2]);
    const struct value *of_storage = storage->item;
    struct qk_tensor *tensor = &out->tensor;
    QK_TRY(qk_strndup_to(&tensor->name, m->bytes + key.number, key.length, m->err));
    out->storage = m->bytes + of_storage[1].number;
    out->storage_length = of_storage[1].length;
    if (strlen(tensor->name) != key.length || memchr(out->storage, 0, out->storage_length) != NULL)
        return qk_fail(m->err, QK_INPUT, "%s: %s: a name has a NUL character", m->name, tensor->name);
    enum qk_dtype stored = class_of(of_storage[0])->dtype;
    tensor->dtype = parts->n == 5 ? class_of(parts->item[4])->dtype : stored;
    strcpy(tensor->dtype_text, qk_dtype_name(tensor->dtype));
    for (size_t i = 0; i < shape->n; i++) {
        if (shape->item[i].number < 0)
            return qk_fail(
                m->err, QK_INPUT, "%s: %s: its shape holds a negative number", m->name, tensor->name);
        tensor->shape[tensor->n_dims++] = (uint64_t)shape->item[i].number;
    }
    const char *problem = __builtin_mul_overflow((uint64_t)of_storage[2].number,
                              (uint64_t)qk_dtype_bits(stored) / 8, &out->storage_bytes)
                              ? "the size of its storage overflows"
                              : lay_out(m, parts, out);
    return problem == NULL ? QK_OK : qk_fail(m->err, QK_INPUT, "%s: %s: %s", m->name, tensor->name, problem);
}

static enum qk_code add_tensor(
    const struct machine *m, struct value key, struct value value, struct qk_pickle *pickle, size_t *capacity)
{
    if (key.kind != V_TEXT)
        return qk_fail(
            m->err, QK_INPUT, "%s: a key of the state dict is %s, not a text", m->name, KIND_NAMES[key.kind]);
    if (value.kind < V_CLASS || is_dtype(value))
        return QK_OK;
    if (value.kind != V_TENSOR)
        return qk_fail(m->err, QK_INPUT, "%s: %.*s: found %s, expected a tensor", m->name, shown(key),
            m->bytes + key.number, KIND_NAMES[value.kind]);
    if (pickle->n == MAX_TENSORS)
        return too_many(m, "tensors", MAX_TENSORS);
    QK_TRY(qk_grow(&pickle->tensor, capacity, pickle->n + 1, sizeof *pickle->tensor, m->err));
    return make_tensor(m, key, value, &pickle->tensor[pickle->n++]);
}

static enum qk_code collect(struct machine *m, struct qk_pickle *pickle)
{
    struct value root = {0};
    size_t capacity = 0, names = 0;
    QK_TRY(run(m, &root));
    QK_TRY(find_state_dict(m, &root));
    const struct object *dict = object_of(m, root);
    for (size_t i = 0; i < dict->n; i += 2) {
        /* Names that are together longer than the pickle: one of them comes from the memo again and again. */
        names += dict->item[i].length;
        if (names > m->n)
            return fault(m, "a name is in its state dict twice");
        QK_TRY(add_tensor(m, dict->item[i], dict->item[i + 1], pickle, &capacity));
    }
    return pickle->n > 0 ? QK_OK : qk_fail(m->err, QK_INPUT, "%s: no tensors in its state dict", m->name);
}

enum qk_code qk_pickle_read(
    const char *name, const char *bytes, size_t n, struct qk_pickle *pickle, struct qk_error *err)
{
    struct machine m = {.name = name, .bytes = bytes, .n = n, .err = err};
    *pickle = (struct qk_pickle){0};
    if (n > QK_PICKLE_MAX)
        return qk_fail(err, QK_INPUT, "%s: the pickle is too large (found %zu bytes, at most %d)", name, n,
            QK_PICKLE_MAX);
    enum qk_code code = collect(&m, pickle);
    for (size_t i = 0; i < m.n_objects; i++)
        free(m.object[i].item);
    free(m.object);
    free(m.stack);
    free(m.memo);
    return code;
}

void qk_pickle_free(struct qk_pickle *pickle)
{
    for (size_t i = 0; i < pickle->n; i++)
        free(pickle->tensor[i].tensor.name);
    free(pickle->tensor);
    *pickle = (struct qk_pickle){0};
}
