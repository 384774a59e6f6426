// OpenSSL's certificates behind a few value-typed functions. Used by pki.cc only.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace coracle {

template <auto Free>
struct OpenSslDeleter {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, OpenSslDeleter<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, OpenSslDeleter<X509_free>>;

struct CertificateRequest {
  std::string common_name;
  std::string organization;      // "" = none
  std::vector<std::string> dns;  // subject alternative names
  std::vector<Ip> ips;
  enum class Use { Authority, Server, Client };
  Use use = Use::Client;
  std::chrono::system_clock::time_point now;
  std::chrono::hours life{};
  bool since_epoch = false;  // valid from 1970 on, else from an hour before `now`
};

Result<KeyPtr> make_key();  // ECDSA P-256
// `issuer` null: self-signed.
Result<CertificatePtr> make_certificate(const CertificateRequest& request, EVP_PKEY* key,
                                        X509* issuer, EVP_PKEY* issuer_key);
Result<std::string> key_to_pem(EVP_PKEY* key);
Result<std::string> certificate_to_pem(X509* certificate);
Result<KeyPtr> key_from_pem(const std::string& pem);
Result<CertificatePtr> certificate_from_pem(const std::string& pem);
// Its alternative names as text, sorted: "DNS:localhost", "IP:127.0.0.1".
std::vector<std::string> alternative_names(X509* certificate);
std::vector<std::string> alternative_names(const CertificateRequest& request);
bool expires_before(X509* certificate, std::chrono::system_clock::time_point when);
// SHA-256 of the key's SubjectPublicKeyInfo, hexadecimal; "" for none.
std::string key_fingerprint(EVP_PKEY* key);
std::string sha256_hex(const std::string& bytes);
std::string openssl_error();

}  // namespace coracle
