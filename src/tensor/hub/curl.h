/* curl.h - the functions of libcurl that the program calls, in a library loaded when a remote file is first read.
 *
 * libcurl brings thirty other libraries, which most runs never need. */
#ifndef QK_TENSOR_HUB_CURL_H
#define QK_TENSOR_HUB_CURL_H

#include "base/error.h"

#include <curl/curl.h>

#define QK_CURL_FUNCTIONS(X)                                                                                 \
    X(easy_cleanup)                                                                                          \
    X(easy_getinfo)                                                                                          \
    X(easy_init)                                                                                             \
    X(easy_perform)                                                                                          \
    X(easy_setopt)                                                                                           \
    X(easy_strerror)                                                                                         \
    X(free)                                                                                                  \
    X(getdate)                                                                                               \
    X(global_cleanup)                                                                                        \
    X(global_init)                                                                                           \
    X(multi_add_handle)                                                                                      \
    X(multi_cleanup)                                                                                         \
    X(multi_info_read)                                                                                       \
    X(multi_init)                                                                                            \
    X(multi_perform)                                                                                         \
    X(multi_poll)                                                                                            \
    X(multi_remove_handle)                                                                                   \
    X(multi_strerror)                                                                                        \
    X(share_cleanup)                                                                                         \
    X(share_init)                                                                                            \
    X(share_setopt)                                                                                          \
    X(slist_append)                                                                                          \
    X(slist_free_all)                                                                                        \
    X(strequal)                                                                                              \
    X(url)                                                                                                   \
    X(url_cleanup)                                                                                           \
    X(url_get)                                                                                               \
    X(url_set)

/* qk_curl.easy_init is curl_easy_init, and so on; NULL before qk_curl_load. */
#define QK_CURL_MEMBER(name) __typeof__(&curl_##name) name;
extern struct qk_curl {
    QK_CURL_FUNCTIONS(QK_CURL_MEMBER)
} qk_curl;

/* Loads libcurl, once for the process. QK_IO: it is missing or has not all functions. */
enum qk_code qk_curl_load(struct qk_error *err);

#endif
