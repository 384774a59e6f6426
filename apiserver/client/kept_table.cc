#include "kept_table.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <utility>

namespace coracle {
namespace {

constexpr std::size_t kBuffer = std::size_t{64} << 10U;
constexpr std::size_t kChecksum = 8;                       // hexadecimal digits
constexpr std::size_t kMaxFile = 3 * KeptTable::kMaxList;  // never reached by what we write
constexpr const char* kVersion = "kept 1 ";

// What a line says, its first character after the checksum.
constexpr char kScope = '#';
constexpr char kPut = '+';
constexpr char kErase = '-';
constexpr char kListEnd = '=';

std::string checksum(std::string_view text) {
  const auto sum = crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size());
  char hex[kChecksum + 1];
  (void)std::snprintf(hex, sizeof(hex), "%08lx", sum & 0xffffffffUL);
  return hex;
}

std::string line_of(char what, std::string_view payload) {
  std::string text(1, what);
  text += payload;
  return checksum(text) + text + "\n";
}

using UseLine = std::function<bool(char what, std::string_view payload)>;

// Every line up to the first that is damaged or that `use` refuses; how many bytes those were.
std::size_t read_lines(const std::string& path, const UseLine& use) {
  std::ifstream in(path, std::ios::binary);
  std::size_t good = 0;
  std::string line;
  while (std::getline(in, line) && !in.eof()) {
    if (line.size() <= kChecksum) break;
    const std::string_view text = std::string_view(line).substr(kChecksum);
    if (checksum(text) != std::string_view(line).substr(0, kChecksum)) break;
    if (!use(text.front(), text.substr(1))) break;
    good += line.size() + 1;
  }
  return good;
}

ObjectKey parse_key(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return {"", std::string(text)};
  return {std::string(text.substr(0, slash)), std::string(text.substr(slash + 1))};
}

std::string unfinished(const std::string& path) {
  return path + ".new";
}

Result<void> sync_directory(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path().string();
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, directory);
  const bool done = ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  return done ? Result<void>() : Error::from_errno(error, directory);
}

}  // namespace

AppendedFile::AppendedFile(const std::string& path, int flags, std::size_t size)
    : fd_(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600)),
      size_(size),
      path_(path) {
  if (fd_ < 0) fail("opening ");
}

AppendedFile AppendedFile::create(const std::string& path) {
  return {path, O_CREAT | O_TRUNC, 0};
}

AppendedFile AppendedFile::reopen(const std::string& path, std::size_t size) {
  AppendedFile out(path, 0, size);
  struct stat now {};
  if (out.error_) return out;
  if (::fstat(out.fd_, &now) != 0) {
    out.fail("looking at ");
  } else if (static_cast<std::size_t>(now.st_size) != size) {
    if (::ftruncate(out.fd_, static_cast<off_t>(size)) != 0) out.fail("shortening ");
    out.dirty_ = true;
  }
  return out;
}

AppendedFile::AppendedFile(AppendedFile&& other) noexcept {
  *this = std::move(other);
}

AppendedFile& AppendedFile::operator=(AppendedFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(dirty_, other.dirty_);
  std::swap(path_, other.path_);
  std::swap(buffer_, other.buffer_);
  std::swap(error_, other.error_);
  return *this;
}

AppendedFile::~AppendedFile() {
  if (fd_ >= 0) ::close(fd_);
}

void AppendedFile::fail(const std::string& what) {
  if (!error_) error_ = Error::from_errno(errno, what + path_);
}

void AppendedFile::append(std::string_view text) {
  if (error_) return;
  buffer_ += text;
  if (buffer_.size() >= kBuffer) (void)flush().has_value();  // its error sticks
}

Result<void> AppendedFile::flush() {
  std::size_t done = 0;
  while (!error_ && done < buffer_.size()) {
    const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n > 0) done += static_cast<std::size_t>(n);
    if (n <= 0) {
      fail("writing ");
      // No part of a line stays: what is before it is a state that was.
      if (::ftruncate(fd_, static_cast<off_t>(size_)) != 0) fail("shortening ");
    }
  }
  if (error_) return *error_;
  dirty_ = dirty_ || done > 0;
  size_ += done;
  buffer_ = {};  // memory that idle agents do not need
  return {};
}

Result<void> AppendedFile::sync() {
  TRY(flush());
  if (!std::exchange(dirty_, false)) return {};
  if (::fdatasync(fd_) != 0) fail("syncing ");
  return error_ ? Result<void>(*error_) : Result<void>();
}

KeptTable::KeptTable(std::string path, std::string scope,
                     std::function<bool(const Object&)> is_current)
    : path_(std::move(path)), scope_(std::move(scope)), is_current_(std::move(is_current)) {}

Result<std::size_t> KeptTable::load(const std::function<void(const Object&)>& put,
                                    const std::function<void(const ObjectKey&)>& erase) {
  std::error_code error;
  const std::size_t size = std::filesystem::file_size(path_, error);
  if (error)
    return error == std::errc::no_such_file_or_directory
               ? Error{Code::NotFound, path_ + " is not there"}
               : Error{Code::Internal, path_ + ": " + error.message()};
  if (size > kMaxFile) return Error{Code::TooLarge, path_ + " is too large"};
  // All of it is looked at before any of it counts.
  std::size_t lines = 0;
  std::size_t list_size = 0;
  std::size_t seen = 0;
  const std::size_t good = read_lines(path_, [&](char what, std::string_view payload) {
    if (lines++ == 0 && (what != kScope || payload != kVersion + scope_)) return false;
    seen += kChecksum + 1 + payload.size() + 1;
    if (what == kListEnd) list_size = seen;
    return true;
  });
  if (list_size == 0) return Error{Code::Internal, path_ + " is damaged, or of something else"};
  std::size_t left = good;
  (void)read_lines(path_, [&](char what, std::string_view payload) {
    if (left == 0) return false;
    left -= kChecksum + 1 + payload.size() + 1;
    if (what == kErase) erase(parse_key(payload));
    if (what != kPut) return true;
    if (const auto object = Object::parse(payload)) put(*object);
    return true;
  });
  file_ = AppendedFile::reopen(path_, good);
  list_size_ = list_size;
  state_ = State::Following;
  return size - good;
}

bool KeptTable::begin_list() {
  if (state_ == State::Following) return false;
  std::error_code ignored;  // the file then cannot be made, which is told
  const auto directory = std::filesystem::path(path_).parent_path();
  if (std::filesystem::create_directories(directory, ignored))
    std::filesystem::permissions(directory, std::filesystem::perms::owner_all, ignored);
  file_ = AppendedFile::create(unfinished(path_));
  state_ = State::Listing;
  add(kScope, kVersion + scope_);
  return true;
}

Result<void> KeptTable::end_list() {
  if (state_ != State::Listing) return {};
  add(kListEnd, "");
  const auto done = replace(std::move(file_));
  return done ? done : give_up(done.error());
}

// The next list takes the place of what is there now.
Result<void> KeptTable::give_up(const Error& error) {
  file_ = {};
  state_ = State::Off;
  (void)::unlink(unfinished(path_).c_str());
  if (error.code == Code::TooLarge) (void)::unlink(path_.c_str());  // no old state for ever
  return error;
}

Result<void> KeptTable::replace(AppendedFile next) {
  if (next.size() > kMaxList)
    return Error{Code::TooLarge,
                 path_ + " would exceed " + std::to_string(kMaxList >> 20U) + " MiB"};
  TRY(next.sync());
  if (::rename(unfinished(path_).c_str(), path_.c_str()) != 0)
    return Error::from_errno(errno, "renaming to " + path_);
  TRY(sync_directory(path_));
  file_ = std::move(next);
  list_size_ = file_.size();
  synced_at_ = std::chrono::steady_clock::now();
  state_ = State::Following;
  return {};
}

void KeptTable::add(char what, std::string_view payload) {
  // That it is too much is noticed in the end; until then it must not fill the disk.
  if (state_ == State::Off || file_.size() > kMaxFile) return;
  file_.append(line_of(what, payload));
}

void KeptTable::put(const Object& object) {
  if (state_ != State::Off) add(kPut, object.dump());
}

void KeptTable::erase(const ObjectKey& key) {
  if (state_ == State::Following) add(kErase, key.to_string());
}

// Lines of versions that were replaced stay behind, and so do removals.
Result<void> KeptTable::rewrite() {
  TRY(file_.flush());
  AppendedFile next = AppendedFile::create(unfinished(path_));
  next.append(line_of(kScope, kVersion + scope_));
  (void)read_lines(path_, [&](char what, std::string_view payload) {
    if (what != kPut) return true;
    const auto object = Object::parse(payload);
    if (object && is_current_(*object)) next.append(line_of(kPut, payload));
    return true;
  });
  next.append(line_of(kListEnd, ""));
  return replace(std::move(next));
}

Result<void> KeptTable::settle(bool now) {
  if (file_.size() > 2 * list_size_ + kSlack) return rewrite();
  TRY(file_.flush());
  const auto time = std::chrono::steady_clock::now();
  if (file_.synced() || (!now && time - synced_at_ < kSyncInterval)) return {};
  TRY(file_.sync());
  synced_at_ = time;
  return {};
}

Result<void> KeptTable::flush() {
  if (state_ != State::Following) return {};
  const auto done = settle(false);
  return done ? done : give_up(done.error());
}

Result<void> KeptTable::sync() {
  if (state_ != State::Following) return {};
  const auto done = settle(true);
  return done ? done : give_up(done.error());
}

}  // namespace coracle
