// Small files, read and written whole.
#pragma once

#include <coracle/result.h>

#include <string>

namespace coracle {

// NotFound when there is none.
Result<std::string> read_whole_file(const std::string& path);
// Writes a file so that readers see the old or the new content whole, never a part, with the mode
// from the start; also after a power cut. Any threads and processes may write the same file: each
// write is whole, the last one stays. `path`.new is in use meanwhile.
Result<void> write_file_atomically(const std::string& path, const std::string& content,
                                   unsigned mode);

}  // namespace coracle
