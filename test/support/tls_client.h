// A client that sends what it likes, as slowly as it likes: raw bytes over TCP or TLS.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>

namespace coracle {

// A TCP connection to a port of 127.0.0.1; its reads and writes wait `patience` at most.
inline int connect_loopback(int port, int patience_seconds = 20, int receive_buffer = 0) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{patience_seconds, 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  if (receive_buffer > 0)
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

class TlsClient {
 public:
  struct Options {
    int receive_buffer = 0;  // 0: the system's
    std::string certificate_pem = {}, key_pem = {};
  };
  explicit TlsClient(int port) : TlsClient(port, Options{}) {}
  TlsClient(int port, const Options& options)
      : context_(SSL_CTX_new(TLS_client_method())), ssl_(SSL_new(context_)) {
    use(options);
    fd_ = connect_loopback(port, 20, options.receive_buffer);
    SSL_set_fd(ssl_, fd_);
    connected_ = SSL_connect(ssl_) == 1;
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
    close(fd_);
  }

  bool connected() const { return connected_; }
  bool send(const std::string& text) {
    return connected_ && SSL_write(ssl_, text.data(), static_cast<int>(text.size())) > 0;
  }
  // What comes, up to `until` (a part of it), the end of the connection or the patience's.
  std::string read(const std::string& until = "") {
    while (connected_ && (until.empty() || read_.find(until) == std::string::npos)) {
      char buffer[16384];
      const int n = SSL_read(ssl_, buffer, sizeof(buffer));
      if (n <= 0) break;
      read_.append(buffer, static_cast<std::size_t>(n));
    }
    return read_;
  }
  // Bytes that a read() beyond `until` took are forgotten with the rest.
  void forget() { read_.clear(); }

 private:
  void use(const Options& options) {
    if (options.certificate_pem.empty()) return;
    BIO* bio = BIO_new_mem_buf(options.certificate_pem.data(), -1);
    X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    bio = BIO_new_mem_buf(options.key_pem.data(), -1);
    EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
    BIO_free(bio);
    EXPECT_EQ(SSL_use_certificate(ssl_, certificate), 1);
    EXPECT_EQ(SSL_use_PrivateKey(ssl_, key), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }

  SSL_CTX* context_;
  SSL* ssl_;
  int fd_ = -1;
  bool connected_ = false;
  std::string read_;
};

}  // namespace coracle
