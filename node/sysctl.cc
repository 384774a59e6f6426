#include "sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace coracle {
namespace {

constexpr std::size_t kMaxFile = 1U << 20U;

Result<void> write_content(int fd, const std::string& content, const std::string& path) {
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::write(fd, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error::from_errno(errno, path);
    done += static_cast<std::size_t>(n);
  }
  return {};
}

Result<void> replace_file(const std::string& path, const std::string& content, bool durably) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return Error{Code::Internal, directory + ": " + error.message()};
  const std::string temporary = path + ".tmp";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Error::from_errno(errno, temporary);
  auto written = write_content(fd, content, temporary);
  if (written && durably && ::fsync(fd) != 0) written = Error::from_errno(errno, temporary);
  ::close(fd);
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0)
    written = Error::from_errno(errno, path);
  if (!written) {
    ::unlink(temporary.c_str());
    return written;
  }
  const int dir = durably ? ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
  if (dir >= 0) {
    (void)::fsync(dir);
    ::close(dir);
  }
  return {};
}

}  // namespace

Result<void> write_file_durably(const std::string& path, const std::string& content) {
  return replace_file(path, content, true);
}

Result<void> write_file_atomically(const std::string& path, const std::string& content) {
  return replace_file(path, content, false);
}

Result<std::string> read_small_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, path);
  std::string content;
  char buffer[4096];
  ssize_t n = 0;
  while (content.size() < kMaxFile &&
         ((n = ::read(fd, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR))) {
    if (n > 0) content.append(buffer, static_cast<std::size_t>(n));
  }
  const int error = errno;
  ::close(fd);
  if (n < 0) return Error::from_errno(error, path);
  return content;
}

Result<std::map<std::string, Sysctls::Saved>> Sysctls::saved() const {
  std::map<std::string, Saved> result;
  const auto text = read_small_file(path_);
  if (!text && is_not_found(text.error())) return result;
  if (!text) return text.error();
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  if (!json.is_object()) return Error{Code::Internal, path_ + " is damaged"};
  for (const auto& [key, value] : json.items()) {
    if (!value.is_array() || value.size() != 2 || !value[0].is_string() || !value[1].is_string())
      return Error{Code::Internal, path_ + " is damaged"};
    result[key] = {value[0].get<std::string>(), value[1].get<std::string>()};
  }
  return result;
}

Result<void> Sysctls::save(const std::map<std::string, Saved>& saved) const {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [key, value] : saved) json[key] = {value.before, value.ours};
  return write_file_durably(path_, json.dump() + "\n");
}

Result<void> Sysctls::set(const std::string& key, const std::string& value) {
  const auto now = kernel_.read_sysctl(key);
  if (!now && is_not_found(now.error())) return {};
  if (!now) return now.error();
  if (*now == value) return {};
  auto known = TRY(saved());
  const auto before = known;
  known.try_emplace(key, Saved{*now, value}).first->second.ours = value;
  if (key == "net/ipv4/ip_forward") TRY(note_forwarding(value, known));
  if (known != before) TRY(save(known));
  return kernel_.write_sysctl(key, value);
}

Result<void> Sysctls::note_forwarding(const std::string& value,
                                      std::map<std::string, Saved>& known) const {
  constexpr const char* kRedirects = "net/ipv4/conf/all/accept_redirects";
  if (const auto redirects = kernel_.read_sysctl(kRedirects))
    known.try_emplace(kRedirects, Saved{*redirects, value == "1" ? "0" : "1"});
  std::vector<std::string> links = {"default"};
  for (const Link& link : TRY(kernel_.dump()).links) links.push_back(link.name);
  for (const std::string& link : links) {
    const std::string key = "net/ipv4/conf/" + link + "/forwarding";
    const auto now = kernel_.read_sysctl(key);
    if (now && *now == value) known.try_emplace(key, Saved{*now, value});
  }
  return {};
}

Result<void> Sysctls::restore() {
  const auto known = TRY(saved());
  std::vector<std::pair<std::string, std::string>> ours;
  for (const auto& [key, value] : known) {
    // Gone with its link, or changed by somebody else since: theirs to keep.
    const auto now = kernel_.read_sysctl(key);
    if (now && *now == value.ours) ours.emplace_back(key, value.before);
  }
  std::string problems;
  // Backwards, so that ip_forward comes before what it turns along.
  std::reverse(ours.begin(), ours.end());
  for (const auto& [key, before] : ours) {
    if (auto done = kernel_.write_sysctl(key, before); !done)
      problems += done.error().message + "; ";
  }
  if (!problems.empty()) return Error{Code::Internal, problems};
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return Error::from_errno(errno, path_);
  return {};
}

}  // namespace coracle
