// DNS messages: questions in, answers out, upstream's replies in. Pure, thread-safe; the only user
// of ldns. ldns reads what is not of the plain shape of a resolver's question, and all replies of
// upstream servers; the two hot paths, plain questions and answers, are written out here.
#pragma once

#include <coracle/net.h>
#include <coracle/result.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dns/name.h"

namespace coracle::dns {

// Numbers of the IANA registry, as constants: any other may come over the wire.
namespace type {
inline constexpr std::uint16_t kA = 1, kNs = 2, kCname = 5, kSoa = 6, kPtr = 12, kHinfo = 13,
                               kMx = 15, kTxt = 16, kAaaa = 28, kSrv = 33, kOpt = 41, kIxfr = 251,
                               kAxfr = 252, kAny = 255;
}  // namespace type
inline constexpr std::uint16_t kClassIn = 1;

enum class Rcode : std::uint16_t {
  NoError = 0,
  FormErr = 1,
  ServFail = 2,
  NxDomain = 3,
  NotImp = 4,
  Refused = 5,
  BadVers = 16,  // only with EDNS
};
const char* to_string(Rcode rcode);  // as dig prints it: "NOERROR"; "RCODE" for others

struct Edns {
  std::uint16_t udp_size = 512;
  std::uint8_t version = 0;
  bool dnssec_ok = false;
  bool operator==(const Edns&) const = default;
};

struct Question {
  Name name;
  std::uint16_t type = type::kA;
  bool operator==(const Question&) const = default;
};

// A question as it came, of class IN or another.
struct Query {
  std::uint16_t id = 0;
  std::uint8_t opcode = 0;
  bool recursion_desired = false;
  bool checking_disabled = false;
  std::string asked;  // name, type and class with their bytes as they came; "" when unreadable
  Question question;
  std::uint16_t class_ = kClassIn;
  std::optional<Edns> edns;
  // What is to be said at once; NoError: look the question up.
  Rcode verdict = Rcode::NoError;
};

// Nothing for what deserves no answer: less than a header, or an answer itself. Malformed ones come
// back with verdict FormErr, other opcodes with NotImp, other versions of EDNS with BadVers, zone
// transfers and other classes with Refused.
std::optional<Query> parse_query(Bytes packet);
// The same into the memory that `query` has; false for nothing.
bool parse_query(Bytes packet, Query& query);

struct Record {
  Name name;
  std::uint16_t type = 0;
  std::uint32_t ttl = 0;  // seconds
  std::string data;       // in wire format, names in it not compressed
  bool operator==(const Record&) const = default;
};
Record make_address(const Name& name, std::uint32_t ttl, const Ip& ip);  // A or AAAA
// For people and tests, as zone files spell it: "web.default. 5 A 10.96.0.7".
std::string to_string(const Record& record);
// The target of a CNAME, NS or PTR record.
std::optional<Name> target_of(const Record& record);

struct Reply {
  Rcode rcode = Rcode::NoError;
  bool authoritative = false;
  std::vector<Record> answer = {}, authority = {}, additional = {};
  bool operator==(const Reply&) const = default;
};

// The most that the answer to this query may have over UDP: what the client says, between 512 and
// kMaxUdp; 512 without EDNS.
std::size_t udp_limit(const Query& query);
inline constexpr std::size_t kMaxUdp = 1232;  // fits IPv6's smallest MTU
inline constexpr std::size_t kMaxTcp = 65535;

// Writes the answer into `out`, replacing what is there: the question with its bytes as they came,
// then as many records as `limit` allows. Without room, additional ones are left out silently,
// others with TC set. REQUIRES: limit >= 512.
void encode(const Query& query, const Reply& reply, std::size_t limit, std::string& out);

// A question of our own for an upstream server, with recursion desired. Some servers take none with
// EDNS (RFC 6891, 7).
enum class Extension { Edns, None };
std::string encode_question(std::uint16_t id, const Question& question,
                            Extension extension = Extension::Edns);

// An upstream server's reply.
struct Response {
  std::uint16_t id = 0;
  bool truncated = false;
  std::optional<Question> question;  // none: from a server that could not read ours
  Reply reply;                       // without additional records
};
// BadRequest for what is no whole reply of class IN to one question, or a FORMERR or NOTIMP to
// none.
Result<Response> parse_response(Bytes packet);

}  // namespace coracle::dns
