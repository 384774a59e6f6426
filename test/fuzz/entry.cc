// libFuzzer's way in; built once for each target. Broken is not caught: it ends the process, which
// is how libFuzzer learns of it.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  coracle::fuzz::CORACLE_FUZZ_TARGET({data, size});
  return 0;
}
