/*
 * OpenSSL for the program `sightline`, loaded when the first TLS connection or digest needs it.
 *
 * Its tables are most of what the loader has to work on at a start, a quarter of the time of a short one, and most
 * commands speak to nobody over TLS. Only a client's functions are used. Without the library no connection comes about,
 * as when memory is short.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

#include "src/cli/command.h"

#define LAZY_LIBRARY SL_OPENSSL_LIBRARY /* and what it is linked to: libcrypto */
#define NOT_THERE SL_OPENSSL_LIBRARY " cannot be loaded; install it"

/* For a digest whose caller expects no failure. */
static unsigned char *give_up(void)
{
    _exit(SL_EXIT_FAILED); /* why is said by whoever tried to load it */
}

/* clang-format off */
#define LAZY_FUNCTIONS(F, G) \
    G(int, SSL_CTX_check_private_key, 0, (const SSL_CTX *a), (a)) \
    G(long, SSL_CTX_ctrl, 0, (SSL_CTX *a, int b, long c, void *d), (a, b, c, d)) \
    G(void, SSL_CTX_free, (void)0, (SSL_CTX *a), (a)) \
    G(int, SSL_CTX_load_verify_file, 0, (SSL_CTX *a, const char *b), (a, b)) \
    G(int, SSL_CTX_load_verify_locations, 0, (SSL_CTX *a, const char *b, const char *c), (a, b, c)) \
    F(SSL_CTX *, SSL_CTX_new, NULL, (const SSL_METHOD *a), (a)) \
    G(void, SSL_CTX_sess_set_new_cb, (void)0, (SSL_CTX *a, int (*b)(SSL *, SSL_SESSION *)), (a, b)) \
    G(int, SSL_CTX_set_alpn_protos, 1, (SSL_CTX *a, const unsigned char *b, unsigned c), (a, b, c)) \
    G(int, SSL_CTX_set_default_verify_paths, 0, (SSL_CTX *a), (a)) \
    G(void, SSL_CTX_set_verify, (void)0, (SSL_CTX *a, int b, SSL_verify_cb c), (a, b, c)) \
    G(int, SSL_CTX_use_PrivateKey_file, 0, (SSL_CTX *a, const char *b, int c), (a, b, c)) \
    G(int, SSL_CTX_use_certificate_chain_file, 0, (SSL_CTX *a, const char *b), (a, b)) \
    G(void, SSL_SESSION_free, (void)0, (SSL_SESSION *a), (a)) \
    G(int, SSL_connect, -1, (SSL *a), (a)) \
    G(long, SSL_ctrl, 0, (SSL *a, int b, long c, void *d), (a, b, c, d)) \
    G(int, SSL_do_handshake, -1, (SSL *a), (a)) \
    G(void, SSL_free, (void)0, (SSL *a), (a)) \
    G(void, SSL_get0_alpn_selected, (void)0, (const SSL *a, const unsigned char **b, unsigned *c), (a, b, c)) \
    G(X509_VERIFY_PARAM *, SSL_get0_param, NULL, (SSL *a), (a)) \
    G(int, SSL_get_error, SSL_ERROR_SSL, (const SSL *a, int b), (a, b)) \
    G(void *, SSL_get_ex_data, NULL, (const SSL *a, int b), (a, b)) \
    G(long, SSL_get_verify_result, X509_V_ERR_UNSPECIFIED, (const SSL *a), (a)) \
    G(int, SSL_has_pending, 0, (const SSL *a), (a)) \
    G(SSL *, SSL_new, NULL, (SSL_CTX *a), (a)) \
    G(int, SSL_read, -1, (SSL *a, void *b, int c), (a, b, c)) \
    G(int, SSL_read_ex, 0, (SSL *a, void *b, size_t c, size_t *d), (a, b, c, d)) \
    G(int, SSL_set1_host, 0, (SSL *a, const char *b), (a, b)) \
    G(void, SSL_set_connect_state, (void)0, (SSL *a), (a)) \
    G(int, SSL_set_ex_data, 0, (SSL *a, int b, void *c), (a, b, c)) \
    G(int, SSL_set_fd, 0, (SSL *a, int b), (a, b)) \
    G(void, SSL_set_hostflags, (void)0, (SSL *a, unsigned b), (a, b)) \
    G(int, SSL_set_session, 0, (SSL *a, SSL_SESSION *b), (a, b)) \
    G(int, SSL_shutdown, -1, (SSL *a), (a)) \
    G(int, SSL_write, -1, (SSL *a, const void *b, int c), (a, b, c)) \
    G(int, SSL_write_ex, 0, (SSL *a, const void *b, size_t c, size_t *d), (a, b, c, d)) \
    F(const SSL_METHOD *, TLS_client_method, NULL, (void), ()) \
    G(void, ERR_clear_error, (void)0, (void), ()) \
    G(unsigned long, ERR_get_error, 0, (void), ()) \
    G(unsigned long, ERR_peek_error, 0, (void), ()) \
    G(unsigned long, ERR_peek_last_error, 0, (void), ()) \
    G(const char *, ERR_reason_error_string, NOT_THERE, (unsigned long a), (a)) \
    F(int, EVP_Digest, 0, \
      (const void *a, size_t b, unsigned char *c, unsigned *d, const EVP_MD *e, ENGINE *f), \
      (a, b, c, d, e, f)) \
    F(const EVP_MD *, EVP_sha1, NULL, (void), ()) \
    F(const EVP_MD *, EVP_sha256, NULL, (void), ()) \
    F(unsigned char *, HMAC, NULL, \
      (const EVP_MD *a, const void *b, int c, const unsigned char *d, size_t e, unsigned char *f, unsigned *g), \
      (a, b, c, d, e, f, g)) \
    F(unsigned char *, SHA256, give_up(), (const unsigned char *a, size_t b, unsigned char *c), (a, b, c)) \
    G(int, X509_VERIFY_PARAM_set1_ip_asc, 0, (X509_VERIFY_PARAM *a, const char *b), (a, b)) \
    G(const char *, X509_verify_cert_error_string, NOT_THERE, (long a), (a))
/* clang-format on */

#include "src/cli/lazy_functions.h"
