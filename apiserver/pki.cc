#include "pki.h"

#include <coracle/log.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <ctime>
#include <fstream>
#include <iterator>
#include <mutex>
#include <unordered_map>

#include "x509.h"

namespace coracle {
namespace {

constexpr std::chrono::hours kDay{24};
constexpr auto kAuthorityLife = kDay * 3650;
constexpr auto kServerLife = kDay * 1095;
constexpr auto kClientLife = kDay * 1095;
constexpr auto kRenewBefore = kDay * 365;  // a server that runs for a year needs no restart for it

bool exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

struct Pair {
  CertificatePtr certificate;
  KeyPtr key;
};

// Reads <path>.crt and <path>.key; an error names the file that is damaged.
Result<Pair> read_pair(const std::string& path) {
  Pair pair;
  auto certificate = certificate_from_pem(TRY(read_whole_file(path + ".crt")));
  if (!certificate) return certificate.error().context(path + ".crt");
  auto key = key_from_pem(TRY(read_whole_file(path + ".key")));
  if (!key) return key.error().context(path + ".key");
  pair.certificate = std::move(*certificate);
  pair.key = std::move(*key);
  if (X509_check_private_key(pair.certificate.get(), pair.key.get()) != 1)
    return Error{Code::Internal, path + ".key does not belong to " + path + ".crt"};
  return pair;
}

Result<Pair> make_pair(const std::string& path, const CertificateRequest& request,
                       const Pair* authority) {
  Pair pair;
  pair.key = TRY(make_key());
  X509* issuer = authority == nullptr ? nullptr : authority->certificate.get();
  EVP_PKEY* signing = authority == nullptr ? pair.key.get() : authority->key.get();
  pair.certificate = TRY(make_certificate(request, pair.key.get(), issuer, signing));
  // The key first: a certificate without its key would be taken for damage at the next start.
  TRY(write_file_atomically(path + ".key", TRY(key_to_pem(pair.key.get())), 0600));
  TRY(write_file_atomically(path + ".crt", TRY(certificate_to_pem(pair.certificate.get())), 0644));
  return pair;
}

bool usable(const Pair& pair, const CertificateRequest& request, const Pair& authority) {
  X509* certificate = pair.certificate.get();
  return !expires_before(certificate, request.now + kRenewBefore) &&
         X509_verify(certificate, X509_get0_pubkey(authority.certificate.get())) == 1 &&
         alternative_names(certificate) == alternative_names(request);
}

Result<Pair> open_authority(const std::string& path, const Clock& clock) {
  if (exists(path + ".crt")) return read_pair(path);
  CertificateRequest request{};
  request.common_name = "coracle-ca@" + format_time(clock.now());
  request.use = CertificateRequest::Use::Authority;
  request.now = clock.now();
  request.life = kAuthorityLife;
  return make_pair(path, request, nullptr);
}

Result<Pair> open_signed(const std::string& path, const CertificateRequest& request,
                         const Pair& authority) {
  if (exists(path + ".crt")) {
    auto pair = read_pair(path);
    if (pair && usable(*pair, request, authority)) return pair;
    log::info(
        "pki", "renewing a certificate",
        {{"file", path + ".crt"}, {"why", pair ? "it fits no longer" : pair.error().message}});
  }
  return make_pair(path, request, &authority);
}

CertificateRequest server_request(const PkiOptions& options, const Clock& clock) {
  CertificateRequest request{};
  request.common_name = "coracle-server";
  request.use = CertificateRequest::Use::Server;
  request.now = clock.now();
  request.life = kServerLife;
  request.ips = options.addresses;
  request.ips.push_back(Ip::v4(0x7f000001));
  std::array<std::uint8_t, 16> loopback{};
  loopback.back() = 1;
  request.ips.push_back(Ip::from_bytes(loopback.data(), loopback.size()));
  request.dns = options.host_names;
  for (const char* name :
       {"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"})
    request.dns.emplace_back(name);
  if (!options.cluster_domain.empty())
    request.dns.push_back("kubernetes.default.svc." + options.cluster_domain);
  return request;
}

CertificateRequest admin_request(const Clock& clock) {
  CertificateRequest request{};
  request.common_name = "kubernetes-admin";
  request.organization = "system:masters";
  request.now = clock.now();
  request.life = kClientLife;
  return request;
}

Result<std::string> open_token(const std::string& path) {
  if (exists(path)) {
    std::string token = TRY(read_whole_file(path));
    while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back())) != 0)
      token.pop_back();
    if (token.size() >= 16) return token;
    return Error{Code::Internal, path + " is damaged: the token is shorter than 16 characters"};
  }
  std::array<unsigned char, 32> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
    return Error{Code::Internal, "making a token: " + openssl_error()};
  std::string token;
  for (const unsigned char byte : bytes) {
    token += "0123456789abcdef"[byte >> 4U];
    token += "0123456789abcdef"[byte & 15U];
  }
  TRY(write_file_atomically(path, token + "\n", 0600));
  return token;
}

std::vector<std::string> entries(X509_NAME* name, int nid) {
  std::vector<std::string> out;
  for (int at = X509_NAME_get_index_by_NID(name, nid, -1); at >= 0;
       at = X509_NAME_get_index_by_NID(name, nid, at)) {
    unsigned char* text = nullptr;
    const int size =
        ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (size < 0) continue;
    out.emplace_back(reinterpret_cast<char*>(text), static_cast<std::size_t>(size));  // NOLINT
    OPENSSL_free(text);  // NOLINT: OpenSSL's macro
  }
  return out;
}

class Verifier : public CertificateVerifier {
 public:
  Result<void> load(const std::string& ca_pem) {
    const CertificatePtr ca = TRY(certificate_from_pem(ca_pem));
    store_.reset(X509_STORE_new());
    if (!store_ || X509_STORE_add_cert(store_.get(), ca.get()) != 1)
      return Error{Code::Internal, "loading the CA: " + openssl_error()};
    return {};
  }

  Result<CertificateIdentity> verify(const std::string& der) const override {
    const std::time_t now = std::time(nullptr);
    const std::lock_guard lock(mutex_);
    auto known = known_.find(der);
    if (known == known_.end()) {
      Known found = TRY(examine(der));
      if (known_.size() >= kMostKnown) known_.clear();
      known = known_.emplace(der, std::move(found)).first;
    }
    if (now < known->second.from) return Error{Code::Unauthorized, "Unauthorized"};
    CertificateIdentity identity = known->second.identity;
    identity.lapsed = now > known->second.until;
    return identity;
  }

 private:
  // Of a certificate that this CA signed. A signature is checked once; every request asks.
  struct Known {
    CertificateIdentity identity;
    std::time_t from = 0, until = 0;
  };
  static constexpr std::size_t kMostKnown = 256;

  static std::time_t seconds_of(const ASN1_TIME* time) {
    std::tm parts{};
    return ASN1_TIME_to_tm(time, &parts) == 1 ? timegm(&parts) : 0;
  }

  Result<Known> examine(const std::string& der) const {
    const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());  // NOLINT
    const CertificatePtr certificate(d2i_X509(nullptr, &bytes, static_cast<long>(der.size())));
    const std::unique_ptr<X509_STORE_CTX, OpenSslDeleter<X509_STORE_CTX_free>> context(
        X509_STORE_CTX_new());
    const Error refused{Code::Unauthorized, "Unauthorized"};
    if (!certificate || !context) return refused;
    if (X509_STORE_CTX_init(context.get(), store_.get(), certificate.get(), nullptr) != 1)
      return refused;
    X509_STORE_CTX_set_purpose(context.get(), X509_PURPOSE_SSL_CLIENT);
    X509_STORE_CTX_set_flags(context.get(), X509_V_FLAG_NO_CHECK_TIME);  // verify() looks each time
    if (X509_verify_cert(context.get()) != 1) return refused;
    X509_NAME* subject = X509_get_subject_name(certificate.get());
    const auto names = entries(subject, NID_commonName);
    if (names.empty()) return refused;
    return Known{{names.back(), entries(subject, NID_organizationName),
                  key_fingerprint(X509_get0_pubkey(certificate.get()))},
                 seconds_of(X509_get0_notBefore(certificate.get())),
                 seconds_of(X509_get0_notAfter(certificate.get()))};
  }

  std::unique_ptr<X509_STORE, OpenSslDeleter<X509_STORE_free>> store_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::string, Known> known_;  // by DER; guarded by mutex_
};

}  // namespace

Result<std::unique_ptr<CertificateVerifier>> CertificateVerifier::create(
    const std::string& ca_pem) {
  auto verifier = std::make_unique<Verifier>();
  TRY(verifier->load(ca_pem));
  return std::unique_ptr<CertificateVerifier>(std::move(verifier));
}

Result<Pki> open_pki(const PkiOptions& options, const Clock& clock) {
  const std::string& dir = options.directory;
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST)
    return Error::from_errno(errno, "creating " + dir);
  const Pair authority = TRY(open_authority(dir + "/ca", clock));
  const Pair server = TRY(open_signed(dir + "/server", server_request(options, clock), authority));
  const Pair admin = TRY(open_signed(dir + "/admin", admin_request(clock), authority));
  Pki pki;
  pki.ca_certificate = TRY(certificate_to_pem(authority.certificate.get()));
  pki.server_certificate = TRY(certificate_to_pem(server.certificate.get())) + pki.ca_certificate;
  pki.server_key = TRY(key_to_pem(server.key.get()));
  pki.admin_certificate = TRY(certificate_to_pem(admin.certificate.get()));
  pki.admin_key = TRY(key_to_pem(admin.key.get()));
  pki.admin_token = TRY(open_token(dir + "/admin.token"));
  return pki;
}

}  // namespace coracle
