#include "runtime/termination_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace coracle::runtime {
namespace {

std::string entry(const std::string& text, char mark = 'F', const char* stream = "stdout") {
  return std::string("2026-01-02T03:04:05.123456789Z ") + stream + ' ' + mark + ' ' + text + "\n";
}
std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(LastLines, AreTheTextOfBothStreams) {
  struct Case {
    const char* name;
    std::string log, expected;
  };
  const std::string many = repeated(entry("line"), 100);
  for (const Case& c : {
           Case{"nothing", "", ""},
           Case{"one", entry("hello"), "hello\n"},
           Case{"both streams", entry("a") + entry("b", 'F', "stderr"), "a\nb\n"},
           Case{"empty lines", entry("") + entry(""), "\n\n"},
           Case{"a long line's parts", entry("ab", 'P') + entry("cd"), "abcd\n"},
           Case{"what looks like an entry", entry("x stdout F y"), "x stdout F y\n"},
           Case{"80 lines at most", many, repeated("line\n", 80)},
           Case{"begun within a line", "rest of it\n" + entry("next"), "next\n"},
           Case{"cut within a line", entry("a") + "2026-01-02T03:04:05.123456789Z stdout F b",
                "a\nb\n"},
           Case{"2,048 bytes at most", entry(std::string(3000, 'x')),
                std::string(2047, 'x') + "\n"},
           Case{"no half a character", entry(repeated("\u20ac", 1000)),
                repeated("\u20ac", 682) + "\n"},
           Case{"no UTF-8", entry("a\xff"), "a\ufffd\n"},
       }) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(last_lines(c.log), c.expected);
  }
}

class TerminationLogTest : public testing::Test {
 protected:
  ~TerminationLogTest() override { close(fd_); }
  void write(const std::string& text, off_t at = 0) {
    ASSERT_EQ(pwrite(fd_, text.data(), text.size(), at), static_cast<ssize_t>(text.size()));
  }
  int fd_ = memfd_create("message", MFD_CLOEXEC);
};

TEST_F(TerminationLogTest, ItsEndIsTheMessage) {
  EXPECT_EQ(read_termination_log(fd_), "");
  write("short\n");
  EXPECT_EQ(read_termination_log(fd_), "short\n");
  write(std::string(5000, 'a') + std::string(4096, 'b'));
  EXPECT_EQ(read_termination_log(fd_), std::string(4096, 'b'));
  EXPECT_EQ(read_termination_log(-1), "");
}

TEST_F(TerminationLogTest, AHugeFileCostsNothing) {
  ASSERT_EQ(ftruncate(fd_, off_t{1} << 40), 0);
  write("the end", (off_t{1} << 40) - 7);
  const std::string message = read_termination_log(fd_);
  EXPECT_LE(message.size(), kMaxTerminationMessage);
  EXPECT_TRUE(message.ends_with("the end"));
}

TEST_F(TerminationLogTest, TheMessageIsTextWhateverItHolds) {
  write(std::string("a\0b\xff", 4));
  EXPECT_EQ(read_termination_log(fd_), "a\ufffdb\ufffd");
}

}  // namespace
}  // namespace coracle::runtime
