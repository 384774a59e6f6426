// Finds damage in a write-ahead log that SQLite takes for its end: it reads the log up to the first
// bad frame and forgets what follows, acknowledged or not. Pure. The format:
// https://www.sqlite.org/fileformat2.html#walformat
#pragma once

#include <string>
#include <string_view>

namespace coracle {

// What is wrong with the bytes of a -wal file; "" when nothing is, or nothing that a power cut
// before the last fsync does not explain as well.
std::string wal_damage(std::string_view bytes);

}  // namespace coracle
