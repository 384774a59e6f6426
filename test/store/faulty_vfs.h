// SQLite's VFS between the store and the disk, with three ways to misbehave: the n-th I/O call
// fails, the disk is full for a while, or the power is cut: no call after the n-th reaches the
// disk, and of what was written since each file's last fsync any sectors may be missing. Becomes
// SQLite's default while it exists; one at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>

struct sqlite3_vfs;

namespace coracle {

enum class IoFault { Error, Full, ShortWrite, SyncFails };

class FaultyVfs {
 public:
  FaultyVfs();
  ~FaultyVfs();
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;

  // Calls counted so far, of those that the fault could hit.
  std::int64_t calls(IoFault fault) const;
  // From now on: the n-th call (1 = the next) that `fault` applies to fails, once, or it and all
  // that follow.
  void fail_at(IoFault fault, std::int64_t n, bool persistent);
  void heal();          // no fault any more; returns nothing to the disk
  bool failed() const;  // a fault has struck

  // The power goes at the n-th writing call from now on. Until restore_power(), every call fails.
  void cut_power_at(std::int64_t n);
  void cut_power_now();
  // What the disk then holds: of every sector (512 or 4096 bytes) written since its file's last
  // fsync, by chance the old or the new content. Call when the store is gone.
  void restore_power(std::mt19937& random);

  struct State;

 private:
  std::unique_ptr<State> state_;
  std::unique_ptr<sqlite3_vfs> vfs_;
};

}  // namespace coracle
