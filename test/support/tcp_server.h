// Servers on 127.0.0.1 that answer anything, or nothing, and ports where there is none.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace coracle::test {

// A TCP server on 127.0.0.1 whose every connection gets `answer`, or silence when it is empty.
class Server {
 public:
  explicit Server(std::string answer) : answer_(std::move(answer)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    EXPECT_EQ(::listen(fd_, 16), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
    for (const int c : silent_) ::close(c);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  std::int64_t port() const { return port_; }
  // How many there have been.
  std::size_t connections() const { return connections_; }
  std::string last_request() {
    const std::lock_guard lock(mutex_);
    return request_;
  }

 private:
  void serve() {
    for (int c = ::accept(fd_, nullptr, nullptr); c >= 0; c = ::accept(fd_, nullptr, nullptr)) {
      ++connections_;
      if (answer_.empty()) {
        silent_.push_back(c);
        continue;
      }
      char buffer[4096];
      const ssize_t size = ::recv(c, buffer, sizeof(buffer), 0);
      if (size > 0) {
        const std::lock_guard lock(mutex_);
        request_.assign(buffer, static_cast<std::size_t>(size));
      }
      (void)::send(c, answer_.data(), answer_.size(), MSG_NOSIGNAL);
      ::close(c);
    }
  }
  const std::string answer_;
  int fd_ = -1;
  std::int64_t port_ = 0;
  std::atomic<std::size_t> connections_ = 0;
  std::vector<int> silent_;
  std::mutex mutex_;
  std::string request_;
  std::thread thread_;
};

// A port that nobody listens on, and that nobody else can get meanwhile.
class Closed {
 public:
  Closed() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~Closed() { ::close(fd_); }
  Closed(const Closed&) = delete;
  Closed& operator=(const Closed&) = delete;
  std::int64_t port() const { return port_; }

 private:
  int fd_;
  std::int64_t port_ = 0;
};

}  // namespace coracle::test
