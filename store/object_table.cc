#include "object_table.h"

#include <algorithm>
#include <utility>

namespace coracle {
namespace {

constexpr std::int64_t kFormat = 2;
constexpr std::int64_t kApplicationId = 0x434f5241;  // "CORA"

constexpr const char* kSchema =
    // The present only: history lives in the watch hub's ring.
    "CREATE TABLE objects("
    "  key TEXT PRIMARY KEY NOT NULL,"
    "  create_revision INTEGER NOT NULL,"
    "  mod_revision INTEGER NOT NULL,"
    "  value BLOB NOT NULL,"
    "  checksum INTEGER NOT NULL) WITHOUT ROWID;"
    // reserved: every revision below it may have been used.
    "CREATE TABLE IF NOT EXISTS revisions(id INTEGER PRIMARY KEY CHECK(id = 1), reserved INTEGER "
    "NOT NULL);"
    "INSERT OR IGNORE INTO revisions VALUES(1, 1);";

// FNV-1a: any change of a single byte changes it.
std::uint64_t hash(std::uint64_t state, std::string_view bytes) {
  for (const char c : bytes) state = (state ^ static_cast<std::uint8_t>(c)) * 0x100000001b3ULL;
  return state;
}
std::uint64_t checksum(const Row& row) {
  std::uint64_t state = hash(0xcbf29ce484222325ULL, row.key);
  for (const Revision revision : {row.create_revision, row.mod_revision})
    for (unsigned shift = 0; shift < 64; shift += 8)
      state = (state ^ (static_cast<std::uint64_t>(revision) >> shift & 0xff)) * 0x100000001b3ULL;
  return hash(state, row.value);
}

Row row_of(const Statement& rows) {
  return {rows.column_bytes(0), rows.column_int(1), rows.column_int(2), rows.column_bytes(3)};
}

Error damage(const std::string& what) {
  return {Code::Invalid, what};
}

Result<void> run(Statement& statement) {
  auto done = statement.step();
  statement.reset();
  if (!done) return done.error();
  return {};
}

Result<void> stamp_format(Database& database) {
  return database.execute("PRAGMA application_id=" + std::to_string(kApplicationId) +
                          ";PRAGMA user_version=" + std::to_string(kFormat));
}

Result<void> make_tables(Database& database) {
  TRY(database.execute(kSchema));
  return stamp_format(database);
}

// Format 1 had no checksums and no application_id.
Result<void> add_checksums(Database& database) {
  TRY(database.execute("ALTER TABLE objects RENAME TO objects_1"));
  TRY(make_tables(database));
  {
    RowWriter writer = TRY(RowWriter::create(database));
    Statement rows =
        TRY(database.prepare("SELECT key, create_revision, mod_revision, value FROM objects_1"));
    while (TRY(rows.step())) TRY(writer.put(row_of(rows)));
  }
  return database.execute("DROP TABLE objects_1");
}

Result<void> check_structure(Database& database, Thoroughness how) {
  TRY(database.execute("PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF"));
  TRY(database.check(how));
  const std::int64_t id = TRY(database.query_int("PRAGMA application_id"));
  const std::int64_t format = TRY(database.query_int("PRAGMA user_version"));
  if (format != kFormat) {
    return damage("it has format " + std::to_string(format) + ", this program knows " +
                  std::to_string(kFormat));
  }
  if (id != kApplicationId) return damage("it belongs to another program");
  return {};
}

}  // namespace

Result<bool> is_blank(Database& database) {
  return TRY(database.query_int("SELECT count(*) FROM sqlite_schema")) == 0 &&
         TRY(database.query_int("PRAGMA user_version")) == 0;
}

Result<void> prepare_tables(Database& database) {
  const bool blank = TRY(is_blank(database));
  const bool earlier = !blank && TRY(database.query_int("PRAGMA user_version")) == 1 &&
                       TRY(database.query_int("PRAGMA application_id")) == 0;
  if (!blank && !earlier) return {};
  TRY(database.execute("BEGIN IMMEDIATE"));
  auto made = blank ? make_tables(database) : add_checksums(database);
  if (made) made = database.execute("COMMIT");
  if (!made) (void)database.execute("ROLLBACK").has_value();
  return made;
}

Result<Contents> read_contents(Database& database, Thoroughness how, const RowVisitor& visit) {
  TRY(check_structure(database, how));
  Contents contents;
  contents.reserved = TRY(database.query_int("SELECT reserved FROM revisions"));
  Statement rows = TRY(database.prepare(
      "SELECT key, create_revision, mod_revision, value, checksum FROM objects ORDER BY key"));
  while (TRY(rows.step())) {
    const Row row = row_of(rows);
    const std::uint64_t sum = checksum(row);
    if (sum != static_cast<std::uint64_t>(rows.column_int(4)))
      return damage("the checksum of " + std::string(row.key) + " is wrong");
    contents.newest = std::max(contents.newest, row.mod_revision);
    contents.digest += sum;
    ++contents.objects;
    if (visit) visit(row);
  }
  if (contents.reserved <= contents.newest || contents.reserved >= kRevisionLimit)
    return damage("its revision counter is " + std::to_string(contents.reserved));
  return contents;
}

Result<void> set_reserved(Database& database, Revision reserved) {
  return database.execute("UPDATE revisions SET reserved = " + std::to_string(reserved));
}

RowWriter::RowWriter(Statement put, Statement erase, Statement reserve)
    : put_(std::move(put)), erase_(std::move(erase)), reserve_(std::move(reserve)) {}

Result<RowWriter> RowWriter::create(Database& database) {
  return RowWriter(TRY(database.prepare("INSERT OR REPLACE INTO objects VALUES(?1,?2,?3,?4,?5)")),
                   TRY(database.prepare("DELETE FROM objects WHERE key = ?1")),
                   TRY(database.prepare("UPDATE revisions SET reserved = ?1")));
}

Result<void> RowWriter::put(const Row& row) {
  put_.bind_text(1, row.key);
  put_.bind(2, row.create_revision);
  put_.bind(3, row.mod_revision);
  put_.bind_blob(4, row.value);
  put_.bind(5, static_cast<std::int64_t>(checksum(row)));
  return run(put_);
}

Result<void> RowWriter::erase(std::string_view key) {
  erase_.bind_text(1, key);
  return run(erase_);
}

Result<void> RowWriter::reserve(Revision reserved) {
  reserve_.bind(1, reserved);
  return run(reserve_);
}

}  // namespace coracle
