// What the process counts about itself, as Prometheus text (exposition format 0.0.4). A family is a
// static object where the counting happens; each registers itself. Counting is an atomic addition,
// finding the series of some labels takes a shared lock. Thread-safe throughout. Our own, because
// Debian has prometheus-cpp as a shared library only, and one binary is what we ship.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

namespace coracle::metrics {

using Labels = std::vector<std::pair<const char*, std::string>>;

// {a="b",c="d"} with backslashes, quotes and line ends escaped; "" without labels.
inline std::string to_string(const Labels& labels) {
  std::string out;
  for (const auto& [name, value] : labels) {
    out += out.empty() ? '{' : ',';
    out.append(name).append("=\"");
    for (const char c : value) {
      if (c == '\\' || c == '"') out += '\\';
      if (c == '\n')
        out += "\\n";
      else
        out += c;
    }
    out += '"';
  }
  return out.empty() ? out : out + '}';
}

inline std::string number(double value) {
  char text[32];
  (void)std::snprintf(text, sizeof(text), "%.15g", value);
  return text;
}

class Family {
 public:
  Family(const char* name, const char* type, const char* help)
      : name_(name), type_(type), help_(help) {
    const std::lock_guard lock(all_mutex());
    all().push_back(this);
  }
  Family(const Family&) = delete;
  Family& operator=(const Family&) = delete;
  virtual ~Family() {
    const std::lock_guard lock(all_mutex());
    std::erase(all(), this);
  }
  // Every family of the process.
  static std::string text() {
    const std::lock_guard lock(all_mutex());
    std::map<std::string, const Family*> sorted;
    for (const Family* family : all()) sorted.emplace(family->name_, family);
    std::string out;
    for (const auto& [name, family] : sorted) {
      out.append("# HELP ").append(name).append(" ").append(family->help_);
      out.append("\n# TYPE ").append(name).append(" ").append(family->type_).append("\n");
      family->write(out, name);
    }
    return out;
  }

 protected:
  virtual void write(std::string& out, const std::string& name) const = 0;

 private:
  static std::vector<Family*>& all() {
    static std::vector<Family*> families;
    return families;
  }
  static std::mutex& all_mutex() {
    static std::mutex mutex;
    return mutex;
  }
  const char *name_, *type_, *help_;
};

// The series of a family by their labels. They live as long as it.
template <class Series>
class SeriesMap {
 public:
  Series& at(const std::string& labels) {
    {
      const std::shared_lock lock(mutex_);
      const auto it = series_.find(labels);
      if (it != series_.end()) return *it->second;
    }
    const std::unique_lock lock(mutex_);
    auto& series = series_[labels];
    if (!series) series = std::make_unique<Series>();
    return *series;
  }
  template <class F>
  void each(F visit) const {
    const std::shared_lock lock(mutex_);
    for (const auto& [labels, series] : series_) visit(labels, *series);
  }

 private:
  mutable std::shared_mutex mutex_;
  std::map<std::string, std::unique_ptr<Series>> series_;
};

class Counter : public Family {
 public:
  Counter(const char* name, const char* help) : Family(name, "counter", help) {}
  void add(std::uint64_t by = 1, const Labels& labels = {}) {
    series_.at(to_string(labels)).fetch_add(by, std::memory_order_relaxed);
  }

 protected:
  void write(std::string& out, const std::string& name) const override {
    series_.each([&](const std::string& labels, const auto& value) {
      out += name + labels + " " + std::to_string(value.load(std::memory_order_relaxed)) + "\n";
    });
  }

 private:
  SeriesMap<std::atomic<std::uint64_t>> series_;
};

// A value that is asked for when the text is written.
class Gauge : public Family {
 public:
  Gauge(const char* name, const char* help, std::function<double()> source,
        const char* type = "gauge")
      : Family(name, type, help), source_(std::move(source)) {}

 protected:
  void write(std::string& out, const std::string& name) const override {
    out += name + " " + number(source_()) + "\n";
  }

 private:
  std::function<double()> source_;
};

// Seconds (or sizes) in buckets whose bounds double: first, 2 * first, ...
class Histogram : public Family {
 public:
  static constexpr std::size_t kBuckets = 16;
  Histogram(const char* name, const char* help, double first)
      : Family(name, "histogram", help), first_(first) {}
  void observe(double value, const Labels& labels = {}) {
    Series& series = series_.at(to_string(labels));
    std::size_t bucket = 0;
    for (double bound = first_; bucket < kBuckets && value > bound; bound *= 2) ++bucket;
    series.counts[bucket].fetch_add(1, std::memory_order_relaxed);
    double sum = series.sum.load(std::memory_order_relaxed);
    while (!series.sum.compare_exchange_weak(sum, sum + value, std::memory_order_relaxed)) {
    }
  }
  void observe_since(std::chrono::steady_clock::time_point begin, const Labels& labels = {}) {
    observe(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
            labels);
  }

 protected:
  void write(std::string& out, const std::string& name) const override {
    series_.each([&](const std::string& labels, const Series& series) {
      const std::string others = labels.empty() ? "{" : labels.substr(0, labels.size() - 1) + ",";
      std::uint64_t seen = 0;
      double bound = first_;
      for (std::size_t i = 0; i <= kBuckets; ++i, bound *= 2) {
        seen += series.counts[i].load(std::memory_order_relaxed);
        out.append(name).append("_bucket").append(others).append("le=\"");
        out.append(i == kBuckets ? "+Inf" : number(bound)).append("\"} ");
        out.append(std::to_string(seen)).append("\n");
      }
      out.append(name).append("_sum").append(labels).append(" ");
      out.append(number(series.sum.load(std::memory_order_relaxed))).append("\n");
      out.append(name).append("_count").append(labels).append(" ");
      out.append(std::to_string(seen)).append("\n");
    });
  }

 private:
  struct Series {
    std::array<std::atomic<std::uint64_t>, kBuckets + 1> counts{};  // the last: beyond all bounds
    std::atomic<double> sum{0};
  };
  const double first_;
  SeriesMap<Series> series_;
};

}  // namespace coracle::metrics
