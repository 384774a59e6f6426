// A node's key and what is made of it, by OpenSSL. Used by join*.cc and credential.cc only.
#pragma once

#include <coracle/result.h>

#include <chrono>
#include <string>

namespace coracle {

Result<std::string> make_node_key();  // PEM, ECDSA P-256
// A signing request that names nobody: the server decides on the name. BadRequest for no key.
Result<std::string> make_signing_request(const std::string& key_pem);
std::string sha256_of(const std::string& bytes);  // hexadecimal
// The first certificate's DER. BadRequest when the text holds none.
Result<std::string> certificate_der(const std::string& pem);
// Whether the certificate is the key's, and its end.
Result<std::chrono::system_clock::time_point> certificate_end(const std::string& pem,
                                                              const std::string& key_pem);

}  // namespace coracle
