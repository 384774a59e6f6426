#include "big_stack.h"

#include <pthread.h>

namespace coracle {
namespace {

// 1,000 levels of a strategic merge patch take 1 MiB, under the address sanitizer 8 MiB.
constexpr std::size_t kBigStack = std::size_t{16} * 1024 * 1024;

void* call(void* work) {
  (*static_cast<const std::function<void()>*>(work))();
  return nullptr;
}

}  // namespace

bool call_on_big_stack(const std::function<void()>& work) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_t thread{};
  const bool started =
      pthread_attr_setstacksize(&attributes, kBigStack) == 0 &&
      pthread_create(&thread, &attributes, call,
                     const_cast<std::function<void()>*>(&work)) == 0;  // NOLINT: only called
  (void)pthread_attr_destroy(&attributes);
  if (started) (void)pthread_join(thread, nullptr);
  return started;
}

}  // namespace coracle
