// Ranks that compute on GPUs of one host, one each.
#pragma once

#include "comm/communicator.h"

namespace genfast::cuda {

// Collectives between the GPUs of these ranks, which all call this at once. The caller deletes it.
// Throws DeviceError where they cannot be had.
Communicator* open_ranks(Communicator& host);

}  // namespace genfast::cuda
