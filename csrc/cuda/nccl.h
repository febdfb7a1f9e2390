// What genfast calls of NVIDIA's NCCL, whose library is opened when it is first needed: it comes
// with the driver's tools, or with the package nvidia-nccl-cu13 (or -cu12).
#pragma once

#include "comm/communicator.h"

namespace genfast::cuda {

struct NcclRanks;

// Each rank with its own GPU, the first that it sees; all call this at once. Throws DeviceError
// where the library is missing or refuses.
NcclRanks* nccl_join(Communicator& host);
void nccl_leave(NcclRanks* ranks);
void nccl_abort(NcclRanks* ranks);  // ends what hangs on the device; instead of nccl_leave

// to [size, n] = every rank's from [n], queued. False where NCCL refuses.
bool nccl_all_gather(NcclRanks* ranks, const float* from, float* to, int64_t n);

}  // namespace genfast::cuda
