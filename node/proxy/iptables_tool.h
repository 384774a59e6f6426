// The only place that runs iptables: `iptables-restore --noflush` and `iptables-save` of one
// variant (nft or legacy), in the network namespace of the calling thread. Every run has a deadline
// and bounded output.
#pragma once

#include <coracle/result.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace coracle {

enum class IptablesVariant { Nft, Legacy };

// A run that need not be waited for to its end: iptables-nft takes 20 ms to close its socket, while
// the kernel waits for readers of the rules that are gone.
struct ToolRun {
  int events = -1;                          // readable when in_force may have become true
  std::function<bool(pid_t pid)> in_force;  // REQUIRED with events
  // Out, also after an error:
  pid_t pid = 0;
  bool ended = true;  // false: the caller waits for the process, with wait_for_process()
};

class IptablesTool {
 public:
  // The variant that holds rules already, as two variants side by side confuse everybody: the one
  // with KUBE- chains, else the one with more rules, else nft. NotFound, saying what to install,
  // when there is none.
  static Result<IptablesTool> detect();
  static Result<IptablesTool> open(IptablesVariant variant);

  IptablesVariant variant() const { return variant_; }
  std::string name() const {
    return variant_ == IptablesVariant::Nft ? "iptables-nft" : "iptables-legacy";
  }

  // One atomic transaction per table of the text; chains not named in it stay as they are. The
  // error carries what the tool wrote and the line it complains about.
  Result<void> restore(const std::string& text) const;
  // As above, but returns as soon as `run` says that the changes are in force.
  Result<void> restore(const std::string& text, ToolRun& run) const;
  // The text of `iptables-save -t table`; nothing when legacy has no such table, which stays so.
  Result<std::string> save(const std::string& table) const;
  // The rules of one chain, as lines of iptables-save; nothing when there is no such chain.
  Result<std::string> rules_of(const std::string& table, const std::string& chain) const;

 private:
  IptablesTool(IptablesVariant variant, std::string directory)
      : variant_(variant), directory_(std::move(directory)) {}
  std::string program(const char* what) const { return directory_ + "/" + name() + "-" + what; }

  IptablesVariant variant_;
  std::string directory_;
};

struct ProcessOutput {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string out;
  std::string err;
};
// Runs argv[0] (an absolute path) with `input` on its standard input. Timeout when it did not end
// in time (it is killed then), TooLarge when it wrote more than 256 MiB.
Result<ProcessOutput> run_process(const std::vector<std::string>& argv, const std::string& input,
                                  std::chrono::milliseconds timeout);
// How a child ended whose work was done before; Running only without `block`.
enum class Ending { Running, Well, Badly };
// Ending by SIGPIPE is well: nobody reads any more what it has to say.
Ending wait_for_process(pid_t pid, bool block);

}  // namespace coracle
