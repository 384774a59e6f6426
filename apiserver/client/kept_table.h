// KeptTable: the objects that an informer knows, in a file, so that the next run can begin with
// them before the server is reached. The file is a log: a whole list and the mark of its end, then
// a line for every change; every line has a checksum. So a change costs its own bytes, a torn end
// leaves an earlier state, and nothing of the objects stays in memory. When the changes outweigh
// the list, the file is written anew from itself. Not thread-safe: it is the informer's thread's.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace coracle {

// A file that is appended to in pieces. The first error sticks.
class AppendedFile {
 public:
  // An empty one in the place of what is there, for the owner alone.
  static AppendedFile create(const std::string& path);
  // Goes on at `size`; what lies beyond is cut off.
  static AppendedFile reopen(const std::string& path, std::size_t size);
  AppendedFile() = default;
  AppendedFile(AppendedFile&& other) noexcept;
  AppendedFile& operator=(AppendedFile&& other) noexcept;
  AppendedFile(const AppendedFile&) = delete;
  AppendedFile& operator=(const AppendedFile&) = delete;
  ~AppendedFile();

  void append(std::string_view text);  // to the kernel at the latest with flush()
  Result<void> flush();
  Result<void> sync();  // flushes; then it is on the disk. Nothing when nothing was appended since
  std::size_t size() const { return size_ + buffer_.size(); }
  bool synced() const { return !dirty_ && buffer_.empty(); }

 private:
  AppendedFile(const std::string& path, int flags, std::size_t size);
  void fail(const std::string& what);

  int fd_ = -1;
  std::size_t size_ = 0;  // with the kernel
  bool dirty_ = false;    // not all of that is on the disk
  std::string path_, buffer_;
  std::optional<Error> error_;
};

class KeptTable {
 public:
  static constexpr std::size_t kMaxList = std::size_t{16} << 20U;  // bytes; beyond, nothing is kept
  // Changes that may lie behind the list beyond its own size. So the file stays below 33 MiB.
  static constexpr std::size_t kSlack = std::size_t{256} << 10U;
  static constexpr std::chrono::seconds kSyncInterval{5};  // between two waits for the disk

  // `scope` says what the objects are: a file of another scope is not used. `is_current` is true of
  // the version of an object that is to be kept. Touches no file yet.
  KeptTable(std::string path, std::string scope, std::function<bool(const Object&)> is_current);

  // Hands out what the file holds, as puts and erases in their order, and goes on in it. The
  // number of damaged bytes at its end that were dropped. NotFound without a file; any other error
  // means that nothing was handed out, and the file is replaced with the next list.
  Result<std::size_t> load(const std::function<void(const Object&)>& put,
                           const std::function<void(const ObjectKey&)>& erase);

  // Begins a whole list, unless there is one to which changes can be added: then false.
  bool begin_list();
  // The list is whole: it takes the place of the file.
  Result<void> end_list();
  bool listing() const { return state_ == State::Listing; }

  // A change, or an object of the list. Nothing while there is no list to add it to.
  void put(const Object& object);
  void erase(const ObjectKey& key);
  // To be called after every batch of changes, and now and then. Waits for the disk when there is
  // something new and the last wait is long ago.
  Result<void> flush();
  Result<void> sync();  // as flush(), and waits for the disk in any case

 private:
  enum class State { Off, Listing, Following };
  void add(char what, std::string_view payload);
  Result<void> settle(bool now);
  Result<void> replace(AppendedFile next);
  Result<void> rewrite();
  Result<void> give_up(const Error& error);

  const std::string path_, scope_;
  const std::function<bool(const Object&)> is_current_;
  State state_ = State::Off;
  AppendedFile file_;
  std::size_t list_size_ = 0;  // of the file, without the changes since
  std::chrono::steady_clock::time_point synced_at_;
};

}  // namespace coracle
