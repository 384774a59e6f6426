// Sockets that outlive the agent: what is sent while it is started anew, or was killed, waits in
// them instead of being refused. They are held by a small process of their own, the same executable
// under another argv, which ends some seconds after the agent unless another one comes.
#pragma once

#include <coracle/result.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

namespace coracle {

// What those who listen need of it. Null functions: nobody keeps anything.
struct SocketKeeper {
  // A duplicate of what an earlier agent kept under the name, the caller's then; -1 when there is
  // none. It may be of an agent with other options.
  std::function<int(const std::string& name)> take = {};
  // Keeps a duplicate for the next agent, instead of what was kept under the name (100 bytes at
  // most). As far as it goes: where it does not, the next one makes its own.
  std::function<void(const std::string& name, int fd)> keep = {};
};

// The agent's connection to that process. Thread-safe.
class KeptSockets {
 public:
  // Finds the process of this data directory, or starts one, in the network namespace of the
  // calling thread. There is one agent for a data directory at a time. Without descriptors left or
  // a directory that can be written: Internal.
  static Result<std::unique_ptr<KeptSockets>> open(const std::string& data_dir);
  ~KeptSockets();
  KeptSockets(const KeptSockets&) = delete;
  KeptSockets& operator=(const KeptSockets&) = delete;

  int take(const std::string& name) const;
  void keep(const std::string& name, int fd);
  // To be used while this object lives.
  SocketKeeper functions();

  // Ends the process of that directory, if there is one, and waits for its end: Timeout.
  static Result<void> end(const std::string& data_dir);

 private:
  explicit KeptSockets(int connection) : connection_(connection) {}
  Result<void> receive();

  const int connection_;
  std::map<std::string, int> taken_over_;  // by open()
};

inline constexpr const char* kSocketKeeperProgram = "coracle-sockets";
// The process: argv is the program's name and the path of its socket, which listens as descriptor
// 3.
int socket_keeper_main(int argc, char** argv);

}  // namespace coracle
