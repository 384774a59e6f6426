#include "runtime/sandbox_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace coracle::runtime {
namespace {

constexpr std::size_t kMaxFile = std::size_t{16} << 20U;

class Encoder {
 public:
  Encoder& add(const std::string& value) {
    out_ += value;
    out_ += '\0';
    return *this;
  }
  Encoder& add(std::int64_t value) { return add(std::to_string(value)); }
  Encoder& add(const Volume& v) {
    return add(v.name)
        .add(static_cast<std::int64_t>(v.kind))
        .add(v.path)
        .add(v.type)
        .add(std::to_string(v.size))
        .add(v.group ? std::to_string(*v.group) : "");
  }
  Encoder& add(const StartMount& m) {
    return add(m.volume)
        .add(static_cast<std::int64_t>(m.kind))
        .add(m.source)
        .add(m.target)
        .add(m.sub_path)
        .add(m.read_only ? 1 : 0)
        .add(m.submounts_read_only ? 1 : 0);
  }
  template <typename T>
  Encoder& add(const std::vector<T>& values) {
    add(static_cast<std::int64_t>(values.size()));
    for (const T& v : values) add(v);
    return *this;
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

// Agents and supervisors of different ages read each other's files: new fields come last, are
// absent from older files, and are not looked at by older programs.
class Decoder {
 public:
  explicit Decoder(const std::string& text) : text_(text) {}
  std::string string() {
    const auto end = text_.find('\0', at_);
    if (end == std::string::npos) {
      ok_ = false;
      return "";
    }
    std::string out = text_.substr(at_, end - at_);
    at_ = end + 1;
    return out;
  }
  std::int64_t number() {
    const std::string text = string();
    std::int64_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc{} || end != text.data() + text.size()) ok_ = false;
    return out;
  }
  std::vector<std::string> strings() {
    std::vector<std::string> out;
    const std::int64_t count = number();
    for (std::int64_t i = 0; ok_ && i < count; ++i) out.push_back(string());
    return out;
  }
  Volume::Kind kind() {
    const std::int64_t out = number();
    if (out < 0 || out > static_cast<std::int64_t>(Volume::Kind::Host)) ok_ = false;
    return ok_ ? static_cast<Volume::Kind>(out) : Volume::Kind::Disk;
  }
  std::vector<Volume> volumes() {
    std::vector<Volume> out;
    const std::int64_t count = number();
    for (std::int64_t i = 0; ok_ && i < count; ++i) {
      Volume& v = out.emplace_back();
      v.name = string();
      v.kind = kind();
      v.path = string();
      v.type = string();
      v.size = static_cast<std::uint64_t>(number());
      const std::string group = string();
      if (!group.empty()) v.group = static_cast<gid_t>(std::strtoul(group.c_str(), nullptr, 10));
    }
    return out;
  }
  std::vector<StartMount> mounts() {
    std::vector<StartMount> out;
    const std::int64_t count = number();
    for (std::int64_t i = 0; ok_ && i < count; ++i) {
      StartMount& m = out.emplace_back();
      m.volume = string();
      m.kind = kind();
      m.source = string();
      m.target = string();
      m.sub_path = string();
      m.read_only = number() != 0;
      m.submounts_read_only = number() != 0;
    }
    return out;
  }
  bool more() const { return at_ < text_.size(); }
  bool ok() const { return ok_; }

 private:
  const std::string& text_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

// Numbers: uid, gid, capabilities, two flags, then the groups.
std::vector<std::string> words_of(const Privileges& p) {
  std::vector<std::string> out = {std::to_string(p.uid), std::to_string(p.gid),
                                  std::to_string(p.capabilities), p.no_new_privileges ? "1" : "0",
                                  p.read_only_root ? "1" : "0"};
  for (const std::uint32_t group : p.groups) out.push_back(std::to_string(group));
  return out;
}

Privileges privileges_of(const std::vector<std::string>& words) {
  Privileges out;
  const auto read = [&](std::size_t i, auto& value) {
    if (i < words.size())
      (void)std::from_chars(words[i].data(), words[i].data() + words[i].size(), value);
  };
  int no_new_privileges = 1, read_only_root = 0;
  read(0, out.uid);
  read(1, out.gid);
  read(2, out.capabilities);
  read(3, no_new_privileges);
  read(4, read_only_root);
  out.no_new_privileges = no_new_privileges != 0;
  out.read_only_root = read_only_root != 0;
  for (std::size_t i = 5; i < words.size(); ++i) read(i, out.groups.emplace_back());
  return out;
}

std::int64_t to_ns(std::chrono::system_clock::time_point t) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
}
std::chrono::system_clock::time_point from_ns(std::int64_t ns) {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::nanoseconds(ns)));
}

Error damaged(const char* what) {
  return {Code::Internal, std::string("the record of a ") + what + " is damaged"};
}

Result<void> write_all(int fd, const std::string& text, const std::string& path) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "writing " + path);
    done += static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

Result<Fd> open_dir(const std::string& path) {
  Fd fd(open(path.c_str(), O_DIRECTORY | O_CLOEXEC | O_RDONLY));
  if (!fd.valid()) return Error::from_errno(errno, path);
  return fd;
}

std::string encode(const StartSpec& s) {
  return Encoder()
      .add(s.id)
      .add(s.image)
      .add(s.restart_count)
      .add(s.working_dir)
      .add(s.argv)
      .add(s.env)
      .add(s.hidden)
      .add(s.oom_score_adj)
      .add(s.termination_message_path)
      .add(s.message_from_log ? 1 : 0)
      .add(s.mounts)
      .add(s.node_data)
      .add(words_of(s.privileges))
      .add(s.cgroups)
      .add(s.memory_cgroup)
      .add(s.share_processes ? 1 : 0)
      .take();
}

Result<StartSpec> decode_start(const std::string& text) {
  Decoder in(text);
  StartSpec out;
  out.id = in.string();
  out.image = in.string();
  out.restart_count = static_cast<int>(in.number());
  out.working_dir = in.string();
  out.argv = in.strings();
  out.env = in.strings();
  out.hidden = in.strings();
  if (in.more()) {
    out.oom_score_adj = static_cast<int>(in.number());
    out.termination_message_path = in.string();
    out.message_from_log = in.number() != 0;
  }
  if (in.more()) {
    out.mounts = in.mounts();
    out.node_data = in.strings();
  }
  if (in.more()) {
    out.privileges = privileges_of(in.strings());
    out.cgroups = in.strings();
    out.memory_cgroup = in.string();
    out.share_processes = in.number() != 0;
  }
  if (!in.ok() || out.argv.empty()) return damaged("container's start");
  return out;
}

std::string encode(const SandboxSpec& s) {
  return Encoder()
      .add(s.pod_uid)
      .add(s.ns)
      .add(s.name)
      .add(s.hostname)
      .add(s.host_network ? 1 : 0)
      .add(s.volumes)
      .add(s.share_processes ? 1 : 0)
      .take();
}

Result<SandboxSpec> decode_sandbox(const std::string& text) {
  Decoder in(text);
  SandboxSpec out;
  out.pod_uid = in.string();
  out.ns = in.string();
  out.name = in.string();
  out.hostname = in.string();
  out.host_network = in.number() != 0;
  if (in.more()) out.volumes = in.volumes();
  if (in.more()) out.share_processes = in.number() != 0;
  if (!in.ok()) return damaged("sandbox");
  return out;
}

std::string encode(const ContainerState& s) {
  return Encoder()
      .add(s.name)
      .add(s.id)
      .add(s.image)
      .add(s.status == ContainerState::Status::Running ? 1 : 0)
      .add(s.restart_count)
      .add(s.pid)
      .add(s.exit_code)
      .add(s.signal)
      .add(to_ns(s.started_at))
      .add(to_ns(s.finished_at))
      .add(s.message)
      .add(s.termination_message)
      .add(s.out_of_memory ? 1 : 0)
      .take();
}

Result<ContainerState> decode_state(const std::string& text) {
  Decoder in(text);
  ContainerState out;
  out.name = in.string();
  out.id = in.string();
  out.image = in.string();
  out.status = in.number() != 0 ? ContainerState::Status::Running : ContainerState::Status::Exited;
  out.restart_count = static_cast<int>(in.number());
  out.pid = static_cast<pid_t>(in.number());
  out.exit_code = static_cast<int>(in.number());
  out.signal = static_cast<int>(in.number());
  out.started_at = from_ns(in.number());
  out.finished_at = from_ns(in.number());
  out.message = in.string();
  if (in.more()) out.termination_message = in.string();
  if (in.more()) out.out_of_memory = in.number() != 0;
  if (!in.ok()) return damaged("container");
  return out;
}

Result<std::string> read_file(int dirfd, const std::string& path) {
  const Fd fd(openat(dirfd, path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Error::from_errno(errno, path);
  std::string out;
  char buffer[8192];
  while (out.size() < kMaxFile) {
    const ssize_t n = read(fd.get(), buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno(errno, "reading " + path);
    if (n == 0) break;
    out.append(buffer, static_cast<std::size_t>(n));
  }
  return out;
}

Result<void> write_file(int dirfd, const std::string& path, const std::string& text) {
  const std::string draft = path + ".new";
  {
    const Fd fd(openat(dirfd, draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd.valid()) return Error::from_errno(errno, draft);
    TRY(write_all(fd.get(), text, draft));
  }
  if (renameat(dirfd, draft.c_str(), dirfd, path.c_str()) != 0)
    return Error::from_errno(errno, "renaming " + draft);
  return {};
}

Result<void> overwrite_file(int dirfd, const std::string& path, const std::string& text) {
  const Fd fd(openat(dirfd, path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  if (!fd.valid()) return Error::from_errno(errno, path);
  TRY(write_all(fd.get(), text, path));
  if (ftruncate(fd.get(), static_cast<off_t>(text.size())) != 0)
    return Error::from_errno(errno, "truncating " + path);
  return {};
}

std::optional<pid_t> supervisor_pid(int dirfd) {
  const Fd fd(openat(dirfd, "lock", O_RDWR | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(fd.get(), F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK || lock.l_pid <= 0)
    return std::nullopt;
  return lock.l_pid;
}

std::string container_dir(const std::string& container) {
  return "containers/" + container;
}

std::vector<ContainerState> read_states(int dirfd, bool alive) {
  std::vector<ContainerState> out;
  const int containers = openat(dirfd, "containers", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
  if (containers < 0) return out;
  DIR* dir = fdopendir(containers);
  if (dir == nullptr) {
    close(containers);
    return out;
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] == '.') continue;
    const auto text = read_file(dirfd, container_dir(entry->d_name) + "/state");
    if (!text) continue;
    auto state = decode_state(*text);
    if (!state) continue;
    if (!alive && state->status == ContainerState::Status::Running) {
      state->status = ContainerState::Status::Exited;
      state->pid = 0;
      state->exit_code = 137;
      state->signal = 9;
      state->message = "its supervisor was lost";
    }
    out.push_back(std::move(*state));
  }
  closedir(dir);
  std::sort(out.begin(), out.end(), [](const ContainerState& a, const ContainerState& b) {
    return a.started_at != b.started_at ? a.started_at < b.started_at : a.name < b.name;
  });
  return out;
}

}  // namespace coracle::runtime
