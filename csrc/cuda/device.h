// The first GPU: its memory, its queue and graphs.
#pragma once

#include "core/device.h"

namespace genfast::cuda {

// Throws DeviceError where the driver or a GPU that can be used is missing.
Device open_device();

}  // namespace genfast::cuda
