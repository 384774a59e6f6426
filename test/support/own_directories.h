// Directories of the machine's that a test has for itself: empty inside, unchanged outside, and
// gone with the test however it ends. For the calling thread and the threads and processes it
// starts.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <initializer_list>

namespace coracle::test {

class OwnDirectories {
 public:
  explicit OwnDirectories(std::initializer_list<const char*> paths)
      : before_(open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC)),
        directory_(std::filesystem::current_path()) {
    EXPECT_EQ(unshare(CLONE_NEWNS), 0);
    EXPECT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    for (const char* path : paths) EXPECT_EQ(mount("tmpfs", path, "tmpfs", 0, nullptr), 0) << path;
  }
  // REQUIRES: the threads started since have ended.
  ~OwnDirectories() {
    EXPECT_EQ(setns(before_, CLONE_NEWNS), 0);
    close(before_);
    std::filesystem::current_path(directory_);
  }
  OwnDirectories(const OwnDirectories&) = delete;
  OwnDirectories& operator=(const OwnDirectories&) = delete;

 private:
  const int before_;
  const std::filesystem::path directory_;
};

}  // namespace coracle::test
