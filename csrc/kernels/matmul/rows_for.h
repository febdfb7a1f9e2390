// On a GPU an op may leave its rows as the products that read them want them (cuda_rows.h), in
// place of floats: then no product needs to prepare them.
#pragma once

#include "quant/format.h"

namespace genfast {

struct RowsFor {
    Format format = Format::f32;  // of the matrices
    int64_t panels = 0;           // of the one that has most; 0: the rows are floats
    GENFAST_MEMBER_ANYWHERE explicit operator bool() const { return panels > 0; }
};

}  // namespace genfast
