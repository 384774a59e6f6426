#include "connection.h"

#include <algorithm>
#include <map>

#include "recovery.h"

namespace coracle {
namespace {

// The log is emptied on a clean close, and cut to this after a checkpoint of a larger one.
constexpr const char* kWriterSettings =
    "PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA journal_size_limit=8388608";

Result<void> use_log(Database& database) {
  const std::string mode = TRY(database.query_text("PRAGMA journal_mode=WAL"));
  if (mode != "wal") return Error{Code::Unavailable, "the database stays in journal mode " + mode};
  return {};
}

// After a crash: what a torn transaction left behind the log's end would, together with those of
// later crashes, look like damage to wal_damage().
Result<void> empty_log(const std::string& path, Database& database) {
  if (is_empty_file(path + "-wal")) return {};
  const auto done = database.query_int("PRAGMA wal_checkpoint(TRUNCATE)");
  if (!done && !is_disk_full(done.error())) return done.error();
  return {};
}

Row row_of(const Entry& entry) {
  return {entry.key, entry.create_revision, entry.mod_revision, entry.value};
}

Result<void> write_differences(RowWriter& rows, std::map<std::string, Revision, std::less<>> stored,
                               const std::vector<EntryPtr>& truth) {
  for (const EntryPtr& entry : truth) {
    if (entry->durability != Durability::Durable) continue;
    const auto it = stored.find(entry->key);
    const bool equal = it != stored.end() && it->second == entry->mod_revision;
    if (it != stored.end()) stored.erase(it);
    if (!equal) TRY(rows.put(row_of(*entry)));
  }
  for (const auto& [key, revision] : stored) TRY(rows.erase(key));
  return {};
}

Result<void> bring_in_line(Database& database, RowWriter& rows,
                           std::map<std::string, Revision, std::less<>> stored,
                           const std::vector<EntryPtr>& truth, Revision reserved) {
  TRY(database.execute("BEGIN IMMEDIATE"));
  auto written = write_differences(rows, std::move(stored), truth);
  if (written) written = rows.reserve(reserved);
  if (written) written = database.execute("COMMIT");
  if (!written) (void)database.execute("ROLLBACK").has_value();
  return written;
}

}  // namespace

Result<Opened> open_connection(const std::string& path, const Decorator& decorate,
                               const FileLock& lock, bool used_before) {
  const std::string wrong = file_damage(path, used_before);
  if (!wrong.empty()) return Error{Code::Invalid, wrong};
  Database database = TRY(Database::open(path));
  TRY(database.execute(kWriterSettings));
  if (used_before && TRY(is_blank(database))) return Error{Code::Invalid, "it is empty"};
  TRY(prepare_tables(database));
  KeySpace::Entries entries;
  const auto keep = [&](const Row& row) {
    auto entry = std::make_shared<Entry>();
    entry->key = row.key;
    entry->create_revision = row.create_revision;
    entry->mod_revision = row.mod_revision;
    entry->value = decorate ? decorate(row.value, row.mod_revision) : std::string(row.value);
    entries.emplace_hint(entries.end(), entry->key, entry);
  };
  const Contents contents = TRY(read_contents(database, Thoroughness::Quick, keep));
  TRY(use_log(database));
  TRY(empty_log(path, database));
  const Revision revision = std::max(contents.reserved, lock.remembered());
  Revision reserved = revision + kRevisionBlock;
  if (auto done = set_reserved(database, reserved); !done) {
    // A full disk must not keep the store from being read: the first write reserves, or fails.
    if (!is_disk_full(done.error())) return done.error();
    reserved = revision;
  }
  lock.remember(reserved);
  RowWriter rows = TRY(RowWriter::create(database));
  return Opened{
      {std::move(database), std::move(rows)}, std::move(entries), contents, revision, reserved};
}

Result<Connection> open_in_line(const std::string& path, const std::vector<EntryPtr>& truth,
                                Revision reserved) {
  const std::string wrong = file_damage(path, true);
  if (!wrong.empty()) return Error{Code::Invalid, wrong};
  Database database = TRY(Database::open(path, OpenMode::Existing));
  TRY(database.execute(kWriterSettings));
  std::map<std::string, Revision, std::less<>> stored;
  const auto keep = [&](const Row& row) { stored.emplace(row.key, row.mod_revision); };
  TRY(read_contents(database, Thoroughness::Quick, keep));
  TRY(use_log(database));
  RowWriter rows = TRY(RowWriter::create(database));
  TRY(bring_in_line(database, rows, std::move(stored), truth, reserved));
  TRY(empty_log(path, database));
  return Connection{std::move(database), std::move(rows)};
}

Result<Rebuilt> rebuild(const std::string& path, const std::vector<EntryPtr>& truth,
                        Revision reserved) {
  const std::string replacement = replacement_for(path);
  remove_database(replacement);
  {
    Database database = TRY(Database::open(replacement));
    TRY(database.execute(kWriterSettings));
    TRY(prepare_tables(database));
    RowWriter rows = TRY(RowWriter::create(database));
    TRY(bring_in_line(database, rows, {}, truth, reserved));
    TRY(read_contents(database, Thoroughness::Full, nullptr));
  }
  TRY(sync_file(replacement));
  std::string aside = TRY(exchange_database(path, "damaged"));
  return Rebuilt{TRY(open_in_line(path, truth, reserved)), std::move(aside)};
}

}  // namespace coracle
