#include "sqlite.h"

#include <sqlite3.h>

namespace coracle {
namespace {

Error error_of(sqlite3* database, int code) {
  const int extended = database == nullptr ? code : sqlite3_extended_errcode(database);
  std::string what = database == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(database);
  if ((extended & 0xff) == SQLITE_FULL) what = "the disk is full (" + what + ")";
  return {Code::Internal, "sqlite: " + what + " (code " + std::to_string(extended) + ")"};
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

Result<Database> Database::open(const std::string& path) {
  sqlite3* raw = nullptr;
  const int flags =
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  Database database(raw);
  if (code != SQLITE_OK) return error_of(raw, code).context(path);
  return database;
}

Result<void> Database::execute(const std::string& sql) {
  const int code = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return error_of(database_.get(), code);
  return {};
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
