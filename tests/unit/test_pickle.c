/* test_pickle.c - pickles as PyTorch writes them, opcode by opcode, and all that one could hold besides. */
#include "helper.h"

#include "tensor/torch/pickle.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* Opcodes of protocol 2, as pickletools spells them out. */
#define TEXT1(c) "X\1\0\0\0" c
#define STORAGE(class, key, n) "(X\7\0\0\0storagectorch\n" class "\n" TEXT1(key) "X\3\0\0\0cpu" n "tQ"
#define HOOKS                                                                                                \
    "\x89"                                                                                                   \
    "ccollections\nOrderedDict\n)R"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n("
#define VIEW(storage, offset, shape, strides) REBUILD storage offset shape strides HOOKS "tR"
/* (2, 3) float32 of a storage of its own. */
#define MATRIX VIEW(STORAGE("FloatStorage", "0", "K\6"), "K\0", "K\2K\3\x86", "K\3K\1\x86")
#define DICT(items) "\x80\2ccollections\nOrderedDict\n)R(" items "u."
#define ONE(tensor) DICT(TEXT1("a") tensor)
/* Of a literal that holds NUL characters. */
#define BYTES(literal) literal, sizeof(literal) - 1

static void read_pickle(const char *bytes, size_t n, struct qk_pickle *pickle)
{
    struct qk_error err = {0};
    expect_ok(qk_pickle_read("a.bin", bytes, n, pickle, &err), &err);
}

static void refuse(const char *bytes, size_t n, const char *words)
{
    struct qk_error err = {0};
    struct qk_pickle pickle;
    enum qk_code code = qk_pickle_read("a.bin", bytes, n, &pickle, &err);
    qk_pickle_free(&pickle);
    expect_failure(code, &err, QK_INPUT, "a.bin: ");
    expect_failure(code, &err, QK_INPUT, words);
}

static void accept(const char *bytes, size_t n, size_t tensors)
{
    struct qk_pickle pickle;
    read_pickle(bytes, n, &pickle);
    assert_int_equal(pickle.n, tensors);
    qk_pickle_free(&pickle);
}

/* --- what passes --- */

static void test_tensors(void **state)
{
    struct qk_pickle pickle;
    (void)state;
    read_pickle(BYTES(DICT(TEXT1("b") MATRIX TEXT1("a") VIEW(
                    STORAGE("BFloat16Storage", "7", "M\0\1"), "K\4", "K\2K\1K\3\x87", "K\3K\x63K\1\x87")
                        TEXT1("s") VIEW(STORAGE("LongStorage", "2", "K\1"), "K\0", ")", ")"))),
        &pickle);
    assert_int_equal(pickle.n, 3);
    const struct qk_pickled *b = &pickle.tensor[0], *a = &pickle.tensor[1], *s = &pickle.tensor[2];
    assert_string_equal(b->tensor.name, "b");
    assert_int_equal(b->tensor.dtype, QK_F32);
    assert_string_equal(b->tensor.dtype_text, "F32");
    assert_int_equal(b->tensor.n_dims, 2);
    assert_int_equal(b->tensor.shape[0], 2);
    assert_int_equal(b->tensor.shape[1], 3);
    assert_int_equal(b->tensor.bytes, 24);
    assert_int_equal(b->storage_bytes, 24);
    assert_memory_equal(b->storage, "0", b->storage_length);
    /* Views of a part; strides of dimensions of one element do not matter. */
    assert_int_equal(a->tensor.dtype, QK_BF16);
    assert_int_equal(a->tensor.offset, 8);
    assert_int_equal(a->tensor.bytes, 12);
    assert_int_equal(a->storage_bytes, 512);
    assert_int_equal(s->tensor.n_dims, 0);
    assert_int_equal(s->tensor.bytes, 8);
    qk_pickle_free(&pickle);
}

static void test_forms(void **state)
{
    (void)state;
    accept(BYTES("\x80\2}" TEXT1("a") MATRIX "s."), 1);
    accept(BYTES("\x80\2}(X\5\0\0\0epochK\3" TEXT1("x") "G\x3f\xf0\0\0\0\0\0\0X\12\0\0\0state_dict}" TEXT1(
               "a") MATRIX "su."),
        1);
    accept(BYTES("\x80\2}(X\5\0\0\0model}(" TEXT1("a") MATRIX TEXT1("b") MATRIX "uX\3\0\0\0opt](K\1e"
                                                                                "u."),
        2);
    /* A tensor that is called like the dict. */
    accept(BYTES(DICT("X\5\0\0\0model" MATRIX)), 1);
    /* Memo, protocol 4, parameters, attributes, an empty tensor, one with a large number in LONG1. */
    accept(BYTES(DICT(TEXT1("a") MATRIX "q\0" TEXT1("b") "h\0" TEXT1("c") "j\0\0\0\0")), 3);
    accept(BYTES("\x80\4\x95\1\0\0\0\0\0\0\0\x8c\xb"
                 "collections\x94\x8c\xbOrderedDict\x94\x93\x94)R\x94" TEXT1("a") MATRIX "s."),
        1);
    accept(BYTES(DICT(TEXT1("a") "ctorch._utils\n_rebuild_parameter\n" MATRIX "\x88"
                                 "ccollections\nOrderedDict\n)R"
                                 "\x87R")),
        1);
    accept(BYTES("\x80\2ccollections\nOrderedDict\n)R" TEXT1("a") MATRIX "s}X\11\0\0\0_metadata}sb."), 1);
    accept(BYTES(ONE(VIEW(STORAGE("FloatStorage", "0", "K\0"), "K\0", "K\0K\5\x86", "K\5K\1\x86"))), 1);
    accept(BYTES(ONE(VIEW(STORAGE("FloatStorage", "0", "\x8a\5\0\0\0\0\1"), "\x8a\5\0\0\0\0\0",
               "\x8a\1\1\x85", "K\1\x85"))),
        1);
    accept(BYTES(ONE(
               "ctorch._utils\n_rebuild_tensor_v3\n((X\7\0\0\0storagectorch.storage\nUntypedStorage\n" TEXT1(
                   "0") "X\3\0\0\0cpuK\6tQK\0K\6\x85K\1\x85" HOOKS "ctorch\nfloat8_e4m3fn\ntR")),
        1);
    accept(BYTES("\x80\2}(" TEXT1("a") MATRIX TEXT1("n") "N" TEXT1("t") TEXT1("t") "u."), 1);
}

/* What trainers leave beside the tensors, as torch.save and pickle write it. */
static void test_passed_over(void **state)
{
#define BESIDE(value) BYTES(DICT(TEXT1("a") MATRIX TEXT1("b") value)), 1
#define AROUND(value)                                                                                        \
    BYTES("\x80\2}(X\4\0\0\0args](" value TEXT1("x") value "eX\5\0\0\0model}" TEXT1("a") MATRIX "su."), 1
#define PASSED(value)                                                                                        \
    accept(BESIDE(value));                                                                                   \
    accept(AROUND(value))
    (void)state;
    PASSED("ctorch\nSize\nK\2K\3\x86\x85R");
    PASSED("ctorch\nSize\n)\x85R");
    PASSED("ctorch\nbfloat16\n");
    PASSED("ctorch\nfloat32\n");
    PASSED("ctorch\ncomplex128\n");
    PASSED("ctorch\nfloat8_e4m3fn\n");
    PASSED("ctorch\ndevice\nX\4\0\0\0cudaK\0\x86R");
    PASSED("ctorch\ndevice\nX\3\0\0\0cpu\x85R");
    PASSED("c__builtin__\nset\n](K\1K\2e\x85R");
    PASSED("c__builtin__\nfrozenset\n]" TEXT1("n") "a\x85R");
    PASSED("cbuiltins\nset\n)R");
    PASSED("\x8f(K\1" TEXT1("n") "\x90");
    PASSED("(K\1K\2\x91");
    /* As the dtype of a tensor without a typed storage of its own. */
    accept(BYTES(ONE(
               "ctorch._utils\n_rebuild_tensor_v3\n((X\7\0\0\0storagectorch.storage\nUntypedStorage\n" TEXT1(
                   "0") "X\3\0\0\0cpuK\6tQK\0K\3\x85K\1\x85" HOOKS "ctorch\nbfloat16\ntR")),
        1);
#undef PASSED
#undef AROUND
#undef BESIDE
}

static void test_refuses_passed_over(void **state)
{
    (void)state;
    refuse(BYTES("ctorch\nSize\n)R."), "a size is not made of");
    refuse(BYTES("ctorch\nSize\nN\x85\x85R."), "a size is not made of");
    refuse(BYTES("ctorch\nSize\n]K\1a\x85R."), "a size is not made of");
    refuse(BYTES("ctorch\ndevice\n)R."), "a device is not made of");
    refuse(BYTES("ctorch\ndevice\nK\1\x85R."), "a device is not made of");
    refuse(BYTES("ctorch\ndevice\n" TEXT1("c") "N\x86R."), "a device is not made of");
    refuse(BYTES("c__builtin__\nset\nN\x85R."), "a set is not made of");
    refuse(BYTES("c__builtin__\nset\n]]\x86R."), "a set is not made of");
    refuse(BYTES("](K\1\x90."), "adds items to a value that takes no items");
    refuse(BYTES("\x8fK\1\x90."), "no mark");
    refuse(BYTES("(\x90."), "adds items to a value that takes no items");
    refuse(BYTES("\x91."), "no mark");
    refuse(BYTES("ctorch\nbfloat16\n)R."), "calls torch.bfloat16, which is not a function");
    refuse(BYTES(DICT(TEXT1("a") "ctorch\nSize\n")), "a: found a class, expected a tensor");
    refuse(BYTES(DICT(TEXT1("a") "ctorch\nbfloat16\n")), "no tensors in its state dict");
    refuse(BYTES("\x8f."), "holds a set, not a state dict");
    /* Names beside those that are known. */
    refuse(BYTES("ctorch\nsize\n."), "uses torch.size,");
    refuse(BYTES("ctorch\nGenerator\n."), "uses torch.Generator,");
    refuse(BYTES("cbuiltins\nbytearray\n."), "uses builtins.bytearray,");
    refuse(BYTES("c__builtin__\ngetattr\n."), "uses __builtin__.getattr,");
    refuse(BYTES("cargparse\nNamespace\n."), "uses argparse.Namespace,");
    refuse(BYTES(ONE(
               "ctorch._utils\n_rebuild_tensor_v3\n((X\7\0\0\0storagectorch.storage\nUntypedStorage\n" TEXT1(
                   "0") "X\3\0\0\0cpuK\6tQK\0K\3\x85K\1\x85" HOOKS "ctorch\ncomplex32\ntR")),
        "storage and its dtype do not fit");
}

/* --- what would run something --- */

static void test_refuses_code(void **state)
{
    (void)state;
    refuse(BYTES("\x80\2cos\nsystem\nX\4\0\0\0true\x85R."),
        "the pickle uses os.system, which a checkpoint does not need");
    refuse(BYTES("cposix\nsystem\n(X\4\0\0\0truetR."), "uses posix.system,");
    refuse(BYTES("\x80\2cbuiltins\neval\nX\4\0\0\0true\x85R."), "uses builtins.eval,");
    refuse(BYTES("\x80\4\x8c\2os\x94\x8c\6system\x94\x93."), "uses os.system,");
    refuse(BYTES("\x80\4\x8c\5torch\x8c\4load\x93."), "uses torch.load,");
    refuse(BYTES("\x80\4K\1K\2\x93."), "found a whole number, expected a text");
    refuse(BYTES("(ios\nsystem\n."), "uses os.system,");
    refuse(BYTES("(ccollections\nOrderedDict\no."), "opcode 0x6f (OBJ)");
    refuse(BYTES("ccollections\nOrderedDict\n)\x81."), "opcode 0x81 (NEWOBJ)");
    refuse(BYTES("\x82\1."), "opcode 0x82 (EXT1)");
    refuse(BYTES("\xff."), "opcode 0xff,");
    refuse(BYTES("(icollections\nOrderedDict\n."), "opcode 0x69 (INST)");
    refuse(BYTES("ctorch\nFloatStorage\n)R."), "calls torch.FloatStorage, which is not a function");
    refuse(BYTES("K\1)R."), "found a whole number, expected a class");
    refuse(BYTES("ccollections\nOrderedDict\nK\1R."), "expected a tuple");
    refuse(BYTES("ccollections\nOrderedDict\n]\x85R."), "an OrderedDict is made with arguments");
    refuse(BYTES("]}b."), "found a list, expected a dict");
    refuse(BYTES("}K\1b."), "found a whole number, expected a dict");
    refuse(BYTES("c\33[2J\n\n."), "uses \\x1b[2J.,");
}

/* --- unsound pickles --- */

static void test_refuses_broken(void **state)
{
    char whole[] = ONE(MATRIX);
    struct qk_error err = {0};
    struct qk_pickle pickle;
    (void)state;
    for (size_t n = 0; n < sizeof whole - 1; n++) { /* each way of being cut short */
        enum qk_code code = qk_pickle_read("a.bin", whole, n, &pickle, &err);
        qk_pickle_free(&pickle);
        expect_failure(code, &err, QK_INPUT, "the pickle is broken: ");
    }
    refuse(BYTES("."), "takes more from its stack");
    refuse(BYTES("(."), "takes more from its stack");
    refuse(BYTES("t."), "no mark");
    refuse(BYTES("(K\1\x86."), "takes more from its stack");
    refuse(BYTES("}(K\1u."), "a key has no value");
    refuse(BYTES("](K\1K\2u."), "adds items to a value that takes no items");
    refuse(BYTES("}(K\1K\2s."), "adds items to a value that takes no items");
    refuse(BYTES("h\0."), "memo slot that is empty");
    refuse(BYTES("}}."), "ends before its last byte");
    refuse(BYTES("}.."), "ends before its last byte");
    refuse(BYTES("\x80\6}."), "of protocol 6 (at most 5)");
    refuse(BYTES("X\xff\xff\xff\xff."), "cut short (found 6 bytes, expected 4294967295 more");
    refuse(BYTES("X\2\0\0\0\xc0\xaf."), "not UTF-8");
    refuse(BYTES("\x8a\xff"
                 "12345678."),
        "whole number of 255 bytes (at most 8)");
    refuse(BYTES("\x8a\x9"
                 "123456789."),
        "whole number of 9 bytes");
    refuse(BYTES("K\1q\1."), "memo slot 1 before slot 0");
    refuse(BYTES("K\1r\xff\xff\xff\xff."), "memo slot 4294967295 before slot 0");
    refuse(BYTES("(q\0."), "takes more from its stack");
    refuse(BYTES("K\1Q."), "expected a tuple");
    refuse(BYTES(")Q."), "no storage");
    refuse(BYTES("(X\6\0\0\0modulectorch\nFloatStorage\n" TEXT1("0") TEXT1("c") "K\1tQ."), "no storage");
    refuse(
        BYTES("(X\7\0\0\0storageccollections\nOrderedDict\n" TEXT1("0") TEXT1("c") "K\1tQ."), "no storage");
    refuse(BYTES(STORAGE("FloatStorage", "0", "J\xff\xff\xff\xff") "."), "no storage");
}

static void test_refuses_tensors(void **state)
{
    (void)state;
#define OF6 STORAGE("FloatStorage", "0", "K\6")
#define LONG(bytes) "\x8a\10" bytes
#define LARGE LONG("\0\0\0\0\0\0\0\x40")
    refuse(BYTES(ONE(VIEW(OF6, "K\0", "K\2K\3\x86", "K\1K\2\x86"))), "a: is a view that is not contiguous");
    refuse(BYTES(ONE(VIEW(OF6, "K\0", "K\2\x85", "K\2\x85"))), "a: is a view that is not contiguous");
    refuse(BYTES(ONE(VIEW(OF6, "K\5", "K\2\x85", "J\xff\xff\xff\xff\x85"))), "not contiguous");
    refuse(BYTES(ONE(VIEW(OF6, "K\0", "K\2K\3\x86", "K\0K\1\x86"))), "not contiguous");
    refuse(BYTES(ONE(VIEW(OF6, "K\1", "K\2K\3\x86", "K\3K\1\x86"))), "a: runs past the end of its storage");
    refuse(BYTES(ONE(VIEW(OF6, "K\7", "K\0\x85", "K\1\x85"))), "a: runs past the end of its storage");
    refuse(BYTES(ONE(VIEW(OF6, "J\xff\xff\xff\xff", "K\2\x85", "K\1\x85"))), "begins outside of its storage");
    refuse(BYTES(ONE(VIEW(OF6, LARGE, "K\2\x85", "K\1\x85"))), "begins outside of its storage");
    refuse(BYTES(ONE(VIEW(OF6, LONG("\xff\xff\xff\xff\xff\xff\xff\x3f"), "K\2\x85", "K\1\x85"))),
        "runs past the end of its storage");
    refuse(BYTES(ONE(VIEW(OF6, "K\0", LARGE "K\4\x86", "K\4K\1\x86"))), "the product of its shape overflows");
    refuse(BYTES(ONE(VIEW(OF6, "K\0", "J\xff\xff\xff\xff\x85", "K\1\x85"))), "a negative number");
    refuse(BYTES(ONE(VIEW(OF6, "K\0", "K\2K\3\x86", "K\1\x85"))), "another number of strides");
    refuse(BYTES(ONE(VIEW(OF6, "K\0", "K\2N\x86", "K\3K\1\x86"))), "not made of storage");
    refuse(BYTES(ONE(VIEW(OF6, "K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1K\1t", ")"))),
        "not made of storage, offset, shape and strides");
    refuse(BYTES(ONE(VIEW(STORAGE("FloatStorage", "0", LARGE), "K\0", "K\1\x85", "K\1\x85"))),
        "a: the size of its storage overflows");
    refuse(BYTES(ONE(VIEW("N", "K\0", "K\1\x85", "K\1\x85"))), "not made of storage");
    refuse(BYTES(ONE(REBUILD "tR")), "not made of storage");
    refuse(BYTES(ONE("ctorch._utils\n_rebuild_tensor_v3\n(" OF6 "K\0K\6\x85K\1\x85" HOOKS
                     "ctorch\nfloat8_e5m2\ntR")),
        "storage and its dtype do not fit");
    refuse(BYTES(ONE("ctorch._utils\n_rebuild_parameter\nN\x88N\x87R")), "a parameter is not made of");
}

static void test_refuses_dicts(void **state)
{
    (void)state;
    refuse(BYTES("\x80\2]."), "holds a list, not a state dict");
    refuse(BYTES(MATRIX "."), "holds a tensor, not a state dict");
    refuse(BYTES("}."), "no tensors in its state dict");
    refuse(BYTES(DICT(TEXT1("a") "K\1")), "no tensors in its state dict");
    refuse(BYTES(DICT(TEXT1("a") MATRIX TEXT1("d") "}")), "d: found a dict, expected a tensor");
    refuse(BYTES(DICT("K\1" MATRIX)), "a key of the state dict is a whole number");
    refuse(BYTES("}X\5\0\0\0model}X\5\0\0\0model}" TEXT1("a") MATRIX "sss."), "model: found a dict");
    refuse(BYTES(DICT("X\2\0\0\0a\0" MATRIX)), "a name has a NUL character");
    refuse(BYTES("}q\0X\5\0\0\0modelh\0s."), "model: found a dict"); /* one that holds itself */
}

/* --- bombs --- */

/* head, `piece` n times over, tail. */
static char *repeated(
    const char *head, const char *piece, size_t n_piece, size_t n, const char *tail, size_t *size)
{
    size_t n_head = strlen(head), n_tail = strlen(tail);
    *size = n_head + n * n_piece + n_tail;
    char *bytes = malloc(*size);
    assert_non_null(bytes);
    memcpy(bytes, head, n_head);
    for (size_t i = 0; i < n; i++)
        memcpy(bytes + n_head + i * n_piece, piece, n_piece);
    memcpy(bytes + n_head + n * n_piece, tail, n_tail);
    return bytes;
}

static void refuse_repeated(
    const char *head, const char *piece, size_t n_piece, size_t n, const char *tail, const char *words)
{
    size_t size;
    char *bytes = repeated(head, piece, n_piece, n, tail, &size);
    refuse(bytes, size, words);
    free(bytes);
}

static void test_bombs(void **state)
{
    struct rusage usage;
    (void)state;
    size_t size;
    char *nest = repeated("", "]", 1, 500000, "", &size);
    nest = realloc(nest, 2 * size);
    assert_non_null(nest);
    memset(nest + size, 'a', size - 1);
    nest[2 * size - 1] = '.';
    refuse(nest, 2 * size, "holds a list, not a state dict");
    free(nest);
    refuse_repeated("", "]", 1, 5 << 20, ".", "too many ");
    refuse_repeated("", "(", 1, 5 << 20, ".", "too many values on its stack (at most 1048576)");
    refuse_repeated("N", "\x85", 1, 5 << 20, ".", "too many objects (at most 1048576)");
    refuse_repeated("N", "\x94", 1, 5 << 20, ".", "too many memo slots (at most 4194304)");
    refuse_repeated("]", "(NNNNNNNNe", 10, 5 << 20, ".", "too many items (at most 4194304)");
    /* A long name from the memo, as the name of many tensors. */
    enum { NAME = 4095, PAIRS = 200000 };
    struct qk_error err = {0};
    struct qk_pickle pickle;
    static const char begin[] = "}(X\xff\x0f\0\0", tensor[] = "q\0" MATRIX "q\1";
    char *bytes = malloc(sizeof begin + NAME + sizeof tensor + 4 * PAIRS + 2);
    assert_non_null(bytes);
    size_t n = sizeof begin - 1;
    memcpy(bytes, begin, n);
    memset(bytes + n, 'n', NAME);
    n += NAME;
    memcpy(bytes + n, tensor, sizeof tensor - 1);
    n += sizeof tensor - 1;
    for (size_t i = 0; i < PAIRS; i++, n += 4)
        memcpy(bytes + n, "h\0h\1", 4);
    bytes[n++] = 'u';
    bytes[n++] = '.';
    enum qk_code code = qk_pickle_read("a.bin", bytes, n, &pickle, &err);
    qk_pickle_free(&pickle);
    free(bytes);
    expect_failure(code, &err, QK_INPUT, "a name is in its state dict twice");
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
#ifndef QK_SANITIZED
    assert_true(usage.ru_maxrss < 600 << 10); /* KiB: the limits of pickle.h, and the largest input here */
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_passed_over),
        cmocka_unit_test(test_refuses_passed_over),
        cmocka_unit_test(test_refuses_code),
        cmocka_unit_test(test_refuses_broken),
        cmocka_unit_test(test_refuses_tensors),
        cmocka_unit_test(test_refuses_dicts),
        cmocka_unit_test(test_bombs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
