#include "node/logs/log_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>

#include "node/runtime/container_log.h"

namespace coracle::logs {
namespace {

std::string time_of(int n) {
  char text[40];
  (void)std::snprintf(text, sizeof(text), "2026-01-02T03:%02d:%02d.%09dZ", n / 60 % 60, n % 60, n);
  return text;
}
std::string entry(int n, const std::string& text, char mark = 'F', const char* stream = "stdout") {
  return time_of(n) + " " + stream + " " + mark + " " + text + "\n";
}

class LogReaderTest : public testing::Test {
 protected:
  LogReaderTest() {
    char path[] = "/tmp/coracle-logs-XXXXXX";
    directory_ = mkdtemp(path);
    log_ = directory_ + "/0.log";
  }
  ~LogReaderTest() override { std::filesystem::remove_all(directory_); }

  void append(const std::string& text) const {
    std::ofstream(log_, std::ios::app | std::ios::binary) << text;
  }
  void rotate() const { std::filesystem::rename(log_, log_ + ".1"); }
  // Everything there is by now.
  static std::string drain(LogReader& reader, std::size_t room = 1000) {
    std::string out;
    for (;;) {
      const std::size_t before = out.size();
      const auto progress = reader.read(out, room);
      EXPECT_LE(out.size() - before, room + 20'000);
      if (progress != LogReader::Progress::More) return out;
    }
  }
  std::string all(const LogReaderOptions& options = {}) const {
    LogReader reader(log_, options);
    return drain(reader);
  }

  std::string directory_, log_;
};

TEST(LogEntries, AreParsed) {
  const auto parsed = parse_entry("2026-01-02T03:04:05.000000001Z stderr P a b ");
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->time, "2026-01-02T03:04:05.000000001Z");
  EXPECT_EQ(parsed->stream, "stderr");
  EXPECT_FALSE(parsed->full);
  EXPECT_EQ(parsed->text, "a b ");
  for (const char* bad :
       {"", "x", "2026-01-02T03:04:05.000000001Z stdout F", "2026-01-02T03:04:05Z stdout F text",
        "2026-01-02T03:04:05.000000001Z stdlog F text that is long enough for an entry"})
    EXPECT_FALSE(parse_entry(bad)) << bad;
}

TEST_F(LogReaderTest, Options) {
  append(entry(1, "one") + entry(2, "two", 'F', "stderr") + entry(3, "th", 'P') + entry(4, "ree") +
         "damage\n" + entry(5, "") + entry(6, "six"));
  const std::string t = time_of(6) + " six\n";
  struct Case {
    const char* name;
    LogReaderOptions options;
    std::string shown;
  };
  const auto since = [](int n) {
    LogReaderOptions o;
    o.since = time_of(n);
    return o;
  };
  const auto tail = [](std::int64_t n, bool timestamps = false) {
    LogReaderOptions o;
    o.tail = n;
    o.timestamps = timestamps;
    return o;
  };
  const auto limit = [](std::int64_t n) {
    LogReaderOptions o;
    o.limit = n;
    return o;
  };
  LogReaderOptions errors;
  errors.stream = "stderr";
  LogReaderOptions both = tail(3);
  both.since = time_of(5);
  const Case cases[] = {
      {"all", {}, "one\ntwo\nthree\n\nsix\n"},
      {"since", since(4), "ree\n\nsix\n"},
      {"since is inclusive", since(6), "six\n"},
      {"since later", since(7), ""},
      {"tail 0", tail(0), ""},
      {"tail 1", tail(1), "six\n"},
      {"tail 3: joined lines are one", tail(3), "three\n\nsix\n"},
      {"tail 4", tail(4), "two\nthree\n\nsix\n"},
      {"tail of more than there is", tail(100), "one\ntwo\nthree\n\nsix\n"},
      {"timestamps", tail(1, true), t},
      {"timestamps once for a joined line", tail(3, true),
       time_of(3) + " three\n" + time_of(5) + " \n" + t},
      {"limit", limit(5), "one\nt"},
      {"limit at an end of line", limit(4), "one\n"},
      {"limit beyond", limit(1000), "one\ntwo\nthree\n\nsix\n"},
      {"stderr", errors, "two\n"},
      {"tail, then since", both, "\nsix\n"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(all(c.options), c.shown);
  }
}

TEST_F(LogReaderTest, NothingYetIsEmpty) {
  EXPECT_EQ(all(), "");
  LogReaderOptions options;
  options.tail = 3;
  EXPECT_EQ(all(options), "");
  append("");
  EXPECT_EQ(all(options), "");
}

TEST_F(LogReaderTest, AnEntryThatIsBeingWrittenIsNotShown) {
  append(entry(1, "one") + "2026-01-02T03:04:05.000000001Z stdout F ha");
  EXPECT_EQ(all(), "one\n");
  LogReaderOptions options;
  options.tail = 1;
  EXPECT_EQ(all(options), "one\n");
  options.follow = true;
  LogReader reader(log_, options);
  EXPECT_EQ(drain(reader), "one\n");
  append("lf\n");
  EXPECT_EQ(drain(reader), "half\n");
}

TEST_F(LogReaderTest, TailReachesIntoTheFileBefore) {
  std::string expected;
  for (int i = 0; i < 4000; ++i) {
    append(entry(i, std::string(static_cast<std::size_t>(i % 97), 'x') + std::to_string(i)));
    if (i == 2500) rotate();
  }
  LogReaderOptions options;
  for (const int n : {1, 2, 1499, 1500, 3000, 3999, 4000, 5000}) {
    SCOPED_TRACE(n);
    options.tail = n;
    const std::string shown = all(options);
    const int lines = std::min(n, 4000);
    EXPECT_EQ(std::count(shown.begin(), shown.end(), '\n'), lines);
    const int first = 4000 - lines;
    EXPECT_TRUE(shown.starts_with(std::string(static_cast<std::size_t>(first % 97), 'x') +
                                  std::to_string(first) + "\n"))
        << shown.substr(0, 120);
  }
}

TEST_F(LogReaderTest, FollowsThroughRotations) {
  LogReaderOptions options;
  options.follow = true;
  LogReader reader(log_, options);
  EXPECT_EQ(drain(reader), "");
  append(entry(1, "1"));
  EXPECT_EQ(drain(reader), "1\n");
  EXPECT_EQ(drain(reader), "");
  append(entry(2, "2"));
  rotate();  // with what was not yet read
  EXPECT_EQ(drain(reader), "2\n");
  append(entry(3, "3"));
  EXPECT_EQ(drain(reader), "3\n");
  rotate();
  append(entry(4, "4"));
  rotate();  // two at once: the file between is the one before the newest
  append(entry(5, "5"));
  EXPECT_EQ(drain(reader), "4\n5\n");
}

TEST_F(LogReaderTest, WhoIsFarBehindGoesOnWithTheOldestThereIs) {
  LogReaderOptions options;
  options.follow = true;
  LogReader reader(log_, options);
  append(entry(1, "1"));
  EXPECT_EQ(drain(reader), "1\n");
  append(entry(2, "2"));
  for (int n = 3; n <= 6; ++n) {
    rotate();
    append(entry(n, std::to_string(n)));
  }
  // 2 in the file that is held open, 5 and 6 on the disk; 3 and 4 are nowhere any more.
  EXPECT_EQ(drain(reader), "2\n5\n6\n");
}

TEST_F(LogReaderTest, BeginsWithTheFileBefore) {
  append(entry(1, "1"));
  rotate();
  append(entry(2, "2"));
  LogReaderOptions options;
  options.follow = true;
  LogReader reader(log_, options);
  rotate();
  append(entry(3, "3"));
  EXPECT_EQ(drain(reader), "1\n2\n3\n");
}

TEST_F(LogReaderTest, WithoutFollowingItEndsWhereTheLogEnded) {
  append(entry(1, "1"));
  LogReader reader(log_, {});
  append(entry(2, "2"));
  rotate();
  append(entry(3, "3"));
  EXPECT_EQ(drain(reader), "1\n");
}

// What a container writes, read as it comes: 25 MiB through rotations at 10 MiB.
TEST_F(LogReaderTest, NothingLostNothingTwice) {
  const runtime::Fd directory(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  runtime::ContainerLog log(directory.get(), "0.log");
  LogReaderOptions options;
  options.follow = true;
  LogReader reader(log_, options);
  std::string written, shown;
  for (int i = 0; i < 900; ++i) {
    std::string block;
    for (int line = 0; line < 3; ++line)
      block += std::to_string(i * 3 + line) +
               std::string(static_cast<std::size_t>(i * 31 % 40'000), 'y') + "\n";
    log.add(0, block.data(), block.size());
    written += block;
    if (i % 50 == 0) shown += drain(reader, 65'536);
  }
  log.finish();
  shown += drain(reader, 65'536);
  EXPECT_GT(written.size(), std::size_t{25} << 20);
  EXPECT_TRUE(shown == written) << shown.size() << " of " << written.size();
}

}  // namespace
}  // namespace coracle::logs
