#include "http_tls.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "x509.h"

namespace coracle {
namespace {

constexpr int kKeepAliveIdle = 60, kKeepAliveInterval = 15, kKeepAliveProbes = 4;
constexpr std::size_t kRecord = 16384;  // the most that goes at a time

void set_option(int fd, int level, int option, int value) {
  (void)setsockopt(fd, level, option, &value,
                   sizeof(value));  // best effort: the timeouts hold without
}

// A peer that lost its power answers no probe: its watch ends.
void watch_peer(int fd) {
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdle);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveInterval);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int accept_any_certificate(int /*ok*/, X509_STORE_CTX* /*context*/) {
  return 1;
}

bool use_chain(SSL_CTX* context, const std::string& pem) {
  const std::unique_ptr<BIO, OpenSslDeleter<BIO_free>> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  bool first = true;
  while (bio) {
    const CertificatePtr certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!certificate) break;
    const bool ok = first ? SSL_CTX_use_certificate(context, certificate.get()) == 1
                          : SSL_CTX_add1_chain_cert(context, certificate.get()) == 1;  // NOLINT
    if (!ok) return false;
    first = false;
  }
  (void)openssl_error();  // the end of the file is an error to PEM_read
  return !first;
}

bool configure(SSL_CTX* context, const std::string& certificate_pem, const std::string& key_pem,
               const std::string& client_ca_pem) {
  const auto key = key_from_pem(key_pem);
  const auto ca = certificate_from_pem(client_ca_pem);
  if (context == nullptr || !key || !ca) return false;
  if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) return false;  // NOLINT: a macro
  if (!use_chain(context, certificate_pem)) return false;
  if (SSL_CTX_use_PrivateKey(context, key->get()) != 1 || SSL_CTX_check_private_key(context) != 1)
    return false;
  if (SSL_CTX_add_client_CA(context, ca->get()) != 1) return false;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, accept_any_certificate);
  constexpr unsigned char kSessions[] = "coracle";
  SSL_CTX_set_session_id_context(context, kSessions, sizeof(kSessions) - 1);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
  // Most connections wait most of the time: while they do, they need no buffers.
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |  // NOLINT: a macro
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  return true;
}

}  // namespace

void TlsContextDeleter::operator()(ssl_ctx_st* context) const {
  SSL_CTX_free(context);
}

Result<TlsContext> tls_context(const std::string& certificate_pem, const std::string& key_pem,
                               const std::string& client_ca_pem) {
  TlsContext context(SSL_CTX_new(TLS_server_method()));
  if (!configure(context.get(), certificate_pem, key_pem, client_ca_pem))
    return Error{Code::Internal, "the server's certificate: " + openssl_error()};
  return context;
}

void SharedTlsContext::set(TlsContext context) {
  const std::lock_guard lock(mutex_);
  context_ = std::move(context);
}

TlsContext SharedTlsContext::get() const {
  const std::lock_guard lock(mutex_);
  if (context_) SSL_CTX_up_ref(context_.get());
  return TlsContext(context_.get());
}

TlsSocket& TlsSocket::operator=(TlsSocket&& other) noexcept {
  std::swap(ssl_, other.ssl_);
  std::swap(fd_, other.fd_);
  std::swap(plain_http_, other.plain_http_);
  return *this;
}

TlsSocket::~TlsSocket() {
  SSL_free(ssl_);
  if (fd_ >= 0) close(fd_);
}

TlsSocket::Step TlsSocket::step_of(int result) const {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      return Step::WantsRead;
    case SSL_ERROR_WANT_WRITE:
      return Step::WantsWrite;
    default:
      return Step::Broken;
  }
}

TlsSocket::Step TlsSocket::shake_hands(const SharedTlsContext& contexts) {
  if (ssl_ == nullptr) {
    ssl_ = SSL_new(contexts.get().get());
    if (ssl_ == nullptr || SSL_set_fd(ssl_, fd_) != 1) return Step::Broken;
    SSL_set_accept_state(ssl_);
    watch_peer(fd_);
  }
  if (SSL_is_init_finished(ssl_) != 0) return Step::Done;
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) return Step::Done;
  const Step step = step_of(result);
  if (step == Step::Broken) plain_http_ = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
  return step;
}

std::string TlsSocket::peer_certificate() const {
  const CertificatePtr certificate(SSL_get1_peer_certificate(ssl_));
  if (!certificate) return "";
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate.get(), &der);
  if (size <= 0) return "";
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));  // NOLINT
  OPENSSL_free(der);                                                              // NOLINT: a macro
  return out;
}

TlsSocket::Moved TlsSocket::read(char* into, std::size_t size) {
  ERR_clear_error();
  const int n = SSL_read(ssl_, into, static_cast<int>(std::min(size, kRecord)));
  if (n > 0) return {Step::Done, static_cast<std::size_t>(n)};
  return {step_of(n), 0};
}

TlsSocket::Moved TlsSocket::write(std::string_view bytes) {
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    ERR_clear_error();
    const std::size_t left = std::min(bytes.size() - sent, std::size_t{1} << 20U);
    const int n = SSL_write(ssl_, bytes.data() + sent, static_cast<int>(left));
    if (n <= 0) return {step_of(n), sent};
    sent += static_cast<std::size_t>(n);
  }
  return {Step::Done, sent};
}

void TlsSocket::say_goodbye() {
  if (ssl_ != nullptr && SSL_is_init_finished(ssl_) != 0) {
    ERR_clear_error();
    (void)SSL_shutdown(ssl_);
  }
  if (fd_ >= 0) (void)shutdown(fd_, SHUT_WR);
}

}  // namespace coracle
