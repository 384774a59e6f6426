#include "resources/ip_allocator.h"

#include <algorithm>

namespace coracle {
namespace {

constexpr std::uint64_t kLargestRange = 1ULL
                                        << 20U;  // as upstream: more would cost memory for nothing

std::size_t usable_addresses(const Cidr& range) {
  const std::uint64_t size = std::min(range.size(), kLargestRange);
  return size > 2 ? static_cast<std::size_t>(size - 2) : 0;
}

std::uint64_t offset_in(const Cidr& range, const Ip& address) {
  if (address.is_v4()) return address.to_v4() - range.network().to_v4();
  const Ip network = range.network();
  std::uint64_t offset = 0;  // ranges beyond 2^20 are cut, so the low bytes decide
  for (std::size_t i = 8; i < 16; ++i)
    offset = (offset << 8U) | static_cast<std::uint64_t>(address.bytes()[i] ^ network.bytes()[i]);
  return offset;
}

}  // namespace

BitmapAllocator::BitmapAllocator(std::size_t size, std::size_t band)
    : size_(size),
      band_(std::min(band, size)),
      taken_(size),
      reserved_(size),
      random_(std::random_device{}()) {}

bool BitmapAllocator::take(std::size_t item) {
  MutexLock lock(mutex_);
  if (taken_[item]) return false;
  taken_[item] = true;
  ++used_;
  return true;
}

std::optional<std::size_t> BitmapAllocator::take_any() {
  MutexLock lock(mutex_);
  auto item = find_free(band_, size_);
  if (!item) item = find_free(0, band_);
  if (!item) return std::nullopt;
  taken_[*item] = true;
  ++used_;
  return item;
}

std::optional<std::size_t> BitmapAllocator::find_free(std::size_t from, std::size_t to) {
  if (from >= to) return std::nullopt;
  const std::size_t count = to - from;
  const std::size_t start = static_cast<std::size_t>(random_() % count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t item = from + (start + i) % count;
    if (!taken_[item] && !reserved_[item]) return item;
  }
  return std::nullopt;
}

void BitmapAllocator::release(std::size_t item) {
  MutexLock lock(mutex_);
  if (item >= size_ || !taken_[item]) return;
  taken_[item] = false;
  --used_;
}

void BitmapAllocator::reserve(std::size_t item) {
  MutexLock lock(mutex_);
  if (item < size_) reserved_[item] = true;
}

bool BitmapAllocator::taken(std::size_t item) const {
  MutexLock lock(mutex_);
  return item < size_ && taken_[item];
}

std::size_t BitmapAllocator::used() const {
  MutexLock lock(mutex_);
  return used_;
}

std::size_t address_band(std::uint64_t range_size) {
  if (range_size <= 16) return 0;
  return static_cast<std::size_t>(
      std::min<std::uint64_t>(std::max<std::uint64_t>(16, range_size / 16), 256));
}

std::size_t port_band(std::size_t range_size) {
  if (range_size <= 16) return 0;
  return std::min<std::size_t>(std::max<std::size_t>(16, range_size / 32), 128);
}

IpAllocator::IpAllocator(const Cidr& range)
    : range_(range), bits_(usable_addresses(range), address_band(range.size())) {}

std::optional<std::size_t> IpAllocator::index_of(const Ip& address) const {
  if (!range_.contains(address)) return std::nullopt;
  const std::uint64_t offset = offset_in(range_, address);
  if (offset == 0 || offset > bits_.size()) return std::nullopt;
  return static_cast<std::size_t>(offset - 1);
}

Result<void> IpAllocator::take(const Ip& address) {
  const auto index = index_of(address);
  if (!index)
    return Error{Code::Invalid, "the provided IP (" + address.to_string() +
                                    ") is not in the valid range. The range of valid IPs is " +
                                    range_.to_string()};
  if (!bits_.take(*index)) return Error{Code::AlreadyExists, "provided IP is already allocated"};
  return {};
}

Result<Ip> IpAllocator::take_any() {
  const auto index = bits_.take_any();
  if (!index) return Error{Code::Internal, "range is full"};
  return range_.network().plus(*index + 1);
}

void IpAllocator::release(const Ip& address) {
  if (const auto index = index_of(address)) bits_.release(*index);
}

void IpAllocator::reserve(const Ip& address) {
  if (const auto index = index_of(address)) bits_.reserve(*index);
}

bool IpAllocator::taken(const Ip& address) const {
  const auto index = index_of(address);
  return index && bits_.taken(*index);
}

PortAllocator::PortAllocator(Port first, Port last)
    : first_(first),
      last_(last),
      bits_(static_cast<std::size_t>(last - first) + 1,
            port_band(static_cast<std::size_t>(last - first) + 1)) {}

Result<void> PortAllocator::take(std::int64_t port) {
  if (!contains(port))
    return Error{Code::Invalid,
                 "provided port is not in the valid range. The range of valid ports is " +
                     std::to_string(first_) + "-" + std::to_string(last_)};
  if (!bits_.take(static_cast<std::size_t>(port - first_)))
    return Error{Code::AlreadyExists, "provided port is already allocated"};
  return {};
}

Result<Port> PortAllocator::take_any() {
  const auto index = bits_.take_any();
  if (!index) return Error{Code::Internal, "range is full"};
  return static_cast<Port>(first_ + *index);
}

void PortAllocator::release(std::int64_t port) {
  if (contains(port)) bits_.release(static_cast<std::size_t>(port - first_));
}

bool PortAllocator::taken(std::int64_t port) const {
  return contains(port) && bits_.taken(static_cast<std::size_t>(port - first_));
}

}  // namespace coracle
