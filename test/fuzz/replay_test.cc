// Every corpus file through its target, as libFuzzer would: what was found once stays found.
#include <gtest/gtest.h>
#include <pthread.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <vector>

#include "targets.h"

namespace coracle::fuzz {
namespace {

namespace fs = std::filesystem;

const fs::path kCorpus = CORACLE_SOURCE_DIR "/test/fuzz/corpus";

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::size_t kStack = std::size_t{8} << 20;  // their frames are larger
#else
constexpr std::size_t kStack = std::size_t{256} << 10;  // what a thread of the HTTP server has
#endif

void* call(void* function) {
  (*static_cast<std::function<void()>*>(function))();
  return nullptr;
}

void on_server_stack(std::function<void()> function) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, kStack), 0);
  pthread_t thread{};
  ASSERT_EQ(pthread_create(&thread, &attributes, call, &function), 0);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
}

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(folder, absent)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

void replay(const Target& target, const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  ASSERT_TRUE(in.is_open());
  std::vector<std::uint8_t> input(bytes.begin(), bytes.end());
  std::string broken;
  on_server_stack([&] {
    try {
      target.run(input);
    } catch (const std::exception& error) {
      broken = error.what();
    }
  });
  EXPECT_EQ(broken, "") << file;
}

class Corpus : public ::testing::TestWithParam<Target> {};

TEST_P(Corpus, FindsNothing) {
  const Target& target = GetParam();
  const auto files = files_of(kCorpus / target.name);
  ASSERT_FALSE(files.empty()) << "no corpus for " << target.name;
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.filename());
    replay(target, file);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Corpus, ::testing::ValuesIn(kTargets),
                         [](const auto& target) { return std::string(target.param.name); });

TEST(CorpusFolders, AllHaveATarget) {
  for (const fs::path& folder : files_of(kCorpus)) {
    EXPECT_TRUE(std::any_of(std::begin(kTargets), std::end(kTargets), [&](const Target& target) {
      return folder.filename() == target.name;
    })) << folder;
  }
}

}  // namespace
}  // namespace coracle::fuzz
