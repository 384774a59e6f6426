#include "runtime/volume_files.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <set>
#include <vector>

#include "runtime/sandbox_files.h"

namespace coracle::runtime {
namespace {

namespace fs = std::filesystem;

constexpr const char* kData = "..data";
constexpr const char* kNextData = "..data_tmp";
constexpr mode_t kGroupReads = 0440, kGroupEnters = 0550, kSetGroup = 02000;

std::string path_in(int dir, const std::string& name) {
  return "/proc/self/fd/" + std::to_string(dir) + "/" + name;
}

std::string link_target(int dir, const std::string& name) {
  std::array<char, 256> text{};
  const ssize_t size = readlinkat(dir, name.c_str(), text.data(), text.size());
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(0, size))};
}

// "..2026_01_02_03_04_05.1234567890"
std::string new_name() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts = {};
  gmtime_r(&now, &parts);
  std::array<char, 40> text{};
  (void)std::strftime(text.data(), text.size(), "..%Y_%m_%d_%H_%M_%S.", &parts);
  std::uint32_t number = 0;
  (void)!getrandom(&number, sizeof(number), 0);
  return text.data() + std::to_string(number);
}

std::string join(const std::string& dir, const std::string& path) {
  return dir + "/" + path;
}

std::string first_part(const std::string& path) {
  return path.substr(0, path.find('/'));
}

class Writer {
 public:
  Writer(int dir, const VolumeFiles& files, std::optional<gid_t> group)
      : dir_(dir), files_(files), group_(group) {}

  Result<void> write() {
    if (!is_current()) {
      const std::string name = new_name();
      TRY(write_all(name));
      (void)unlinkat(dir_, kNextData, 0);
      if (symlinkat(name.c_str(), dir_, kNextData) != 0 ||
          renameat(dir_, kNextData, dir_, kData) != 0)
        return Error::from_errno(errno, kData);
    }
    TRY(link_names());
    return tidy();
  }

 private:
  mode_t mode_of(const VolumeFile& file) const {
    return (file.mode & 0777U) | (group_ ? kGroupReads : 0);
  }

  bool is_current() const {
    const std::string name = link_target(dir_, kData);
    if (name.empty()) return false;
    std::size_t count = 0;
    std::error_code error;
    for (fs::recursive_directory_iterator it(path_in(dir_, name), error), end; !error && it != end;
         it.increment(error))
      if (!it->is_directory()) ++count;
    if (error || count != files_.size()) return false;
    for (const auto& [path, file] : files_) {
      const std::string at = join(name, path);
      struct stat info = {};
      if (fstatat(dir_, at.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return false;
      if ((info.st_mode & 0777U) != mode_of(file)) return false;
      const auto text = read_file(dir_, at);
      if (!text || *text != file.data) return false;
    }
    return true;
  }

  Result<void> make_directory(const std::string& path) {
    if (mkdirat(dir_, path.c_str(), 0755) != 0)
      return errno == EEXIST ? Result<void>() : Error::from_errno(errno, path);
    if (fchmodat(dir_, path.c_str(), 0755U | (group_ ? kGroupEnters | kSetGroup : 0), 0) != 0 ||
        (group_ && fchownat(dir_, path.c_str(), 0, *group_, 0) != 0))
      return Error::from_errno(errno, path);
    return {};
  }

  Result<void> write_one(const std::string& path, const VolumeFile& file) {
    const Fd fd(openat(dir_, path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd.valid()) return Error::from_errno(errno, path);
    for (std::size_t done = 0; done < file.data.size();) {
      const ssize_t n = ::write(fd.get(), file.data.data() + done, file.data.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Error::from_errno(errno, path);
      done += static_cast<std::size_t>(n);
    }
    // The group first: that clears bits of the mode.
    if ((group_ && fchown(fd.get(), 0, *group_) != 0) || fchmod(fd.get(), mode_of(file)) != 0)
      return Error::from_errno(errno, path);
    return {};
  }

  Result<void> write_all(const std::string& name) {
    TRY(make_directory(name));
    for (const auto& [path, file] : files_) {
      for (auto slash = path.find('/'); slash != std::string::npos;
           slash = path.find('/', slash + 1))
        TRY(make_directory(join(name, path.substr(0, slash))));
      TRY(write_one(join(name, path), file));
    }
    return {};
  }

  Result<void> link_names() {
    for (const auto& [path, file] : files_) {
      const std::string name = first_part(path);
      const std::string target = std::string(kData) + "/" + name;
      if (link_target(dir_, name) == target) continue;
      if (symlinkat(target.c_str(), dir_, name.c_str()) != 0 && errno != EEXIST)
        return Error::from_errno(errno, name);
    }
    return {};
  }

  // Names that are no more, and directories of earlier contents. A directory that was made for a
  // subPath stays.
  Result<void> tidy() {
    std::set<std::string> wanted = {kData, link_target(dir_, kData)};
    for (const auto& [path, file] : files_) wanted.insert(first_part(path));
    std::error_code error;
    std::vector<std::string> gone;
    for (fs::directory_iterator it(path_in(dir_, ""), error), end; !error && it != end;
         it.increment(error)) {
      const std::string name = it->path().filename();
      if (!wanted.contains(name) && (name.starts_with("..") || it->is_symlink()))
        gone.push_back(name);
    }
    for (const std::string& name : gone)
      if (!error) fs::remove_all(path_in(dir_, name), error);
    if (error) return Error{Code::Internal, "tidying a volume: " + error.message()};
    return {};
  }

  const int dir_;
  const VolumeFiles& files_;
  const std::optional<gid_t> group_;
};

}  // namespace

Result<void> write_volume_files(int dir, const VolumeFiles& files, std::optional<gid_t> group) {
  return Writer(dir, files, group).write();
}

bool has_volume_files(int dir) {
  return !link_target(dir, kData).empty();
}

}  // namespace coracle::runtime
