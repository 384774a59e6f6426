#include "http_tls.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>

#include "x509.h"

namespace coracle {
namespace {

thread_local SSL* current_connection = nullptr;
thread_local std::string current_certificate;  // the connection's, DER

std::string peer_certificate(const SSL* ssl) {
  const CertificatePtr certificate(SSL_get1_peer_certificate(ssl));
  if (!certificate) return "";
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate.get(), &der);
  if (size <= 0) return "";
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));  // NOLINT
  OPENSSL_free(der);                                                              // NOLINT: a macro
  return out;
}

constexpr int kKeepAliveIdle = 60, kKeepAliveInterval = 15, kKeepAliveProbes = 4;
constexpr int kDeferSeconds = 30;

void set_option(int fd, int level, int option, int value) {
  (void)setsockopt(fd, level, option, &value,
                   sizeof(value));  // best effort: the timeouts hold without
}

// A peer that lost its power answers no probe: its watch ends instead of holding a thread.
void watch_peer(int fd) {
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdle);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveInterval);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

// civetweb shakes hands on the thread that then serves the connection.
void on_tls_event(const SSL* ssl, int where, int /*result*/) {
  if ((where & SSL_CB_HANDSHAKE_START) != 0) {
    current_connection = const_cast<SSL*>(ssl);  // NOLINT
    current_certificate.clear();
  }
  if ((where & SSL_CB_HANDSHAKE_DONE) == 0) return;
  watch_peer(SSL_get_fd(ssl));
  current_certificate = peer_certificate(ssl);
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

bool is_listening_on(int fd, int port) {
  int listening = 0;
  socklen_t size = sizeof(listening);
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0)
    return false;
  sockaddr_storage address{};
  size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return false;  // NOLINT
  in_port_t bound = 0;
  if (address.ss_family == AF_INET)
    bound = reinterpret_cast<sockaddr_in*>(&address)->sin_port;  // NOLINT
  if (address.ss_family == AF_INET6)
    bound = reinterpret_cast<sockaddr_in6*>(&address)->sin6_port;  // NOLINT
  return ntohs(bound) == port;
}

}  // namespace

bool configure_tls(ssl_ctx_st* context, const std::string& certificate_pem,
                   const std::string& key_pem, const std::string& client_ca_pem) {
  const auto key = key_from_pem(key_pem);
  const auto ca = certificate_from_pem(client_ca_pem);
  if (!key || !ca) return false;
  if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) return false;  // NOLINT: a macro
  if (!use_chain(context, certificate_pem)) return false;
  if (SSL_CTX_use_PrivateKey(context, key->get()) != 1 || SSL_CTX_check_private_key(context) != 1)
    return false;
  if (SSL_CTX_add_client_CA(context, ca->get()) != 1) return false;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, accept_any_certificate);
  constexpr unsigned char kSessions[] = "coracle";
  SSL_CTX_set_session_id_context(context, kSessions, sizeof(kSessions) - 1);
  SSL_CTX_set_info_callback(context, on_tls_event);
  return true;
}

int current_socket() {
  return current_connection == nullptr ? -1 : SSL_get_fd(current_connection);
}

const std::string& current_peer_certificate() {
  return current_certificate;
}

TlsSocket& TlsSocket::operator=(TlsSocket&& other) noexcept {
  std::swap(ssl_, other.ssl_);
  std::swap(fd_, other.fd_);
  return *this;
}

TlsSocket::~TlsSocket() {
  SSL_free(ssl_);
  if (fd_ >= 0) close(fd_);
}

void TlsSocket::say_goodbye() {
  if (ssl_ == nullptr) return;
  ERR_clear_error();
  (void)SSL_shutdown(ssl_);
  (void)shutdown(fd_, SHUT_WR);
}

void TlsSocket::revive() {
  SSL_set_quiet_shutdown(ssl_, 0);
  SSL_set_shutdown(ssl_, 0);
  // Many streams wait for long: they share their buffers' memory.
  SSL_set_mode(ssl_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                         SSL_MODE_RELEASE_BUFFERS);
}

// civetweb ends a connection by SSL_shutdown, SSL_free and, on the descriptor's number, shutdown
// and close. So the first is made quiet, the second only drops a reference, and under the number
// lies /dev/null.
Result<TlsSocket> detach_current_connection() {
  SSL* const ssl = current_connection;
  if (ssl == nullptr) return Error{Code::Internal, "there is no connection"};
  const int number = SSL_get_fd(ssl);
  const int fd = fcntl(number, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return Error::from_errno(errno, "a stream's descriptor");
  SSL_up_ref(ssl);
  TlsSocket out(ssl, fd);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const bool replaced = null >= 0 && SSL_set_fd(ssl, fd) == 1 && dup3(null, number, O_CLOEXEC) >= 0;
  const Error error = Error::from_errno(errno, "a stream's stand-in");
  if (null >= 0) close(null);
  if (!replaced) return error;
  (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);  // NOLINT: a C function
  SSL_set_quiet_shutdown(ssl, 1);
  current_connection = nullptr;
  return out;
}

bool socket_alive(int fd) {
  if (fd < 0) return true;
  pollfd entry{fd, POLLRDHUP, 0};
  return poll(&entry, 1, 0) <= 0 ||
         (entry.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) == 0;
}

void defer_silent_connections(int port) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    const int fd = std::atoi(
        entry.path().filename().c_str());  // NOLINT(cert-err34-c): the kernel's own numbers
    if (is_listening_on(fd, port)) set_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, kDeferSeconds);
  }
}

}  // namespace coracle
