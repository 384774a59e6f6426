#include "x509.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>

namespace coracle {
namespace {

using BioPtr = std::unique_ptr<BIO, OpenSslDeleter<BIO_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, OpenSslDeleter<X509_EXTENSION_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, OpenSslDeleter<GENERAL_NAMES_free>>;

Error failed(const std::string& what) {
  return {Code::Internal, what + ": " + openssl_error()};
}

Result<std::string> text_of(BIO* bio) {
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(bio, &bytes);  // NOLINT: OpenSSL's macro
  if (size <= 0) return failed("reading a memory BIO");
  return std::string(bytes, static_cast<std::size_t>(size));
}

bool set_serial(X509* certificate) {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) return false;
  bytes[0] &= 0x7fU;  // positive
  std::unique_ptr<BIGNUM, OpenSslDeleter<BN_free>> number(
      BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool add_name(X509_NAME* name, const char* field, const std::string& value) {
  return value.empty() ||
         X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(value.data()),  // NOLINT
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

bool add_extension(X509* certificate, X509V3_CTX* context, int nid, const std::string& value) {
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool add_extensions(const CertificateRequest& request, X509* certificate, X509* issuer) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const bool authority = request.use == CertificateRequest::Use::Authority;
  const bool server = request.use == CertificateRequest::Use::Server;
  bool ok = add_extension(certificate, &context, NID_basic_constraints,
                          authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  ok = ok && add_extension(certificate, &context, NID_key_usage,
                           authority ? "critical,keyCertSign,cRLSign,digitalSignature"
                                     : "critical,digitalSignature");
  ok = ok && add_extension(certificate, &context, NID_subject_key_identifier, "hash");
  ok = ok && add_extension(certificate, &context, NID_authority_key_identifier, "keyid");
  if (!authority)
    ok = ok && add_extension(certificate, &context, NID_ext_key_usage,
                             server ? "serverAuth" : "clientAuth");
  std::string names;
  for (const std::string& name : alternative_names(request))
    names += (names.empty() ? "" : ",") + name;
  return ok && (names.empty() || add_extension(certificate, &context, NID_subject_alt_name, names));
}

bool set_times(const CertificateRequest& request, X509* certificate) {
  using std::chrono::system_clock;
  // An hour back: the clocks of a lab's machines differ.
  const std::time_t from = request.since_epoch
                               ? std::time_t{0}
                               : system_clock::to_time_t(request.now - std::chrono::hours(1));
  const std::time_t to = system_clock::to_time_t(request.now + request.life);
  return ASN1_TIME_set(X509_getm_notBefore(certificate), from) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), to) != nullptr;
}

std::string name_text(const GENERAL_NAME& name) {
  if (name.type == GEN_DNS)
    return "DNS:" + std::string(reinterpret_cast<const char*>(
                                    ASN1_STRING_get0_data(name.d.dNSName)),  // NOLINT
                                static_cast<std::size_t>(ASN1_STRING_length(name.d.dNSName)));
  if (name.type != GEN_IPADD) return "";
  const int size = ASN1_STRING_length(name.d.iPAddress);
  if (size != 4 && size != 16) return "";
  return "IP:" +
         Ip::from_bytes(ASN1_STRING_get0_data(name.d.iPAddress), static_cast<std::size_t>(size))
             .to_string();
}

}  // namespace

std::string openssl_error() {
  const unsigned long error = ERR_get_error();
  std::array<char, 256> text{};
  ERR_error_string_n(error, text.data(), text.size());
  ERR_clear_error();
  return error == 0 ? "unknown error" : text.data();
}

std::string sha256_hex(const std::string& bytes) {
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

std::string key_fingerprint(EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int size = key == nullptr ? -1 : i2d_PUBKEY(key, &der);
  if (size <= 0) return "";
  const std::string bytes(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));  // NOLINT
  OPENSSL_free(der);  // NOLINT: a macro
  return sha256_hex(bytes);
}

Result<KeyPtr> make_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return failed("making a key");
  return key;
}

Result<CertificatePtr> make_certificate(const CertificateRequest& request, EVP_PKEY* key,
                                        X509* issuer, EVP_PKEY* issuer_key) {
  CertificatePtr certificate(X509_new());
  bool ok =
      certificate && X509_set_version(certificate.get(), 2) == 1 && set_serial(certificate.get());
  ok = ok && set_times(request, certificate.get());
  if (!ok) return failed("making a certificate");
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  ok = add_name(subject, "O", request.organization) && add_name(subject, "CN", request.common_name);
  X509* signer = issuer == nullptr ? certificate.get() : issuer;
  ok = ok && X509_set_issuer_name(certificate.get(), X509_get_subject_name(signer)) == 1;
  ok = ok && X509_set_pubkey(certificate.get(), key) == 1;
  ok = ok && add_extensions(request, certificate.get(), signer);
  ok = ok && X509_sign(certificate.get(), issuer_key, EVP_sha256()) > 0;
  if (!ok) return failed("making the certificate of " + request.common_name);
  return certificate;
}

Result<std::string> key_to_pem(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return failed("encoding a key");
  return text_of(bio.get());
}

Result<std::string> certificate_to_pem(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1)
    return failed("encoding a certificate");
  return text_of(bio.get());
}

Result<KeyPtr> key_from_pem(const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  // The empty password keeps OpenSSL from asking on the terminal for one.
  char none[] = "";
  KeyPtr key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, none) : nullptr);
  if (!key) return failed("reading a key");
  return key;
}

Result<CertificatePtr> certificate_from_pem(const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  CertificatePtr certificate(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)
                                 : nullptr);
  if (!certificate) return failed("reading a certificate");
  return certificate;
}

std::vector<std::string> alternative_names(X509* certificate) {
  std::vector<std::string> out;
  const NamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  const int count = names ? sk_GENERAL_NAME_num(names.get()) : 0;  // NOLINT: OpenSSL's macro
  for (int i = 0; i < count; ++i)
    out.push_back(name_text(*sk_GENERAL_NAME_value(names.get(), i)));  // NOLINT
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::string> alternative_names(const CertificateRequest& request) {
  std::vector<std::string> out;
  for (const std::string& name : request.dns) out.push_back("DNS:" + name);
  for (const Ip& ip : request.ips) out.push_back("IP:" + ip.to_string());
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

bool expires_before(X509* certificate, std::chrono::system_clock::time_point when) {
  std::time_t then = std::chrono::system_clock::to_time_t(when);
  return X509_cmp_time(X509_get0_notAfter(certificate), &then) <= 0;
}

}  // namespace coracle
