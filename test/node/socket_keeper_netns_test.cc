// The process that keeps sockets: the real one, this program under another argv.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/socket_keeper.h"
#include "store/temp_dir.h"

namespace coracle {
namespace {

class SocketKeeperTest : public ::testing::Test {
 protected:
  ~SocketKeeperTest() override { EXPECT_TRUE(KeptSockets::end(dir_.path())); }
  std::unique_ptr<KeptSockets> open() {
    auto opened = KeptSockets::open(dir_.path());
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
  }
  std::string file() const { return dir_.path() + "/network/sockets.sock"; }

  const TempDir dir_;
};

int udp_socket() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  return fd;
}

in_port_t port_of(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  return address.sin_port;
}

void send_to(in_port_t port, const std::string& text) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = port;
  EXPECT_EQ(::sendto(fd, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&address),
                     sizeof(address)),
            static_cast<ssize_t>(text.size()));
  ::close(fd);
}

TEST_F(SocketKeeperTest, WhatIsSentMeanwhileWaits) {
  auto first = open();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->take("a"), -1);
  const int made = udp_socket();
  const in_port_t port = port_of(made);
  first->keep("a", made);
  ::close(made);
  first.reset();
  send_to(port, "hello");

  auto second = open();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->take("b"), -1);
  const int taken = second->take("a");
  ASSERT_GE(taken, 0);
  const int once_more = second->take("a");
  EXPECT_EQ(port_of(once_more), port);
  ::close(once_more);
  EXPECT_EQ(port_of(taken), port);
  char text[16] = {};
  EXPECT_EQ(::recv(taken, text, sizeof(text), MSG_DONTWAIT), 5);
  ::close(taken);
  // It is kept on, whether or not it was taken.
  second.reset();
  auto third = open();
  ASSERT_TRUE(third);
  const int again = third->take("a");
  EXPECT_EQ(port_of(again), port);
  ::close(again);
}

TEST_F(SocketKeeperTest, TheLatestOfANameIsKept) {
  auto first = open();
  ASSERT_TRUE(first);
  const int one = udp_socket();
  const int other = udp_socket();
  first->keep("a", one);
  first->keep("a", other);
  first.reset();
  auto second = open();
  ASSERT_TRUE(second);
  const int taken = second->take("a");
  EXPECT_EQ(port_of(taken), port_of(other));
  for (const int fd : {one, other, taken}) ::close(fd);
}

TEST_F(SocketKeeperTest, TheOwnerAloneMayCome) {
  const auto sockets = open();
  ASSERT_TRUE(sockets);
  struct stat found = {};
  ASSERT_EQ(::stat(file().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777U, 0600U);
}

TEST_F(SocketKeeperTest, ItEndsWhenItIsToldAndLeavesNothing) {
  auto first = open();
  ASSERT_TRUE(first);
  const int made = udp_socket();
  first->keep("a", made);
  ::close(made);
  EXPECT_TRUE(KeptSockets::end(dir_.path()));
  EXPECT_NE(::access(file().c_str(), F_OK), 0);
  EXPECT_TRUE(KeptSockets::end(dir_.path())) << "nobody is there";
  first.reset();
  auto second = open();  // another one
  ASSERT_TRUE(second);
  EXPECT_EQ(second->take("a"), -1);
}

TEST_F(SocketKeeperTest, AFileThatNobodyListensOnIsInNobodysWay) {
  auto first = open();
  ASSERT_TRUE(first);
  ASSERT_TRUE(KeptSockets::end(dir_.path()));
  const int left = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  file().copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(left, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ::close(left);
  EXPECT_TRUE(open());
}

TEST_F(SocketKeeperTest, WhereNothingCanBeWrittenThereIsNone) {
  const auto none = KeptSockets::open("/proc/nowhere");
  ASSERT_FALSE(none);
  EXPECT_TRUE(KeptSockets::end("/proc/nowhere"));
}

}  // namespace
}  // namespace coracle
