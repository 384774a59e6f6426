#include <coracle/files.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

namespace coracle {
namespace {

class Files : public testing::Test {
 protected:
  Files() {
    std::string pattern = testing::TempDir() + "files-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    path_ = directory_ + "/file";
  }
  ~Files() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
  std::string path_;
};

TEST_F(Files, WhoWriteAtATimeAllSucceedAndLeaveOneWholeText) {
  constexpr int kWriters = 4;
  constexpr int kTimes = 50;
  std::vector<int> failed(kWriters);
  {
    std::vector<std::jthread> writers;
    for (int w = 0; w < kWriters; ++w)
      writers.emplace_back([&, w] {
        const std::string text(10'000 * static_cast<std::size_t>(w + 1),
                               static_cast<char>('a' + w));
        for (int i = 0; i < kTimes; ++i)
          if (!write_file_atomically(path_, text, 0600)) ++failed[static_cast<std::size_t>(w)];
      });
    for (int i = 0; i < 200; ++i) {
      const auto seen = read_whole_file(path_);
      if (!seen) continue;  // not yet
      ASSERT_FALSE(seen->empty());
      EXPECT_EQ(*seen, std::string(10'000 * static_cast<std::size_t>(seen->front() - 'a' + 1),
                                   seen->front()));
    }
  }
  EXPECT_EQ(failed, std::vector<int>(kWriters));
  EXPECT_TRUE(read_whole_file(path_));
  EXPECT_FALSE(std::filesystem::exists(path_ + ".new"));
}

TEST_F(Files, WhatADeadWriterLeftIsInNobodysWay) {
  std::ofstream(path_ + ".new") << std::string(1000, 'x');
  ASSERT_EQ(chmod((path_ + ".new").c_str(), 0644), 0);
  ASSERT_TRUE(write_file_atomically(path_, "text", 0600));
  EXPECT_EQ(*read_whole_file(path_), "text");
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST_F(Files, ALinkIsNotFollowed) {
  std::ofstream(directory_ + "/other") << "other";
  std::filesystem::create_symlink("other", path_ + ".new");
  EXPECT_FALSE(write_file_atomically(path_, "text", 0600));
  EXPECT_EQ(*read_whole_file(directory_ + "/other"), "other");
}

}  // namespace
}  // namespace coracle
