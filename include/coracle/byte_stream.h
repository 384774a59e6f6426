// A connection's bytes, whatever carries them. Nothing here waits. Not thread-safe.
#pragma once

#include <cstddef>
#include <string_view>

namespace coracle {

class ByteStream {
 public:
  enum class Step { Done, WantsRead, WantsWrite, Broken };
  struct Moved {
    Step step = Step::Done;
    std::size_t bytes = 0;
  };

  virtual ~ByteStream() = default;  // closes it
  // To be polled after what a step wants.
  virtual int fd() const = 0;
  // Some bytes, then Done; Broken at the end, too. A block of 16 KiB leaves nothing behind that
  // polling does not show.
  virtual Moved read(char* into, std::size_t size) = 0;
  // As many bytes as go; Done when all went.
  virtual Moved write(std::string_view bytes) = 0;
};

}  // namespace coracle
