#include "dns/message.h"

#include <ldns/ldns.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <forward_list>
#include <memory>
#include <span>
#include <utility>

namespace coracle::dns {
namespace {

constexpr std::size_t kHeader = 12;
constexpr std::size_t kOptSize = 11;  // without options
constexpr std::uint16_t kResponse = 0x8000, kAuthoritative = 0x0400, kTruncated = 0x0200,
                        kRecursionDesired = 0x0100, kRecursionAvailable = 0x0080,
                        kCheckingDisabled = 0x0010;
constexpr std::uint16_t kDnssecOk = 0x8000;

using Packet = std::unique_ptr<ldns_pkt, decltype(&ldns_pkt_free)>;

Packet read_packet(Bytes bytes) {
  ldns_pkt* packet = nullptr;
  const bool read = ldns_wire2pkt(&packet, bytes.data(), bytes.size()) == LDNS_STATUS_OK;
  return {read ? packet : nullptr, ldns_pkt_free};
}

std::uint16_t u16(Bytes bytes, std::size_t at) {
  return static_cast<std::uint16_t>((bytes[at] << 8U) | bytes[at + 1]);
}
std::string_view text(Bytes bytes, std::size_t at, std::size_t size) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes as characters
  return {reinterpret_cast<const char*>(bytes.data()) + at, size};
}
void put16(std::string& out, std::size_t value) {
  const char bytes[] = {static_cast<char>((value >> 8U) & 0xffU), static_cast<char>(value & 0xffU)};
  out.append(bytes, sizeof(bytes));
}
void put32(std::string& out, std::uint32_t value) {
  put16(out, value >> 16U);
  put16(out, value & 0xffffU);
}
Bytes bytes_of(const std::string& data) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): characters as bytes
  return {reinterpret_cast<const std::uint8_t*>(data.data()), data.size()};
}
void set16(std::string& out, std::size_t at, std::size_t value) {
  out[at] = static_cast<char>((value >> 8U) & 0xffU);
  out[at + 1] = static_cast<char>(value & 0xffU);
}

// Options of an OPT record fill it exactly.
bool whole_options(Bytes packet, std::size_t at) {
  while (packet.size() - at >= 4) {
    const std::size_t size = u16(packet, at + 2);
    if (packet.size() - at - 4 < size) return false;
    at += 4 + size;
  }
  return at == packet.size();
}

// The plain shape: nothing, or one OPT record, follows the question. False for another one.
bool read_plain_rest(Bytes packet, std::size_t at, Query& query) {
  if (u16(packet, 6) != 0 || u16(packet, 8) != 0) return false;
  if (u16(packet, 10) == 0) return at == packet.size();
  const bool one_opt = u16(packet, 10) == 1 && packet.size() - at >= kOptSize && packet[at] == 0 &&
                       u16(packet, at + 1) == type::kOpt &&
                       packet.size() - at - kOptSize == u16(packet, at + 9) &&
                       whole_options(packet, at + kOptSize);
  if (!one_opt) return false;
  query.edns = Edns{u16(packet, at + 3), packet[at + 6], (u16(packet, at + 7) & kDnssecOk) != 0};
  return true;
}

// Any other shape that is a message at all. More than one OPT is an error (RFC 6891, 6.1.1).
bool read_other_rest(Bytes packet, Query& query) {
  const Packet read = read_packet(packet);
  if (!read || ldns_pkt_qdcount(read.get()) != 1) return false;
  const int left = ldns_pkt_arcount(read.get()) + (ldns_pkt_tsig(read.get()) != nullptr ? 1 : 0);
  if (u16(packet, 10) - left > 1) return false;
  if (ldns_pkt_edns(read.get()))
    query.edns = Edns{ldns_pkt_edns_udp_size(read.get()), ldns_pkt_edns_version(read.get()),
                      ldns_pkt_edns_do(read.get())};
  return true;
}

Rcode judge(const Query& query) {
  if (query.edns && query.edns->version != 0) return Rcode::BadVers;
  const std::uint16_t type = query.question.type;
  if (query.class_ != kClassIn || type == type::kAxfr || type == type::kIxfr) return Rcode::Refused;
  if (type == type::kOpt || type == 0) return Rcode::FormErr;
  return Rcode::NoError;
}

// Writes names so that they share the ends of those before them.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  // What was asked for comes next.
  void note_question(const Name& name) { note(name.wire(), out_.size()); }

  // Owners may point to any spelling of the same name.
  void put_owner(std::string_view wire) { put_name(wire, wire, Spelling::Any); }

  void put_record(const Record& record) {
    put_owner(record.name.wire());
    put16(out_, record.type);
    put16(out_, kClassIn);
    put32(out_, record.ttl);
    const std::size_t size_at = out_.size();
    put16(out_, 0);
    put_data(record);
    set16(out_, size_at, out_.size() - size_at - 2);
  }

 private:
  enum class Spelling { Any, Same };
  struct Known {
    std::string_view wire;  // a whole name, folded
    std::size_t at = 0;
  };

  void note(std::string_view folded_wire, std::size_t at) {
    if (count_ < known_.size()) known_.at(count_++) = {folded_wire, at};
  }

  // Where the same name, or the end of a longer one, was written; 0: nowhere.
  std::size_t find(std::string_view wire, Spelling spelling) const {
    for (const Known& known : std::span(known_).first(count_)) {
      if (known.wire.size() < wire.size() || !known.wire.ends_with(wire)) continue;
      const std::size_t boundary = known.wire.size() - wire.size();
      std::size_t at = 0;
      while (at < boundary) at += static_cast<unsigned char>(known.wire[at]) + 1U;
      if (at != boundary || known.at + at > 0x3fff) continue;
      if (spelling == Spelling::Any || written(known.at + at, wire)) return known.at + at;
    }
    return 0;
  }
  // A prefix that was itself compressed ends in a pointer, and then differs.
  bool written(std::size_t at, std::string_view wire) const {
    return std::string_view(out_).substr(at, wire.size()) == wire;
  }

  void put_name(std::string_view wire, std::string_view all, Spelling spelling) {
    const std::size_t begin = out_.size();
    std::size_t at = 0;
    std::size_t pointer = 0;
    while (wire[at] != 0 && (pointer = find(all.substr(at), spelling)) == 0)
      at += static_cast<unsigned char>(wire[at]) + 1U;
    if (at != 0) note(all, begin);
    out_.append(wire.substr(0, at));
    if (pointer != 0)
      put16(out_, 0xc000U | pointer);
    else
      out_ += '\0';
  }

  // Only the names of RFC 1035's types may be compressed (RFC 3597, 4).
  void put_data(const Record& record) {
    const std::string& data = record.data;
    const Bytes bytes = bytes_of(data);
    std::size_t at = record.type == type::kMx ? 2 : 0;
    std::size_t names = 0;
    if (record.type == type::kSoa) names = 2;
    if (record.type == type::kCname || record.type == type::kNs || record.type == type::kPtr ||
        record.type == type::kMx)
      names = 1;
    if (names != 0) out_.append(data, 0, at);
    for (; names > 0; --names) {
      const std::size_t size = name_size(bytes, at);
      if (size == 0) break;
      const std::string_view name = text(bytes, at, size);
      put_name(name, folded_.emplace_front(folded(name)), Spelling::Same);
      at += size;
    }
    if (at < data.size()) out_.append(data, at);
  }

  std::string& out_;
  std::array<Known, 16> known_;
  std::size_t count_ = 0;
  std::forward_list<std::string> folded_;  // that known_ refers to
};

// Puts those that fit, whole ones.
bool put_section(Writer& writer, std::string& out, const std::vector<Record>& records,
                 std::size_t limit, std::size_t count_at) {
  std::size_t count = 0;
  for (const Record& record : records) {
    const std::size_t before = out.size();
    writer.put_record(record);
    if (out.size() > limit) {
      out.resize(before);
      break;
    }
    ++count;
  }
  set16(out, count_at, count);
  return count == records.size();
}

void put_opt(std::string& out, std::size_t udp_size, std::uint16_t rcode, bool dnssec_ok) {
  out += '\0';
  put16(out, type::kOpt);
  put16(out, udp_size);
  put16(out, rcode & 0xff0U ? static_cast<std::size_t>(rcode >> 4U) << 8U : 0);  // version 0
  put16(out, dnssec_ok ? kDnssecOk : 0);
  put16(out, 0);
}

std::string data_of(const ldns_rr* rr) {
  std::string data;
  for (std::size_t i = 0; i < ldns_rr_rd_count(rr); ++i) {
    const ldns_rdf* field = ldns_rr_rdf(rr, i);
    data.append(static_cast<const char*>(static_cast<const void*>(ldns_rdf_data(field))),
                ldns_rdf_size(field));
  }
  return data;
}

Name name_of(const ldns_rdf* owner) {
  return Name::from_wire({static_cast<const char*>(static_cast<const void*>(ldns_rdf_data(owner))),
                          ldns_rdf_size(owner)});
}

std::vector<Record> records_of(const ldns_rr_list* list) {
  std::vector<Record> out;
  const std::size_t count = ldns_rr_list_rr_count(list);
  out.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const ldns_rr* rr = ldns_rr_list_rr(list, i);
    if (ldns_rr_get_class(rr) != LDNS_RR_CLASS_IN) continue;
    const std::uint32_t ttl = ldns_rr_ttl(rr);  // the highest bit means 0 (RFC 2181, 8)
    out.push_back({name_of(ldns_rr_owner(rr)), static_cast<std::uint16_t>(ldns_rr_get_type(rr)),
                   (ttl & 0x80000000U) != 0 ? 0 : ttl, data_of(rr)});
  }
  return out;
}

}  // namespace

const char* to_string(Rcode rcode) {
  switch (rcode) {
    case Rcode::NoError:
      return "NOERROR";
    case Rcode::FormErr:
      return "FORMERR";
    case Rcode::ServFail:
      return "SERVFAIL";
    case Rcode::NxDomain:
      return "NXDOMAIN";
    case Rcode::NotImp:
      return "NOTIMP";
    case Rcode::Refused:
      return "REFUSED";
    case Rcode::BadVers:
      return "BADVERS";
  }
  return "RCODE";
}

std::optional<Query> parse_query(Bytes packet) {
  Query query;
  return parse_query(packet, query) ? std::optional(std::move(query)) : std::nullopt;
}

bool parse_query(Bytes packet, Query& query) {
  if (packet.size() < kHeader || packet.size() > kMaxTcp) return false;
  const std::uint16_t flags = u16(packet, 2);
  if ((flags & kResponse) != 0) return false;
  query.id = u16(packet, 0);
  query.opcode = static_cast<std::uint8_t>((flags >> 11U) & 0xfU);
  query.recursion_desired = (flags & kRecursionDesired) != 0;
  query.checking_disabled = (flags & kCheckingDisabled) != 0;
  query.asked.clear();
  query.edns.reset();
  query.verdict = query.opcode != 0 ? Rcode::NotImp : Rcode::FormErr;
  if (query.opcode != 0 || u16(packet, 4) != 1) return true;
  const std::size_t size = name_size(packet, kHeader);
  if (size == 0 || packet.size() - kHeader < size + 4) return true;
  const std::size_t end = kHeader + size + 4;
  const bool whole = read_plain_rest(packet, end, query) || read_other_rest(packet, query);
  query.asked = text(packet, kHeader, size + 4);
  query.question.name.assign_wire(text(packet, kHeader, size));
  query.question.type = u16(packet, end - 4);
  query.class_ = u16(packet, end - 2);
  if (whole) query.verdict = judge(query);
  return true;
}

Record make_address(const Name& name, std::uint32_t ttl, const Ip& ip) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): bytes as characters
  const auto* bytes = reinterpret_cast<const char*>(ip.bytes());
  return {name, ip.is_v4() ? type::kA : type::kAaaa, ttl, std::string(bytes, ip.size())};
}

std::string to_string(const Record& record) {
  std::string wire(record.name.wire());
  put16(wire, record.type);
  put16(wire, kClassIn);
  put32(wire, record.ttl);
  put16(wire, record.data.size());
  wire += record.data;
  ldns_rr* rr = nullptr;
  std::size_t at = 0;
  if (ldns_wire2rr(&rr, bytes_of(wire).data(), wire.size(), &at, LDNS_SECTION_ANSWER) !=
      LDNS_STATUS_OK)
    return record.name.to_string() + " ?";
  const std::unique_ptr<ldns_rr, decltype(&ldns_rr_free)> owner(rr, ldns_rr_free);
  const std::unique_ptr<char, decltype(&std::free)> line(ldns_rr2str(rr), std::free);
  std::string out = line ? line.get() : "?";
  std::replace(out.begin(), out.end(), '\t', ' ');
  while (out.ends_with('\n')) out.pop_back();
  return out;
}

std::optional<Name> target_of(const Record& record) {
  if (record.type != type::kCname && record.type != type::kNs && record.type != type::kPtr)
    return std::nullopt;
  const std::string& data = record.data;
  if (data.empty() || name_size(bytes_of(data), 0) != data.size()) return std::nullopt;
  return Name::from_wire(data);
}

std::size_t udp_limit(const Query& query) {
  if (!query.edns) return 512;
  return std::clamp<std::size_t>(query.edns->udp_size, 512, kMaxUdp);
}

void encode(const Query& query, const Reply& reply, std::size_t limit, std::string& out) {
  out.clear();
  const auto rcode = static_cast<std::uint16_t>(reply.rcode);
  put16(out, query.id);
  put16(out, 0);
  put16(out, query.asked.empty() ? 0 : 1);
  out.append(6, '\0');
  Writer writer(out);
  if (!query.asked.empty()) writer.note_question(query.question.name);
  out.append(query.asked);
  const std::size_t room = limit - (query.edns ? kOptSize : 0);
  const bool whole = put_section(writer, out, reply.answer, room, 6) &&
                     put_section(writer, out, reply.authority, room, 8);
  if (whole) put_section(writer, out, reply.additional, room, 10);
  if (query.edns) {
    set16(out, 10, u16(bytes_of(out), 10) + 1U);
    put_opt(out, kMaxUdp, rcode, query.edns->dnssec_ok);
  }
  const unsigned flags = kResponse | (query.opcode << 11U) |
                         (reply.authoritative ? kAuthoritative : 0U) | (whole ? 0U : kTruncated) |
                         (query.recursion_desired ? kRecursionDesired : 0U) | kRecursionAvailable |
                         (query.checking_disabled ? kCheckingDisabled : 0U) | (rcode & 0xfU);
  set16(out, 2, flags);
}

std::string encode_question(std::uint16_t id, const Question& question, Extension extension) {
  std::string out;
  put16(out, id);
  put16(out, kRecursionDesired);
  put16(out, 1);
  put32(out, 0);
  put16(out, extension == Extension::Edns ? 1 : 0);
  out.append(question.name.wire());
  put16(out, question.type);
  put16(out, kClassIn);
  if (extension == Extension::Edns) put_opt(out, kMaxUdp, 0, false);
  return out;
}

Result<Response> parse_response(Bytes packet) {
  const Error bad{Code::BadRequest, "not a whole reply to one question"};
  if (packet.size() < kHeader || (u16(packet, 2) & kResponse) == 0) return bad;
  const Packet read = read_packet(packet);
  if (!read || ldns_pkt_qdcount(read.get()) > 1) return bad;
  Response out;
  out.id = ldns_pkt_id(read.get());
  out.truncated = ldns_pkt_tc(read.get());
  const unsigned extended =
      ldns_pkt_edns(read.get()) ? ldns_pkt_edns_extended_rcode(read.get()) : 0U;
  out.reply.rcode = static_cast<Rcode>((extended << 4U) | ldns_pkt_get_rcode(read.get()));
  if (ldns_pkt_qdcount(read.get()) == 0) {
    if (out.reply.rcode != Rcode::FormErr && out.reply.rcode != Rcode::NotImp) return bad;
    return out;
  }
  const ldns_rr* asked = ldns_rr_list_rr(ldns_pkt_question(read.get()), 0);
  if (ldns_rr_get_class(asked) != LDNS_RR_CLASS_IN) return bad;
  out.question = {name_of(ldns_rr_owner(asked)),
                  static_cast<std::uint16_t>(ldns_rr_get_type(asked))};
  out.reply.answer = records_of(ldns_pkt_answer(read.get()));
  out.reply.authority = records_of(ldns_pkt_authority(read.get()));
  return out;
}

}  // namespace coracle::dns
