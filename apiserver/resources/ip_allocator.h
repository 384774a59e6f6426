// The shared ranges of a cluster: ClusterIPs and node ports, each a bitmap. Thread-safe. Nothing is
// stored: the registry gives back what stored Services hold at each start.
#pragma once

#include <coracle/mutex.h>
#include <coracle/net.h>
#include <coracle/result.h>

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

namespace coracle {

// Items 0..size-1. An unrequested item comes at random from [band, size), and from below the band
// only when that is full: static requests, which people make low, rarely meet automatic ones.
class BitmapAllocator {
 public:
  BitmapAllocator(std::size_t size, std::size_t band);

  bool take(std::size_t item);  // false when taken already. REQUIRES: item < size()
  std::optional<std::size_t> take_any();
  void release(std::size_t item);
  // Reserved items are never given unrequested, and not counted as taken.
  void reserve(std::size_t item);
  bool taken(std::size_t item) const;
  std::size_t size() const { return size_; }
  std::size_t used() const;

 private:
  std::optional<std::size_t> find_free(std::size_t from, std::size_t to) CORACLE_REQUIRES(mutex_);

  const std::size_t size_, band_;
  mutable Mutex mutex_;
  std::vector<bool> taken_ CORACLE_GUARDED_BY(mutex_);
  std::vector<bool> reserved_ CORACLE_GUARDED_BY(mutex_);
  std::size_t used_ CORACLE_GUARDED_BY(mutex_) = 0;
  std::mt19937_64 random_ CORACLE_GUARDED_BY(mutex_);
};

// Where upstream splits a range (KEP-3070): min(max(16, size/16), 256), and no band for 16 or
// fewer.
std::size_t address_band(std::uint64_t range_size);
std::size_t port_band(std::size_t range_size);

// Addresses of a range but its first and last. Errors are what follows "failed to allocate ...".
class IpAllocator {
 public:
  explicit IpAllocator(const Cidr& range);

  Result<void> take(const Ip& address);
  Result<Ip> take_any();
  void release(const Ip& address);
  void reserve(const Ip& address);
  bool taken(const Ip& address) const;
  const Cidr& range() const { return range_; }

 private:
  std::optional<std::size_t> index_of(const Ip& address) const;
  Cidr range_;
  BitmapAllocator bits_;
};

class PortAllocator {
 public:
  PortAllocator(Port first, Port last);

  Result<void> take(std::int64_t port);
  Result<Port> take_any();
  void release(std::int64_t port);
  bool taken(std::int64_t port) const;

 private:
  bool contains(std::int64_t port) const { return port >= first_ && port <= last_; }
  Port first_, last_;
  BitmapAllocator bits_;
};

}  // namespace coracle
