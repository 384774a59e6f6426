#include "proxy/iptables_tool.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <fstream>
#include <string_view>
#include <utility>

namespace coracle {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

constexpr std::size_t kMaxOutput = 256UL << 20U;
constexpr std::chrono::seconds kToolTimeout{60};
constexpr const char* kLockWaitSeconds = "10";

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    reset();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }
  int get() const { return fd_; }
  void reset() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

// Socket pairs instead of pipes: MSG_NOSIGNAL spares us SIGPIPE when the child ends before it has
// read all.
struct Channel {
  Fd ours, theirs;
};
Result<Channel> make_channel() {
  std::array<int, 2> fds{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
    return Error::from_errno(errno, "socketpair");
  }
  Channel channel{Fd(fds[0]), Fd(fds[1])};
  if (::fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) return Error::from_errno(errno, "fcntl");
  return channel;
}

struct Channels {
  Channel in, out, err;
};

Result<pid_t> spawn(const std::vector<std::string>& argv, const Channels& channels) {
  std::vector<char*> raw;
  raw.reserve(argv.size() + 1);
  for (const std::string& a : argv)
    raw.push_back(const_cast<char*>(a.c_str()));  // NOLINT(*-const-cast)
  raw.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_adddup2(&actions, channels.in.theirs.get(), 0);
  ::posix_spawn_file_actions_adddup2(&actions, channels.out.theirs.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, channels.err.theirs.get(), 2);
  // The server blocks and ignores signals that a child program expects to work.
  sigset_t none;
  sigset_t defaults;
  ::sigemptyset(&none);
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  ::sigaddset(&defaults, SIGINT);
  ::sigaddset(&defaults, SIGTERM);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::string path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  std::string lang = "LC_ALL=C";
  std::array<char*, 3> environment{path.data(), lang.data(), nullptr};
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, raw[0], &actions, &attributes, raw.data(), environment.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return Error::from_errno(error, "cannot run " + argv[0]);
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Takes what waits on `fd`; closes it at its end.
void drain(Fd& fd, std::string& into) {
  std::array<char, 65536> buffer;  // NOLINT(*-member-init): filled by recv
  const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
  if (n > 0) {
    into.append(buffer.data(), static_cast<std::size_t>(n));
  } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
    fd.reset();
  }
}

void feed(Fd& fd, std::string_view& rest) {
  const ssize_t n = ::send(fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  if (n > 0) rest.remove_prefix(static_cast<std::size_t>(n));
  if (rest.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) fd.reset();
}

// Feeds and drains until the child has closed its outputs, or `run` is in force.
Result<void> converse(Channels& channels, std::string_view input, ProcessOutput& output,
                      ToolRun& run, SteadyTime deadline) {
  if (input.empty()) channels.in.ours.reset();
  while (channels.out.ours.get() >= 0 || channels.err.ours.get() >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return Error{Code::Timeout, "did not end in time"};
    std::array<pollfd, 4> polls{{{channels.in.ours.get(), POLLOUT, 0},
                                 {channels.out.ours.get(), POLLIN, 0},
                                 {channels.err.ours.get(), POLLIN, 0},
                                 {run.events, POLLIN, 0}}};
    if (::poll(polls.data(), polls.size(), static_cast<int>(left.count()) + 1) < 0 &&
        errno != EINTR) {
      return Error::from_errno(errno, "poll");
    }
    if (polls[0].revents != 0) feed(channels.in.ours, input);
    if (polls[1].revents != 0) drain(channels.out.ours, output.out);
    if (polls[2].revents != 0) drain(channels.err.ours, output.err);
    run.ended = polls[3].revents == 0 || !run.in_force(run.pid);
    if (!run.ended) return {};
    if (output.out.size() + output.err.size() > kMaxOutput)
      return Error{Code::TooLarge, "wrote too much"};
  }
  return {};
}

constexpr std::array<const char*, 4> kDirectories{"/usr/sbin", "/sbin", "/usr/bin",
                                                  "/usr/local/sbin"};

// Netfilter's proc interface; readable by root alone.
bool legacy_has_table(const std::string& table) {
  std::ifstream names("/proc/thread-self/net/ip_tables_names");
  for (std::string name; std::getline(names, name);)
    if (name == table) return true;
  return false;
}

// How many rules the variant holds, and whether KUBE- chains are among them.
struct Holding {
  std::size_t rules = 0;
  bool kube = false;
};
Holding holding(const IptablesTool& tool) {
  Holding found;
  for (const char* table : {"filter", "nat", "mangle"}) {
    const auto text = tool.save(table);
    if (!text) continue;
    for (std::size_t at = 0; at < text->size();) {
      std::size_t end = text->find('\n', at);
      if (end == std::string::npos) end = text->size();
      const std::string_view line = std::string_view(*text).substr(at, end - at);
      found.rules += line.starts_with("-A ") ? 1 : 0;
      found.kube = found.kube || line.starts_with(":KUBE-");
      at = end + 1;
    }
  }
  return found;
}

// The lines of the input that an error message names, for "iptables-restore: line 7 failed".
std::string complained_line(const std::string& text, const std::string& message) {
  const std::size_t at = message.find("line ");
  if (at == std::string::npos) return "";
  std::size_t number = 0;
  for (std::size_t i = at + 5; i < message.size() && message[i] >= '0' && message[i] <= '9'; ++i) {
    number = number * 10 + static_cast<std::size_t>(message[i] - '0');
    if (number > text.size()) return "";
  }
  std::size_t begin = 0;
  for (; number > 1 && begin != std::string::npos; --number) {
    begin = text.find('\n', begin);
    if (begin != std::string::npos) ++begin;
  }
  if (number != 1 || begin == std::string::npos || begin >= text.size()) return "";
  return " (" + text.substr(begin, text.find('\n', begin) - begin) + ")";
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (text.size() > 1000) text.resize(1000);
  return text;
}

}  // namespace

namespace {

Result<ProcessOutput> run_tool(const std::vector<std::string>& argv, const std::string& input,
                               std::chrono::milliseconds timeout, ToolRun& run) {
  const SteadyTime deadline = std::chrono::steady_clock::now() + timeout;
  Channels channels{TRY(make_channel()), TRY(make_channel()), TRY(make_channel())};
  run.pid = TRY(spawn(argv, channels));
  for (Channel* c : {&channels.in, &channels.out, &channels.err}) c->theirs.reset();
  ProcessOutput output;
  const auto done = converse(channels, input, output, run, deadline);
  if (!run.ended) {
    output.exit_code = 0;
    return output;
  }
  if (!done) ::kill(run.pid, SIGKILL);
  output.exit_code = wait_for(run.pid);
  if (!done) return done.error().context(argv[0]);
  return output;
}

}  // namespace

Result<ProcessOutput> run_process(const std::vector<std::string>& argv, const std::string& input,
                                  std::chrono::milliseconds timeout) {
  ToolRun to_its_end;
  return run_tool(argv, input, timeout, to_its_end);
}

Ending wait_for_process(pid_t pid, bool block) {
  int status = 0;
  pid_t ended = -1;
  do {
    ended = ::waitpid(pid, &status, block ? 0 : WNOHANG);
  } while (ended < 0 && errno == EINTR);
  if (ended == 0) return Ending::Running;
  if (ended < 0) return Ending::Badly;
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGPIPE ? Ending::Well : Ending::Badly;
  return WEXITSTATUS(status) == 0 ? Ending::Well : Ending::Badly;
}

Result<IptablesTool> IptablesTool::open(IptablesVariant variant) {
  for (const char* directory : kDirectories) {
    IptablesTool tool(variant, directory);
    if (::access(tool.program("restore").c_str(), X_OK) == 0) return tool;
  }
  const std::string name = variant == IptablesVariant::Nft ? "iptables-nft" : "iptables-legacy";
  return Error{Code::NotFound, name + "-restore is not installed: install the package iptables"};
}

Result<IptablesTool> IptablesTool::detect() {
  auto nft = open(IptablesVariant::Nft);
  auto legacy = open(IptablesVariant::Legacy);
  if (!legacy) return nft;
  if (!nft) return legacy;
  const Holding in_legacy = holding(*legacy);
  if (in_legacy.rules == 0 && !in_legacy.kube) return nft;
  const Holding in_nft = holding(*nft);
  if (in_nft.kube != in_legacy.kube) return in_nft.kube ? nft : legacy;
  return in_legacy.rules > in_nft.rules ? legacy : nft;
}

Result<void> IptablesTool::restore(const std::string& text) const {
  ToolRun to_its_end;
  return restore(text, to_its_end);
}

Result<void> IptablesTool::restore(const std::string& text, ToolRun& run) const {
  const auto output = TRY(
      run_tool({program("restore"), "--noflush", "-w", kLockWaitSeconds}, text, kToolTimeout, run));
  if (output.exit_code == 0) return {};
  return Error{Code::Internal,
               name() + "-restore: " + trimmed(output.err) + complained_line(text, output.err)};
}

Result<std::string> IptablesTool::save(const std::string& table) const {
  // Asking iptables-legacy for a table makes the kernel set it up.
  if (variant_ == IptablesVariant::Legacy && !legacy_has_table(table)) return std::string();
  auto output = TRY(run_process({program("save"), "-t", table}, "", kToolTimeout));
  if (output.exit_code == 0) return std::move(output.out);
  return Error{Code::Internal, name() + "-save: " + trimmed(output.err)};
}

Result<std::string> IptablesTool::rules_of(const std::string& table,
                                           const std::string& chain) const {
  auto output =
      TRY(run_process({directory_ + "/" + name(), "-w", kLockWaitSeconds, "-t", table, "-S", chain},
                      "", kToolTimeout));
  if (output.exit_code == 0) return std::move(output.out);
  // It says "No chain/target/match by that name" and the like; other troubles show at the repair.
  return std::string();
}

}  // namespace coracle
