/* For tests: a certificate authority, and certificates of it, made on the spot and written to a temporary folder. */
#ifndef SL_EXPORT_TEST_TLS_FILES_H
#define SL_EXPORT_TEST_TLS_FILES_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct tls_files {
    char folder[64];
    char ca[96], server_key[96], server_cert[96], client_key[96], client_cert[96], other_ca[96];
    char expired_cert[96], early_cert[96], other_name_cert[96]; /* of the server's key, but for one fault each */
} tls_files;

typedef struct tls_authority {
    EVP_PKEY *key;
    X509 *cert;
} tls_authority;

static inline X509 *tls_certificate(EVP_PKEY *key, const char *name, const char *san, const tls_authority *issuer,
                                    long serial, long from_s, long to_s)
{
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), from_s);
    X509_gmtime_adj(X509_getm_notAfter(cert), to_s);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer->cert) : X509_get_subject_name(cert));
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer ? issuer->cert : cert, cert, NULL, NULL, 0);
    X509_EXTENSION *e =
        X509V3_EXT_conf_nid(NULL, &context, NID_basic_constraints, issuer ? "CA:FALSE" : "critical,CA:TRUE");
    X509_add_ext(cert, e, -1);
    X509_EXTENSION_free(e);
    if (san) {
        e = X509V3_EXT_conf_nid(NULL, &context, NID_subject_alt_name, san);
        X509_add_ext(cert, e, -1);
        X509_EXTENSION_free(e);
    }
    X509_sign(cert, issuer ? issuer->key : key, EVP_sha256());
    return cert;
}

static inline void tls_write(const char *path, EVP_PKEY *key, X509 *cert)
{
    FILE *f = fopen(path, "w");
    if (key)
        PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    if (cert)
        PEM_write_X509(f, cert);
    fclose(f);
}

static inline void tls_path(const tls_files *files, char *path, const char *name)
{
    (void)snprintf(path, 96, "%s/%s", files->folder, name);
}

/* Copies a path over another. */
static inline void tls_use(char *to, const char *from)
{
    (void)snprintf(to, 96, "%s", from);
}

static inline void tls_files_make(tls_files *files)
{
    (void)snprintf(files->folder, sizeof files->folder, "/tmp/sl_tls_XXXXXX");
    if (!mkdtemp(files->folder))
        abort();
    tls_path(files, files->ca, "ca.pem");
    tls_path(files, files->other_ca, "other.pem");
    tls_path(files, files->server_key, "server.key");
    tls_path(files, files->server_cert, "server.pem");
    tls_path(files, files->expired_cert, "expired.pem");
    tls_path(files, files->early_cert, "early.pem");
    tls_path(files, files->other_name_cert, "name.pem");
    tls_path(files, files->client_key, "client.key");
    tls_path(files, files->client_cert, "client.pem");
    EVP_PKEY *keys[4];
    for (int i = 0; i < 4; i++)
        keys[i] = EVP_EC_gen("P-256");
    static const char san[] = "DNS:localhost,IP:127.0.0.1";
    tls_authority ca = {keys[0], tls_certificate(keys[0], "test authority", NULL, NULL, 1, -3600, 86400)};
    X509 *other = tls_certificate(keys[1], "other authority", NULL, NULL, 2, -3600, 86400);
    X509 *server = tls_certificate(keys[2], "localhost", san, &ca, 3, -3600, 86400);
    X509 *client = tls_certificate(keys[3], "client", NULL, &ca, 4, -3600, 86400);
    X509 *expired = tls_certificate(keys[2], "localhost", san, &ca, 5, -7200, -3600);
    X509 *early = tls_certificate(keys[2], "localhost", san, &ca, 6, 3600, 7200);
    X509 *name = tls_certificate(keys[2], "other", "DNS:other.test,IP:127.0.0.2", &ca, 7, -3600, 86400);
    tls_write(files->expired_cert, NULL, expired);
    tls_write(files->early_cert, NULL, early);
    tls_write(files->other_name_cert, NULL, name);
    X509_free(expired);
    X509_free(early);
    X509_free(name);
    tls_write(files->ca, NULL, ca.cert);
    tls_write(files->other_ca, NULL, other);
    tls_write(files->server_key, keys[2], NULL);
    tls_write(files->server_cert, NULL, server);
    tls_write(files->client_key, keys[3], NULL);
    tls_write(files->client_cert, NULL, client);
    X509_free(ca.cert);
    X509_free(other);
    X509_free(server);
    X509_free(client);
    for (int i = 0; i < 4; i++)
        EVP_PKEY_free(keys[i]);
}

static inline void tls_files_remove(const tls_files *files)
{
    unlink(files->ca);
    unlink(files->other_ca);
    unlink(files->server_key);
    unlink(files->server_cert);
    unlink(files->expired_cert);
    unlink(files->early_cert);
    unlink(files->other_name_cert);
    unlink(files->client_key);
    unlink(files->client_cert);
    rmdir(files->folder);
}

#endif
