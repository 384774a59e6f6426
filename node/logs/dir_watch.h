// Changes to files in directories, as the kernel tells of them (inotify(7)): one descriptor for
// all. Used from one thread.
#pragma once

#include <coracle/result.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/sandbox_files.h"

namespace coracle::logs {

class DirWatch {
 public:
  // The name of the file that changed; "": one was closed by who wrote it, any may have changed, or
  // the directory is gone.
  using Told = std::function<void(std::string_view name)>;

  // Internal: no descriptors left.
  static Result<std::unique_ptr<DirWatch>> create();

  // Readable when drain() has something to tell.
  int fd() const { return inotify_.get(); }
  // A watch on the directory, until it is removed. Internal: the kernel has too many.
  Result<int> add(const std::string& directory, Told told);
  void remove(int id);
  // Tells all that has happened. What is called adds and removes nothing.
  void drain();

 private:
  explicit DirWatch(runtime::Fd inotify) : inotify_(std::move(inotify)) {}
  void tell(int descriptor, std::string_view name) const;
  void tell_all() const;

  struct Watch {
    int descriptor = -1;  // the kernel's; watches of one directory share it
    Told told;
  };
  const runtime::Fd inotify_;
  std::map<int, Watch> watches_;
  int last_id_ = 0;
};

}  // namespace coracle::logs
