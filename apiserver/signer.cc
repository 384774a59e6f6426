#include "signer.h"

#include <openssl/pem.h>

#include "pki.h"
#include "x509.h"

namespace coracle {
namespace {

constexpr std::size_t kLongestRequest = std::size_t{16} * 1024;
constexpr int kLeastSecurityBits = 112;

using BioPtr = std::unique_ptr<BIO, OpenSslDeleter<BIO_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, OpenSslDeleter<X509_REQ_free>>;

RequestPtr parse(const std::string& pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  RequestPtr request(bio ? PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  (void)openssl_error();
  return request;
}

class Signer : public CertificateSigner {
 public:
  Signer(CertificatePtr certificate, KeyPtr key, const Clock& clock)
      : certificate_(std::move(certificate)), key_(std::move(key)), clock_(clock) {}

  Result<std::string> sign_node(const SigningRequest& request, const std::string& node_name,
                                std::chrono::hours life) const override {
    const RequestPtr parsed = parse(request.pem);
    EVP_PKEY* key = parsed ? X509_REQ_get0_pubkey(parsed.get()) : nullptr;
    if (key == nullptr) return Error{Code::BadRequest, "no certificate signing request"};
    CertificateRequest wanted{};
    wanted.common_name = "system:node:" + node_name;
    wanted.organization = "system:nodes";
    wanted.now = clock_.now();
    wanted.life = life;
    wanted.since_epoch = true;
    return certificate_to_pem(
        TRY(make_certificate(wanted, key, certificate_.get(), key_.get())).get());
  }

 private:
  const CertificatePtr certificate_;
  const KeyPtr key_;
  const Clock& clock_;
};

}  // namespace

Result<SigningRequest> read_signing_request(const std::string& pem) {
  if (pem.size() > kLongestRequest)
    return Error{Code::BadRequest, "the certificate signing request is too long"};
  const RequestPtr request = parse(pem);
  EVP_PKEY* key = request ? X509_REQ_get0_pubkey(request.get()) : nullptr;
  if (key == nullptr)
    return Error{Code::BadRequest, "csr is no certificate signing request in PEM (PKCS #10)"};
  if (EVP_PKEY_get_security_bits(key) < kLeastSecurityBits)
    return Error{Code::BadRequest, "the key of the certificate signing request is too weak"};
  const bool signed_by_it = X509_REQ_verify(request.get(), key) == 1;
  (void)openssl_error();
  if (!signed_by_it)
    return Error{Code::BadRequest, "the certificate signing request is not signed by its key"};
  return SigningRequest{key_fingerprint(key), pem};
}

Result<std::unique_ptr<CertificateSigner>> CertificateSigner::create(
    const std::string& pki_directory, const Clock& clock) {
  auto certificate = TRY(certificate_from_pem(TRY(read_whole_file(pki_directory + "/ca.crt"))));
  auto key = TRY(key_from_pem(TRY(read_whole_file(pki_directory + "/ca.key"))));
  return std::unique_ptr<CertificateSigner>(
      std::make_unique<Signer>(std::move(certificate), std::move(key), clock));
}

}  // namespace coracle
