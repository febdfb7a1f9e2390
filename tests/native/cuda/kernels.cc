// CUDA's kernels, compiled for this CPU.
#define GENFAST_ISA cuda
#define GENFAST_CUDA_EMULATION "cuda/emulation.h"

#include "cuda/ranks.cu"
#include "kernels/activation/cuda.cu"
#include "kernels/attention/cuda.cu"
#include "kernels/cuda_library.cu"
#include "kernels/embed/cuda.cu"
#include "kernels/matmul/cuda.cu"
#include "kernels/rms_norm/cuda.cu"
#include "kernels/rope/cuda.cu"
#include "kernels/sample/cuda.cu"
#include "kernels/swiglu/cuda.cu"
