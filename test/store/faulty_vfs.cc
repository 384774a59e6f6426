#include "store/faulty_vfs.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

namespace coracle {
namespace {

constexpr std::int64_t kSector = 512;
enum class Call { Read, Write, Sync, Other };

bool applies(IoFault fault, Call call) {
  switch (fault) {
    case IoFault::Error:
      return true;
    case IoFault::Full:
    case IoFault::ShortWrite:
      return call == Call::Write;
    case IoFault::SyncFails:
      return call == Call::Sync;
  }
  return false;
}

}  // namespace

struct FaultyVfs::State {
  sqlite3_vfs* real = nullptr;
  mutable std::mutex mutex;
  // Guarded by mutex.
  std::int64_t counted[4] = {};  // by Call
  bool armed = false, persistent = false, struck = false;
  IoFault fault = IoFault::Error;
  std::int64_t until_fault = 0;
  bool power = true;
  std::int64_t until_cut = 0;  // 0: not at all
  // What the disk is sure to hold of files written since their last fsync: the whole content then.
  std::map<std::string, std::string> durable;

  // SQLITE_OK to go on. Writes also remember what was there.
  int meet(Call call, const std::string& path, bool& cut_short) {
    const std::lock_guard lock(mutex);
    ++counted[static_cast<int>(call)];
    if (power && until_cut > 0 && (call == Call::Write || call == Call::Sync) && --until_cut == 0)
      power = false;
    if (!power) return SQLITE_IOERR;
    if (armed && applies(fault, call) && (--until_fault == 0 || (persistent && until_fault < 0))) {
      struck = true;
      if (!persistent) armed = false;
      cut_short = fault == IoFault::ShortWrite;
      if (fault == IoFault::Full) return SQLITE_FULL;
      switch (call) {
        case Call::Read:
          return SQLITE_IOERR_READ;
        case Call::Write:
          return SQLITE_IOERR_WRITE;
        case Call::Sync:
          return SQLITE_IOERR_FSYNC;
        case Call::Other:
          return SQLITE_IOERR;
      }
    }
    if (call == Call::Write && !path.empty() && durable.count(path) == 0)
      durable[path] = content(path);
    if (call == Call::Sync) durable.erase(path);
    return SQLITE_OK;
  }

  static std::string content(const std::string& path) {
    std::string bytes;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return bytes;
    char buffer[65536];
    for (ssize_t size = 0; (size = read(fd, buffer, sizeof(buffer))) > 0;)
      bytes.append(buffer, static_cast<std::size_t>(size));
    close(fd);
    return bytes;
  }
};

namespace {

using State = FaultyVfs::State;

struct File {
  sqlite3_file base;
  State* state;
  std::string* path;
  sqlite3_file* real;  // behind this struct, in the room SQLite gives
};
File* file_of(sqlite3_file* file) {
  return reinterpret_cast<File*>(file);
}
State* state_of(sqlite3_vfs* vfs) {
  return static_cast<State*>(vfs->pAppData);
}
int meet(sqlite3_file* file, Call call) {
  bool ignored = false;
  return file_of(file)->state->meet(call, *file_of(file)->path, ignored);
}

int x_close(sqlite3_file* file) {
  File* self = file_of(file);
  const int code =
      self->real->pMethods == nullptr ? SQLITE_OK : self->real->pMethods->xClose(self->real);
  delete self->path;
  return code;
}
int x_read(sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
  if (const int code = meet(file, Call::Read); code != SQLITE_OK) return code;
  return file_of(file)->real->pMethods->xRead(file_of(file)->real, to, size, at);
}
int x_write(sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
  File* self = file_of(file);
  bool cut_short = false;
  const int code = self->state->meet(Call::Write, *self->path, cut_short);
  if (code == SQLITE_OK) return self->real->pMethods->xWrite(self->real, from, size, at);
  if (cut_short) (void)self->real->pMethods->xWrite(self->real, from, size / 2, at);
  return code;
}
int x_truncate(sqlite3_file* file, sqlite3_int64 size) {
  if (const int code = meet(file, Call::Write); code != SQLITE_OK) return code;
  return file_of(file)->real->pMethods->xTruncate(file_of(file)->real, size);
}
int x_sync(sqlite3_file* file, int flags) {
  if (const int code = meet(file, Call::Sync); code != SQLITE_OK) return code;
  return file_of(file)->real->pMethods->xSync(file_of(file)->real, flags);
}
int x_file_size(sqlite3_file* file, sqlite3_int64* size) {
  if (const int code = meet(file, Call::Other); code != SQLITE_OK) return code;
  return file_of(file)->real->pMethods->xFileSize(file_of(file)->real, size);
}
int x_lock(sqlite3_file* file, int level) {
  return file_of(file)->real->pMethods->xLock(file_of(file)->real, level);
}
int x_unlock(sqlite3_file* file, int level) {
  return file_of(file)->real->pMethods->xUnlock(file_of(file)->real, level);
}
int x_check_lock(sqlite3_file* file, int* out) {
  return file_of(file)->real->pMethods->xCheckReservedLock(file_of(file)->real, out);
}
int x_control(sqlite3_file* file, int op, void* argument) {
  return file_of(file)->real->pMethods->xFileControl(file_of(file)->real, op, argument);
}
int x_sector_size(sqlite3_file* file) {
  return file_of(file)->real->pMethods->xSectorSize(file_of(file)->real);
}
int x_device(sqlite3_file* file) {
  return file_of(file)->real->pMethods->xDeviceCharacteristics(file_of(file)->real);
}
int x_shm_map(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
  if (const int code = meet(file, Call::Other); code != SQLITE_OK) return code;
  return file_of(file)->real->pMethods->xShmMap(file_of(file)->real, page, size, extend, out);
}
int x_shm_lock(sqlite3_file* file, int offset, int n, int flags) {
  return file_of(file)->real->pMethods->xShmLock(file_of(file)->real, offset, n, flags);
}
void x_shm_barrier(sqlite3_file* file) {
  file_of(file)->real->pMethods->xShmBarrier(file_of(file)->real);
}
int x_shm_unmap(sqlite3_file* file, int remove) {
  return file_of(file)->real->pMethods->xShmUnmap(file_of(file)->real, remove);
}

const sqlite3_io_methods kMethods{.iVersion = 2,
                                  .xClose = x_close,
                                  .xRead = x_read,
                                  .xWrite = x_write,
                                  .xTruncate = x_truncate,
                                  .xSync = x_sync,
                                  .xFileSize = x_file_size,
                                  .xLock = x_lock,
                                  .xUnlock = x_unlock,
                                  .xCheckReservedLock = x_check_lock,
                                  .xFileControl = x_control,
                                  .xSectorSize = x_sector_size,
                                  .xDeviceCharacteristics = x_device,
                                  .xShmMap = x_shm_map,
                                  .xShmLock = x_shm_lock,
                                  .xShmBarrier = x_shm_barrier,
                                  .xShmUnmap = x_shm_unmap,
                                  .xFetch = nullptr,
                                  .xUnfetch = nullptr};

int vfs_open(sqlite3_vfs* vfs, sqlite3_filename name, sqlite3_file* file, int flags, int* out) {
  File* self = file_of(file);
  self->base.pMethods = nullptr;
  bool ignored = false;
  State* state = state_of(vfs);
  if (const int code = state->meet(Call::Other, "", ignored); code != SQLITE_OK)
    return SQLITE_CANTOPEN;
  self->real = reinterpret_cast<sqlite3_file*>(self + 1);
  const int code = state->real->xOpen(state->real, name, self->real, flags, out);
  if (code != SQLITE_OK) return code;
  self->state = state;
  self->path = new std::string(name == nullptr ? "" : name);
  self->base.pMethods = &kMethods;
  return SQLITE_OK;
}
int vfs_delete(sqlite3_vfs* vfs, const char* name, int sync) {
  bool ignored = false;
  State* state = state_of(vfs);
  if (const int code = state->meet(Call::Other, "", ignored); code != SQLITE_OK)
    return SQLITE_IOERR_DELETE;
  {
    const std::lock_guard lock(state->mutex);
    state->durable.erase(name);
  }
  return state->real->xDelete(state->real, name, sync);
}
int vfs_access(sqlite3_vfs* vfs, const char* name, int flags, int* out) {
  bool ignored = false;
  if (const int code = state_of(vfs)->meet(Call::Other, "", ignored); code != SQLITE_OK)
    return SQLITE_IOERR_ACCESS;
  return state_of(vfs)->real->xAccess(state_of(vfs)->real, name, flags, out);
}
int vfs_full_path(sqlite3_vfs* vfs, const char* name, int size, char* out) {
  return state_of(vfs)->real->xFullPathname(state_of(vfs)->real, name, size, out);
}
int vfs_last_error(sqlite3_vfs*, int, char*) {
  return 0;
}

// A file after the power came back: sectors of either content, in the length of one of both.
std::string torn(const std::string& before, const std::string& after, std::mt19937& random) {
  const auto unit = static_cast<std::size_t>(random() % 2 == 0 ? kSector : 8 * kSector);
  std::string result = random() % 2 == 0 ? before : after;
  const auto chance = random() % 5;  // 0: all is lost, 4: all is there
  for (std::size_t at = 0; at < result.size(); at += unit) {
    const std::size_t size = std::min(unit, result.size() - at);
    // What a cut-off truncation would have freed is there or not, by the length; never zeros.
    const bool now = random() % 4 < chance && at < after.size();
    const std::string& from = now ? after : before;
    std::string sector = at < from.size() ? from.substr(at, size) : std::string();
    sector.resize(size, '\0');  // a file that grew before its data came reads as zeros
    result.replace(at, size, sector);
  }
  return result;
}

}  // namespace

FaultyVfs::FaultyVfs() : state_(std::make_unique<State>()), vfs_(std::make_unique<sqlite3_vfs>()) {
  state_->real = sqlite3_vfs_find("unix");
  *vfs_ = *state_->real;
  vfs_->zName = "faulty";
  vfs_->szOsFile = static_cast<int>(sizeof(File)) + state_->real->szOsFile;
  vfs_->pAppData = state_.get();
  vfs_->xOpen = vfs_open;
  vfs_->xDelete = vfs_delete;
  vfs_->xAccess = vfs_access;
  vfs_->xFullPathname = vfs_full_path;
  vfs_->xGetLastError = vfs_last_error;
  sqlite3_vfs_register(vfs_.get(), 1);
}
FaultyVfs::~FaultyVfs() {
  sqlite3_vfs_unregister(vfs_.get());
  sqlite3_vfs_register(state_->real, 1);
}

std::int64_t FaultyVfs::calls(IoFault fault) const {
  const std::lock_guard lock(state_->mutex);
  std::int64_t sum = 0;
  for (const Call call : {Call::Read, Call::Write, Call::Sync, Call::Other})
    if (applies(fault, call)) sum += state_->counted[static_cast<int>(call)];
  return sum;
}

void FaultyVfs::fail_at(IoFault fault, std::int64_t n, bool persistent) {
  const std::lock_guard lock(state_->mutex);
  state_->armed = true;
  state_->struck = false;
  state_->persistent = persistent;
  state_->fault = fault;
  state_->until_fault = n;
}
void FaultyVfs::heal() {
  const std::lock_guard lock(state_->mutex);
  state_->armed = false;
}
bool FaultyVfs::failed() const {
  const std::lock_guard lock(state_->mutex);
  return state_->struck;
}

void FaultyVfs::cut_power_at(std::int64_t n) {
  const std::lock_guard lock(state_->mutex);
  state_->until_cut = n;
}
void FaultyVfs::cut_power_now() {
  const std::lock_guard lock(state_->mutex);
  state_->power = false;
}

void FaultyVfs::restore_power(std::mt19937& random) {
  const std::lock_guard lock(state_->mutex);
  for (const auto& [path, before] : state_->durable) {
    const std::string after = State::content(path);
    const std::string now = torn(before, after, random);
    const int fd = open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0) continue;  // it has been moved or removed
    (void)!write(fd, now.data(), now.size());
    close(fd);
  }
  state_->durable.clear();
  state_->power = true;
  state_->until_cut = 0;
}

}  // namespace coracle
