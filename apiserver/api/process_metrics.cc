// What every program tells of itself, under the names that Prometheus' client libraries use.

#include <coracle/metrics.h>
#include <coracle/process_metrics.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace coracle {
namespace {

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  rusage used{};
  (void)getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double open_descriptors() {
  std::error_code error;
  double count = 0;
  for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
       it.increment(error))
    ++count;
  return count - 1;  // the directory's own
}

}  // namespace

void serve_process_metrics() {
  static const metrics::Gauge memory("process_resident_memory_bytes", "Resident memory.",
                                     resident_bytes);
  static const metrics::Gauge cpu("process_cpu_seconds_total", "User and system time.", cpu_seconds,
                                  "counter");
  static const metrics::Gauge descriptors("process_open_fds", "Open file descriptors.",
                                          open_descriptors);
  static const auto started = std::chrono::system_clock::now();
  static const metrics::Gauge start(
      "process_start_time_seconds", "When it started, Unix time.",
      [] { return std::chrono::duration<double>(started.time_since_epoch()).count(); });
}

}  // namespace coracle
