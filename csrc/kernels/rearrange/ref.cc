#include "kernels/table.h"

namespace genfast::ref {

void upsample(const UpsampleArgs& a, Team& team) {
    upsample_rows(a, team);
}
void pixel_shuffle(const PixelShuffleArgs& a, Team& team) {
    shuffle_rows(a, team);
}
void place(const PlaceArgs& a, Team& team) {
    place_rows(a, team);
}

}  // namespace genfast::ref
