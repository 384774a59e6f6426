#include <coracle/net.h>

#include "targets.h"

namespace coracle::fuzz {
namespace {

void address(std::string_view text) {
  const auto ip = Ip::parse(text);
  if (!ip) return;
  const auto again = Ip::parse(ip->to_string());
  require(again && *again == *ip, "a printed address is the same address");
  require(ip->is_v4() != ip->is_v6(), "an address is of one family");
  require(ip->plus(0) == *ip, "nothing after an address is the address");
  require(ip->plus(1) != *ip, "the next address is another");
  require(Ip::from_bytes(ip->bytes(), ip->size()) == *ip, "an address is its bytes");
}

void range(std::string_view text) {
  const auto cidr = Cidr::parse(text);
  if (!cidr) return;
  const auto again = Cidr::parse(cidr->to_string());
  require(again && *again == *cidr, "a printed range is the same range");
  require(
      cidr->contains(cidr->ip) && cidr->contains(cidr->network()) && cidr->contains(cidr->last()),
      "a range holds its ends");
  require(cidr->network() <= cidr->last(), "a range begins before it ends");
  require(cidr->overlaps(*cidr), "a range overlaps itself");
  const std::uint64_t size = cidr->size();
  require(size > 0, "no range is empty");
  if (size < 1ULL << 32U) {
    require(cidr->network().plus(size - 1) == cidr->last(), "a range's size spans it");
    require(cidr->subnet(static_cast<int>(cidr->ip.size() * 8), size - 1).ip == cidr->last(),
            "its last subnet is its last address");
  }
}

void mac(std::string_view text) {
  const auto parsed = Mac::parse(text);
  if (!parsed) return;
  const auto again = Mac::parse(parsed->to_string());
  require(again && *again == *parsed, "a printed MAC address is the same");
}

}  // namespace

void fuzz_net(Input input) {
  std::string_view text = text_of(input);
  address(take_line(text));
  range(take_line(text));
  mac(take_line(text));
}

}  // namespace coracle::fuzz
