// A copy: nothing to compute but the unpacking, so every instruction set shares these loops.
#include "kernels/embed/rows.h"
#include "kernels/table.h"

namespace genfast::ref {

void embed(const EmbedArgs& a, Team& team) {
    embed_rows(a, team);
}

}  // namespace genfast::ref
