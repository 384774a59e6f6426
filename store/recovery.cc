#include "recovery.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <tuple>
#include <vector>

#include "files.h"
#include "snapshots.h"
#include "wal_check.h"

namespace coracle {
namespace {

constexpr const char* kExchanging = ".restoring-";
constexpr std::size_t kNamedLosses = 8;  // keys in a message

std::uint32_t header_word(const std::string& header, std::size_t at) {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 4; ++i) word = word << 8 | static_cast<std::uint8_t>(header[at + i]);
  return word;
}

std::string header_of(const std::string& database) {
  std::string header(100, '\0');
  std::ifstream file(database, std::ios::binary);
  file.read(header.data(), static_cast<std::streamsize>(header.size()));
  header.resize(static_cast<std::size_t>(file.gcount()));
  return header;
}

void drop_oldest_aside(const std::string& database) {
  std::vector<std::string> kept;
  const std::string prefix = name_of(database) + ".damaged-";
  for (const std::string& name : names_in(directory_of(database)))
    if (name.rfind(prefix, 0) == 0 && name.find('-', prefix.size()) == std::string::npos)
      kept.push_back(directory_of(database) + "/" + name);
  for (std::size_t i = 0; i + kKeptAside < kept.size(); ++i) remove_database(kept[i]);
}

struct Candidate {
  Contents contents;
  std::string description;
  std::optional<SnapshotName> snapshot;  // none: the database itself
};

std::string objects(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " object" : " objects");
}

// The database itself, opened at a copy: opening may write, and what is kept aside must be as
// found.
std::optional<Candidate> salvage(const std::string& database, const std::string& copy,
                                 const std::string& to) {
  remove_database(copy);
  if (!copy_file(database, copy)) return std::nullopt;
  if (file_exists(database + "-wal") && !copy_file(database + "-wal", copy + "-wal"))
    return std::nullopt;
  const auto contents = copy_database(copy, to);
  if (!contents) return std::nullopt;
  return Candidate{*contents,
                   "all it holds besides, " + objects(contents->objects) +
                       ", is sound and in use; the newest writes before may be lost",
                   std::nullopt};
}

std::optional<Candidate> newest_good_snapshot(const std::string& database, const std::string& to,
                                              std::string& failures) {
  for (const SnapshotName& name : snapshots_of(database)) {
    const std::string file = snapshot_directory(database) + "/" + name.to_string();
    auto contents = copy_database(file, to);
    if (!contents && !is_damage(contents.error())) contents = copy_database(file, to);
    if (contents) {
      return Candidate{
          *contents,
          "the snapshot of " + name.stamp + " with " + objects(contents->objects) + " is in use",
          name};
    }
    failures += "; " + contents.error().message;
  }
  return std::nullopt;
}

// What can still be read of the damaged database and is newer than the snapshot. SQLite reads
// damaged files safely; it is merely not complete.
std::string losses(const std::string& copy, Revision since) {
  std::string names;
  std::size_t count = 0;
  const auto read = [&]() -> Result<void> {
    Database database = TRY(Database::open(copy, OpenMode::ReadOnly));
    Statement rows = TRY(database.prepare("SELECT key, mod_revision FROM objects"));
    while (TRY(rows.step())) {
      if (rows.column_int(1) <= since) continue;
      if (++count > kNamedLosses) continue;
      names += (names.empty() ? " " : ", ") + std::string(rows.column_bytes(0));
    }
    return {};
  };
  const bool complete = read().has_value();
  if (complete && count == 0) return "; writes and deletions since are lost, if there were any";
  std::string text = "; writes and deletions since are lost";
  if (count > 0)
    text += ", of them " + std::string(complete ? "" : "at least ") + objects(count) + ":" + names;
  return text + (count > kNamedLosses ? ", ..." : "");
}

Result<void> make_empty(const std::string& path) {
  remove_database(path);
  Database database = TRY(Database::open(path));
  TRY(database.execute("PRAGMA synchronous=FULL"));
  return prepare_tables(database);
}

}  // namespace

std::string file_damage(const std::string& database, bool used_before) {
  const bool has_log = file_exists(database + "-wal");
  if (!file_exists(database)) return used_before || has_log ? "it is missing" : "";
  const std::string header = header_of(database);
  if (header.empty()) return used_before || has_log ? "it is empty" : "";
  if (header.size() < 100) return "it is cut in the header";
  // Bytes 18 and 19 say whether it needs a log, byte 60 on its format (fileformat2.html). Format 1
  // dates from when a clean stop removed the log.
  const bool logged = header[18] == 2 && header[19] == 2;
  if (!has_log) return logged && header_word(header, 60) >= 2 ? "its log is missing" : "";
  const auto log = read_file(database + "-wal");
  return log ? wal_damage(*log) : log.error().message;
}

std::string replacement_for(const std::string& database) {
  return database + ".replacement";
}

Result<Revision> start_revisions_after(const std::string& path, Revision known) {
  // A counter that is itself garbage must not use up what is left.
  const bool room = known < kRevisionLimit - 2 * kRecoveryJump;
  const Revision start = room ? known + kRecoveryJump : known;
  {
    Database database = TRY(Database::open(path, OpenMode::Existing));
    TRY(database.execute("PRAGMA synchronous=FULL"));
    TRY(set_reserved(database, start));
  }
  TRY(sync_file(path));
  return start;
}

Result<std::string> exchange_database(const std::string& database, const std::string& label) {
  const std::string base = label + "-" + utc_stamp();
  std::string suffix = base;
  for (int i = 2; file_exists(database + "." + suffix) && i < 1000; ++i)
    suffix = base + "." + std::to_string(i);
  TRY(move_file(replacement_for(database), database + kExchanging + suffix));
  return finish_exchange(database);
}

Result<std::string> finish_exchange(const std::string& database) {
  const std::string prefix = name_of(database) + kExchanging;
  const std::string directory = directory_of(database);
  std::string aside;
  for (const std::string& name : names_in(directory)) {
    if (name.rfind(prefix, 0) != 0) continue;
    aside = database + "." + name.substr(prefix.size());
    for (const std::string& suffix : database_suffixes())
      if (file_exists(database + suffix)) TRY(move_file(database + suffix, aside + suffix));
    TRY(move_file(directory + "/" + name, database));
  }
  if (!aside.empty()) drop_oldest_aside(database);
  return aside;
}

Result<std::string> recover(const std::string& database, const std::string& reason,
                            Revision known) {
  const std::string replacement = replacement_for(database);
  const std::string copy = database + ".salvage", other = database + ".snapshot";
  std::string failures;
  auto best = newest_good_snapshot(database, replacement, failures);
  const auto itself = salvage(database, copy, other);
  if (itself && (!best || std::tie(itself->contents.reserved, itself->contents.newest) >=
                              std::tie(best->contents.reserved, best->contents.newest))) {
    TRY(move_file(other, replacement));
    best = itself;
  }
  std::string story =
      best ? best->description + failures : "there is no good snapshot, starting empty" + failures;
  Revision start = std::max(known, best ? best->contents.reserved : 0);
  for (const SnapshotName& name : snapshots_of(database)) start = std::max(start, name.revision);
  if (best && best->snapshot) story += losses(copy, best->contents.newest);
  if (!best) TRY(make_empty(replacement));
  TRY(start_revisions_after(replacement, start));
  const std::string aside = TRY(exchange_database(database, "damaged"));
  remove_database(copy);
  remove_database(other);
  return "the database was damaged (" + reason + "); it is kept as " + aside + "; " + story;
}

}  // namespace coracle
