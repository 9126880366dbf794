/* curl.c - the table of libcurl's functions. */
#include "tensor/hub/curl.h"

#include "base/library.h"

struct qk_curl qk_curl;

enum qk_code qk_curl_load(struct qk_error *err)
{
#define QK_CURL_SYMBOL(name) {"curl_" #name, &qk_curl.name},
    static const struct qk_symbol symbols[] = {QK_CURL_FUNCTIONS(QK_CURL_SYMBOL)};
    static void *library;
    if (library != NULL)
        return QK_OK;
    return qk_library_open(&library, QK_CURL_SONAME, false, symbols, sizeof symbols / sizeof symbols[0], err);
}
