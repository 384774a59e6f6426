// What happens to a database that can not be used: it is exchanged for the newest good copy and
// kept aside. The replacement is complete and durable before anything is moved, so a disk that
// fails, or a crash at any point, leaves either the old files or the new one.
#pragma once

#include <coracle/object.h>
#include <coracle/result.h>

#include <string>

namespace coracle {

constexpr std::size_t kKeptAside = 8;  // damaged databases; the oldest goes when there are more

// What is wrong with the files, as far as SQLite would not say; "" = nothing. used_before: there
// was a database here, so its absence is damage, too.
std::string file_damage(const std::string& database, bool used_before);

// Where a replacement is made before exchange_database().
std::string replacement_for(const std::string& database);
// Sets its revision counter far beyond `known`, durably, and returns it.
Result<Revision> start_revisions_after(const std::string& path, Revision known);
// Moves the database aside (to a name with the label and the time) and the replacement into its
// place. Returns the name aside.
Result<std::string> exchange_database(const std::string& database, const std::string& label);
// Completes an exchange that a crash interrupted: the name aside, or "" when there was none.
Result<std::string> finish_exchange(const std::string& database);

// Replaces a damaged database by the newest of what can be saved: itself, when only its log is bad,
// or a snapshot, or an empty one. Revisions start after `known` and all those that the files tell.
// Returns what an operator has to know.
Result<std::string> recover(const std::string& database, const std::string& reason, Revision known);

}  // namespace coracle
