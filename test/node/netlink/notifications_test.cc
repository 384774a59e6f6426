#include "netlink/notifications.h"

#include <gtest/gtest.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

namespace coracle::netlink {
namespace {

std::string message(std::uint16_t type, std::size_t payload = 0) {
  nlmsghdr head{};
  head.nlmsg_len = static_cast<std::uint32_t>(NLMSG_HDRLEN + payload);
  head.nlmsg_type = type;
  std::string out(NLMSG_ALIGN(NLMSG_HDRLEN + payload), 'p');
  std::memcpy(out.data(), &head, sizeof(head));
  return out;
}

class ReadNotifications : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends_), 0);
  }
  void TearDown() override {
    for (const int end : ends_) ::close(end);
  }
  void tell(const std::string& datagram) {
    ASSERT_EQ(::send(ends_[1], datagram.data(), datagram.size(), 0),
              static_cast<ssize_t>(datagram.size()));
  }
  bool read() {
    return read_notifications(ends_[0],
                              [this](nlmsghdr* head) { types_.push_back(head->nlmsg_type); });
  }
  int ends_[2] = {-1, -1};
  std::vector<int> types_;
};

TEST_F(ReadNotifications, NothingIsComplete) {
  EXPECT_TRUE(read());
  EXPECT_EQ(types_, std::vector<int>());
}

TEST_F(ReadNotifications, TakesEveryMessageOfEveryDatagram) {
  tell(message(20) + message(21, 5) + message(22));
  tell(message(23, 16384 - NLMSG_HDRLEN));  // just fits
  EXPECT_TRUE(read());
  EXPECT_EQ(types_, (std::vector<int>{20, 21, 22, 23}));
  EXPECT_TRUE(read());
  EXPECT_EQ(types_.size(), 4U);
}

TEST_F(ReadNotifications, TellsOfWhatIsTooLongAndGoesOn) {
  tell(message(20));
  tell(message(21, 16384));
  tell(message(22));
  EXPECT_FALSE(read());
  EXPECT_EQ(types_, (std::vector<int>{20, 22}));
  EXPECT_TRUE(read());
}

TEST_F(ReadNotifications, PassesOverMessagesThatAreCutShort) {
  std::string cut = message(21, 64);
  cut.resize(NLMSG_HDRLEN + 8);
  tell(message(20) + cut);
  tell(std::string(3, 'x'));
  EXPECT_TRUE(read());
  EXPECT_EQ(types_, (std::vector<int>{20}));
}

}  // namespace
}  // namespace coracle::netlink
