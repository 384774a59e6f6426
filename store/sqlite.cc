#include "sqlite.h"

#include <sqlite3.h>

#include <cerrno>
#include <charconv>

namespace coracle {
namespace {

Code code_of(int primary) {
  switch (primary) {
    case SQLITE_FULL:
      return Code::TooLarge;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      return Code::Unavailable;
    case SQLITE_NOMEM:
    case SQLITE_MISUSE:
    case SQLITE_INTERNAL:
    case SQLITE_INTERRUPT:
      return Code::Internal;
    default:
      return Code::Invalid;
  }
}

Error error_of(sqlite3* database, int code) {
  const int extended = database == nullptr ? code : sqlite3_extended_errcode(database);
  const int primary = extended & 0xff;
  std::string what = database == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database);
  const int os = database == nullptr ? 0 : sqlite3_system_errno(database);
  // A file system that allocates late meets a full disk no earlier than in fsync.
  const bool late = primary == SQLITE_IOERR && (os == ENOSPC || os == EDQUOT);
  if (primary == SQLITE_FULL || late) what = "the disk is full (" + what + ")";
  return {code_of(primary), "sqlite: " + what + " (code " + std::to_string(extended) + ")"};
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const {
  (void)sqlite3_finalize(statement);
}
void Database::Close::operator()(sqlite3* database) const {
  (void)sqlite3_close_v2(database);
}

// A failed bind (out of memory, too large) shows as an error of the step that follows: the value is
// NULL then, and the tables refuse NULL.
void Statement::bind(int index, std::int64_t value) {
  (void)sqlite3_bind_int64(statement_.get(), index, value);
}
void Statement::bind_text(int index, std::string_view text) {
  (void)sqlite3_bind_text64(statement_.get(), index, text.data(), text.size(), SQLITE_TRANSIENT,
                            SQLITE_UTF8);
}
void Statement::bind_blob(int index, std::string_view bytes) {
  // A zero-length blob needs a non-null pointer, or it is NULL.
  (void)sqlite3_bind_blob64(statement_.get(), index, bytes.empty() ? "" : bytes.data(),
                            bytes.size(), SQLITE_STATIC);
}

Result<bool> Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return error_of(database_, code);
}

std::int64_t Statement::column_int(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}
std::string_view Statement::column_bytes(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  return {bytes == nullptr ? "" : bytes,
          static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}
void Statement::reset() {
  (void)sqlite3_reset(statement_.get());
}

Result<Database> Database::open(const std::string& path, OpenMode mode) {
  sqlite3* raw = nullptr;
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  flags |= mode == OpenMode::ReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
  if (mode == OpenMode::Create) flags |= SQLITE_OPEN_CREATE;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  Database database(raw);
  if (code != SQLITE_OK) return error_of(raw, code).context(path);
  int persist = 1;
  if (mode == OpenMode::ReadOnly) {
    database.abandon();
  } else {
    (void)sqlite3_file_control(raw, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
  }
  return database;
}

void Database::abandon() {
  (void)sqlite3_db_config(database_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}

Result<void> Database::copy_to(Database& target) {
  sqlite3* to = target.database_.get();
  sqlite3_backup* backup = sqlite3_backup_init(to, "main", database_.get(), "main");
  if (backup == nullptr) return error_of(to, sqlite3_errcode(to));
  // All pages in one step: one read transaction, so writers beside it never make it start over.
  (void)sqlite3_backup_step(backup, -1);
  const int code = sqlite3_backup_finish(backup);
  if (code != SQLITE_OK) return error_of(to, code);
  return {};
}

Result<void> Database::execute(const std::string& sql) {
  const int code = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return error_of(database_.get(), code);
  return {};
}

Result<void> Database::check(Thoroughness how) {
  Statement findings = TRY(
      prepare(how == Thoroughness::Full ? "PRAGMA integrity_check(1)" : "PRAGMA quick_check(1)"));
  if (!TRY(findings.step())) return Error{Code::Invalid, "the check ended without a word"};
  const std::string_view found = findings.column_bytes(0);
  if (found == "ok") return {};
  // A page that can not be read is reported as a finding: "... error code=266".
  constexpr std::string_view kMarker = "error code=";
  int code = SQLITE_CORRUPT;
  if (const auto at = found.find(kMarker); at != std::string_view::npos)
    (void)std::from_chars(found.data() + at + kMarker.size(), found.data() + found.size(), code);
  return Error{code_of(code & 0xff), std::string(found)};
}

Result<Statement> Database::prepare(const std::string& sql) {
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v2(database_.get(), sql.c_str(), -1, &raw, nullptr);
  if (code != SQLITE_OK) return error_of(database_.get(), code).context(sql);
  return Statement(database_.get(), raw);
}

Result<std::string> Database::query_text(const std::string& sql) {
  Statement statement = TRY(prepare(sql));
  if (!TRY(statement.step())) return Error{Code::NotFound, "no row: " + sql};
  return std::string(statement.column_bytes(0));
}

Result<std::int64_t> Database::query_int(const std::string& sql) {
  Statement statement = TRY(prepare(sql));
  if (!TRY(statement.step())) return Error{Code::NotFound, "no row: " + sql};
  return statement.column_int(0);
}

}  // namespace coracle
