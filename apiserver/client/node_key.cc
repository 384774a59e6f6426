#include "node_key.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <array>
#include <ctime>
#include <memory>

namespace coracle {
namespace {

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
using Request = std::unique_ptr<X509_REQ, Freed<X509_REQ_free>>;

Error broken(Code code, const std::string& what) {
  ERR_clear_error();
  return {code, what};
}

Bio reader(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string text_of(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);  // NOLINT: OpenSSL's macro
  return size <= 0 ? "" : std::string(bytes, static_cast<std::size_t>(size));
}

Key read_key(const std::string& pem) {
  const Bio bio = reader(pem);
  char none[] = "";  // keeps OpenSSL from asking for a password
  return Key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, none) : nullptr);
}

Certificate read_certificate(const std::string& pem) {
  const Bio bio = reader(pem);
  return Certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
}

}  // namespace

Result<std::string> make_node_key() {
  const Key key(EVP_EC_gen("P-256"));
  const Bio bio(BIO_new(BIO_s_mem()));
  if (!key || !bio ||
      PEM_write_bio_PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return broken(Code::Internal, "making a key failed");
  return text_of(bio.get());
}

Result<std::string> make_signing_request(const std::string& key_pem) {
  const Key key = read_key(key_pem);
  if (!key) return broken(Code::BadRequest, "no key in PEM");
  const Request request(X509_REQ_new());
  const Bio bio(BIO_new(BIO_s_mem()));
  const bool made = request && bio && X509_REQ_set_pubkey(request.get(), key.get()) == 1 &&
                    X509_REQ_sign(request.get(), key.get(), EVP_sha256()) > 0 &&
                    PEM_write_bio_X509_REQ(bio.get(), request.get()) == 1;
  if (!made) return broken(Code::Internal, "making a certificate signing request failed");
  return text_of(bio.get());
}

std::string sha256_of(const std::string& bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1)
    return "";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += "0123456789abcdef"[digest.at(i) >> 4U];
    out += "0123456789abcdef"[digest.at(i) & 15U];
  }
  return out;
}

Result<std::string> certificate_der(const std::string& pem) {
  const Certificate certificate = read_certificate(pem);
  unsigned char* der = nullptr;
  const int size = certificate ? i2d_X509(certificate.get(), &der) : -1;
  if (size <= 0) return broken(Code::BadRequest, "no certificate in PEM");
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));  // NOLINT
  OPENSSL_free(der);                                                              // NOLINT: a macro
  return out;
}

Result<std::chrono::system_clock::time_point> certificate_end(const std::string& pem,
                                                              const std::string& key_pem) {
  const Certificate certificate = read_certificate(pem);
  const Key key = read_key(key_pem);
  std::tm parts{};
  if (!certificate || !key || X509_check_private_key(certificate.get(), key.get()) != 1 ||
      ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &parts) != 1)
    return broken(Code::BadRequest, "the certificate is not the key's");
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

}  // namespace coracle
