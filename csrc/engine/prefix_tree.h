// Which pages hold the keys and values of which tokens, so that a prompt that begins like an
// earlier one starts from its pages.
//
// A node stands for a full page: 32 tokens after those of its parent. Nodes lie in one ordered map
// by (parent, tokens), so that a lookup also finds, next to where a page's tokens would lie, the
// page that shares most of them. Numbers of nodes are never used twice: a child whose parent is
// gone is found by nobody, and goes in its turn.
//
// Tokens are compared, not hashed: a hit is never mistaken.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "kernels/attention/kv_layout.h"

namespace genfast {

class PrefixTree {
  public:
    using Node = uint64_t;
    static constexpr Node kRoot = 0;

    // Full pages that hold the beginning of the tokens, and one more of which only so many do.
    struct Match {
        std::vector<int32_t> pages;
        Node last = kRoot;
        int32_t partial_page = -1;
        int64_t partial_tokens = 0;
        int64_t whole_tokens = 0;  // of the full pages
    };

    explicit PrefixTree(int64_t pages) : places_(size_t(pages), nodes_.end()) {}

    Match find(const int32_t* tokens, int64_t count) const;
    Node node_of(int32_t page) const { return places_[size_t(page)]->second.node; }

    struct Entry {
        Node node;
        int32_t page;  // the one given, or one that held the same tokens before
    };
    Entry insert(Node parent, const int32_t* tokens, int32_t page);

    bool holds(int32_t page) const { return places_[size_t(page)] != nodes_.end(); }
    void erase(int32_t page);

  private:
    using Tokens = std::array<int32_t, kPageTokens>;
    struct Key {
        Node parent;
        Tokens tokens;
        auto operator<=>(const Key&) const = default;
    };
    struct Value {
        Node node;
        int32_t page;
    };
    using Nodes = std::map<Key, Value>;

    Nodes nodes_;
    std::vector<Nodes::iterator> places_;  // by page
    Node next_ = kRoot + 1;
};

}  // namespace genfast
