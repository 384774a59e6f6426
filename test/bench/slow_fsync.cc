// Preloaded into a server, makes every fsync and fdatasync take BENCH_FSYNC_MS longer, as an SD
// card does.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>

namespace {

int slowly(const char* name, int fd) {
  static const long delay = [] {
    const char* text = std::getenv("BENCH_FSYNC_MS");
    return text == nullptr ? 0 : std::atol(text);
  }();
  using Call = int (*)(int);
  const auto real = reinterpret_cast<Call>(dlsym(RTLD_NEXT, name));
  (void)usleep(static_cast<useconds_t>(delay * 1000));
  return real(fd);
}

}  // namespace

extern "C" int fsync(int fd) {
  return slowly("fsync", fd);
}
extern "C" int fdatasync(int fd) {
  return slowly("fdatasync", fd);
}
