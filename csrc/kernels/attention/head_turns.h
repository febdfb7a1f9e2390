// What comes before attention, on a GPU in one launch with the append: norms and rotations of
// queries and keys, head by head, in place (qkv is x and out of both).
#pragma once

#include "kernels/rms_norm/rms_norm.h"
#include "kernels/rope/rope.h"

namespace genfast {

struct HeadTurns {
    RopeArgs rope;
    RmsNormArgs norm;  // groups are heads; x null: there is none
};

}  // namespace genfast
