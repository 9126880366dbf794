/* fuzz_pickle.c - any bytes as a PyTorch file, or as the pickle in one: refused with a message,
 * or a table that is sound.
 *
 * An input that begins with "PK" is a file; any other is the pickle alone. */
#include "fuzz.h"

#include "tensor/torch/pickle.h"
#include "tensor/torch/torch.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const char fuzz_name[] = "pickle";
#define STORAGE "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\6tQ"
#define TENSOR                                                                                               \
    "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE "K\0K\2K\3\x86K\3K\1\x86\x89"                             \
    "ccollections\nOrderedDict\n)RtR"
const struct fuzz_seed fuzz_seeds[] = {
    FUZZ_SEED("\x80\2ccollections\nOrderedDict\nq\0)Rq\1(X\1\0\0\0a" TENSOR "X\1\0\0\0b" TENSOR "u."),
    FUZZ_SEED("\x80\2}(X\5\0\0\0epochK\3X\5\0\0\0model}X\1\0\0\0a" TENSOR "sX\3\0\0\0opt](NG12345678eu."),
    FUZZ_SEED("\x80\4\x95\1\0\0\0\0\0\0\0}\x94(\x8c\1a\x94\x8c\13collections\x94\x8c\13OrderedDict\x94\x93)R"
              "}\x8c\1bNsbs.)"),
    FUZZ_SEED("\x80\2}X\1\0\0\0actorch._utils\n_rebuild_tensor_v3\n((X\7\0\0\0storagectorch.storage\n"
              "UntypedStorage\nX\1\0\0\0000X\3\0\0\0cpuK\6tQK\0K\6\x85\x8a\1\1\x85\x89)ctorch\nuint16\ntRs."),
    FUZZ_SEED(
        "\x80\2}("
        "X\1\0\0\0actorch\nSize\nK\2K\3\x86\x85RX\1\0\0\0bctorch\nbfloat16\nX\1\0\0\0cctorch\ndevice\n"
        "X\3\0\0\0cpuK\0\x86RX\1\0\0\0dc__builtin__\nset\n](K\1K\2e\x85RX\1\0\0\0e\x8f(K\1\x90X\1\0\0\0f(K"
        "\1\x91X\1\0\0\0t" TENSOR "u."),
    FUZZ_SEED("PK\003\004\000\000\010\010\000\000\000\000\000\000\000\000\000\000\000\000\000\000"
              "\000\000\000\000\012\000\030\000a/data.pklFB\024\000ZZZZZZZZZZZZZZZZZZZZ\200\002ccol"
              "lections\012OrderedDict\012q\000)Rq\001X\001\000\000\000aq\002ctorch._utils\012_rebu"
              "ild_tensor_v2\012q\003((X\007\000\000\000storageq\004ctorch\012FloatStorage\012q\005"
              "X\001\000\000\0000q\006X\003\000\000\000cpuq\007K\002tq\010QK\000K\002K\001\206q\011"
              "K\001K\001\206q\012\211h\000)Rq\013tq\014Rq\015s}q\016X\011\000\000\000_metadataq"
              "\017}q\020X\000\000\000\000q\021}q\022X\007\000\000\000versionq\023K\001sssb.PK\007"
              "\010<\3277\024\335\000\000\000\335\000\000\000PK\003\004\000\000\010\010\000\000\000"
              "\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\013\000*\000a/byteorder"
              "FB&\000ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZlittlePK\007\010\205=\343\031\006\000"
              "\000\000\006\000\000\000PK\003\004\000\000\010\010\000\000\000\000\000\000\000\000"
              "\000\000\000\000\000\000\000\000\000\000\010\000\004\000a/data/0FB\000\00012345678PK"
              "\007\010\257\332\340\232\010\000\000\000\010\000\000\000PK\003\004\000\000\010\010"
              "\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\011\000A"
              "\000a/versionFB=\000ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ3"
              "\012PK\007\010\321\236gU\002\000\000\000\002\000\000\000PK\001\002\000\000\000\000"
              "\010\010\000\000\000\000\000\000<\3277\024\335\000\000\000\335\000\000\000\012\000"
              "\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000a/data.pklPK\001\002"
              "\000\000\000\000\010\010\000\000\000\000\000\000\205=\343\031\006\000\000\000\006"
              "\000\000\000\013\000\000\000\000\000\000\000\000\000\000\000\000\000-\001\000\000a/b"
              "yteorderPK\001\002\000\000\000\000\010\010\000\000\000\000\000\000\257\332\340\232"
              "\010\000\000\000\010\000\000\000\010\000\000\000\000\000\000\000\000\000\000\000\000"
              "\000\226\001\000\000a/data/0PK\001\002\000\000\000\000\010\010\000\000\000\000\000"
              "\000\321\236gU\002\000\000\000\002\000\000\000\011\000\000\000\000\000\000\000\000"
              "\000\000\000\000\000\330\001\000\000a/versionPK\006\006,\000\000\000\000\000\000\000"
              "\036\003-\000\000\000\000\000\000\000\000\000\004\000\000\000\000\000\000\000\004"
              "\000\000\000\000\000\000\000\336\000\000\000\000\000\000\000R\002\000\000\000\000"
              "\000\000PK\006\007\000\000\000\0000\003\000\000\000\000\000\000\001\000\000\000PK"
              "\005\006\000\000\000\000\004\000\004\000\336\000\000\000R\002\000\000\000\000"),
    /* The same, its records but the storage deflated. */
    FUZZ_SEED("PK\003\004\000\000\010\010\010\000\000\000\000\000\000\000\000\000\000\000\000\000"
              "\000\000\000\000\012\000\030\000a/data.pklFB\024\000ZZZZZZZZZZZZZZZZZZZZ%\217\301j"
              "\0021\030\204\223U\273\232\332\332\332\227\260\027\021\237\241\364\222C\251^r\0131"
              "\033\352Bj\234\374\377z[\350I\360\255\033\36540\3147\303\374U\336\247\030\203\3476"
              "\035H}\345&\344\320|\264\236\025\304\373\006\322H!\204C\3459e\277_\332\216\333H\312"
              "\346\260\353\332\330X\016\007J\331\236\326\012\203\305\302\324%L%\351~\002\206wD}"
              "\306\344x{7\025F\267\302\025\036\314\240\250\?v\250u\305\030\177k\241+-\317\230hy"
              "\025u\331_\367\037\031\323\015\236\250\307\263\231\024\300\376\006v\215c\207Y\217"
              "\027S\034\201\327\036\363\333\362)d*7\360\246%\021\355\226\377PK\007\010<\3277\024"
              "\272\000\000\000\335\000\000\000PK\003\004\000\000\010\010\010\000\000\000\000\000"
              "\000\000\000\000\000\000\000\000\000\000\000\000\013\000\015\000a/byteorderFB\011"
              "\000ZZZZZZZZZ\313\311,)\311I\005\000PK\007\010\205=\343\031\010\000\000\000\006\000"
              "\000\000PK\003\004\000\000\010\010\000\000\000\000\000\000\000\000\000\000\000\000"
              "\000\000\000\000\000\000\010\000B\000a/data/0FB>\000ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ"
              "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ12345678PK\007\010\257\332\340\232\010\000\000\000\010"
              "\000\000\000PK\003\004\000\000\010\010\010\000\000\000\000\000\000\000\000\000\000"
              "\000\000\000\000\000\000\000\011\000A\000a/versionFB=\000ZZZZZZZZZZZZZZZZZZZZZZZZZZZ"
              "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ3\346\002\000PK\007\010\321\236gU\004\000\000\000"
              "\002\000\000\000PK\001\002\000\000\000\000\010\010\010\000\000\000\000\000<\3277\024"
              "\272\000\000\000\335\000\000\000\012\000\000\000\000\000\000\000\000\000\000\000\000"
              "\000\000\000\000\000a/data.pklPK\001\002\000\000\000\000\010\010\010\000\000\000\000"
              "\000\205=\343\031\010\000\000\000\006\000\000\000\013\000\000\000\000\000\000\000"
              "\000\000\000\000\000\000\012\001\000\000a/byteorderPK\001\002\000\000\000\000\010"
              "\010\000\000\000\000\000\000\257\332\340\232\010\000\000\000\010\000\000\000\010\000"
              "\000\000\000\000\000\000\000\000\000\000\000\000X\001\000\000a/data/0PK\001\002\000"
              "\000\000\000\010\010\010\000\000\000\000\000\321\236gU\004\000\000\000\002\000\000"
              "\000\011\000\000\000\000\000\000\000\000\000\000\000\000\000\330\001\000\000a/versio"
              "nPK\006\006,\000\000\000\000\000\000\000\036\003-\000\000\000\000\000\000\000\000"
              "\000\004\000\000\000\000\000\000\000\004\000\000\000\000\000\000\000\336\000\000\000"
              "\000\000\000\000T\002\000\000\000\000\000\000PK\006\007\000\000\000\0002\003\000\000"
              "\000\000\000\000\001\000\000\000PK\005\006\000\000\000\000\004\000\004\000\336\000"
              "\000\000T\002\000\000\000\000")};
const size_t n_fuzz_seeds = sizeof fuzz_seeds / sizeof fuzz_seeds[0];
const char *const fuzz_words[] = {"ctorch._utils\n_rebuild_tensor_v2\n",
    "ctorch._utils\n_rebuild_parameter\n", "ccollections\nOrderedDict\n", "ctorch\nHalfStorage\n",
    "cos\nsystem\n", "ctorch\nSize\n", "ctorch\ndevice\n", "ctorch\nbfloat16\n", "c__builtin__\nset\n",
    "\x8f", "\x90", "\x91", "\x8a\7\377\377\377\377\377\377\177", "J\377\377\377\377", "PK\1\2", "PK\3\4",
    "PK\5\6", "PK\6\6", "}", "(", "t", "u", ")", "R", "b", "]", "e", "\x85", "\x94", "Q", ".", NULL};

/* The description of a tensor must hold for any input. */
static void check_tensor(const struct qk_tensor *tensor, uint64_t room)
{
    uint64_t bytes;
    char text[QK_SHAPE_TEXT];
    fuzz_check(tensor->n_dims >= 0 && tensor->n_dims <= QK_MAX_DIMS, "dimensions");
    fuzz_check(qk_tensor_bytes("fuzz", tensor, &bytes, NULL) == QK_OK && bytes == tensor->bytes, "bytes");
    fuzz_check(
        tensor->offset <= room && tensor->bytes <= room - tensor->offset, "tensors lie in their place");
    fuzz_check(strlen(qk_shape_text(text, tensor)) < QK_SHAPE_TEXT, "shape text");
}

static void read_pickle(const uint8_t *data, size_t size)
{
    struct qk_pickle pickle;
    struct qk_error err = {0};
    enum qk_code code = qk_pickle_read("fuzz", (const char *)data, size, &pickle, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "refused with a message");
    for (size_t i = 0; code == QK_OK && i < pickle.n; i++)
        check_tensor(&pickle.tensor[i].tensor, pickle.tensor[i].storage_bytes);
    qk_pickle_free(&pickle);
}

static void read_file(const uint8_t *data, size_t size)
{
    char path[64];
    struct qk_tensor_file file;
    struct qk_error err = {0};
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size, "no memory file");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum qk_code code = qk_torch_open(path, &file, &err);
    fuzz_check(code == QK_OK || (code == QK_INPUT && err.text[0] != '\0'), "refused with a message");
    for (size_t i = 0; code == QK_OK && i < file.n_tensors; i++)
        check_tensor(&file.tensor[i], size);
    if (code == QK_OK)
        qk_tensor_file_close(&file);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 2 && memcmp(data, "PK", 2) == 0)
        read_file(data, size);
    else
        read_pickle(data, size);
    return 0;
}
