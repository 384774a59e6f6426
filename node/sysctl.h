// Sysctls that are set for our purposes and put back when they are no longer needed. What was there
// before is on disk before anything is changed.
#pragma once

#include <coracle/result.h>

#include <map>
#include <string>

#include "kernel.h"

namespace coracle {

class Sysctls {
 public:
  struct Saved {
    std::string before, ours;
    bool operator==(const Saved&) const = default;
  };
  // `path` keeps the earlier values.
  Sysctls(Kernel& kernel, std::string path) : kernel_(kernel), path_(std::move(path)) {}

  // Sets it if it differs. A key this kernel lacks is skipped.
  Result<void> set(const std::string& key, const std::string& value);
  // Puts back every value that is still ours, and forgets them. Goes on after errors.
  Result<void> restore();

  Result<std::map<std::string, Saved>> saved() const;
  // Replaces what restore() would put back.
  Result<void> save(const std::map<std::string, Saved>& saved) const;

 private:
  // What the kernel turns along with ip_forward (inet_forward_change()): acceptance of redirects,
  // and the forwarding of each link, which may have had another value than ip_forward.
  Result<void> note_forwarding(const std::string& value, std::map<std::string, Saved>& known) const;

  Kernel& kernel_;
  std::string path_;
};

// Writes a file so that after a power cut it has the old content or the new: temporary file, fsync,
// rename, fsync of the directory.
Result<void> write_file_durably(const std::string& path, const std::string& content);
// The same without fsync: for what outlives the process but need not outlive the machine's power.
Result<void> write_file_atomically(const std::string& path, const std::string& content);
// NotFound when there is none.
Result<std::string> read_small_file(const std::string& path);

}  // namespace coracle
