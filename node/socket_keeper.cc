// The process that keeps sockets, and the agent's end of it. They talk in sequenced packets, each
// with at most one descriptor:
//   =NAME and a descriptor   to be kept; and, when an agent connects, what is kept
//   .                        that was all that is kept
//   quit                     the process is to end
#include "socket_keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <utility>

#include "runtime/sandbox_files.h"

namespace coracle {
namespace {

using runtime::Fd;

constexpr int kListenerFd = 3;  // of the process
constexpr int kHoldMilliseconds = 10'000;
constexpr int kPatienceMilliseconds = 5'000;
constexpr std::size_t kMostSockets = 16;
constexpr std::size_t kLongestName = 100;
constexpr const char* kEnd = ".";
constexpr const char* kQuit = "quit";

std::string path_of(const std::string& data_dir) {
  return data_dir + "/network/sockets.sock";
}

// Through the directory's descriptor: paths of sockets are short.
Result<sockaddr_un> address_in(const Fd& directory) {
  if (!directory.valid()) return Error::from_errno(errno, "the directory of the kept sockets");
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(directory.get()) + "/sockets.sock";
  std::memcpy(out.sun_path, path.c_str(), path.size() + 1);
  return out;
}

Fd directory_of(const std::string& data_dir) {
  return Fd(::open((data_dir + "/network").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// `fd` goes with it; -1: none.
bool send_packet(int connection, std::string text, int fd = -1) {
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
  }
  return ::sendmsg(connection, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

struct Packet {
  std::string text;  // "": the other end is gone
  Fd fd;
};
Packet receive_packet(int connection) {
  std::array<char, kLongestName + 2> text{};
  iovec part{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t size = ::recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  Packet out;
  if (size <= 0) return out;
  out.text.assign(text.data(), static_cast<std::size_t>(size));
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return out;
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof(int));
  out.fd = Fd(fd);
  return out;
}

bool readable_within(int fd, int milliseconds) {
  pollfd polled{fd, POLLIN, 0};
  int count = 0;
  while ((count = ::poll(&polled, 1, milliseconds)) < 0 && errno == EINTR) {
  }
  return count == 1;
}

// In a child between fork and exec, as for a Pod's supervisor: system calls only. Init becomes its
// parent.
[[noreturn]] void become_keeper(int listener, int executable, char* const* argv) {
  (void)::setsid();
  const long again = ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  if (again != 0) ::_exit(again < 0 ? 1 : 0);
  constexpr int kHigh = 20;
  const int program = ::fcntl(executable, F_DUPFD_CLOEXEC, kHigh);
  if (::dup2(listener, kListenerFd) < 0) ::_exit(1);
  const int null = ::open("/dev/null", O_RDWR);
  for (const int fd : {0, 1, 2}) (void)::dup2(null, fd);
  (void)::dup2(program, kListenerFd + 1);
  (void)::syscall(SYS_close_range, kListenerFd + 2U, ~0U, 0U);
  (void)::fcntl(kListenerFd + 1, F_SETFD, FD_CLOEXEC);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  (void)::chdir("/");
  char* const no_environment[] = {nullptr};
  (void)::syscall(SYS_execveat, kListenerFd + 1, "", argv, no_environment, AT_EMPTY_PATH);
  ::_exit(1);
}

Result<void> launch(int listener, const std::string& path) {
  const Fd executable(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!executable.valid()) return Error::from_errno(errno, "this executable");
  std::string name = kSocketKeeperProgram;
  std::string where = path;
  char* const argv[] = {name.data(), where.data(), nullptr};
  const pid_t pid = ::fork();
  if (pid < 0) return Error::from_errno(errno, "fork");
  if (pid == 0) become_keeper(listener, executable.get(), argv);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status == 0) return {};
  return Error{Code::Internal, "the process that keeps sockets cannot be started"};
}

Fd connect_to(const sockaddr_un& address) {
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (fd.valid() &&
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0)
    return fd;
  return Fd();
}

// A socket on which a new process will listen; its mode is that of the directory's owner.
Result<Fd> listen_at(const sockaddr_un& address) {
  Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return Error::from_errno(errno, "socket");
  if (::unlink(address.sun_path) != 0 && errno != ENOENT)
    return Error::from_errno(errno, "sockets.sock");
  (void)::fchmod(fd.get(), 0600);  // bind makes the file with the socket's mode
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(fd.get(), 4) != 0)
    return Error::from_errno(errno, "sockets.sock");
  return fd;
}

// The process's side.
class Keeper {
 public:
  // Until nobody has needed it for a while, or it is told to end.
  void run() {
    for (;;) {
      std::array<pollfd, 2> fds{{{kListenerFd, POLLIN, 0}, {agent_.get(), POLLIN, 0}}};
      const int count = ::poll(fds.data(), fds.size(), agent_.valid() ? -1 : kHoldMilliseconds);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return;
      // All that the last agent has sent, before the next one is met.
      while (agent_.valid() && readable_within(agent_.get(), 0))
        if (!serve()) return;
      if (fds[0].revents != 0) meet();
    }
  }

 private:
  // The newest agent counts.
  void meet() {
    Fd next(::accept4(kListenerFd, nullptr, nullptr, SOCK_CLOEXEC));
    if (!next.valid()) return;
    for (const auto& [name, fd] : kept_) (void)send_packet(next.get(), "=" + name, fd.get());
    (void)send_packet(next.get(), kEnd);
    agent_ = std::move(next);
  }

  // False when it is to end.
  bool serve() {
    Packet packet = receive_packet(agent_.get());
    if (packet.text == kQuit) return false;
    if (packet.text.empty()) agent_ = Fd();
    if (!packet.text.starts_with('=') || !packet.fd.valid()) return true;
    const std::string name = packet.text.substr(1);
    if (kept_.contains(name) || kept_.size() < kMostSockets) kept_[name] = std::move(packet.fd);
    return true;
  }

  Fd agent_;
  std::map<std::string, Fd> kept_;
};

}  // namespace

Result<std::unique_ptr<KeptSockets>> KeptSockets::open(const std::string& data_dir) {
  std::error_code failed;
  std::filesystem::create_directories(data_dir + "/network", failed);
  const Fd directory = directory_of(data_dir);
  const sockaddr_un address = TRY(address_in(directory));
  if (Fd known = connect_to(address); known.valid()) {
    std::unique_ptr<KeptSockets> out(new KeptSockets(known.release()));
    if (out->receive()) return out;
  }
  const Fd listener = TRY(listen_at(address));
  TRY(launch(listener.get(), path_of(data_dir)));
  Fd started = connect_to(address);
  if (!started.valid()) return Error::from_errno(errno, "the process that keeps sockets");
  return std::unique_ptr<KeptSockets>(new KeptSockets(started.release()));
}

KeptSockets::~KeptSockets() {
  for (const auto& [name, fd] : taken_over_) ::close(fd);
  ::close(connection_);
}

// What is kept; fails when the process ends just now.
Result<void> KeptSockets::receive() {
  while (readable_within(connection_, kPatienceMilliseconds)) {
    Packet packet = receive_packet(connection_);
    if (packet.text == kEnd) return {};
    if (!packet.text.starts_with('=') || !packet.fd.valid()) break;
    taken_over_[packet.text.substr(1)] = packet.fd.release();
  }
  return Error{Code::Unavailable, "the process that keeps sockets does not answer"};
}

int KeptSockets::take(const std::string& name) const {
  const auto found = taken_over_.find(name);
  return found == taken_over_.end() ? -1 : ::fcntl(found->second, F_DUPFD_CLOEXEC, 0);
}

void KeptSockets::keep(const std::string& name, int fd) {
  if (name.size() <= kLongestName) (void)send_packet(connection_, "=" + name, fd);
}

SocketKeeper KeptSockets::functions() {
  return {.take = [this](const std::string& name) { return take(name); },
          .keep = [this](const std::string& name, int fd) { keep(name, fd); }};
}

Result<void> KeptSockets::end(const std::string& data_dir) {
  const Fd directory = directory_of(data_dir);
  const auto address = address_in(directory);
  if (!address) return {};  // there is no such directory, and so nobody
  const Fd connection = connect_to(*address);
  if (!connection.valid() || !send_packet(connection.get(), kQuit)) return {};
  while (readable_within(connection.get(), kPatienceMilliseconds))
    if (receive_packet(connection.get()).text.empty()) return {};
  return Error{Code::Timeout, "the process that keeps sockets does not end"};
}

int socket_keeper_main(int argc, char** argv) {
  Keeper keeper;
  keeper.run();
  // Before it is gone: whoever cannot connect any more makes another.
  if (argc > 1) (void)::unlink(argv[1]);
  return 0;
}

}  // namespace coracle
